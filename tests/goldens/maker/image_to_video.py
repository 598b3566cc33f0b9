"""Image to video: pipeline folders of both families, the VAE's encoder, and whole runs of
`CogVideoXImageToVideoPipeline`, cached and not."""

import json

import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXImageToVideoPipeline
from safetensors.torch import save_file
from transformers import T5Tokenizer

from . import block_caches, caches, folders, images, runs

FAMILIES = {
    # CogVideoX-5b-I2V: learned positions beside rotary ones, for one size.
    "5b-i2v": dict(
        seed=51,
        text=dict(d_kv=8, num_heads=4, d_ff=48, buckets=32, distance=128),
        transformer=dict(
            num_attention_heads=2, attention_head_dim=16, num_layers=3, time_embed_dim=16,
            sample_height=6, sample_width=10, sample_frames=13, max_text_seq_length=16,
            use_rotary_positional_embeddings=True, use_learned_positional_embeddings=True,
        ),
        vae=dict(block_out_channels=(4, 4, 8, 8), norm_num_groups=2, scaling_factor=0.7),
        snr_shift_scale=1.0,
    ),
    # CogVideoX-1.5-5B-I2V: patches over time, an offset embedding, scale inverted.
    "1.5-5b-i2v": dict(
        seed=151,
        text=dict(d_kv=8, num_heads=4, d_ff=48, buckets=32, distance=128),
        transformer=dict(
            num_attention_heads=3, attention_head_dim=16, num_layers=2, time_embed_dim=16,
            ofs_embed_dim=16, sample_height=20, sample_width=26, sample_frames=9,
            max_text_seq_length=16, patch_size_t=2, patch_bias=False,
            use_rotary_positional_embeddings=True,
        ),
        vae=dict(
            block_out_channels=(8, 8, 8, 8), norm_num_groups=4, scaling_factor=0.7,
            invert_scale_latents=True,
        ),
        snr_shift_scale=1.0,
    ),
}


def folder(root, family):
    """Writes the pipeline folder of `family`."""
    spec = FAMILIES[family]
    generator = torch.Generator().manual_seed(spec["seed"])
    tokenizer = root / "2b" / "tokenizer"
    transformer = folders.CogVideoXTransformer3DModel(
        in_channels=8, out_channels=4, text_embed_dim=32, **spec["transformer"]
    ).eval()
    folders.randomise(transformer, generator)
    if spec["transformer"].get("use_learned_positional_embeddings"):
        embed = transformer.patch_embed
        embed.pos_embedding = 0.5 * torch.randn(embed.pos_embedding.shape, generator=generator)
    pipe = CogVideoXImageToVideoPipeline(
        tokenizer=T5Tokenizer.from_pretrained(tokenizer),
        text_encoder=folders.text_encoder(spec, generator),
        vae=folders.vae(spec, generator),
        transformer=transformer,
        scheduler=CogVideoXDDIMScheduler(
            **folders.PUBLISHED_SCHEDULER, snr_shift_scale=spec["snr_shift_scale"]
        ),
    )
    pipe.save_pretrained(root / family)
    spiece = (tokenizer / "spiece.model").read_bytes()
    folders.save_published_tokenizer(root / family / "tokenizer", spiece)


def load(root, family):
    """The saved pipeline, ready to run, in float32 on the CPU."""
    pipe = CogVideoXImageToVideoPipeline.from_pretrained(root / family, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


SMALL_TILES = dict(
    tile_sample_min_height=32, tile_sample_min_width=32,
    tile_overlap_factor_height=0.5, tile_overlap_factor_width=0.5,
)

# name: (batch, frames, height, width, tiling or None). Frames are 1, 8 k or 8 k + 1 where the
# encoder is as it was trained.
ENCODES = {
    "image": (1, 1, 32, 48, None),
    "tall image": (1, 1, 64, 24, None),
    "odd image": (1, 1, 37, 30, None),
    "8 frames": (1, 8, 16, 24, None),
    "9 frames": (1, 9, 16, 24, None),
    "25 frames": (1, 25, 16, 16, None),
    "3 frames": (1, 3, 24, 16, None),
    "two images": (2, 1, 16, 24, None),
    "small tiles": (1, 1, 64, 48, SMALL_TILES),
    "small tiles, 9 frames": (1, 9, 48, 32, SMALL_TILES),
    "default tiles": (1, 1, 96, 80, {}),
    "smaller than a tile": (1, 1, 48, 40, {}),
}


def encodes(pipe, tensors, cases, generator):
    for name, (batch, frames, height, width, tiling) in ENCODES.items():
        key = "encode." + name.replace(" ", "_").replace(",", "")
        video = torch.rand((batch, 3, frames, height, width), generator=generator) * 2 - 1
        vae = pipe.vae
        defaults = {name: getattr(vae, name) for name in vars(vae) if name.startswith("tile_")}
        if tiling is not None:
            vae.enable_tiling(**tiling)
        posterior = vae.encode(video).latent_dist
        vae.disable_tiling()
        for field, value in defaults.items():
            setattr(vae, field, value)
        assert tuple(posterior.mean.shape[-2:]) == (height // 8, width // 8), (name, posterior.mean)
        assert 0.2 < posterior.mean.std() < 3.0, (name, posterior.mean.std())
        tensors[key + ".frames"] = video
        tensors[key + ".mean"] = posterior.mean
        tensors[key + ".std"] = posterior.std
        tensors[key + ".sample"] = posterior.sample(torch.Generator().manual_seed(7))
        cases.append(dict(name=name, tiling=tiling, tensors=key))


RECOMMENDED = dict(swapped=runs.RECOMMENDED)
TILES = dict(tiling=SMALL_TILES)

# Cases of both families; of the size and with the pictures that their entry below says.
COMMON = {
    "larger image": dict(image="larger"),
    "smaller image": dict(image="smaller"),
    "transparent image": dict(image="transparent"),
    "image of the run's size": dict(image="exact"),
    "image of floats": dict(image="floats"),
    "recommended": dict(num_inference_steps=12, **RECOMMENDED),
    "20 steps": dict(num_inference_steps=20, frames=False),
    "no guidance": dict(guidance_scale=1.0),
    "negative prompt": dict(negative_prompt=runs.NEGATIVE),
    "dynamic cfg": dict(use_dynamic_cfg=True, num_inference_steps=6, **RECOMMENDED),
    "1 frame": dict(num_frames=1),
    "5 frames": dict(num_frames=5, frames=False),
    "17 frames": dict(num_frames=17),
    "default frames": dict(num_frames=None, frames=False),
    "two videos": dict(num_videos=2),
    "two videos, no guidance": dict(num_videos=2, guidance_scale=1.0, frames=False),
    "initial latents": dict(initial_latents=True, seed=3),
    "ddim eta": dict(eta=0.5, num_inference_steps=6, frames=False),
    "dpm eta": dict(eta=0.5, num_inference_steps=6, frames=False, **RECOMMENDED),
    "tiles": dict(frames=True, **TILES),
}

FAMILY = {
    "5b-i2v": dict(
        # The only size: positions are learned.
        size=dict(width=80, height=48, num_frames=13),
        pictures={"exact": "exact 80 48", "floats": "floats 80 48"},
        more={
            "default size": dict(width=None, height=None, num_frames=None, frames=False),
            # Not the learned positions' frames: sine-cosine ones in their place.
            "9 frames": dict(num_frames=9),
        },
    ),
    "1.5-5b-i2v": dict(
        size=dict(width=48, height=32, num_frames=9),
        pictures={"exact": "exact 48 32", "floats": "floats 48 32"},
        more={
            "non-square": dict(width=80, height=32),
            "tall": dict(width=32, height=64, frames=False),
            "13 frames": dict(num_frames=13),
            "13 frames, two videos": dict(num_frames=13, num_videos=2, frames=False),
            "21 frames": dict(num_frames=21, frames=False),
        },
    ),
}


def of_family(family, name, changes):
    case = {
        "name": name, "family": family, **runs.DEFAULTS, "frames": True, "image": "larger",
        **FAMILY[family]["size"], **changes,
    }
    case["image"] = FAMILY[family]["pictures"].get(case["image"], case["image"])
    return case


# Cached runs: (fields of the run that differ, cache), by name.
ATTENTION_CACHES = {
    "pab docs": ({}, caches.DOCS_PAB),
    "pab docs, no guidance": (dict(guidance_scale=1.0), caches.DOCS_PAB),
    "pab, two videos": (dict(num_videos=2, num_inference_steps=12), caches.DOCS_PAB),
    "faster cache docs": (dict(num_inference_steps=25), caches.DOCS_FASTER),
    "faster cache defaults": ({}, caches.faster()),
}
BLOCK_CACHES = {
    "first block": ({}, block_caches.first_block()),
    "taylor lite": ({}, block_caches.lite()),
    "taylor attention and ff": ({}, block_caches.modules()),
    "mag": (
        {}, block_caches.mag(mag_ratios=block_caches.smooth(20, 0.98, 0.8), threshold=0.3)),
    "tea": ({}, block_caches.tea(coefficients=block_caches.IDENTITY, rel_l1_thresh=1.3)),
}


# FirstBlockCache's, each away from what it measures in the family's runs.
THRESHOLDS = {"5b-i2v": 1.0, "1.5-5b-i2v": 1.04}


def cached_runs(pipe, family, tensors, manifest):
    for maker, cases in ((caches, ATTENTION_CACHES), (block_caches, BLOCK_CACHES)):
        for name, (changes, cache) in cases.items():
            for scheduler in (caches.DDIM, caches.DPM):
                label = f"{name}, {scheduler.split('-')[0]}"
                case = of_family(
                    family, label,
                    {"num_inference_steps": 20, "scheduler": scheduler, "frames": False, **changes},
                )
                case["cache"] = dict(cache)
                if cache["technique"] == block_caches.FIRST_BLOCK:
                    case["cache"]["threshold"] = THRESHOLDS[family]
                latents, *_, moved = maker.run(pipe, case)
                key = "cached_" + label.replace(" ", "_").replace(",", "")
                tensors[key + ".latents"] = latents
                manifest.append({**case, "tensors": key, "moved": round(moved, 4)})


def make(pipelines, out):
    """Writes the folders, `<family>/encodes.safetensors` and `encodes.json` (frames in [-1, 1],
    mean and standard deviation of their latents, and a sample of seed 7), and
    `<family>/runs.safetensors` and `runs.json` with the cases of `runs` and, where they have a
    `cache`, of `caches` and `block_caches`; `image.<name>` are the pictures.
    """
    for family in FAMILIES:
        folder(pipelines, family)
        pipe = load(pipelines, family)
        target = out / family
        target.mkdir(exist_ok=True)
        generator = torch.Generator().manual_seed(900 + FAMILIES[family]["seed"])
        tensors, cases = {}, []
        encodes(pipe, tensors, cases, generator)
        save(tensors, cases, target / "encodes")

        tensors, manifest = {}, []
        for name, changes in {**COMMON, **FAMILY[family]["more"]}.items():
            case = of_family(family, name, changes)
            key = name.replace(" ", "_").replace(",", "").replace("'", "")
            runs.run(pipe, case, tensors, key)
            manifest.append({**case, "frames_stride": runs.FRAMES_STRIDE, "tensors": key})
        cached_runs(pipe, family, tensors, manifest)
        for name in {case["image"] for case in manifest}:
            tensors["image." + name] = torch.from_numpy(images.RUNS[name]())
        save(tensors, manifest, target / "runs")


def save(tensors, cases, path):
    tensors = {name: tensor.contiguous() for name, tensor in sorted(tensors.items())}
    save_file(tensors, path.with_suffix(".safetensors"))
    lines = ",\n".join(json.dumps(case) for case in cases)
    path.with_suffix(".json").write_text("[\n" + lines + "\n]\n")
    size = path.with_suffix(".safetensors").stat().st_size
    print(f"{path.parent.name}/{path.name}.safetensors: {len(cases)} cases, {size} bytes")

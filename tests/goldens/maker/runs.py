"""Goldens of whole runs: `CogVideoXPipeline.__call__` without caching."""

import json

import torch
from safetensors.torch import save_file

from . import folders, images, schedulers

PROMPT = "A panda plays a guitar in the bamboo forest, close shot."
NEGATIVE = "dark rain, blurry"

# Frames are kept in every second row and column: the goldens of the VAE alone hold all.
FRAMES_STRIDE = 2

# The fields of a case and their defaults; a case lists what differs. Every field is written
# to cases.json, so that a reader needs no defaults.
DEFAULTS = dict(
    scheduler=None,  # a file of schedulers/ in place of the folder's own config
    swapped=None,  # what from_config changes of the folder's own
    prompt=PROMPT,
    negative_prompt=None,
    width=48,
    height=32,
    num_frames=9,
    num_inference_steps=4,
    guidance_scale=6.0,
    use_dynamic_cfg=False,
    eta=0.0,
    seed=1,
    num_videos=1,
    max_sequence_length=16,
    initial_latents=False,
    tiling=None,
    slicing=False,
)

FULL_TILES = {}

# Cases of every family.
COMMON = {
    "20 steps": dict(num_inference_steps=20),
    "default size": dict(width=None, height=None, num_frames=None, frames=False),
    "non-square": dict(width=80, height=32, negative_prompt=NEGATIVE),
    "tall": dict(width=32, height=64),
    "1 frame": dict(num_frames=1),
    "5 frames": dict(num_frames=5),
    "17 frames": dict(num_frames=17),
    "33 frames": dict(num_frames=33, width=32, num_inference_steps=2),
    # Not one more than a multiple of four: rounded to latent frames by (n - 1) // 4 + 1.
    "8 frames": dict(num_frames=8),
    "11 frames": dict(num_frames=11, width=32),
    "dynamic cfg": dict(use_dynamic_cfg=True, num_inference_steps=6),
    "no guidance": dict(guidance_scale=1.0),
    "guidance below one": dict(guidance_scale=0.5, negative_prompt=NEGATIVE, frames=False),
    "low guidance": dict(guidance_scale=1.5, frames=False),
    "negative prompt": dict(negative_prompt=NEGATIVE),
    "empty prompt": dict(prompt="", negative_prompt=PROMPT, frames=False),
    "cut prompt": dict(prompt="the moon and the star sleeps " * 6, frames=False),
    "one step": dict(num_inference_steps=1),
    "two videos": dict(num_videos=2, width=32),
    "two videos, no guidance": dict(num_videos=2, width=32, guidance_scale=1.0, frames=False),
    "initial latents": dict(initial_latents=True, seed=3),
    "large seed": dict(seed=2**63 + 12345, frames=False),
    "tiles": dict(
        tiling=dict(tile_sample_min_height=16, tile_sample_min_width=16,
                    tile_overlap_factor_height=0.5, tile_overlap_factor_width=0.5),
    ),
    "default tiles": dict(width=64, height=64, num_frames=5, tiling=FULL_TILES),
    "tiles, two videos, sliced": dict(
        num_videos=2, width=32, height=32, num_frames=1, slicing=True,
        tiling=dict(tile_sample_min_height=16, tile_sample_min_width=16,
                    tile_overlap_factor_height=0.5, tile_overlap_factor_width=0.5),
    ),
    "ddim": dict(scheduler="ddim-published-5b", num_inference_steps=20),
    "ddim eta": dict(scheduler="ddim-published-2b", eta=0.5, num_inference_steps=6),
    "dpm": dict(scheduler="dpm-published-2b", num_inference_steps=20),
    "dpm eta": dict(scheduler="dpm-published-5b", eta=0.5, frames=False),
    "ddim linspace": dict(scheduler="ddim-linspace", num_inference_steps=6, frames=False),
    "dpm linspace": dict(scheduler="dpm-linspace", num_inference_steps=6, frames=False),
    "ddim leading": dict(scheduler="ddim-leading", num_inference_steps=6, frames=False),
    "dpm leading": dict(scheduler="dpm-leading", num_inference_steps=6, frames=False),
    "dpm dynamic cfg": dict(
        scheduler="dpm-published-5b", use_dynamic_cfg=True, num_inference_steps=12, frames=False,
    ),
    "50 steps": dict(num_inference_steps=50, frames=False),
}

# As the published 5b and 1.5 folders are recommended to be run.
RECOMMENDED = dict(scheduler="dpm", timestep_spacing="trailing")

# Of every family; whatever the folder's class is.
SWAPPED = {
    "swapped ddim": dict(swapped=dict(scheduler="ddim"), num_inference_steps=6),
    "swapped dpm": dict(swapped=RECOMMENDED, num_inference_steps=6),
    "swapped, all overrides": dict(
        swapped=dict(
            scheduler="dpm", timestep_spacing="leading", snr_shift_scale=2.0,
            rescale_betas_zero_snr=False,
        ),
        num_inference_steps=5, frames=False,
    ),
    "overrides of the own class": dict(
        swapped=dict(timestep_spacing="linspace", snr_shift_scale=1.5), num_inference_steps=5,
        frames=False,
    ),
    "folder's own": dict(swapped={}, num_inference_steps=6),
}

FAMILY = {
    # Sine-cosine positions tie the prompt's length to the config's.
    "2b": {},
    "5b": {
        "default text length": dict(max_sequence_length=226),
        "config's text length": dict(max_sequence_length=20),
    },
    "1.5-5b": {
        # Latent frames 1 to 6: padded to 2, 2, 4, 4, 6, 6.
        "13 frames": dict(num_frames=13, width=32),
        "21 frames": dict(num_frames=21, width=32),
        "13 frames, two videos": dict(num_frames=13, width=32, num_videos=2, frames=False),
        "9 frames, initial latents": dict(num_frames=9, initial_latents=True, frames=False),
    },
}


def swap_scheduler(pipe, name):
    """Gives `pipe` the scheduler of schedulers/<name>.json."""
    kind, variant = name.split("-", 1)
    pipe.scheduler = schedulers.build(kind, variant)


def swap_class(pipe, swapped):
    """Gives `pipe` its own scheduler changed by `from_config`, as users do."""
    changes = dict(swapped)
    kind = changes.pop("scheduler", None)
    scheduler = schedulers.CLASSES[kind] if kind else type(pipe.scheduler)
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config, **changes)


def every_case(family):
    """Name and fields of the cases of `family`."""
    for name, changes in {**COMMON, **SWAPPED, **FAMILY[family]}.items():
        case = {"name": name, "family": family, **DEFAULTS, "frames": True, **changes}
        if family != "2b" and case["scheduler"] is None and case["swapped"] is None:
            case["swapped"] = RECOMMENDED
        yield name, case


def latent_shape(pipe, case):
    """The shape that `prepare_latents` gives, padding frames of the 1.5 family included."""
    config = pipe.transformer.config
    scale = pipe.vae_scale_factor_spatial
    height = case["height"] or config.sample_height * scale
    width = case["width"] or config.sample_width * scale
    frames = case["num_frames"] or config.sample_frames
    latent_frames = (frames - 1) // pipe.vae_scale_factor_temporal + 1
    if config.patch_size_t is not None:
        latent_frames += -latent_frames % config.patch_size_t
    return (case["num_videos"], latent_frames, config.out_channels, height // scale, width // scale)


def videos(case):
    return len(case.get("prompts") or []) or case["num_videos"]


def generators(case):
    """One of the run's seed, or a list of one for each video."""
    if case.get("seeds"):
        return [torch.Generator().manual_seed(seed) for seed in case["seeds"]]
    return torch.Generator().manual_seed(case["seed"])


def steps(case):
    """How many steps a run makes."""
    return int(case["num_inference_steps"] * case.get("strength", 1.0))


def call(pipe, case, initial=None, output_type="latent", **more):
    """One `__call__` with the fields of `case`."""
    prompt = case["prompt"]
    if case.get("prompts"):
        prompt = case["prompts"]
    elif case["num_videos"] > 1:
        # The pipeline overrides num_videos_per_prompt with 1; a list of prompts is its way.
        prompt = [prompt] * case["num_videos"]
    if case.get("image"):
        image = images.argument(case["image"])
        more["image"] = [image] * videos(case)
    if case.get("video"):
        # One sample of the video's latents for each video.
        video = images.frames(case["video"])
        more["video"] = [video] * videos(case) if videos(case) > 1 else video
        more["strength"] = case["strength"]
    elif case.get("control_video"):
        more["control_video"] = [images.frames(case["control_video"])] * videos(case)
    else:
        more["num_frames"] = case["num_frames"]
    return pipe(
        prompt=prompt,
        negative_prompt=case.get("negative_prompts") or case["negative_prompt"],
        width=case["width"],
        height=case["height"],
        num_inference_steps=case["num_inference_steps"],
        guidance_scale=case["guidance_scale"],
        use_dynamic_cfg=case["use_dynamic_cfg"],
        eta=case["eta"],
        generator=generators(case),
        latents=initial,
        max_sequence_length=case["max_sequence_length"],
        output_type=output_type,
        **more,
    ).frames


def run(pipe, case, tensors, key):
    """Runs `case` twice, to latents and to frames, and files what comes out."""
    own = pipe.scheduler
    if case["scheduler"] is not None:
        swap_scheduler(pipe, case["scheduler"])
    if case["swapped"] is not None:
        swap_class(pipe, case["swapped"])
    initial = None
    if case["initial_latents"]:
        initial = torch.randn(latent_shape(pipe, case), generator=torch.Generator().manual_seed(77))
        tensors[key + ".initial"] = initial
    vae = pipe.vae
    defaults = {name: getattr(vae, name) for name in vars(vae) if name.startswith("tile_")}
    if case["tiling"] is not None:
        vae.enable_tiling(**case["tiling"])
    if case["slicing"]:
        vae.enable_slicing()
    tensors[key + ".latents"] = call(pipe, case, initial)
    if case["frames"]:
        frames = call(pipe, case, initial, output_type="np")
        # As VaeImageProcessor.numpy_to_pil rounds (image_processor.py).
        rgb8 = torch.from_numpy((frames * 255).round().astype("uint8"))
        tensors[key + ".frames"] = rgb8[:, :, ::FRAMES_STRIDE, ::FRAMES_STRIDE]
        spread = frames.std()
        assert 0.1 < spread < 0.45, (key, spread)
    vae.disable_tiling()
    vae.disable_slicing()
    for field, value in defaults.items():
        setattr(vae, field, value)
    pipe.scheduler = own
    latents = tensors[key + ".latents"]
    assert torch.isfinite(latents).all() and latents.abs().max() < 50, (key, latents.abs().max())


def make(pipelines, out):
    """Writes `<family>/runs.safetensors` and `<family>/runs.json`.

    `<case>.latents` are float32 `(videos, latent frames, channels, height, width)` as
    `output_type="latent"` returns them; `<case>.frames` are 8-bit `(videos, frames, height,
    width, 3)`, every second row and column of them; `<case>.initial` the latents that the run
    was given.
    """
    for family in folders.FAMILIES:
        pipe = folders.load(pipelines, family)
        tensors, cases = {}, []
        for name, case in every_case(family):
            key = name.replace(" ", "_").replace(",", "").replace("'", "")
            run(pipe, case, tensors, key)
            cases.append({**case, "frames_stride": FRAMES_STRIDE, "tensors": key})
        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        path = out / family / "runs.safetensors"
        save_file(tensors, path)
        lines = ",\n".join(json.dumps(case) for case in cases)
        (out / family / "runs.json").write_text("[\n" + lines + "\n]\n")
        print(f"{family}/runs.safetensors: {len(cases)} cases, {path.stat().st_size} bytes")

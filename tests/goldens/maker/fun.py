"""CogVideoX-Fun: pipeline folders for control and for inpainting, and whole runs of them.

Control is diffusers' `CogVideoXFunControlPipeline`. Inpainting has no class there: `Inpainting` below
computes what the authors' own pipeline gives the transformer beside the noise
(github.com/aigc-apps/VideoX-Fun, commit 804a425, videox_fun/pipeline/
pipeline_cogvideox_fun_inpaint.py), out of diffusers' parts and in words of its own, and leaves the rest
to the control pipeline. Where the authors draw from torch's own generator (a video's sample, the noise
on what is kept), it draws from the run's, before the noise that the run begins with.
"""

import json

import numpy
import PIL.Image
import torch
import torch.nn.functional as F
from diffusers import CogVideoXDDIMScheduler, CogVideoXFunControlPipeline, CogVideoXPipeline
from transformers import T5Tokenizer

from . import block_caches, caches, folders, images, runs
from .image_to_video import SMALL_TILES, save

FAMILIES = {
    # CogVideoX-Fun-V1.1-5b-Control and -InP.
    "5b-control": dict(base="5b", seed=53, in_channels=8),
    "5b-inp": dict(base="5b", seed=54, in_channels=9),
    # CogVideoX-Fun-V1.5-5b-InP.
    "1.5-5b-inp": dict(base="1.5-5b", seed=155, in_channels=9, noise=True),
}


def folder(root, family):
    """Writes the pipeline folder of `family`, which names the class of text to video as the published
    ones do."""
    own = FAMILIES[family]
    spec = {**folders.FAMILIES[own["base"]], "seed": own["seed"]}
    generator = torch.Generator().manual_seed(own["seed"])
    tokenizer = root / "2b" / "tokenizer"
    transformer = folders.CogVideoXTransformer3DModel(
        in_channels=own["in_channels"], out_channels=4, text_embed_dim=32, **spec["transformer"]
    ).eval()
    folders.randomise(transformer, generator)
    pipe = CogVideoXPipeline(
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
    if own.get("noise"):
        path = root / family / "transformer" / "config.json"
        config = {**json.loads(path.read_text()), "add_noise_in_inpaint_model": True}
        path.write_text(json.dumps(config, indent=2) + "\n")


def binary(mask):
    """1 where something is made anew: `(1, 1, frames, height, width)`."""
    return (torch.from_numpy(mask) >= 128).float()[None, None]


class Inpainting(CogVideoXFunControlPipeline):
    """The control pipeline, given a mask and what it leaves in place of a control video's latents.

    The transformer's channels are 4 of noise, 1 of the mask and 4 of latents; half of them, rounded
    down, is what the control pipeline takes for the noise's.
    """

    def prepare_control_latents(self, mask=None, masked_image=None):
        return None, self.beside

    def beside_latents(self, kept, made, noise, generator):
        """`kept` are frames in [-1, 1], `made` is 1 where they are not looked at."""
        scale = self.vae.config.scaling_factor
        channels = self.vae.config.latent_channels
        frames, height, width = kept.shape[2:]
        latent = ((frames - 1) // 4 + 1, height // 8, width // 8)
        if (made == 1).all():
            return torch.zeros(1, 1 + channels, *latent)
        masked = torch.where(made == 1, torch.tensor(-1.0), kept)
        if noise:
            drawn = torch.randn(masked.shape, generator=generator) * 0.0563
            masked = masked + torch.where(masked == -1, torch.tensor(0.0), drawn)
        latents = self.vae.encode(masked).latent_dist.mode()
        there = 1 - made
        parts = [F.interpolate(there[:, :, :1], size=(1, *latent[1:]), mode="trilinear")]
        if latent[0] > 1:
            size = (latent[0] - 1, *latent[1:])
            parts.append(F.interpolate(there[:, :, 1:], size=size, mode="trilinear"))
        return torch.cat([torch.cat(parts, dim=2), latents], dim=1) * scale


def beside(pipe, case, generator):
    """What goes beside the noise, and the video's frames in [-1, 1] if there is one."""
    size = dict(height=case["height"], width=case["width"])
    frames = case["num_frames"]
    shape = (1, 1, frames, case["height"], case["width"])
    if case.get("video"):
        video = pipe.video_processor.preprocess_video(images.frames(case["video"]), **size)
        made = binary(images.MASKS[case["mask"]]())
        near = F.interpolate(made[0, 0][:, None], size=shape[-2:], mode="nearest")[:, 0]
        made = near[None, None].expand(shape)
    else:
        video, made = torch.zeros(1, 3, *shape[2:]), torch.ones(shape)
        for name, at in ((case.get("image"), 0), (case.get("last_image"), frames - 1)):
            if name:
                picture = pipe.video_processor.preprocess(images.argument(name), **size)
                video[:, :, at], made[:, :, at] = picture, 0
    noise = FAMILIES[case["family"]].get("noise", False)
    return pipe.beside_latents(video, made, noise, generator), video


def call(pipe, case, output_type):
    generator = torch.Generator().manual_seed(case["seed"])
    pipe.beside, video = beside(pipe, case, generator)
    latents, scheduler, strength = None, pipe.scheduler, case.get("strength") or 1.0
    set_timesteps = scheduler.set_timesteps
    if strength < 1:
        steps = case["num_inference_steps"]
        left = int(steps * strength)
        scheduler.set_timesteps(steps)
        clean = pipe.vae.encode(video).latent_dist.sample(generator)
        clean = (clean * pipe.vae.config.scaling_factor).permute(0, 2, 1, 3, 4)
        noise = torch.randn(clean.shape, generator=generator)
        latents = scheduler.add_noise(clean, noise, scheduler.timesteps[steps - left][None])

        def cut(*arguments, **more):
            set_timesteps(*arguments, **more)
            scheduler.timesteps = scheduler.timesteps[steps - left :]

        scheduler.set_timesteps = cut
    # It tells how many frames there are.
    blank = PIL.Image.fromarray(numpy.zeros((case["height"], case["width"], 3), "uint8"))
    result = pipe(
        prompt=case["prompt"], negative_prompt=case["negative_prompt"],
        control_video=[blank] * case["num_frames"], width=case["width"], height=case["height"],
        num_inference_steps=case["num_inference_steps"], guidance_scale=case["guidance_scale"],
        use_dynamic_cfg=case["use_dynamic_cfg"], generator=generator, latents=latents,
        max_sequence_length=case["max_sequence_length"], output_type=output_type,
    ).frames
    if strength < 1:
        del scheduler.set_timesteps
    return result


def inpaint(pipe, case, tensors, key):
    tiling = case["tiling"]
    defaults = {name: getattr(pipe.vae, name) for name in vars(pipe.vae) if name.startswith("tile_")}
    if tiling is not None:
        pipe.vae.enable_tiling(**tiling)
    tensors[key + ".latents"] = call(pipe, case, "latent")
    if case["frames"]:
        frames = call(pipe, case, "np")
        rgb8 = torch.from_numpy((frames * 255).round().astype("uint8"))
        tensors[key + ".frames"] = rgb8[:, :, :: runs.FRAMES_STRIDE, :: runs.FRAMES_STRIDE]
    pipe.vae.disable_tiling()
    for field, value in defaults.items():
        setattr(pipe.vae, field, value)
    latents = tensors[key + ".latents"]
    assert torch.isfinite(latents).all() and latents.abs().max() < 50, (key, latents.abs().max())


# The number of frames makes an even number of latent frames in the 1.5 family.
def inpaintings(family):
    some = 13 if family.startswith("1.5") else 9
    clip = f"{some} exact"
    ends = dict(num_frames=some)
    masked = dict(num_frames=some, video=clip)
    return {
        "nothing": dict(ends),
        "first frame": dict(ends, image="exact 48 32"),
        "first frame of another size": dict(ends, image="larger", frames=False),
        "last frame": dict(ends, last_image="exact 48 32", frames=False),
        "first and last frame": dict(ends, image="larger", last_image="smaller"),
        "mask of all frames": dict(masked, mask="right half"),
        "mask of another size": dict(masked, mask="small", frames=False),
        "mask of time": dict(masked, mask=f"later of {some}"),
        "mask of everything": dict(masked, mask="everything", frames=False),
        "video of another size": dict(
            num_frames=9 if some == 9 else 13, video="9 larger" if some == 9 else clip,
            mask="right half", frames=False),
        "strength": dict(masked, mask="right half", strength=0.5, num_inference_steps=10),
        "tiles": dict(masked, mask="right half", tiling=SMALL_TILES, frames=False),
        "no guidance": dict(ends, image="larger", guidance_scale=1.0, frames=False),
        "dynamic cfg": dict(
            ends, image="larger", use_dynamic_cfg=True, num_inference_steps=6, frames=False),
        "8 frames": dict(num_frames=8, image="larger", frames=False),
    }


CONTROLS = {
    "9 frames": dict(control_video="9 exact"),
    "larger video": dict(control_video="9 larger"),
    "transparent video": dict(control_video="9 transparent", frames=False),
    "video of floats": dict(control_video="9 floats", frames=False),
    "1 frame": dict(control_video="1 larger", frames=False),
    "8 frames": dict(control_video="8 exact", frames=False),
    "17 frames": dict(control_video="17 exact", frames=False),
    "two videos": dict(control_video="9 exact", num_videos=2, frames=False),
    "prompts and seeds": dict(
        control_video="9 exact", prompt="", prompts=["a red robot sleeps", "the moon"],
        seeds=[4, 9], frames=False),
    "no guidance": dict(control_video="9 exact", guidance_scale=1.0, frames=False),
    "dynamic cfg": dict(
        control_video="9 exact", use_dynamic_cfg=True, num_inference_steps=6, frames=False),
    "initial latents": dict(control_video="9 exact", initial_latents=True, frames=False),
    "tiles": dict(control_video="9 exact", tiling=SMALL_TILES, frames=False),
    "linspace": dict(
        control_video="9 exact", scheduler="ddim-linspace", num_inference_steps=6, frames=False),
}
CACHED = {
    "pab docs": (caches, caches.DOCS_PAB),
    "faster cache defaults": (caches, caches.faster()),
    "first block": (block_caches, block_caches.first_block(1.0)),
    "taylor lite": (block_caches, block_caches.lite()),
}


def controls(pipe, tensors, manifest):
    base = {**runs.DEFAULTS, "family": "5b-control", "frames": True}
    for name, changes in CONTROLS.items():
        # As many frames as the video; initial latents are of 9.
        case = {**base, **changes, "name": name}
        key = name.replace(" ", "_").replace(",", "")
        runs.run(pipe, case, tensors, key)
        manifest.append({
            **case, "num_frames": None, "frames_stride": runs.FRAMES_STRIDE, "tensors": key})
    for name, (maker, cache) in CACHED.items():
        case = {
            **base, "name": name, "control_video": "9 exact", "num_inference_steps": 20,
            "scheduler": caches.DDIM, "frames": False, "cache": dict(cache), "num_frames": None}
        latents, *_, moved = maker.run(pipe, case)
        key = "cached_" + name.replace(" ", "_")
        tensors[key + ".latents"] = latents
        manifest.append({**case, "tensors": key, "moved": round(moved, 4)})
    for name in {case["control_video"] for case in manifest}:
        tensors["video." + name] = torch.from_numpy(images.CLIPS[name]())


def make(pipelines, out):
    """Writes the folders, and `<family>/runs.safetensors` and `runs.json` with cases as those of
    `runs`; `video.<name>`, `mask.<name>` and `image.<name>` are what they are given."""
    for family, own in FAMILIES.items():
        folder(pipelines, family)
        kind = CogVideoXFunControlPipeline if own["in_channels"] == 8 else Inpainting
        parts = CogVideoXPipeline.from_pretrained(pipelines / family, torch_dtype=torch.float32)
        pipe = kind(**parts.components)
        pipe.set_progress_bar_config(disable=True)
        (out / family).mkdir(exist_ok=True)
        tensors, manifest = {}, []
        if kind is Inpainting:
            for name, changes in inpaintings(family).items():
                case = {**runs.DEFAULTS, "family": family, "name": name, "frames": True, **changes}
                key = name.replace(" ", "_")
                inpaint(pipe, case, tensors, key)
                manifest.append({**case, "frames_stride": runs.FRAMES_STRIDE, "tensors": key})
            of = lambda field: {case[field] for case in manifest if case.get(field)}  # noqa: E731
            for name in of("image") | of("last_image"):
                tensors["image." + name] = torch.from_numpy(images.RUNS[name]())
            for name in of("video"):
                tensors["video." + name] = torch.from_numpy(images.CLIPS[name]())
            for name in of("mask"):
                tensors["mask." + name] = torch.from_numpy(images.MASKS[name]())
        else:
            controls(pipe, tensors, manifest)
        save(tensors, manifest, out / family / "runs")

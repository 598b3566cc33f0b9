"""Video to video: whole runs of `CogVideoXVideoToVideoPipeline`, cached and not, with the folders of
text to video."""

import torch
from diffusers import CogVideoXVideoToVideoPipeline

from . import block_caches, caches, folders, images, runs
from .image_to_video import SMALL_TILES, save

DPM = dict(swapped=runs.RECOMMENDED)

# The 1.5 family wants an even number of latent frames: the odd ones are for the others.
ODD = {
    "9 frames": dict(video="9 exact"),
    "larger video": dict(video="9 larger"),
    "smaller video": dict(video="9 smaller", **DPM),
    "transparent video": dict(video="9 transparent", frames=False),
    "video of floats": dict(video="9 floats"),
    "1 frame": dict(video="1 larger"),
    "11 frames": dict(video="11 exact", frames=False),
    "17 frames": dict(video="17 exact", **DPM),
    "default size": dict(video="9 larger", width=None, height=None, frames=False),
    "two videos": dict(video="9 exact", num_videos=2, frames=False),
    "two videos, dpm": dict(video="9 exact", num_videos=2, frames=False, **DPM),
}
EVEN = {
    "5 frames": dict(video="5 exact"),
    "8 frames": dict(video="8 exact", **DPM),
    "13 frames": dict(video="13 exact"),
    "16 frames": dict(video="16 exact", frames=False, **DPM),
}
COMMON = {
    **EVEN,
    "strength 1": dict(strength=1.0),
    "strength 1, dpm": dict(strength=1.0, **DPM),
    "strength 0.5": dict(strength=0.5, num_inference_steps=20, frames=False),
    "strength 0.5, dpm": dict(strength=0.5, num_inference_steps=20, **DPM),
    "one step left": dict(strength=0.25, frames=False),
    "one step left, dpm": dict(strength=0.25, frames=False, **DPM),
    # 0.29 × 100 is a little under 29 in binary.
    "rounded down": dict(strength=0.29, num_inference_steps=100, width=32, frames=False),
    "dynamic cfg": dict(use_dynamic_cfg=True, num_inference_steps=10, frames=False),
    "no guidance": dict(guidance_scale=1.0, frames=False),
    "negative prompt": dict(negative_prompt=runs.NEGATIVE, frames=False),
    "tiles": dict(tiling=SMALL_TILES),
    "eta": dict(eta=0.5, num_inference_steps=6, frames=False),
    "linspace": dict(scheduler="dpm-linspace", num_inference_steps=7, frames=False),
}

# Cached runs: (fields of the run that differ, cache), by name.
CACHED = {
    "pab docs": (caches, {}, caches.DOCS_PAB),
    "faster cache defaults": (caches, {}, caches.faster()),
    "first block": (block_caches, {}, block_caches.first_block()),
    "taylor lite": (block_caches, {}, block_caches.lite()),
}
# FirstBlockCache's, each away from what it measures in the family's runs.
THRESHOLDS = {"2b": 1.0, "5b": 1.0, "1.5-5b": 1.04}


def of_family(family, changes):
    video = "5 exact" if family == "1.5-5b" else "9 exact"
    return {
        **runs.DEFAULTS, "family": family, "frames": True, "video": video, "strength": 0.8,
        "num_inference_steps": 5, **changes, "num_frames": None,
    }


def cached_runs(pipe, family, tensors, manifest):
    for name, (maker, changes, cache) in CACHED.items():
        for scheduler in (caches.DDIM, caches.DPM):
            label = f"{name}, {scheduler.split('-')[0]}"
            case = of_family(
                family,
                {"num_inference_steps": 20, "scheduler": scheduler, "frames": False, **changes})
            case.update(name=label, cache=dict(cache))
            if cache["technique"] == block_caches.FIRST_BLOCK:
                case["cache"]["threshold"] = THRESHOLDS[family]
            latents, *_, moved = maker.run(pipe, case)
            key = "cached_" + label.replace(" ", "_").replace(",", "")
            tensors[key + ".latents"] = latents
            manifest.append({**case, "tensors": key, "moved": round(moved, 4)})


def make(pipelines, out):
    """Writes `<family>/video_to_video.safetensors` and `video_to_video.json`: cases as those of
    `runs`; `video.<name>` are the videos."""
    for family in folders.FAMILIES:
        pipe = CogVideoXVideoToVideoPipeline.from_pretrained(
            pipelines / family, torch_dtype=torch.float32)
        pipe.set_progress_bar_config(disable=True)
        cases = COMMON if family == "1.5-5b" else {**ODD, **COMMON}
        tensors, manifest = {}, []
        for name, changes in cases.items():
            case = {**of_family(family, changes), "name": name}
            key = name.replace(" ", "_").replace(",", "")
            runs.run(pipe, case, tensors, key)
            manifest.append({**case, "frames_stride": runs.FRAMES_STRIDE, "tensors": key})
        cached_runs(pipe, family, tensors, manifest)
        for name in {case["video"] for case in manifest}:
            tensors["video." + name] = torch.from_numpy(images.CLIPS[name]())
        save(tensors, manifest, out / family / "video_to_video")

"""Several prompts in one run, with a seed each: `CogVideoXPipeline.__call__` of lists of prompts and
generators, cached and not; and image and video to video likewise."""

import torch
from diffusers import CogVideoXVideoToVideoPipeline

from . import block_caches, caches, folders, image_to_video, images, runs
from .image_to_video import save

PROMPTS = [runs.PROMPT, "a red robot sleeps", ""]
NEGATIVES = [runs.NEGATIVE, "", "the moon"]
SEEDS = [5, 1, 2**63 + 12345]
DPM = dict(swapped=runs.RECOMMENDED)

COMMON = {
    "prompts": dict(prompts=PROMPTS),
    "prompts, one seed, dpm": dict(prompts=PROMPTS[:2], frames=False, **DPM),
    "prompts and seeds": dict(prompts=PROMPTS, seeds=SEEDS),
    "prompts and seeds, dpm": dict(prompts=PROMPTS, seeds=SEEDS, frames=False, **DPM),
    "prompts and negative prompts": dict(
        prompts=PROMPTS, negative_prompts=NEGATIVES, seeds=SEEDS, frames=False),
    "prompts and a negative prompt": dict(
        prompts=PROMPTS[:2], negative_prompt=runs.NEGATIVE, seeds=SEEDS[:2], frames=False, **DPM),
    "prompts, no guidance": dict(
        prompts=PROMPTS, seeds=SEEDS, guidance_scale=1.0, frames=False),
    "one prompt, seeds": dict(num_videos=2, seeds=SEEDS[:2], frames=False, **DPM),
    "a list of one": dict(prompts=PROMPTS[1:2], seeds=SEEDS[1:2], frames=False),
}
VIDEOS = {
    "video": dict(prompts=PROMPTS[:2], seeds=SEEDS[:2], video="9 exact", strength=0.6, frames=False),
    "video, dpm": dict(
        prompts=PROMPTS[:2], seeds=SEEDS[:2], video="9 exact", strength=0.6, frames=False, **DPM),
}
IMAGES = {
    "image": dict(prompts=PROMPTS[:2], seeds=SEEDS[:2], image="larger", frames=False),
    "image, dpm": dict(prompts=PROMPTS[:2], seeds=SEEDS[:2], image="larger", frames=False, **DPM),
}
# Cached runs: (maker, cache), by name.
CACHED = {
    "pab docs": (caches, caches.DOCS_PAB),
    "faster cache defaults": (caches, caches.faster()),
    "first block": (block_caches, block_caches.first_block()),
    "taylor lite": (block_caches, block_caches.lite()),
}
# FirstBlockCache's, each away from what it measures in the family's runs.
THRESHOLDS = {"2b": 1.0, "5b": 1.0, "1.5-5b": 1.04}


def of_family(family, changes):
    case = {**runs.DEFAULTS, "family": family, "frames": True, "width": 32, **changes}
    if case.get("prompts"):
        case["prompt"] = ""
    return case


def add(pipe, cases, family, tensors, manifest):
    for name, changes in cases.items():
        case = {**of_family(family, changes), "name": name}
        if family == "5b-i2v":
            case.update(image_to_video.FAMILY[family]["size"])
        key = name.replace(" ", "_").replace(",", "")
        runs.run(pipe, case, tensors, key)
        manifest.append({**case, "frames_stride": runs.FRAMES_STRIDE, "tensors": key})


def cached_runs(pipe, family, tensors, manifest):
    for name, (maker, cache) in CACHED.items():
        for scheduler in (caches.DDIM, caches.DPM):
            label = f"{name}, {scheduler.split('-')[0]}"
            case = of_family(
                family,
                dict(
                    prompts=PROMPTS, seeds=SEEDS, num_inference_steps=20, scheduler=scheduler,
                    frames=False))
            case.update(name=label, cache=dict(cache))
            if cache["technique"] == block_caches.FIRST_BLOCK:
                case["cache"]["threshold"] = THRESHOLDS[family]
            latents, *_, moved = maker.run(pipe, case)
            key = "cached_" + label.replace(" ", "_").replace(",", "")
            tensors[key + ".latents"] = latents
            manifest.append({**case, "tensors": key, "moved": round(moved, 4)})


def make(pipelines, out):
    """Writes `<family>/batches.safetensors` and `batches.json`: cases as those of `runs`."""
    for family in folders.FAMILIES:
        pipe = folders.load(pipelines, family)
        tensors, manifest = {}, []
        add(pipe, COMMON, family, tensors, manifest)
        cached_runs(pipe, family, tensors, manifest)
        if family == "2b":
            other = CogVideoXVideoToVideoPipeline(**pipe.components)
            other.set_progress_bar_config(disable=True)
            add(other, VIDEOS, family, tensors, manifest)
            tensors["video.9 exact"] = torch.from_numpy(images.CLIPS["9 exact"]())
        save(tensors, manifest, out / family / "batches")
    tensors, manifest = {}, []
    add(image_to_video.load(pipelines, "5b-i2v"), IMAGES, "5b-i2v", tensors, manifest)
    tensors["image.larger"] = torch.from_numpy(images.RUNS["larger"]())
    save(tensors, manifest, out / "5b-i2v" / "batches")

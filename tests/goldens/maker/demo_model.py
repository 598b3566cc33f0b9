"""The models that were made from the demo model, as they lie in examples/: its image-to-video
folder from a drawn picture, and the demo model with its adapter and without."""

import pathlib

import torch
from diffusers import CogVideoXImageToVideoPipeline, CogVideoXPipeline

from . import image_to_video, images, runs

DEMO = pathlib.Path(__file__).resolve().parents[3] / "examples" / "demo-model"
STRIDE = 4
CASE = {
    **runs.DEFAULTS, "width": None, "height": None, "num_frames": None, "num_inference_steps": 10,
    "frames": True, "frames_stride": STRIDE,
}
PINK = dict(prompt="a pink triangle moves up on a black background", seed=1)
YELLOW = "a yellow ball moves down on a navy background"

# name: (what is done with the adapter before the run, the run's scale, fields that differ).
# `family` is the folder in examples/demo-model.
CASES = {
    "from a picture": ([], 1.0, dict(family="image-to-video", prompt=YELLOW, image="drawn ball")),
    "without the adapter": ([], 1.0, dict(family="pipeline", frames=False, **PINK)),
    "with the adapter": ([["load", "lora-pink", None]], 1.0, dict(family="pipeline", **PINK)),
    "with half of it": (
        [["load", "lora-pink", None]], 0.5, dict(family="pipeline", frames=False, **PINK)),
    "fused": (
        [["load", "lora-pink", None], ["fuse", 0.8]], 1.0,
        dict(family="pipeline", frames=False, **PINK)),
}
CLASSES = {"pipeline": CogVideoXPipeline, "image-to-video": CogVideoXImageToVideoPipeline}


def make(out):
    """Writes `demo-model/runs.safetensors` and `runs.json`, as `image_to_video.make` does."""
    tensors, manifest, plain = {}, [], None
    tensors["image.drawn ball"] = torch.from_numpy(images.RUNS["drawn ball"]())
    for name, (prepare, scale, changes) in CASES.items():
        case = {"name": name, **CASE, **changes}
        kind = CLASSES[case["family"]]
        pipe = kind.from_pretrained(DEMO / case["family"], torch_dtype=torch.float32)
        pipe.set_progress_bar_config(disable=True)
        for step, argument, *_ in prepare:
            if step == "load":
                pipe.load_lora_weights(DEMO / argument)
            else:
                pipe.fuse_lora(lora_scale=argument)
        more = {} if scale == 1.0 else {"attention_kwargs": {"scale": scale}}
        key = name.replace(" ", "_")
        latents = runs.call(pipe, case, **more)
        if name == "without the adapter":
            plain = latents
        moved = (latents - plain).abs().max().item() if prepare else 0.0
        tensors[key + ".latents"] = latents
        if case["frames"]:
            frames = runs.call(pipe, case, output_type="np", **more)
            rgb8 = torch.from_numpy((frames * 255).round().astype("uint8"))
            tensors[key + ".frames"] = rgb8[:, :, ::STRIDE, ::STRIDE]
        manifest.append({
            **case, "tensors": key, "moved": round(moved, 4), "prepare": prepare,
            "lora_scale": scale,
        })
    target = out / "demo-model"
    target.mkdir(exist_ok=True)
    image_to_video.save(tensors, manifest, target / "runs")

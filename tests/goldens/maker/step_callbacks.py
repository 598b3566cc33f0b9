"""Goldens of runs with a `callback_on_step_end` that changes latents or guidance."""

import json

import torch
from safetensors.torch import save_file

from . import folders, runs

CASE = {**runs.DEFAULTS, "num_inference_steps": 6, "num_frames": 5, "seed": 21}

# name: what the callback does, as [what, after which step, a number]; fields that differ.
SCALED = [["scale", 1, 0.8], ["scale", 3, 1.1]]
GUIDED = [["guidance", 0, 2.0], ["guidance", 3, 9.0]]
CASES = {
    "scaled": (SCALED, {}),
    "guided": (GUIDED, {}),
    "scaled, dpm": (SCALED, dict(swapped=runs.RECOMMENDED)),
    "guided, dpm": (GUIDED, dict(swapped=runs.RECOMMENDED)),
    "both, two videos": (SCALED + GUIDED, dict(num_videos=2, width=32)),
    "scaled, dynamic cfg": (SCALED, dict(use_dynamic_cfg=True)),
    "scaled, no guidance": (SCALED, dict(guidance_scale=1.0)),
    "guidance of 1": ([["guidance", 2, 1.0]], {}),
}


def callback(actions):
    """The callback that does `actions`."""
    def on_step_end(pipe, step, timestep, tensors):
        latents = tensors["latents"]
        for what, after, number in actions:
            if after != step:
                continue
            if what == "scale":
                latents = latents * number
            else:
                pipe._guidance_scale = number
        return {"latents": latents}
    return on_step_end


def make(pipelines, out):
    """Writes `steps/<family>.safetensors` (`<case>.latents`) and `steps/runs.json`, where `prepare`
    says what the callback does and `moved` by how much that changed the latents."""
    folder = out / "steps"
    folder.mkdir(exist_ok=True)
    manifest = []
    for family in folders.FAMILIES:
        tensors = {}
        for name, (actions, changes) in CASES.items():
            pipe = folders.load(pipelines, family)
            case = {**CASE, **changes}
            if case["swapped"] is not None:
                runs.swap_class(pipe, case["swapped"])
            plain = runs.call(pipe, case)
            latents = runs.call(pipe, case, callback_on_step_end=callback(actions))
            moved = (latents - plain).abs().max().item()
            assert torch.isfinite(latents).all() and latents.abs().max() < 50, (name, moved)
            assert moved > 0.01, (family, name, moved)
            key = name.replace(" ", "_").replace(",", "")
            tensors[key + ".latents"] = latents.contiguous()
            manifest.append({
                "name": name, "family": family, **case, "tensors": key, "frames": False,
                "prepare": actions, "moved": moved,
            })
        save_file(tensors, folder / f"{family}.safetensors")
    (folder / "runs.json").write_text(json.dumps(manifest, indent=1) + "\n")

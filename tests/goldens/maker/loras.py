"""LoRA adapters and goldens of runs with them: diffusers' own `load_lora_weights`,
`set_adapters`, `fuse_lora` and the like, on the pipelines of the tests."""

import json

import torch
from diffusers import CogVideoXPipeline
from safetensors.torch import save_file

from . import caches, folders, runs

CASE = {**runs.DEFAULTS, "num_inference_steps": 6, "num_frames": 5, "seed": 11}

# By file: the modules it adapts (as endings of their names), rank, seed, and how it is saved.
EVERY = (
    "to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "norm1.linear",
    "norm2.linear", "norm_out.linear", "proj_out", "patch_embed.proj", "text_proj", "linear_1",
    "linear_2",
)
FILES = {
    # Everything that can be adapted, without metadata: alpha is the rank.
    "every": dict(modules=EVERY, rank=3, seed=1),
    # What trainers adapt, with metadata: alpha and rank differ, and by module.
    "attention": dict(
        modules=("to_q", "to_k", "to_v", "to_out.0"), rank=4, seed=2,
        metadata=dict(r=4, lora_alpha=8, alpha_pattern={"attn1.to_v": 2}),
        ranks={"transformer_blocks.0.attn1.to_k": 2},
    ),
    # The older keys, in bfloat16, for one layer.
    "older": dict(
        modules=("transformer_blocks.1.attn1.to_q", "transformer_blocks.1.ff.net.2"), rank=2,
        seed=3, older=True,
    ),
    # rsLoRA, with biases of lora_B.
    "stabilised": dict(
        modules=("to_q", "to_k", "proj_out"), rank=4, seed=4, bias=True,
        metadata=dict(r=4, lora_alpha=6, use_rslora=True, lora_bias=True),
    ),
}

# What is done before the run, in order: a list of [function, arguments].
LOAD_TWO = [["load", "every", "a"], ["load", "attention", "b"]]
SCENARIOS = {
    "one adapter": [["load", "every", None]],
    "metadata": [["load", "attention", None]],
    "older keys": [["load", "older", None]],
    "rsLoRA and biases": [["load", "stabilised", None]],
    "the last loaded is active": LOAD_TWO,
    "two adapters with weights": [*LOAD_TWO, ["set", ["a", "b"], [0.7, -0.4]]],
    "two adapters, weights of 1": [*LOAD_TWO, ["set", ["b", "a"], None]],
    "disabled": [["load", "every", "a"], ["enable", False]],
    "disabled and enabled": [["load", "every", "a"], ["enable", False], ["enable", True]],
    "fused": [["load", "every", "a"], ["fuse", 1.0]],
    "fused with a scale": [*LOAD_TWO, ["set", ["a", "b"], [0.5, 0.8]], ["fuse", 0.5]],
    "unfused keeps the scale": [["load", "every", "a"], ["fuse", 0.5], ["unfuse"]],
    "fused biases": [["load", "stabilised", "a"], ["fuse", 0.8]],
    "fused, disabled": [["load", "every", "a"], ["fuse", 1.0], ["enable", False]],
    "fused, unloaded": [["load", "every", "a"], ["fuse", 0.6], ["unload"]],
    "fused, unloaded, another on top": [
        ["load", "every", "a"], ["fuse", 0.6], ["unload"], ["load", "attention", "b"],
    ],
    "unloaded": [["load", "every", "a"], ["unload"]],
}
# name: (scenario, the run's scale, its cache, fields of the run that differ)
CASES = {
    **{name: (name, 1.0, None, {}) for name in SCENARIOS},
    "scale 0.5": ("one adapter", 0.5, None, {}),
    "scale 0.5 on two": ("two adapters with weights", 0.5, None, {}),
    "scale 0": ("one adapter", 0.0, None, {}),
    "no guidance": ("one adapter", 1.0, None, dict(guidance_scale=1.0)),
    "PAB": ("two adapters with weights", 1.0, "pab", dict(num_inference_steps=12)),
    "PAB, fused": ("fused with a scale", 1.0, "pab", dict(num_inference_steps=12)),
}
PAB = caches.pab(
    spatial_attention_block_skip_range=2, spatial_attention_timestep_skip_range=[100, 900]
)


def targets(transformer, endings):
    """The weights of the modules whose names end so, by name."""
    for name, module in transformer.named_modules():
        weight = getattr(module, "weight", None)
        ends = any(name == ending or name.endswith("." + ending) for ending in endings)
        if weight is not None and weight.ndim > 1 and ends:
            yield name, weight


def factors(transformer, modules, rank, seed, ranks=(), older=False, bias=False, metadata=None):
    """Tensors and metadata of one file."""
    generator = torch.Generator().manual_seed(seed)
    tensors, of_ranks = {}, dict(ranks)
    for name, weight in targets(transformer, modules):
        own = next((r for end, r in of_ranks.items() if name.endswith(end)), rank)
        rest = weight.shape[1:]
        tail = [1] * (weight.ndim - 2)
        down = torch.randn(own, *rest, generator=generator) * rest.numel() ** -0.5
        up = torch.randn(weight.shape[0], own, *tail, generator=generator) * 0.25
        a, b = ("lora.down", "lora.up") if older else ("lora_A", "lora_B")
        dtype = torch.bfloat16 if older else torch.float32
        tensors[f"transformer.{name}.{a}.weight"] = down.to(dtype).contiguous()
        tensors[f"transformer.{name}.{b}.weight"] = up.to(dtype).contiguous()
        if bias:
            noise = torch.randn(weight.shape[0], generator=generator) * 0.2
            tensors[f"transformer.{name}.{b}.bias"] = noise
    header = {"format": "pt"}
    if metadata is not None:
        config = {f"transformer.{key}": value for key, value in metadata.items()}
        config["transformer.target_modules"] = list(modules)
        if of_ranks:
            config["transformer.rank_pattern"] = of_ranks
        header["lora_adapter_metadata"] = json.dumps(config, indent=2, sort_keys=True)
    return tensors, header


def prepare(pipe, folder, steps):
    """Does what a scenario says."""
    for name, *arguments in steps:
        if name == "load":
            file, adapter = arguments
            pipe.load_lora_weights(folder / f"{file}.safetensors", adapter_name=adapter)
        elif name == "set":
            names, weights = arguments
            pipe.set_adapters(names, weights)
        elif name == "enable":
            pipe.enable_lora() if arguments[0] else pipe.disable_lora()
        elif name == "fuse":
            pipe.fuse_lora(lora_scale=arguments[0])
        elif name == "unfuse":
            pipe.unfuse_lora()
        else:
            pipe.unload_lora_weights()


def make(pipelines, out):
    """Writes `lora/<family>/<file>.safetensors` (adapters), `lora/<family>/runs.safetensors`
    (`<case>.latents`, and `plain.latents` and `plain_pab.latents` without any) and
    `lora/runs.json`: for each case the steps before the run, the run's scale and its cache."""
    manifest = []
    for family in folders.FAMILIES:
        folder = out / "lora" / family
        folder.mkdir(parents=True, exist_ok=True)
        pipe = folders.load(pipelines, family)
        for file, fields in FILES.items():
            tensors, header = factors(pipe.transformer, **fields)
            save_file(tensors, folder / f"{file}.safetensors", metadata=header)
        tensors = {"plain.latents": runs.call(pipe, CASE)}
        for name, (scenario, scale, cache, changes) in CASES.items():
            pipe = folders.load(pipelines, family)
            assert isinstance(pipe, CogVideoXPipeline)
            prepare(pipe, folder, SCENARIOS[scenario])
            if cache is not None:
                pipe.transformer.enable_cache(caches.cache_config(pipe, PAB))
            case = {**CASE, **changes}
            more = {} if scale == 1.0 else {"attention_kwargs": {"scale": scale}}
            latents = runs.call(pipe, case, **more)
            key = name.replace(" ", "_").replace(",", "")
            tensors[key + ".latents"] = latents.contiguous()
            moved = (latents - tensors["plain.latents"]).abs().max().item()
            assert torch.isfinite(latents).all() and latents.abs().max() < 50, (key, moved)
            manifest.append({
                "name": name, "family": family, **case, "frames": False, "tensors": key,
                "moved": round(moved, 4), "cache": PAB if cache else {},
                "prepare": SCENARIOS[scenario], "lora_scale": scale,
            })
        path = folder / "runs.safetensors"
        save_file(tensors, path)
        print(f"lora/{family}/runs.safetensors: {path.stat().st_size} bytes")
    lines = ",\n".join(json.dumps(case) for case in manifest)
    (out / "lora" / "runs.json").write_text("[\n" + lines + "\n]\n")

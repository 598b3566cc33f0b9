"""Goldens of runs with caching: diffusers' own `enable_cache`, its latents, and what was
computed, counted on its modules."""

import contextlib
import json

import torch
from diffusers import FasterCacheConfig, PyramidAttentionBroadcastConfig
from safetensors.torch import save_file

from . import folders, runs

# 80 high and 96 wide: 10 by 12 latents, so that FasterCache's frequency disc has radius 2.
DEFAULTS = {
    **runs.DEFAULTS,
    "width": 96,
    "height": 80,
    "num_inference_steps": 20,
    "negative_prompt": runs.NEGATIVE,
}

DDIM = "ddim-published-2b"
DPM = "dpm-published-5b"

PAB = "pyramid_attention_broadcast"
FASTER = "faster_cache"


def pab(**fields):
    return dict(technique=PAB, **fields)


def faster(**fields):
    return dict(technique=FASTER, **fields)


def linear(base, per_timestep=0.0):
    """A callback's answer as data: `base + per_timestep * timestep`."""
    return dict(base=base, per_timestep=per_timestep)


# The two snippets of diffusers' documentation.
DOCS_PAB = pab(
    spatial_attention_block_skip_range=2, spatial_attention_timestep_skip_range=[100, 800]
)
DOCS_FASTER = faster(
    spatial_attention_block_skip_range=2,
    spatial_attention_timestep_skip_range=[-1, 681],
    unconditional_batch_skip_range=5,
    unconditional_batch_timestep_skip_range=[-1, 781],
    attention_weight_callback=linear(0.3),
    tensor_format="BFCHW",
)

# name: (fields of the run that differ, cache). Each runs in every family with both schedulers.
EVERYWHERE = {
    "pab defaults, 50 steps": (dict(num_inference_steps=50), pab()),
    "pab docs": ({}, DOCS_PAB),
    "pab skip 3": (
        dict(num_inference_steps=17),
        pab(spatial_attention_block_skip_range=3,
            spatial_attention_timestep_skip_range=[50, 950]),
    ),
    "pab skip 4, all steps": (
        dict(num_inference_steps=30),
        pab(spatial_attention_block_skip_range=4,
            spatial_attention_timestep_skip_range=[-1, 1001]),
    ),
    "pab, no guidance": (dict(guidance_scale=1.0), DOCS_PAB),
    "pab, two videos": (dict(num_videos=2, num_inference_steps=12), DOCS_PAB),
    "faster cache defaults": ({}, faster()),
    "faster cache defaults, 50 steps": (dict(num_inference_steps=50), faster()),
    "faster cache docs": (dict(num_inference_steps=25), DOCS_FASTER),
    "faster cache docs, 50 steps": (dict(num_inference_steps=50), DOCS_FASTER),
    "faster cache, weight of the timestep": (
        dict(num_inference_steps=30),
        faster(attention_weight_callback=linear(0.9, -0.001),
               unconditional_batch_timestep_skip_range=[-1, 901],
               spatial_attention_timestep_skip_range=[-1, 901]),
    ),
    "faster cache, skip 3": (
        dict(num_inference_steps=24),
        faster(spatial_attention_block_skip_range=3, unconditional_batch_skip_range=4,
               unconditional_batch_timestep_skip_range=[-1, 801],
               spatial_attention_timestep_skip_range=[-1, 801]),
    ),
    "faster cache, two videos": (dict(num_videos=2, num_inference_steps=16), faster()),
    "faster cache, guidance distilled, no guidance": (
        dict(guidance_scale=1.0),
        faster(is_guidance_distilled=True),
    ),
}

# Each runs in one family with the scheduler that the family is recommended with.
ONCE = {
    "2b": {
        "pab skip 2, narrow window": (
            {}, pab(spatial_attention_block_skip_range=2,
                    spatial_attention_timestep_skip_range=[400, 600]),
        ),
        # Both ends are left out: 519 and 919 are timesteps of 25 steps.
        "pab window ends on timesteps": (
            dict(num_inference_steps=25),
            pab(spatial_attention_block_skip_range=2,
                spatial_attention_timestep_skip_range=[519, 919]),
        ),
        "pab skip 1": ({}, pab(spatial_attention_block_skip_range=1)),
        "pab skip longer than the run": (
            dict(num_inference_steps=12),
            pab(spatial_attention_block_skip_range=100,
                spatial_attention_timestep_skip_range=[-1, 1001]),
        ),
        "pab first layer": (
            {}, pab(spatial_attention_block_skip_range=2,
                    spatial_attention_block_identifiers=["^transformer_blocks\\.0\\.attn1$"]),
        ),
        # The second layer is temporal by its identifier; spatial ones are asked first.
        "pab spatial and temporal": (
            {}, pab(spatial_attention_block_skip_range=2,
                    spatial_attention_block_identifiers=["transformer_blocks.0"],
                    temporal_attention_block_skip_range=3,
                    temporal_attention_timestep_skip_range=[200, 900],
                    temporal_attention_block_identifiers=["transformer_blocks"]),
        ),
        "pab cross settings only": (
            {}, pab(cross_attention_block_skip_range=2),
        ),
        "pab, timestep callback": (
            {}, pab(spatial_attention_block_skip_range=3,
                    current_timestep_callback=linear(999.0, -1.0),
                    spatial_attention_timestep_skip_range=[100, 600]),
        ),
        "pab, dynamic cfg": (dict(use_dynamic_cfg=True), DOCS_PAB),
        "pab, 17 frames": (dict(num_frames=17, num_inference_steps=12), DOCS_PAB),
        "faster cache, dynamic cfg": (dict(use_dynamic_cfg=True), DOCS_FASTER),
        "faster cache, last layer": (
            {}, faster(spatial_attention_block_identifiers=["blocks.1"],
                       unconditional_batch_timestep_skip_range=[-1, 781]),
        ),
    },
    "5b": {
        "pab leading, skip 2": (
            dict(scheduler="ddim-leading"), pab(spatial_attention_block_skip_range=2),
        ),
        "faster cache, skip 2 and 2": (
            dict(num_inference_steps=12), faster(unconditional_batch_skip_range=2),
        ),
        "faster cache, skip 5 and 3": (
            dict(num_inference_steps=40),
            faster(spatial_attention_block_skip_range=5, unconditional_batch_skip_range=3,
                   unconditional_batch_timestep_skip_range=[-1, 901]),
        ),
        "faster cache, skip 4 and 10": (
            dict(num_inference_steps=40),
            faster(spatial_attention_block_skip_range=4, unconditional_batch_skip_range=10,
                   unconditional_batch_timestep_skip_range=[-1, 901]),
        ),
        "faster cache, attention skip 1": (
            {}, faster(spatial_attention_block_skip_range=1),
        ),
        "faster cache, unconditional skip 1": (
            {}, faster(unconditional_batch_skip_range=1),
        ),
        # Attention's window is the smaller one: conditional-only steps outside it compute.
        "faster cache, attention window inside": (
            dict(num_inference_steps=25),
            faster(spatial_attention_timestep_skip_range=[200, 500],
                   unconditional_batch_timestep_skip_range=[100, 900]),
        ),
        "faster cache, windows apart": (
            {}, faster(spatial_attention_timestep_skip_range=[600, 900],
                       unconditional_batch_timestep_skip_range=[100, 500]),
        ),
        "faster cache, all steps": (
            dict(num_inference_steps=15),
            faster(spatial_attention_timestep_skip_range=[-1, 1001],
                   unconditional_batch_timestep_skip_range=[-1, 1001]),
        ),
        "faster cache, frequency callbacks": (
            dict(num_inference_steps=30),
            faster(low_frequency_weight_callback=linear(1.3, -0.0004),
                   high_frequency_weight_callback=linear(0.8, 0.0005),
                   unconditional_batch_timestep_skip_range=[-1, 781]),
        ),
        "faster cache, alphas and ranges": (
            dict(num_inference_steps=30),
            faster(alpha_low_frequency=1.05, alpha_high_frequency=0.9,
                   low_frequency_weight_update_timestep_range=[300, 701],
                   high_frequency_weight_update_timestep_range=[-1, 501],
                   unconditional_batch_timestep_skip_range=[-1, 781]),
        ),
        "faster cache, all callbacks": (
            dict(num_inference_steps=25),
            faster(attention_weight_callback=linear(0.2, 0.0006),
                   low_frequency_weight_callback=linear(1.1),
                   high_frequency_weight_callback=linear(1.0, 0.0002),
                   unconditional_batch_timestep_skip_range=[-1, 901]),
        ),
        "faster cache, timestep callback": (
            {}, faster(current_timestep_callback=linear(100.0, 0.8)),
        ),
        "faster cache, format BCHW": ({}, {**DOCS_FASTER, "tensor_format": "BCHW"}),
        "faster cache, format BCFHW": ({}, {**DOCS_FASTER, "tensor_format": "BCFHW"}),
        "faster cache, guidance distilled with guidance": (
            {}, faster(is_guidance_distilled=True, attention_weight_callback=linear(0.4)),
        ),
        "faster cache, one layer": (
            {}, faster(spatial_attention_block_identifiers=["transformer_blocks.[02]"],
                       unconditional_batch_timestep_skip_range=[-1, 781]),
        ),
        "faster cache, wide": (dict(width=112, height=48), DOCS_FASTER),
        "faster cache, no disc": (dict(width=48, height=32), DOCS_FASTER),
        "faster cache, 1 frame": (dict(num_frames=1), DOCS_FASTER),
        "faster cache, 12 steps": (dict(num_inference_steps=12), DOCS_FASTER),
        "faster cache, 226 tokens": (
            dict(max_sequence_length=226, num_inference_steps=12), DOCS_FASTER,
        ),
    },
    "1.5-5b": {
        "pab, no padding": (dict(num_frames=13, num_inference_steps=12), DOCS_PAB),
        "faster cache, no padding": (dict(num_frames=13, num_inference_steps=16), DOCS_FASTER),
        "faster cache, skip 5": (
            dict(num_inference_steps=33),
            faster(spatial_attention_block_skip_range=5, unconditional_batch_skip_range=5,
                   unconditional_batch_timestep_skip_range=[-1, 901]),
        ),
        "faster cache, frequency callbacks": (
            dict(num_inference_steps=20),
            faster(low_frequency_weight_callback=linear(1.2, -0.0003),
                   high_frequency_weight_callback=linear(1.0, 0.0003)),
        ),
    },
}

CALLBACKS = (
    "attention_weight_callback", "low_frequency_weight_callback",
    "high_frequency_weight_callback",
)


def cache_config(pipe, cache):
    """diffusers' config object for a case's plain fields."""
    fields = {name: value for name, value in cache.items() if name != "technique"}

    def answer(callback, timestep):
        return callback["base"] + callback["per_timestep"] * timestep

    for name in CALLBACKS:
        if name in fields:
            callback = fields[name]
            fields[name] = lambda _, callback=callback: answer(
                callback, pipe.current_timestep.item()
            )
    if "current_timestep_callback" in fields:
        callback = fields["current_timestep_callback"]
        fields["current_timestep_callback"] = lambda: answer(
            callback, pipe.current_timestep.item()
        )
    else:
        fields["current_timestep_callback"] = lambda: pipe.current_timestep
    for name, value in fields.items():
        if isinstance(value, list):
            fields[name] = tuple(value)
    kind = {PAB: PyramidAttentionBroadcastConfig, FASTER: FasterCacheConfig}
    return kind[cache["technique"]](**fields)


@contextlib.contextmanager
def counting(pipe):
    """Counts on the modules themselves: an attention module computes exactly when its `to_q`
    runs, and the batch that `patch_embed` sees is the one the transformer runs with."""
    layers = len(pipe.transformer.transformer_blocks)
    computed, batches = [], []

    def began(_module, arguments):
        batches.append(arguments[1].shape[0])
        computed.append([False] * layers)

    def ran(layer):
        def hook(_module, _arguments):
            computed[-1][layer] = True

        return hook

    handles = [pipe.transformer.patch_embed.register_forward_pre_hook(began)]
    for layer, block in enumerate(pipe.transformer.transformer_blocks):
        handles.append(block.attn1.to_q.register_forward_pre_hook(ran(layer)))
    yield computed, batches
    for handle in handles:
        handle.remove()


def run(pipe, case):
    """The latents of `case`, what was computed, and how far caching moved the latents."""
    own = pipe.scheduler
    if case["scheduler"] is not None:
        runs.swap_scheduler(pipe, case["scheduler"])
    uncached = runs.call(pipe, case)
    pipe.transformer.enable_cache(cache_config(pipe, case["cache"]))
    with counting(pipe) as (computed, batches):
        latents = runs.call(pipe, case)
    pipe.transformer.disable_cache()
    pipe.scheduler = own
    full = runs.videos(case) * (2 if case["guidance_scale"] > 1 else 1)
    assert len(computed) == runs.steps(case) and set(batches) <= {full, full // 2}
    reused = any(not all(step) for step in computed) or any(batch != full for batch in batches)
    moved = (latents - uncached).abs().max().item()
    assert torch.isfinite(latents).all() and latents.abs().max() < 50, latents.abs().max()
    assert (moved > 0.02) == reused, (case["name"], moved, reused)
    return latents, computed, [batch == full for batch in batches], moved


def cases_of(family):
    own = DPM if folders.FAMILIES[family]["snr_shift_scale"] == 1.0 else DDIM
    for name, (changes, cache) in EVERYWHERE.items():
        for scheduler in (DDIM, DPM):
            label = f"{name}, {scheduler.split('-')[0]}"
            yield label, {"scheduler": scheduler, **changes}, cache
    for name, (changes, cache) in ONCE[family].items():
        yield name, {"scheduler": own, **changes}, cache


def make(pipelines, out):
    """Writes `<family>/caches.safetensors` (latents by case) and `caches.json`.

    A case's `cache` holds the fields of diffusers' config that differ from its defaults, a
    callback as `{base, per_timestep}`: it returns `base + per_timestep * timestep`.
    `computed` has a string for each step with a character for each layer, `1` where attention
    was computed and `0` where it was reused; `unconditional` has a character for each step,
    `1` where the whole guidance batch ran. `moved` is the largest difference that caching made
    to the latents.
    """
    manifest = []
    for family in folders.FAMILIES:
        pipe = folders.load(pipelines, family)
        tensors = {}
        for name, changes, cache in cases_of(family):
            case = {"name": name, "family": family, **DEFAULTS, **changes, "cache": cache}
            latents, computed, unconditional, moved = run(pipe, case)
            key = name.replace(" ", "_").replace(",", "")
            tensors[key + ".latents"] = latents.contiguous()
            manifest.append({
                **case,
                "tensors": key,
                "computed": ["".join("01"[c] for c in step) for step in computed],
                "unconditional": "".join("01"[u] for u in unconditional),
                "moved": round(moved, 4),
            })
        path = out / family / "caches.safetensors"
        save_file(tensors, path)
        print(f"{family}/caches.safetensors: {len(tensors)} cases, {path.stat().st_size} bytes")
    lines = ",\n".join(json.dumps(case) for case in manifest)
    (out / "caches.json").write_text("[\n" + lines + "\n]\n")

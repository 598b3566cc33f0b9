"""Goldens of runs whose cache skips or predicts blocks, modules or the whole model: latents, and
what was computed, counted on modules that no cache hooks. FirstBlockCache, TaylorSeer, MagCache
and LayerSkip are diffusers' own; TeaCache is `teacache`."""

import contextlib
import io
import json

import torch
from diffusers import FirstBlockCacheConfig, LayerSkipConfig, MagCacheConfig, TaylorSeerCacheConfig
from diffusers.hooks import HookRegistry, apply_layer_skip, first_block_cache
from diffusers.hooks.mag_cache import nearest_interp
from safetensors.torch import save_file

from . import caches, folders, runs, teacache

FIRST_BLOCK = "first_block_cache"
TAYLOR_SEER = "taylor_seer"
MAG = "mag_cache"
TEA = "tea_cache"
LAYER_SKIP = "layer_skip"

# A decision compares a measured number with a threshold. The two must be further apart than this
# part of the threshold, or float32 rounding on another machine could decide otherwise.
MARGIN = 2e-3

ATTENTION = r"transformer_blocks\.\d+\.attn1"
FEED_FORWARD = r"transformer_blocks\.\d+\.ff"


def first_block(threshold=None):
    return dict(technique=FIRST_BLOCK, **({} if threshold is None else dict(threshold=threshold)))


def taylor(**fields):
    # diffusers keeps factors as bfloat16: rounding of the last bit, which differs by machine,
    # becomes a difference of 2^-9 there.
    return dict(technique=TAYLOR_SEER, **{"taylor_factors_dtype": "float32",
                                          "use_lite_mode": False, **fields})


def lite(**fields):
    return taylor(use_lite_mode=True, **fields)


def modules(**fields):
    return taylor(cache_identifiers=[ATTENTION, FEED_FORWARD], **fields)


def mag(**fields):
    return dict(technique=MAG, **fields)


def tea(**fields):
    return dict(technique=TEA, **fields)


def smooth(length, first, last):
    """Ratios that go from `first` to `last` in a line, the very first being 1."""
    step = (last - first) / (length - 1)
    return [1.0] + [round(first + step * i, 4) for i in range(1, length)]


# The distance itself, in place of what a published model's outputs make of it.
IDENTITY = [0.0, 0.0, 0.0, 1.0, 0.0]
SQUARE = [0.0, 0.0, 0.5, 0.25, 0.05]

# name: (fields of the run that differ, cache). Each runs in every family with both schedulers.
EVERYWHERE = {
    "first block": ({}, first_block(1.08)),
    "first block, high threshold": ({}, first_block(1.3)),
    "first block, no guidance": (dict(guidance_scale=1.0), first_block(0.94)),
    "first block, two videos": (
        dict(num_videos=2, num_inference_steps=12), first_block(1.15)),
    "taylor lite defaults": ({}, lite()),
    "taylor lite, order 2": (
        dict(num_inference_steps=24),
        lite(max_order=2, cache_interval=3, disable_cache_before_step=4)),
    "taylor lite, no guidance": (
        dict(guidance_scale=1.0), lite(cache_interval=2, disable_cache_after_step=16)),
    "taylor attention and ff": ({}, modules()),
    "taylor attention and ff, order 2": (
        dict(num_inference_steps=16),
        modules(max_order=2, cache_interval=2, disable_cache_before_step=5,
                disable_cache_after_step=13)),
    "taylor attention and ff, no guidance": (
        dict(guidance_scale=1.0, num_inference_steps=18),
        modules(cache_interval=3, max_order=0)),
    "mag, calibration": ({}, mag(calibrate=True)),
    "mag, calibration, no guidance": (
        dict(guidance_scale=1.0, num_inference_steps=12), mag(calibrate=True)),
    "mag, calibrated": ({}, mag(mag_ratios="mag, calibration", threshold=0.6)),
    "mag, longer skips": (
        {}, mag(mag_ratios=smooth(20, 0.98, 0.8), threshold=0.3, max_skip_steps=4,
                retention_ratio=0.1)),
    "mag, no guidance": (
        dict(guidance_scale=1.0), mag(mag_ratios=smooth(20, 1.1, 0.9), threshold=0.2)),
    "tea": ({}, tea(coefficients=IDENTITY, rel_l1_thresh=1.95)),
    "tea, no guidance": (
        dict(guidance_scale=1.0), tea(coefficients=SQUARE, rel_l1_thresh=1.3)),
}

# Each runs in one family with the scheduler that the family is recommended with.
ONCE = {
    "2b": {
        "first block defaults": (dict(num_inference_steps=12), first_block()),
        "first block, threshold zero": (dict(num_inference_steps=12), first_block(0.0)),
        "first block, only the first step": (dict(num_inference_steps=12), first_block(100.0)),
        "first block, 17 frames": (
            dict(num_frames=17, num_inference_steps=12), first_block(1.0)),
        "taylor attention only": (
            {}, taylor(cache_identifiers=[ATTENTION], cache_interval=3)),
        "taylor, first layer": (
            {}, taylor(cache_identifiers=[r"transformer_blocks\.0\.(attn1|ff)"])),
        "taylor, attention predicted and ff zero": (
            dict(num_inference_steps=14),
            taylor(cache_identifiers=[ATTENTION], skip_predict_identifiers=[FEED_FORWARD],
                   cache_interval=2, disable_cache_before_step=6)),
        "taylor lite, after one step": (
            dict(num_inference_steps=12),
            lite(disable_cache_before_step=1, cache_interval=4, max_order=3)),
        "taylor lite, two videos": (
            dict(num_videos=2, num_inference_steps=12), lite(cache_interval=3)),
        "mag, ratios of fewer steps": (
            dict(num_inference_steps=20),
            mag(mag_ratios=smooth(9, 1.2, 0.85), threshold=0.35, retention_ratio=0.25)),
        "tea, authors' coefficients": (
            dict(num_inference_steps=50), tea(coefficients=teacache.COEFFICIENTS["2b"])),
        "tea, two videos": (
            dict(num_videos=2, num_frames=5, num_inference_steps=12),
            tea(coefficients=IDENTITY, rel_l1_thresh=1.5)),
        "layer skip": (dict(num_inference_steps=12), dict(technique=LAYER_SKIP, indices=[1])),
    },
    "5b": {
        "first block, 50 steps": (dict(num_inference_steps=50), first_block(0.6)),
        "first block, dynamic cfg": (dict(use_dynamic_cfg=True), first_block(1.0)),
        "taylor ff only": ({}, taylor(cache_identifiers=[FEED_FORWARD], cache_interval=2)),
        "taylor, middle layer": (
            {}, taylor(cache_identifiers=[r"transformer_blocks\.1\.(attn1|ff)"])),
        "taylor attention and ff, two videos": (
            dict(num_videos=2, num_inference_steps=12), modules(cache_interval=3)),
        "taylor lite, factors of 16 bits": (
            dict(num_inference_steps=12), lite(taylor_factors_dtype="bfloat16")),
        "taylor lite, dynamic cfg": (dict(use_dynamic_cfg=True), lite(cache_interval=2)),
        "mag, ratios of more steps": (
            dict(num_inference_steps=14),
            mag(mag_ratios=smooth(33, 1.15, 0.8), threshold=0.5, max_skip_steps=2)),
        "mag, one skip": (
            {}, mag(mag_ratios=smooth(20, 1.0, 0.95), threshold=10.0, max_skip_steps=1,
                    retention_ratio=0.0)),
        "mag, two videos": (
            dict(num_videos=2, num_inference_steps=12),
            mag(mag_ratios=smooth(12, 1.05, 0.9), threshold=0.4)),
        "tea, authors' coefficients": (
            dict(num_inference_steps=50), tea(coefficients=teacache.COEFFICIENTS["5b"])),
        "tea, all but ends": (
            dict(num_inference_steps=12), tea(coefficients=IDENTITY, rel_l1_thresh=1000.0)),
        "layer skip": (dict(num_inference_steps=12), dict(technique=LAYER_SKIP, indices=[2])),
    },
    "1.5-5b": {
        "first block, no padding": (
            dict(num_frames=13, num_inference_steps=12), first_block(1.1)),
        "tea, authors' coefficients": (
            dict(num_inference_steps=50), tea(coefficients=teacache.COEFFICIENTS["1.5-5b"],
                                           rel_l1_thresh=9.0)),
    },
}


def cache_config(cache, steps):
    """diffusers' config object for a case's plain fields."""
    fields = {name: value for name, value in cache.items() if name != "technique"}
    if "taylor_factors_dtype" in fields:
        fields["taylor_factors_dtype"] = getattr(torch, fields["taylor_factors_dtype"])
    if cache["technique"] == MAG:
        # Counts up to it and starts again: the run's own is the one that works.
        fields["num_inference_steps"] = steps
    kind = {FIRST_BLOCK: FirstBlockCacheConfig, TAYLOR_SEER: TaylorSeerCacheConfig,
            MAG: MagCacheConfig, LAYER_SKIP: LayerSkipConfig}
    return kind[cache["technique"]](**fields)


@contextlib.contextmanager
def counting(transformer):
    """Counts on modules inside those that caches hook. By step a list by layer, for blocks, for
    attention and for feed-forward."""
    layers = len(transformer.transformer_blocks)
    grids = {"blocks": [], "attention": [], "feed_forward": []}

    def began(_module, _arguments):
        for grid in grids.values():
            grid.append([False] * layers)

    def ran(what, layer):
        def hook(_module, _arguments):
            grids[what][-1][layer] = True

        return hook

    handles = [transformer.patch_embed.register_forward_pre_hook(began)]
    for layer, block in enumerate(transformer.transformer_blocks):
        for what, module in (("blocks", block.norm1), ("attention", block.attn1.to_q),
                             ("feed_forward", block.ff.net[0])):
            handles.append(module.register_forward_pre_hook(ran(what, layer)))
    yield grids
    for handle in handles:
        handle.remove()


@contextlib.contextmanager
def first_block_distances():
    """The distances that FirstBlockCache compares with its threshold."""
    hook = first_block_cache.FBCHeadBlockHook
    own, distances = hook._should_compute_remaining_blocks, []

    def spy(self, residual):
        before = self.state_manager.get_state().head_block_residual
        if before is not None:
            distances.append(((residual - before).abs().mean() / before.abs().mean()).item())
        return own(self, residual)

    hook._should_compute_remaining_blocks = spy
    yield distances
    hook._should_compute_remaining_blocks = own


def mag_decisions(cache, steps):
    """Which steps MagCache computes, and the errors that it compares with its threshold. It asks
    no tensor, so this is known before a run; `run` checks it against what was counted."""
    ratios = torch.tensor(cache["mag_ratios"])
    if len(ratios) != steps:
        ratios = nearest_interp(ratios, steps)
    threshold = cache.get("threshold", 0.06)
    retained = int(cache.get("retention_ratio", 0.2) * steps + 0.5)
    ratio, error, skipped = 1.0, 0.0, 0
    computed, errors = [], []
    for step in range(steps):
        computed.append(True)
        if step < retained:
            continue
        ratio, skipped = ratio * ratios[step], skipped + 1
        error = error + abs(1.0 - ratio)
        errors.append(float(error))
        if step > 0 and error <= threshold and skipped <= cache.get("max_skip_steps", 3):
            computed[-1] = False
        else:
            ratio, error, skipped = 1.0, 0.0, 0
    return computed, errors


@contextlib.contextmanager
def enabled(pipe, case, facts):
    """Runs with the case's cache on; fills `facts` with what it measured."""
    cache, steps, transformer = case["cache"], case["num_inference_steps"], pipe.transformer
    fields = {name: value for name, value in cache.items() if name != "technique"}
    if cache["technique"] == TEA:
        with teacache.enabled(transformer, steps, **fields) as blocks:
            yield
        facts["compared"] = (blocks.distances, blocks.threshold)
    elif cache["technique"] == LAYER_SKIP:
        apply_layer_skip(transformer, cache_config(cache, steps))
        yield
        HookRegistry.check_if_exists_or_initialize(transformer).remove_hook("layer_skip_hook")
    else:
        config = cache_config(cache, steps)
        transformer.enable_cache(config)
        printed = io.StringIO()
        with first_block_distances() as distances, contextlib.redirect_stdout(printed):
            yield
        transformer.disable_cache()
        if cache["technique"] == FIRST_BLOCK:
            facts["compared"] = (distances, config.threshold)
        if cache.get("calibrate"):
            facts["ratios"] = json.loads(printed.getvalue().strip().split("\n")[-1])


def run(pipe, case):
    """The latents of `case`, the grids of what was computed, what calibration measured, and how
    far the cache moved the latents."""
    cache, steps = case["cache"], runs.steps(case)
    own = pipe.scheduler
    runs.swap_scheduler(pipe, case["scheduler"])
    uncached = runs.call(pipe, case)
    facts = {}
    with counting(pipe.transformer) as grids, enabled(pipe, case, facts):
        latents = runs.call(pipe, case)
    pipe.scheduler = own
    what = (case["family"], case["name"])
    assert all(len(grid) == steps for grid in grids.values()), what
    skipped = any(not all(step) for grid in grids.values() for step in grid)
    moved = (latents - uncached).abs().max().item()
    assert torch.isfinite(latents).all() and latents.abs().max() < 50, (*what, latents.abs().max())
    assert (moved > 0.02) == skipped, (*what, moved, skipped)
    if cache["technique"] == MAG and not cache.get("calibrate"):
        decided, errors = mag_decisions(cache, steps)
        assert grids["blocks"] == [[c] * len(grids["blocks"][0]) for c in decided], what
        facts["compared"] = (errors, cache.get("threshold", 0.06))
    measured, threshold = facts.pop("compared", ([], 1.0))
    for value in measured:
        assert abs(value - threshold) > MARGIN * abs(threshold), (*what, value, threshold)
    return latents, grids, facts, moved


def cases_of(family):
    own = caches.DPM if folders.FAMILIES[family]["snr_shift_scale"] == 1.0 else caches.DDIM
    for name, (changes, cache) in EVERYWHERE.items():
        for scheduler in (caches.DDIM, caches.DPM):
            label = f"{name}, {scheduler.split('-')[0]}"
            yield label, {"scheduler": scheduler, **changes}, dict(cache)
    for name, (changes, cache) in ONCE[family].items():
        yield name, {"scheduler": own, **changes}, dict(cache)


def make(pipelines, out):
    """Writes `<family>/block_caches.safetensors` (latents by case) and `block_caches.json`.

    A case's `cache` holds the fields of diffusers' config that differ from its defaults (of the
    authors' program for TeaCache), but for MagCache's `num_inference_steps`, which is always that
    of the run, and for `taylor_factors_dtype` and `use_lite_mode`, which are always there.
    `blocks`, `attention` and `feed_forward` have a string for each step with a character for each
    layer: `1` where that was computed, `0` where not; the latter two are there only where they
    differ from `blocks`. `ratios` are what a calibration run measured, and `moved` is the largest difference that
    caching made to the latents.
    """
    manifest = []
    for family in folders.FAMILIES:
        pipe = folders.load(pipelines, family)
        tensors, ratios = {}, {}
        for name, changes, cache in cases_of(family):
            if isinstance(cache.get("mag_ratios"), str):
                calibration = cache["mag_ratios"] + ", " + changes["scheduler"].split("-")[0]
                cache["mag_ratios"] = ratios[calibration]
            case = {"name": name, "family": family, **caches.DEFAULTS, **changes, "cache": cache}
            latents, grids, facts, moved = run(pipe, case)
            if "ratios" in facts:
                ratios[name] = facts["ratios"]
            key = name.replace(" ", "_").replace(",", "").replace("'", "")
            tensors[key + ".latents"] = latents.contiguous()
            grids = {what: ["".join("01"[c] for c in step) for step in grid]
                     for what, grid in grids.items()
                     if what == "blocks" or grid != grids["blocks"]}
            manifest.append({
                **case,
                "tensors": key,
                **grids,
                **facts,
                "moved": round(moved, 4),
            })
        path = out / family / "block_caches.safetensors"
        save_file(tensors, path)
        print(f"{family}/block_caches.safetensors: {len(tensors)} cases, "
              f"{path.stat().st_size} bytes")
    lines = ",\n".join(json.dumps(case) for case in manifest)
    (out / "block_caches.json").write_text("[\n" + lines + "\n]\n")

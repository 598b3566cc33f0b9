#!/usr/bin/env python3
"""Runs of 2b, 5b and 1.5-5b in their published sizes on a hollow device (SIMCUDA_HOLLOW in simcuda.h),
which counts every byte and computes nothing: what plans and estimates say of them, what caches keep, and
whether the choice for each budget keeps to it.

Weights are holes in files, whose reading holes.so leaves out.
"""

import ctypes
import os
import sys
import tempfile
import unittest

if not os.environ.get("SIMCUDA_HOLLOW"):
    # It is asked for when the device is loaded, and what is preloaded before.
    found = [os.path.join(folder, "holes.so")
             for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":")]
    preload = next(path for path in found if os.path.exists(path))
    os.execve(sys.executable, [sys.executable, *sys.argv],
              {**os.environ, "SIMCUDA_HOLLOW": "1", "LD_PRELOAD": preload,
               "SIMCUDA_MEMORY": str(1 << 40)})

import cvx_sim as sim
from cases import alone
from cvx_sim import cvx
from full_size import MODELS, folder_of, write_holes
from test_plan import Options, call, generate, library, load, phases, plan

GB = 1e9
WITHIN = 0.05
# Of a plan with tiles, which takes all for as large as the largest.
TILES_WITHIN = 0.1
BUDGETS = (6, 8, 12, 16, 24, 48, 80)
# What CUDA itself takes of a card, as in docs/memory.md.
RESERVED = 0.6 * GB


def cache_config(name):
    """The settings of PAB and of FasterCache in diffusers' documentation."""
    config = getattr(library, name + "_config_new")()
    window = (100, 800) if name == "pab" else (-1, 681)
    library.cache_config_set_spatial_attention_block_skip_range(config, 2)
    library.cache_config_set_spatial_attention_timestep_skip_range(config, *window)
    if name != "pab":
        library.cache_config_set_unconditional_batch_timestep_skip_range(config, -1, 781)
        weight = cvx.WEIGHT_CALLBACK(lambda info, data: 0.3)
        cache_config.alive = weight
        library.cache_config_set_attention_weight_callback(
            config, ctypes.cast(weight, cvx.P), None, None)
    return config


class Hollow(unittest.TestCase):
    """What the hollow device leaves out is not what it counts."""

    RUNS = """
import json
d, found = sim.Device(), {}
for dtype in ("f32", "bf16"):
    p = cvx.Pipeline(library, FOLDER, "cuda", dtype)
    for mode in ("dense", "pab", "faster_cache"):
        p.disable_cache()
        if mode != "dense": p.enable_cache(mode)
        for tiles in (0, 1):
            d.reset()
            sim.run(p, steps=6, frames=9, vae_tiling=tiles)
            report = d.report()
            report.pop("waits_by_reason")
            found[f"{dtype} {mode} {tiles}"] = d.peak(), report
    p.close()
    assert d.memory() == 0
print(json.dumps(found, sort_keys=True))
"""

    def test_it_counts_as_a_full_one(self):
        for family in ("2b", "1.5-5b"):
            script = self.RUNS.replace("FOLDER", repr(os.path.join(sim.FAMILIES, family)))
            full = alone(script, SIMCUDA_HOLLOW="", LD_PRELOAD="")
            self.assertEqual(sim.json.loads(alone(script)), sim.json.loads(full))

    def test_what_the_host_reads_is_nothing(self):
        pipeline = cvx.Pipeline(library, os.path.join(sim.FAMILIES, "5b"), "cuda", "f32")
        _, latents = sim.latents(pipeline, steps=1, frames=9)
        pipeline.close()
        self.assertEqual(set(latents), {0.0})


class Published(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # Also where files have no holes there is room for them.
        place = "/dev/shm" if os.path.isdir("/dev/shm") else None
        cls.parent = tempfile.TemporaryDirectory(dir=place)
        cls.folders = {model: folder_of(model, cls.parent.name) for model in MODELS}
        for folder in cls.folders.values():
            write_holes(folder)

    @classmethod
    def tearDownClass(cls):
        cls.parent.cleanup()

    def setUp(self):
        self.device = sim.Device()
        self.device.as_it_was()
        self.device.capacity(1 << 40)
        self.addCleanup(lambda: self.assertEqual(self.device.memory(), 0))

    def options(self, model, tiles=False, steps=2):
        (width, height, frames), length = MODELS[model][2], MODELS[model][1]["max_text_seq_length"]
        made = Options("bf16", width, height, frames, length, tiles)
        library.generate_options_set_num_inference_steps(made.run, steps)
        return made

    def choose(self, options, choice):
        call("load_options_set_offload", cvx.P, cvx.I32)(options.load, int(choice["offload"]))
        for component in ("text_encoder", "transformer"):
            library.load_options_set_weight_streaming(options.load, component.encode(),
                                                      choice[component].encode())

    def phases(self, pipeline, options):
        """The most bytes in each phase of a run, and in all of it."""
        peaks = phases(self.device, pipeline, options)
        return {**peaks, "all": max(*peaks.values(), self.device.peak())}

    def near(self, said, counted, tiles, what):
        print(f"{what}: planned {said / GB:.3f} GB, counted {counted / GB:.3f}, "
              f"{said / counted:.3f}", flush=True)
        self.assertGreater(said, (1 - WITHIN) * counted, what)
        self.assertLess(said, (1 + (TILES_WITHIN if tiles else WITHIN)) * counted, what)

    def test_a_run_takes_what_is_planned(self):
        for model, folder in self.folders.items():
            with self.options(model) as options:
                choices = plan(folder, options)["choices"]
            # Resident, whole and in tiles; all blocks streamed; one component at a time.
            for choice in (choices[0], choices[1], choices[9], choices[10]):
                what = f"{model}, {choice['mode']}{', tiles' if choice['tiles'] else ''}"
                with self.subTest(what), self.options(model, choice["tiles"]) as options:
                    self.choose(options, choice)
                    pipeline = load(folder, options)
                    peaks = self.phases(pipeline, options)
                    estimate = ctypes.c_uint64()
                    call("pipeline_estimate_memory", cvx.P, cvx.P, cvx.P)(
                        pipeline.pointer, options.run, ctypes.byref(estimate))
                    held = self.device.memory()
                    pipeline.close()
                    self.near(choice["peak_bytes"], peaks["all"], choice["tiles"], what)
                    if choice["offload"]:
                        # What is loaded for a phase is there in the one before, as progress tells it.
                        continue
                    for phase in ("encode", "denoise", "decode"):
                        self.near(choice[phase + "_bytes"], peaks[phase], choice["tiles"],
                                  f"{what}, {phase}")
                    if choice["mode"] == "resident":
                        self.near(held + estimate.value, peaks["all"], choice["tiles"],
                                  f"{what}, as estimated")

    def test_each_budget_is_kept(self):
        chosen = {}
        for model, folder in self.folders.items():
            for budget in BUDGETS:
                with self.options(model) as options:
                    found = plan(folder, options, int(budget * GB - RESERVED))
                self.assertIsNotNone(found["best"], f"{model}, {budget} GB")
                best = found["choices"][found["best"]]
                # The same choice for two budgets is tried with the smaller.
                chosen.setdefault((model, best["mode"], best["tiles"]), (budget, best))
        for (model, mode, tiles), (budget, best) in chosen.items():
            with self.subTest(f"{model}, {budget} GB"), self.options(model, tiles) as options:
                self.choose(options, best)
                # No byte more than that: what is beyond it fails.
                self.device.capacity(int(budget * GB - RESERVED))
                pipeline = load(self.folders[model], options)
                self.device.reset()
                library.video_free(generate(pipeline, options))
                peak = self.device.peak()
                pipeline.close()
                self.device.capacity(1 << 40)
                self.near(best["peak_bytes"], peak, tiles, f"{model}, {budget} GB: {mode}")

    def test_caches_keep_what_is_planned(self):
        for model in ("2b", "5b"):
            folder = self.folders[model]
            with self.options(model, steps=16) as options:
                library.generate_options_set_output(options.run, cvx.OUTPUT_LATENTS)
                pipeline = load(folder, options)
                plain = self.phases(pipeline, options)["all"]
                for name in ("pab", "faster_cache"):
                    config, pointer = cache_config(name), cvx.P()
                    try:
                        call("plan_new", cvx.STR, cvx.P, cvx.P, cvx.P, cvx.U64, cvx.OUT)(
                            folder.encode(), options.load, options.run, config, 0,
                            ctypes.byref(pointer))
                        said = sim.text(library, "cvx_plan_json", pointer)
                        library.pipeline_enable_cache(pipeline.pointer, config)
                    finally:
                        free = library._handle.cvx_plan_free
                        free.argtypes, free.restype = [cvx.P], None
                        free(pointer)
                        library.cache_config_free(config)
                    said = sim.json.loads(said)["choices"][0]["peak_bytes"]
                    peak = self.phases(pipeline, options)["all"]
                    self.near(said, peak, False, f"{model}, {name}")
                    print(f"{model}, {name}: {(peak - plain) / GB:.2f} GB more than uncached")
                    if name == "faster_cache":
                        # diffusers takes 16.3.
                        self.assertLess(peak - plain, 9.3 * GB)
                pipeline.close()


if __name__ == "__main__":
    unittest.main()

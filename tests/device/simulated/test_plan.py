#!/usr/bin/env python3
"""What a plan says beside what libtorch's allocator counts, and loads that follow it."""

import ctypes
import json
import os
import tempfile
import unittest

import cvx_sim as sim
from cases import OUT_OF_MEMORY
from cvx_sim import cvx

library = cvx.Library()
# The formulas leave out some kilobytes of small tensors, which count in pipelines this small.
WITHIN, SMALL = 0.1, 16 << 10
# Folder, dtype, width, height, frames, tokens of text. A size of 0 is the folder's own.
RUNS = [("2b", "f16", 0, 0, 9, 16), ("5b", "f16", 0, 0, 13, 20), ("5b", "f32", 0, 0, 9, 16),
        ("1.5-5b", "bf16", 0, 0, 9, 16)]


def call(name, *types):
    return sim.function(library, "cvx_" + name, *types)


class Options:
    """Load and generate options that free themselves."""

    def __init__(self, dtype, width, height, frames, tokens, tiles=False, kind=None):
        self.load, self.run = library.load_options_new(), library.generate_options_new()
        library.load_options_set_device(self.load, b"cuda")
        library.load_options_set_dtype(self.load, dtype.encode())
        library.load_options_set_prompt_cache_size(self.load, 0)
        library.generate_options_set_prompt(self.run, b"a red ball")
        library.generate_options_set_num_frames(self.run, frames)
        library.generate_options_set_num_inference_steps(self.run, 2)
        call("generate_options_set_max_sequence_length", cvx.P, cvx.I32)(self.run, tokens)
        call("generate_options_set_vae_tiling", cvx.P, cvx.I32)(self.run, int(tiles))
        for component in (b"text_encoder", b"transformer") if kind else ():
            call("load_options_set_component_quantization", cvx.P, cvx.STR, cvx.STR)(
                self.load, component, kind.encode())
        if width:
            call("generate_options_set_size", cvx.P, cvx.I32, cvx.I32)(self.run, width, height)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        library.load_options_free(self.load)
        library.generate_options_free(self.run)


def cache_config(fields):
    pointer = cvx.P()
    call("cache_config_from_json", cvx.STR, cvx.OUT)(json.dumps(fields).encode(),
                                                     ctypes.byref(pointer))
    return pointer


def plan(folder, options, budget=0, apply=False, cache=None):
    pointer, config = cvx.P(), cache_config(cache) if cache else None
    call("plan_new", cvx.STR, cvx.P, cvx.P, cvx.P, cvx.U64, cvx.OUT)(
        folder.encode(), options.load, options.run, config, budget, ctypes.byref(pointer))
    if config:
        library.cache_config_free(config)
    try:
        if apply:
            call("plan_apply", cvx.P, cvx.P)(pointer, options.load)
        return json.loads(sim.text(library, "cvx_plan_json", pointer))
    finally:
        free = library._handle.cvx_plan_free
        free.argtypes, free.restype = [cvx.P], None
        free(pointer)


def load(folder, options):
    pipeline = cvx.Pipeline.__new__(cvx.Pipeline)
    pipeline.library, pipeline.pointer = library, cvx.P()
    library.pipeline_load(folder.encode(), options.load, ctypes.byref(pipeline.pointer))
    return pipeline


def generate(pipeline, options):
    video = cvx.P()
    library.pipeline_generate(pipeline.pointer, options.run, ctypes.byref(video))
    return video


def phases(device, pipeline, options):
    """The most bytes in each phase of a run, as progress tells them apart. What came after the last is the
    device's peak then."""
    peaks = {}

    def note(info, _):
        stage = ctypes.cast(info, ctypes.POINTER(sim.Progress)).contents.stage
        name = sim.STAGES.get(stage)
        if name != "load":
            peaks[name] = max(peaks.get(name, 0), device.peak())
            device.reset()
        return 0
    callback = sim.PROGRESS(note)
    report = call("generate_options_set_progress_callback", cvx.P, sim.PROGRESS, cvx.P, cvx.P)
    report(options.run, callback, None, None)
    device.reset()
    library.video_free(generate(pipeline, options))
    report(options.run, sim.PROGRESS(), None, None)
    return peaks


class Plans(unittest.TestCase):
    def setUp(self):
        self.device = sim.Device()
        self.device.as_it_was()
        self.addCleanup(self.device.as_it_was)

    def near(self, said, counted, what):
        self.assertLess(abs(said - counted), WITHIN * counted + SMALL, f"{what}: {said}, {counted}")

    def peaks(self, folder, options, cache=None):
        """The most bytes in each phase, of a second run."""
        pipeline = load(folder, options)
        if cache:
            sim.enable(pipeline, cache)
        library.video_free(generate(pipeline, options))
        peaks = phases(self.device, pipeline, options)
        pipeline.close()
        self.assertEqual(self.device.memory(), 0)
        return peaks

    def test_each_way_takes_what_is_planned(self):
        for family, *size in RUNS:
            folder = os.path.join(sim.FAMILIES, family)
            with Options(*size) as options:
                said = plan(folder, options)
            # Every way of the smallest; of the others the weights that stay, and one that streams.
            ways = said["choices"] if (family, size[1]) == ("5b", 0) else (
                said["choices"][0:2] + said["choices"][8:9])
            for choice in ways:
                what = f"{family} {size} {choice['mode']}, tiles {choice['tiles']}"
                with self.subTest(what), Options(*size, tiles=choice["tiles"]) as options:
                    call("load_options_set_offload", cvx.P, cvx.I32)(options.load,
                                                                     int(choice["offload"]))
                    for component in ("text_encoder", "transformer"):
                        library.load_options_set_weight_streaming(
                            options.load, component.encode(), choice[component].encode())
                    peaks = self.peaks(folder, options)
                    if choice["tiles"]:
                        # As if all tiles were as large as the largest.
                        self.assertLess(max(peaks.values()), 1.05 * choice["peak_bytes"], what)
                        self.assertLess(choice["peak_bytes"], 1.3 * max(peaks.values()), what)
                        continue
                    self.near(choice["peak_bytes"], max(peaks.values()), f"{what}, peak")
                    for phase, peak in peaks.items():
                        if not choice["offload"]:
                            # What is read for the next phase is read in the one before, as
                            # progress tells it.
                            self.near(choice[phase + "_bytes"], peak, f"{what}, {phase}")

    def quantized(self, folder, size, kind, choices):
        """Peaks of quantized runs in some ways, against a plan of the same options."""
        with Options(*size, kind=kind) as options:
            said = plan(folder, options)
        for choice in choices(said["choices"]):
            what = f"{folder} {size} {kind}: {choice['mode']}"
            with self.subTest(what), Options(*size, kind=kind) as options:
                call("load_options_set_offload", cvx.P, cvx.I32)(options.load,
                                                                 int(choice["offload"]))
                for component in ("text_encoder", "transformer"):
                    library.load_options_set_weight_streaming(
                        options.load, component.encode(), choice[component].encode())
                peaks = self.peaks(folder, options)
                self.near(choice["peak_bytes"], max(peaks.values()), f"{what}, peak")
                if not choice["offload"]:
                    self.near(choice["denoise_bytes"], peaks["denoise"], f"{what}, denoise")

    def test_quantized_weights_are_planned_as_they_are(self):
        for (family, *size), kinds in zip(RUNS, (("fp8",), ("int8", "int4"), ("int4",), ("int8",))):
            folder = os.path.join(sim.FAMILIES, family)
            for kind in kinds:
                self.quantized(folder, size, kind, lambda choices: choices[0:12:8])
        for dtype, kind in (("f16", "int4"), ("f32", "int8")):
            self.quantized(sim.MODEL, (dtype, 0, 0, 9, 64), kind, lambda choices: choices[0:12:4])

    def test_a_folder_that_is_quantized_is_planned_as_such(self):
        with tempfile.TemporaryDirectory() as place:
            folder, size = os.path.join(place, "saved"), ("f16", 0, 0, 9, 64)
            with Options(*size, kind="int8") as options:
                wanted = plan(sim.MODEL, options)
                pipeline = load(sim.MODEL, options)
                call("pipeline_save", cvx.P, cvx.STR)(pipeline.pointer, folder.encode())
                pipeline.close()
            with Options(*size) as options:
                self.assertEqual(plan(folder, options), wanted)
                self.assertLess(wanted["weights"]["transformer"],
                                0.7 * plan(sim.MODEL, options)["weights"]["transformer"])
                peaks = self.peaks(folder, options)
                self.near(wanted["choices"][0]["peak_bytes"], max(peaks.values()), "saved")

    def test_caches_are_planned_where_they_are_kept(self):
        size, always = ("f16", 0, 0, 13, 64), [-1, 1001]
        peaks = {}
        for technique in ("pab", "faster_cache"):
            cache = {"technique": technique, "spatial_attention_block_skip_range": 2,
                     "spatial_attention_timestep_skip_range": always}
            for kept in ({}, {"cache_dtype": "fp8"}, {"cache_location": "host"},
                         {"cache_dtype": "fp8", "cache_location": "host"}):
                with self.subTest(technique, **kept), Options(*size) as options:
                    library.generate_options_set_num_inference_steps(options.run, 6)
                    call("generate_options_set_output", cvx.P, cvx.I32)(
                        options.run, cvx.OUTPUT_LATENTS)
                    said = plan(sim.MODEL, options, cache={**cache, **kept})["choices"][0]
                    counted = self.peaks(sim.MODEL, options, {**cache, **kept})["denoise"]
                    self.near(said["denoise_bytes"], counted, f"{technique} {kept}")
                    peaks[technique, *kept] = counted
            self.assertLess(peaks[technique, "cache_location"], peaks[technique,])

    def test_weights_are_those_that_are_allocated(self):
        for family in ("2b", "5b", "1.5-5b", "5b-i2v", "1.5-5b-i2v"):
            for dtype in ("f16", "f32"):
                folder = os.path.join(sim.FAMILIES, family)
                with self.subTest(f"{family}, {dtype}"), Options(dtype, 0, 0, 9, 16) as options:
                    said = plan(folder, options)["weights"]
                    pipeline = load(folder, options)
                    counted = self.device.memory()
                    pipeline.close()
                    self.assertLess(abs(sum(said.values()) - counted), 0.02 * counted)

    def test_a_budget_is_kept(self):
        folder = os.path.join(sim.FAMILIES, "5b")
        size = ("f16", 0, 0, 13, 20)
        with Options(*size) as options:
            peaks = sorted({choice["peak_bytes"] for choice in plan(folder, options)["choices"]})
            pipeline = load(folder, options)
            expected = sim.frames_of(pipeline, generate(pipeline, options))
            pipeline.close()
        for budget in peaks:
            with self.subTest(budget), Options(*size) as options:
                best = plan(folder, options, budget, apply=True)
                choice = best["choices"][best["best"]]
                pipeline = load(folder, options)
                self.device.reset()
                found = sim.frames_of(pipeline, generate(pipeline, options))
                self.assertLess(self.device.peak(), budget * (1 + WITHIN) + SMALL)
                if not choice["tiles"]:
                    self.assertEqual(found, expected)
                pipeline.close()

    def test_what_does_not_fit_whole_is_decoded_in_tiles(self):
        def latents_then_frames(capacity, offload):
            with Options("f16", 0, 0, 9, 16) as options:
                call("load_options_set_offload", cvx.P, cvx.I32)(options.load, offload)
                log = []
                callback = sim.LOG(lambda info, _: log.append(info.contents.message.decode()))
                call("load_options_set_log_callback", cvx.P, sim.LOG, cvx.P, cvx.P)(
                    options.load, callback, None, None)
                call("generate_options_set_memory_check", cvx.P, cvx.I32)(options.run, 0)
                call("generate_options_set_size", cvx.P, cvx.I32, cvx.I32)(options.run, 256, 256)
                pipeline = load(os.path.join(sim.FAMILIES, "5b"), options)
                self.device.capacity(capacity)
                try:
                    shape, _ = sim.frames_of(pipeline, generate(pipeline, options))
                finally:
                    self.device.capacity()
                    pipeline.close()
                return shape, log
        whole = 34 << 20
        with self.assertRaises(cvx.CvxError) as caught:
            latents_then_frames(3 * whole // 4, 0)
        self.assertEqual(caught.exception.code, OUT_OF_MEMORY)
        shape, log = latents_then_frames(3 * whole // 4, 1)
        self.assertEqual(shape[0], 9)
        self.assertTrue(any("in tiles" in line for line in log), log)


if __name__ == "__main__":
    unittest.main()

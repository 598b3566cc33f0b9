#!/usr/bin/env python3
"""What a cache keeps in float8 or in host memory: the same video from there, in less of the device's
memory, and without a wait."""

import json
import unittest

import cvx_sim as sim
from cases import CANCELLED, DEVICE_LOST
from cvx_sim import cvx
from test_matrix import CONFIGS, FOLDER, SHORT, STEPS, WAITS, distance, fail_in_turn

library = cvx.Library()
# Those whose outputs are kept as a config says.
TECHNIQUES = [name for name in CONFIGS if name not in ("taylor_seer", "cfg_cache")]
KEPT = {"host": {"cache_location": "host"}, "fp8": {"cache_dtype": "fp8"},
        "fp8 on the host": {"cache_location": "host", "cache_dtype": "fp8"}}


def enable(pipeline, technique, **kept):
    sim.enable(pipeline, {"technique": technique, **CONFIGS[technique], **kept})


def statistics(pipeline):
    pointer = cvx.P()
    sim.function(library, "cvx_pipeline_cache_stats", cvx.P, cvx.OUT)(
        pipeline.pointer, sim.ctypes.byref(pointer))
    try:
        return json.loads(sim.text(library, "cvx_cache_stats_json", pointer))
    finally:
        free = library._handle.cvx_cache_stats_free
        free.argtypes, free.restype = [cvx.P], None
        free(pointer)


class Storage(unittest.TestCase):
    def setUp(self):
        self.device = sim.Device()
        self.device.as_it_was()
        self.addCleanup(self.device.as_it_was)

    def open(self, dtype="f16", folder=FOLDER):
        pipeline = cvx.Pipeline(library, folder, "cuda", dtype)
        self.addCleanup(pipeline.close)
        return pipeline

    def test_the_same_latents_from_host_memory_and_near_ones_from_float8(self):
        for dtype in ("f16", "f32"):
            pipeline = self.open(dtype)
            weights = self.device.memory()
            for technique in TECHNIQUES:
                with self.subTest(f"{dtype}, {technique}"):
                    enable(pipeline, technique)
                    expected = sim.latents(pipeline, **SHORT)
                    found = {}
                    for name, kept in KEPT.items():
                        enable(pipeline, technique, **kept)
                        found[name] = sim.latents(pipeline, **SHORT)
                        self.assertEqual(self.device.memory(), weights, name)
                    self.assertEqual(found["host"], expected)
                    self.assertEqual(found["fp8 on the host"], found["fp8"])
                    self.assertNotEqual(found["fp8"], expected)
                    self.assertLess(distance(found["fp8"][1], expected[1]), 0.1)

    def test_less_of_the_device_is_used_and_statistics_tell_where_the_rest_is(self):
        pipeline = self.open(folder=sim.MODEL)
        for technique in ("pab", "faster_cache"):
            held = {}
            for name, kept in {"device": {}, **KEPT}.items():
                enable(pipeline, technique, **kept)
                sim.latents(pipeline, **SHORT)
                between = []
                self.device.reset()
                sim.latents(pipeline, on_progress=lambda stage, *_: between.append(
                    self.device.memory()) if stage == "denoise" else None, **SHORT)
                told = statistics(pipeline)
                held[name] = (max(between), self.device.peak(), told["bytes_peak"],
                              told["host_bytes_peak"])
                self.assertEqual((told["bytes_now"], told["host_bytes_now"]), (0, 0))
            with self.subTest(technique, **held):
                between, peak, kept, on_host = held["device"]
                self.assertEqual(on_host, 0)
                for name in ("host", "fp8 on the host"):
                    # Of faster_cache the bands are on the device.
                    self.assertGreater(held[name][3], 0.8 * held[name][2])
                    # Two of six layers' outputs may be on their way.
                    self.assertLess(held[name][0], between - 0.6 * kept)
                    self.assertLess(held[name][1], peak - 0.3 * kept)
                self.assertLess(held["fp8"][2], 0.56 * kept)
                self.assertLess(held["fp8"][0], between - 0.4 * kept)
                self.assertEqual(held["host"][2], kept)

    def test_the_host_waits_only_where_a_technique_must(self):
        pipeline = self.open()
        for technique in TECHNIQUES:
            for name, kept in KEPT.items():
                with self.subTest(f"{technique}, {name}"):
                    enable(pipeline, technique, **kept)
                    sim.latents(pipeline, **SHORT)
                    at = {}

                    def watch(stage, done, total):
                        at[(stage, done)] = self.device.count("waits")
                    sim.latents(pipeline, on_progress=watch, **SHORT)
                    first = max(count for (stage, _), count in at.items() if stage == "encode")
                    self.assertEqual(at[("denoise", STEPS)] - first, WAITS.get(technique, 0))

    def test_runs_that_end_early_leave_nothing(self):
        pipeline = self.open()
        weights = self.device.memory()
        for technique in ("pab", "faster_cache", "mag_cache"):
            for name, kept in KEPT.items():
                with self.subTest(f"{technique}, {name}"):
                    enable(pipeline, technique, **kept)
                    before = sim.latents(pipeline, **SHORT)
                    for done in range(1, STEPS):
                        with self.assertRaises(cvx.CvxError) as caught:
                            sim.run(pipeline, on_progress=lambda s, d, _, done=done: (s, d) == (
                                "denoise", done), **SHORT)
                        self.assertEqual(caught.exception.code, CANCELLED)
                        self.assertEqual(self.device.memory(), weights)
                    self.assertEqual(sim.latents(pipeline, **SHORT), before)
        enable(pipeline, "pab", **KEPT["fp8 on the host"])
        run = dict(steps=3, frames=1)
        sim.latents(pipeline, **run)
        fail_in_turn(self, lambda: sim.latents(pipeline, **run), 30, weights)
        enable(pipeline, "faster_cache", **KEPT["host"])
        fail_in_turn(self, lambda: sim.latents(pipeline, **run), 30, weights)

    def test_a_lost_device_is_told_as_such(self):
        for kept in KEPT.values():
            pipeline = self.open()
            enable(pipeline, "pab", **kept)
            with self.assertRaises(cvx.CvxError) as caught:
                sim.run(pipeline, on_progress=lambda s, d, _: self.device.lose(
                    s == "denoise" and d == 3), **SHORT)
            self.assertEqual(caught.exception.code, DEVICE_LOST)
            pipeline.close()
            self.device.lose(False)
            self.assertEqual(self.device.memory(), 0)


if __name__ == "__main__":
    unittest.main()

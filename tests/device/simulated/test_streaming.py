#!/usr/bin/env python3
"""Weights that go to a device block by block while it computes: the same numbers, in less of its
memory, and without a wait."""

import unittest

import cvx_sim as sim
from cases import CANCELLED, DEVICE_LOST
from cvx_sim import cvx
from test_matrix import ADAPTER, FOLDER, MODES, SHORT, STEPS, WAITS, enable, fail_in_turn

library = cvx.Library()
STREAMING = ("file", "host")


def load(mode, dtype="f16"):
    return cvx.Pipeline(library, FOLDER, "cuda", dtype, streaming=mode)


class Streaming(unittest.TestCase):
    def setUp(self):
        self.device = sim.Device()
        self.device.as_it_was()
        self.addCleanup(self.device.as_it_was)

    def open(self, mode):
        pipeline = load(mode)
        self.addCleanup(pipeline.close)
        return pipeline

    def test_every_technique_gives_the_latents_of_resident_weights(self):
        # In float16 the text encoder keeps one matrix in float32, whatever its file has.
        for dtype in ("f16", "bf16", "f32"):
            whole = load("resident", dtype=dtype)
            expected = {}
            for technique in MODES:
                enable(whole, technique)
                expected[technique] = sim.latents(whole, **SHORT)
            whole.close()
            for mode in STREAMING:
                pipeline = load(mode, dtype=dtype)
                weights = self.device.memory()
                for technique in MODES:
                    with self.subTest(f"{dtype} from {mode}, {technique}"):
                        enable(pipeline, technique)
                        self.assertEqual(sim.latents(pipeline, **SHORT), expected[technique])
                        self.assertEqual(self.device.memory(), weights)
                pipeline.close()
                self.assertEqual((self.device.memory(), self.device.reserved()), (0, 0))

    def test_less_of_the_device_is_used(self):
        whole = load("resident")
        all_weights = self.device.memory()
        whole.close()
        for mode in STREAMING:
            pipeline = load(mode)
            self.assertLess(self.device.memory(), 0.75 * all_weights, mode)
            pipeline.close()

    def test_the_host_waits_only_where_a_technique_must(self):
        for mode in STREAMING:
            pipeline = self.open(mode)
            for technique in MODES:
                with self.subTest(f"{mode}, {technique}"):
                    enable(pipeline, technique)
                    at = {}

                    def watch(stage, done, total):
                        at[(stage, done)] = self.device.count("waits")
                    sim.latents(pipeline, on_progress=watch, **SHORT)
                    first = max(count for (stage, _), count in at.items() if stage == "encode")
                    self.assertEqual(at[("denoise", STEPS)] - first, WAITS.get(technique, 0))

    def test_adapters(self):
        def runs(mode):
            pipeline = load(mode)
            sim.load_lora(pipeline, ADAPTER)
            adapted = sim.latents(pipeline, **SHORT)
            sim.lora(pipeline, "fuse", 1.0)
            fused = sim.latents(pipeline, **SHORT)
            pipeline.close()
            return adapted, fused
        expected = runs("resident")
        for mode in STREAMING:
            self.assertEqual(runs(mode), expected, mode)

    def test_runs_that_are_stopped_leave_nothing(self):
        for mode in STREAMING:
            pipeline = self.open(mode)
            weights, before = self.device.memory(), sim.latents(pipeline, **SHORT)
            for stage, done in (("encode", 1), ("denoise", 1), ("decode", 1)):
                with self.assertRaises(cvx.CvxError) as caught:
                    sim.run(pipeline, on_progress=lambda s, d, _, at=(stage, done): (s, d) == at,
                            **SHORT)
                self.assertEqual(caught.exception.code, CANCELLED)
                self.assertEqual(self.device.memory(), weights)
            self.assertEqual(sim.latents(pipeline, **SHORT), before)

    def test_allocations_that_fail(self):
        smallest = dict(steps=1, frames=1)
        for mode in STREAMING:
            pipeline = self.open(mode)
            weights, before = self.device.memory(), sim.frames(pipeline, **smallest)
            fail_in_turn(self, lambda: sim.run(pipeline, **smallest), 100, weights)
            self.assertEqual(sim.frames(pipeline, **smallest), before)
            pipeline.close()
        for mode in STREAMING:
            fail_in_turn(self, lambda: load(mode).close(), 20, 0)

    def test_a_lost_device_is_told_as_such(self):
        for mode in STREAMING:
            pipeline = self.open(mode)
            with self.assertRaises(cvx.CvxError) as caught:
                sim.run(pipeline, on_progress=lambda s, d, _: self.device.lose(s == "denoise"),
                        **SHORT)
            self.assertEqual(caught.exception.code, DEVICE_LOST)
            pipeline.close()
            self.device.lose(False)
            self.assertEqual(self.device.memory(), 0)


if __name__ == "__main__":
    unittest.main()

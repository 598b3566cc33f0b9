#!/usr/bin/env python3
"""What hosts do, with every caching technique, on a device.

With a folder of published architecture (5b: rotary positions), tiny and with random weights, so
that runs take some hundredths of a second and a thousand of them can be made.
"""

import contextlib
import ctypes
import json
import math
import os
import threading
import time
import unittest

import cvx_sim as sim
from cases import CANCELLED, DEVICE_LOST, OUT_OF_MEMORY, alone
from cvx_sim import cvx

library = cvx.Library()
FOLDER = os.path.join(sim.FAMILIES, "5b")
ADAPTER = os.path.join(sim.ROOT, "tests", "goldens", "lora", "5b", "attention.safetensors")
LAYERS, STEPS = 3, 6
SHORT = dict(steps=STEPS, frames=9)

# Each technique with settings with which a run of so few steps skips something.
ALWAYS = [-1, 1001]
CONFIGS = {
    "pab": {"spatial_attention_block_skip_range": 2,
            "spatial_attention_timestep_skip_range": ALWAYS},
    "faster_cache": {"spatial_attention_block_skip_range": 2,
                     "spatial_attention_timestep_skip_range": ALWAYS,
                     "unconditional_batch_skip_range": 2,
                     "unconditional_batch_timestep_skip_range": ALWAYS},
    "taylor_seer": {"cache_interval": 2, "disable_cache_before_step": 2},
    "mag_cache": {"mag_ratios": [1.0]},
    "tea_cache": {"rel_l1_thresh": 2.0, "coefficients": [1.0, 0.0]},
    "first_block_cache": {"threshold": 100.0},
    "cfg_cache": {"unconditional_batch_skip_range": 2,
                  "unconditional_batch_timestep_skip_range": ALWAYS},
    "schedule": {"steps": ["compute", "compute", "#=" + "-" * (LAYERS - 2), "conditional",
                           "predict", "compute"]},
}
# How often the host waits for the device from the end of the text encoder to that of the last step:
# once before the first one for what TeaCache decides by, and in steps where data decide.
WAITS = {"tea_cache": 1, "first_block_cache": STEPS - 1}
MODES = [None, *CONFIGS]


def enable(pipeline, technique):
    if technique is None:
        pipeline.disable_cache()
    else:
        sim.enable(pipeline, {"technique": technique, **CONFIGS[technique]})


def distance(found, expected):
    """Relative L2."""
    square = sum((a - b) ** 2 for a, b in zip(found, expected))
    return math.sqrt(square / sum(b * b for b in expected))


class DLTensor(ctypes.Structure):
    """DLManagedTensor of dlpack.h, on 64-bit platforms."""
    _fields_ = [("data", ctypes.c_void_p), ("device_type", ctypes.c_int32),
                ("device_id", ctypes.c_int32), ("rank", ctypes.c_int32),
                ("dtype", ctypes.c_uint8 * 2), ("lanes", ctypes.c_uint16),
                ("shape", ctypes.POINTER(ctypes.c_int64)),
                ("strides", ctypes.POINTER(ctypes.c_int64)), ("offset", ctypes.c_uint64),
                ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class Matrix(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.pipeline = cvx.Pipeline(library, FOLDER, "cuda", "f32")
        cls.device = sim.Device()
        cls.weights = cls.device.memory()

    @classmethod
    def tearDownClass(cls):
        cls.pipeline.close()
        assert cls.device.memory() == 0, "device memory outlives the pipeline"
        assert cls.device.reserved() == 0, "the allocator keeps memory of a pipeline that is gone"

    def setUp(self):
        self.device.as_it_was()
        self.addCleanup(self.device.as_it_was)
        self.addCleanup(self.pipeline.disable_cache)

    @contextlib.contextmanager
    def mode(self, technique):
        with self.subTest(technique or "uncached"):
            enable(self.pipeline, technique)
            yield
            self.assertEqual(self.device.memory(), self.weights, "memory is left behind")

    def test_every_technique_is_here(self):
        with self.assertRaises(cvx.CvxError) as caught:
            sim.enable(self.pipeline, {})
        names = str(caught.exception).split("expected one of ")[1].split(", found")[0]
        self.assertEqual(sorted(json.loads(names)), sorted(CONFIGS))

    def test_each_gives_what_it_gives_on_the_cpu_and_skips_something(self):
        on_cpu = cvx.Pipeline(library, FOLDER, "cpu")
        self.addCleanup(on_cpu.close)
        for technique in MODES:
            with self.mode(technique):
                enable(on_cpu, technique)
                expected = sim.latents(on_cpu, **SHORT)
                found = sim.latents(self.pipeline, **SHORT)
                self.assertEqual(found[0], expected[0])
                self.assertLess(distance(found[1], expected[1]), 1e-5)
                if technique is None:
                    uncached = found
                else:
                    self.assertGreater(distance(found[1], uncached[1]), 1e-4)

    def test_the_host_waits_only_where_a_technique_must(self):
        for technique in MODES:
            with self.mode(technique):
                waits = []

                def watch(stage, done, total):
                    waits.append((stage, done, self.device.count("waits")))
                sim.latents(self.pipeline, on_progress=watch, **SHORT)
                at = {(stage, done): count for stage, done, count in waits}
                first = max(count for (stage, _), count in at.items() if stage == "encode")
                in_steps = at[("denoise", STEPS)] - first
                self.assertEqual(in_steps, WAITS.get(technique, 0))

    def test_all_dtypes(self):
        # Against float32, far enough to tell a wrong operator and no more: the noise of DPM is
        # drawn in the dtype of the latents, so the runs part.
        for dtype in ("f16", "bf16"):
            half = cvx.Pipeline(library, FOLDER, "cuda", dtype)
            for technique in MODES:
                with self.subTest(f"{dtype}, {technique}"):
                    enable(half, technique)
                    shape, values = sim.frames(half, **SHORT)
                    self.assertEqual(shape[0], 9)
                    self.assertTrue(all(0 <= value <= 1 for value in values))
                    again = sim.frames(half, **SHORT)
                    self.assertEqual(again, (shape, values), "the same seed, another video")
            half.close()
        self.assertEqual(self.device.memory(), self.weights)

    def test_jobs_are_done_in_order_and_give_what_runs_give(self):
        for technique in MODES:
            with self.mode(technique):
                expected = [sim.frames(self.pipeline, seed=seed, **SHORT) for seed in (1, 2)]
                jobs = [sim.submit(self.pipeline, seed=seed, **SHORT) for seed in (1, 2)]
                found = [sim.frames_of(self.pipeline, job.video()) for job in jobs]
                for job in jobs:
                    job.free()
                self.assertEqual(found, expected)
                self.settle()

    def settle(self):
        """Waits until a worker has let go of what its job needed."""
        deadline = time.monotonic() + 10
        while self.device.memory() != self.weights and time.monotonic() < deadline:
            time.sleep(0.01)

    def test_clones_with_every_technique_at_once(self):
        clones, expected, found = {}, {}, {}
        for technique in MODES:
            clones[technique] = sim.clone(self.pipeline)
            enable(clones[technique], technique)
            expected[technique] = sim.latents(clones[technique], **SHORT)

        def work(technique):
            found[technique] = sim.latents(clones[technique], **SHORT)
        threads = [threading.Thread(target=work, args=(name,)) for name in clones]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for pipeline in clones.values():
            pipeline.close()
        self.assertEqual(found, expected)
        self.assertEqual(self.device.memory(), self.weights)

    def test_runs_that_are_stopped_leave_nothing(self):
        for technique in MODES:
            with self.mode(technique):
                before = sim.latents(self.pipeline, **SHORT)
                for stage, done in (("encode", 1), ("denoise", 1), ("denoise", 4), ("decode", 1)):
                    with self.assertRaises(cvx.CvxError) as caught:
                        sim.run(self.pipeline, on_progress=lambda s, d, _, at=(stage, done):
                                (s, d) == at, **SHORT)
                    self.assertEqual(caught.exception.code, CANCELLED)
                    self.assertEqual(self.device.memory(), self.weights, (stage, done))
                self.assertEqual(sim.latents(self.pipeline, **SHORT), before)

    def test_frames_and_latents_of_the_device_as_dlpack(self):
        video = sim.generate(self.pipeline, frames_on_device=1, **SHORT)
        frames, latents = cvx.P(), cvx.P()
        sim.function(library, "cvx_video_frames_dlpack", cvx.P, cvx.I32, cvx.I32, cvx.OUT)(
            video, 0, sim.PIXELS_F32, ctypes.byref(frames))
        sim.function(library, "cvx_video_latents_dlpack", cvx.P, cvx.OUT)(video,
                                                                          ctypes.byref(latents))
        library.video_free(video)
        for pointer, rank in ((frames, 4), (latents, 5)):
            tensor = ctypes.cast(pointer, ctypes.POINTER(DLTensor)).contents
            # kDLCUDA, kDLFloat.
            self.assertEqual((tensor.device_type, tensor.device_id), (2, 0))
            self.assertEqual((tensor.rank, *tensor.dtype, tensor.lanes), (rank, 2, 32, 1))
            self.assertTrue(tensor.data >> 62, "an address of the host")
            self.assertGreater(self.device.memory(), self.weights)
            ctypes.CFUNCTYPE(None, ctypes.c_void_p)(tensor.deleter)(pointer)
        self.assertEqual(self.device.memory(), self.weights)


class Adapters(unittest.TestCase):
    """LoRA on a device: what is loaded and fused goes with the pipeline, and fails in order."""

    def setUp(self):
        self.pipeline = cvx.Pipeline(library, FOLDER, "cuda", "f16")
        self.device = sim.Device()
        self.addCleanup(self.device.as_it_was)
        self.addCleanup(self.pipeline.close)
        self.weights = self.device.memory()

    def test_their_memory_comes_back(self):
        before = sim.latents(self.pipeline, **SHORT)
        sim.load_lora(self.pipeline, ADAPTER)
        loaded = self.device.memory()
        self.assertGreater(loaded, self.weights)
        adapted = sim.latents(self.pipeline, **SHORT)
        self.assertNotEqual(adapted, before)
        sim.lora(self.pipeline, "fuse", 1.0)
        self.assertGreater(self.device.memory(), loaded)
        sim.latents(self.pipeline, **SHORT)
        sim.lora(self.pipeline, "unfuse")
        self.assertEqual(self.device.memory(), loaded)
        self.assertEqual(sim.latents(self.pipeline, **SHORT), adapted)
        sim.lora(self.pipeline, "unload")
        self.assertEqual(self.device.memory(), self.weights)
        self.assertEqual(sim.latents(self.pipeline, **SHORT), before)
        sim.load_lora(self.pipeline, ADAPTER)
        sim.lora(self.pipeline, "fuse", 1.0)
        self.pipeline.close()
        self.assertEqual((self.device.memory(), self.device.reserved()), (0, 0))

    def test_failing_allocations_change_nothing(self):
        before = sim.latents(self.pipeline, **SHORT)

        def work():
            sim.load_lora(self.pipeline, ADAPTER)
            try:
                sim.lora(self.pipeline, "fuse", 1.0)
                sim.lora(self.pipeline, "unfuse")
            finally:
                self.device.fail(0)
                sim.lora(self.pipeline, "unload")
        fail_in_turn(self, work, None, self.weights)
        self.assertEqual(sim.latents(self.pipeline, **SHORT), before)

    def test_a_lost_device_is_told_as_such(self):
        for work in (lambda: sim.load_lora(self.pipeline, ADAPTER),
                     lambda: sim.lora(self.pipeline, "fuse", 1.0)):
            self.device.lose(False)
            pipeline, self.pipeline = self.pipeline, cvx.Pipeline(library, FOLDER, "cuda", "f16")
            pipeline.close()
            sim.load_lora(self.pipeline, ADAPTER)
            self.device.lose()
            with self.assertRaises(cvx.CvxError) as caught:
                work()
            self.assertEqual(caught.exception.code, DEVICE_LOST)
        self.pipeline.close()
        self.assertEqual(self.device.memory(), 0)


def fail_in_turn(test, work, sample, left):
    """`work` with one of its allocations failing, each in turn or a sample of them. Returns how
    many."""
    test.device.reset()
    work()
    total = test.device.count("allocations")
    stride = max(1, total // sample) if sample else 1
    turns = sorted({*range(1, total, stride), total})
    for n in turns:
        test.device.fail(n)
        with test.assertRaises(cvx.CvxError, msg=f"allocation {n} of {total}") as caught:
            work()
        test.assertEqual(caught.exception.code, OUT_OF_MEMORY, str(caught.exception)[:300])
        test.assertNotIn("defect", str(caught.exception))
        test.assertEqual(test.device.memory(), left, f"allocation {n} of {total}")
    return len(turns)


class TwoDevices(unittest.TestCase):
    def test_the_second_is_used_alone_with_every_technique(self):
        said = alone(
            "import test_matrix as m\n"
            "p = cvx.Pipeline(library, m.FOLDER, 'cuda:1', 'f16'); d = sim.Device()\n"
            "for technique in m.MODES:\n"
            "    m.enable(p, technique); sim.run(p, **m.SHORT)\n"
            "    video = sim.generate(p, frames_on_device=1, **m.SHORT)\n"
            "    assert sim.text(library, 'cvx_video_frames_device', video) == 'cuda:1'\n"
            "    library.video_free(video)\n"
            "p.close(); print(d.peak(0), d.peak(1) > 0, d.memory(1), d.reserved(1))",
            SIMCUDA_DEVICES="2")
        self.assertEqual(said, "0 True 0 0")

    def test_pipelines_on_both_and_on_the_cpu_at_once(self):
        # libtorch refuses operators on tensors of two devices (selftest.cpp), so a tensor that went
        # to another pipeline's device would end a run here.
        said = alone(
            "import threading, test_matrix as m\n"
            "both = [cvx.Pipeline(library, m.FOLDER, n, 'f32') for n in ('cuda:0', 'cuda:1', 'cpu')]\n"
            "for p in both: m.enable(p, 'faster_cache')\n"
            "alone = [sim.latents(p, **m.SHORT) for p in both]; found = {}\n"
            "def work(i): found[i] = sim.latents(both[i], **m.SHORT)\n"
            "threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]\n"
            "for t in threads: t.start()\n"
            "for t in threads: t.join()\n"
            "print([found[i] for i in range(3)] == alone, alone[0] == alone[1])",
            SIMCUDA_DEVICES="2")
        self.assertEqual(said, "True True")


class Components(unittest.TestCase):
    """Networks that are not all in one place."""

    def test_each_of_them_may_be_elsewhere(self):
        device = sim.Device()
        whole = cvx.Pipeline(library, FOLDER, "cuda", "f32")
        expected, all_weights = sim.latents(whole, **SHORT), device.memory()
        frames = sim.frames(whole, **SHORT)
        whole.close()
        for component in ("text_encoder", "transformer", "vae"):
            with self.subTest(component):
                apart = cvx.Pipeline(library, FOLDER, "cuda", "f32", {component: "cpu"})
                self.assertLess(device.memory(), all_weights)
                found = sim.latents(apart, **SHORT)
                self.assertEqual(found[0], expected[0])
                self.assertLess(distance(found[1], expected[1]), 1e-5)
                self.assertLess(distance(sim.frames(apart, **SHORT)[1], frames[1]), 1e-4)
                apart.close()
                self.assertEqual((device.memory(), device.reserved()), (0, 0))

    def test_on_the_cpu_but_for_one(self):
        device = sim.Device()
        apart = cvx.Pipeline(library, FOLDER, "cpu", "f32", {"transformer": "cuda"})
        self.addCleanup(apart.close)
        self.assertGreater(device.memory(), 0)
        self.assertEqual(sim.text(library, "cvx_pipeline_device", apart.pointer), "cuda:0")
        for technique in MODES:
            with self.subTest(technique):
                enable(apart, technique)
                sim.run(apart, **SHORT)

    def test_a_component_that_there_is_none_of(self):
        with self.assertRaises(cvx.CvxError) as caught:
            cvx.Pipeline(library, FOLDER, "cpu", "f32", {"unet": "cpu"})
        self.assertIn('found "unet"', str(caught.exception))
        with self.assertRaises(cvx.CvxError) as caught:
            cvx.Pipeline(library, FOLDER, "cpu", "f32", {"vae": "cuda:7"})
        self.assertIn("vae: ", str(caught.exception))


class OutOfMemory(unittest.TestCase):
    """An allocation that fails is OUT_OF_MEMORY, leaves nothing behind, and has no part in the next
    run. Of a short uncached run every allocation fails in turn; of runs with a cache, which make 1,000
    to 1,500 each, and of a load, so many, spread evenly: all of them would take minutes."""

    SAMPLE = 60

    def setUp(self):
        self.pipeline = cvx.Pipeline(library, FOLDER, "cuda", "f16")
        self.device = sim.Device()
        self.addCleanup(self.device.as_it_was)
        self.addCleanup(self.pipeline.close)
        self.weights = self.device.memory()

    def test_every_allocation_of_a_run(self):
        smallest = dict(steps=1, frames=1)
        before = sim.frames(self.pipeline, **smallest)
        made = fail_in_turn(self, lambda: sim.run(self.pipeline, **smallest), None,
                            self.weights)
        self.assertGreater(made, 400)
        self.assertEqual(sim.frames(self.pipeline, **smallest), before)

    def test_allocations_of_runs_with_each_technique(self):
        short = dict(steps=STEPS, frames=5)
        for technique in CONFIGS:
            with self.subTest(technique):
                enable(self.pipeline, technique)
                before = sim.frames(self.pipeline, **short)
                fail_in_turn(self, lambda: sim.run(self.pipeline, **short), self.SAMPLE,
                             self.weights)
                self.assertEqual(sim.frames(self.pipeline, **short), before)

    def test_allocations_of_a_load(self):
        fail_in_turn(self, lambda: cvx.Pipeline(library, FOLDER, "cuda", "f16").close(),
                     self.SAMPLE, self.weights)


if __name__ == "__main__":
    unittest.main()

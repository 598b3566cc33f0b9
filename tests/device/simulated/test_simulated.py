#!/usr/bin/env python3
"""The library's CUDA path on a simulated device (simcuda.h says what that can show, and what not).

`make test-simulated` builds the device and runs this.
"""

import array
import ctypes
import json
import math
import os
import random
import shutil
import sys
import tempfile
import threading
import unittest

import cvx_sim as sim
from cases import CANCELLED, DEVICE_UNAVAILABLE, OUT_OF_MEMORY, OnTheDevice, alone, load
from cvx_sim import cvx

MODES = ("dense", "pab", "faster_cache")
SHORT = dict(steps=6, frames=9)

library = cvx.Library()

def enable(pipeline, mode):
    if mode == "dense":
        pipeline.disable_cache()
    else:
        pipeline.enable_cache(mode)


def with_bfloat16_transformer(source, target):
    """A pipeline folder whose float32 transformer is cut down to bfloat16."""
    shutil.copytree(source, target, dirs_exist_ok=True)
    path = os.path.join(target, "transformer", "diffusion_pytorch_model.safetensors")
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()
    for name, tensor in header.items():
        if name != "__metadata__":
            assert tensor["dtype"] == "F32"
            tensor["dtype"] = "BF16"
            tensor["data_offsets"] = [offset // 2 for offset in tensor["data_offsets"]]
    halves = bytearray(len(data) // 2)
    halves[0::2], halves[1::2] = data[2::4], data[3::4]
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + halves)


class Loading(unittest.TestCase):
    """The library finds the backend, loads it and asks it by itself."""

    DEVICE = "print(sim.text(library, 'cvx_pipeline_device', p.pointer))\n"

    def test_a_machine_without_a_driver_is_told_with_libtorchs_reason(self):
        said = alone(load("cuda"), SIMCUDA_DEVICES="0")
        self.assertTrue(said.startswith(f"{DEVICE_UNAVAILABLE} "), said)
        self.assertIn("Found no NVIDIA driver", said)

    def test_auto_is_the_first_device_or_else_the_cpu(self):
        self.assertEqual(alone(load("auto") + self.DEVICE, SIMCUDA_DEVICES="0"), "cpu")
        self.assertEqual(alone(load("auto") + self.DEVICE, SIMCUDA_DEVICES="2"), "cuda:0")

    def test_an_index_that_is_not_there_is_named(self):
        self.assertIn("cuda:2 does not exist", alone(load("cuda:2"), SIMCUDA_DEVICES="2"))

    def test_the_second_device_leaves_the_first_alone(self):
        said = alone(load("cuda:1") + "sim.run(p, steps=2)\n"
                     "d = sim.Device(); print(d.peak(0), d.peak(1) > 0)", SIMCUDA_DEVICES="2")
        self.assertEqual(said, "0 True")

    def test_auto_takes_no_bfloat16_on_gpus_that_are_slow_in_it(self):
        with tempfile.TemporaryDirectory() as folder:
            with_bfloat16_transformer(os.path.join(sim.FAMILIES, "5b"), folder)
            script = (f"p = cvx.Pipeline(library, {folder!r}, 'cuda', 'auto')\n"
                      "print(sim.text(library, 'cvx_pipeline_dtype', p.pointer))\n")
            found = [alone(script, SIMCUDA_CAPABILITY=c) for c in ("75", "80", "90")]
        self.assertEqual(found, ["f16", "bf16", "bf16"])

    def test_a_pipeline_that_is_gone_leaves_no_memory_to_the_allocator(self):
        said = alone(load("cuda") + "sim.run(p, steps=2)\nd = sim.Device()\n"
                     "kept = d.reserved(); p.close(); print(kept > 0, d.memory(), d.reserved())")
        self.assertEqual(said, "True 0 0")

    def test_without_cudnn_it_works_too(self):
        said = alone(load("cuda") + "shape, _ = sim.frames(p, steps=2); print(shape[0])",
                     SIMCUDA_CUDNN="0")
        self.assertEqual(said, "8")


class Waits(OnTheDevice):
    def counted(self, mode, names, steps=8, pipeline=None, **wanted):
        """What is counted in each denoising step, in the first one from the end of the text encoder
        on."""
        pipeline = pipeline or self.pipeline
        found, last = [], {}

        def progress(stage, done, total):
            now = {name: self.device.count(name) for name in names}
            if stage == "denoise":
                found.append({name: now[name] - last[name] for name in names})
            last.update(now)
        enable(pipeline, mode)
        sim.run(pipeline, steps=steps, frames=9, on_progress=progress, **wanted)
        return found

    def test_the_host_reads_no_result_in_a_step(self):
        names = ("items", "device_to_host", "shapes")
        for mode in MODES:
            for i, step in enumerate(self.counted(mode, names)):
                self.assertEqual(step, dict.fromkeys(names, 0), (mode, i))

    def test_no_step_waits_for_the_device(self):
        for mode in MODES:
            with self.subTest(mode):
                enable(self.pipeline, mode)
                # From the end of the text encoder to that of the last step.
                sim.run(self.pipeline, steps=8, frames=9, on_progress=lambda stage, done, total:
                        self.device.forbid_waits(stage == "encode" and done == total
                                                 or stage == "denoise" and done < total))

    def test_steps_send_nothing_to_the_device_but_their_noise(self):
        # Features of the timesteps are made before the first step, FasterCache's mask once.
        with tempfile.TemporaryDirectory() as folder:
            sim.with_ddim(folder)
            without_noise = cvx.Pipeline(library, folder, "cuda", "f16")
            for mode, copies in (("dense", 0), ("pab", 0), ("faster_cache", 1)):
                with self.subTest(mode):
                    for pipeline, noise in ((without_noise, 0), (self.pipeline, 7)):
                        steps = self.counted(mode, ("host_to_device",), pipeline=pipeline)
                        sent = sum(step["host_to_device"] for step in steps[1:])
                        self.assertEqual(sent, copies + noise)
            without_noise.close()

    def test_the_host_is_at_most_two_layers_ahead(self):
        self.device.kernel_time(50_000)
        sim.latents(self.pipeline, steps=4, frames=5)
        launches = self.device.report()["launches_by_operator"]
        self.device.kernel_time()
        # The two layers under way, the one that is being launched, and what a step does between
        # its layers.
        layers = 6
        a_layer = sum(launches.values()) / 4 / layers
        self.assertLess(self.device.most_ahead(), 4 * a_layer)

    def test_the_share_of_attention_is_measured_by_the_device(self):
        self.device.kernel_time(20_000)
        sim.latents(self.pipeline, steps=6, frames=5)
        stats, measured = cvx.P(), cvx.I32()
        sim.function(library, "cvx_pipeline_cache_stats", cvx.P, cvx.OUT)(self.pipeline.pointer,
                                                                          ctypes.byref(stats))
        ask = library._handle.cvx_cache_stats_attention_share
        ask.restype, ask.argtypes = cvx.F64, [cvx.P, ctypes.POINTER(cvx.I32)]
        share = ask(stats, ctypes.byref(measured))
        free = library._handle.cvx_cache_stats_free
        free.restype, free.argtypes = None, [cvx.P]
        free(stats)
        # Every launch takes as long as another, so this is a share of launches.
        self.assertEqual(measured.value, 1)
        self.assertTrue(0.1 < share < 0.9, share)

    def test_frames_leave_the_device_once(self):
        sim.frames(self.pipeline, **SHORT)
        self.assertEqual(self.device.count("device_to_host"), 1)


class Memory(OnTheDevice):
    def test_a_cached_run_launches_less_and_keeps_more(self):
        launches, peaks = {}, {}
        for mode in MODES:
            enable(self.pipeline, mode)
            self.device.reset()
            sim.latents(self.pipeline, steps=10, frames=9)
            launches[mode], peaks[mode] = self.device.count("kernels"), self.device.peak()
        for mode in MODES[1:]:
            self.assertLess(launches[mode], 0.95 * launches["dense"])
            self.assertGreater(peaks[mode], peaks["dense"])

    def test_tiles_take_less_than_half(self):
        sim.frames(self.pipeline, **SHORT)
        whole = self.device.peak() - self.weights
        self.device.reset()
        sim.frames(self.pipeline, vae_tiling=1, **SHORT)
        self.assertLess(self.device.peak() - self.weights, whole / 2)

    def test_cancelled_runs_leave_nothing(self):
        for stage in ("encode", "denoise", "decode"):
            with self.assertRaises(cvx.CvxError) as caught:
                sim.run(self.pipeline, on_progress=lambda s, *_: s == stage, **SHORT)
            self.assertEqual(caught.exception.code, CANCELLED)
            self.assertEqual(self.device.memory(), self.weights)

    def fail_in_turn(self, attempts, work):
        """`work` with one of its allocations failing, for about `attempts` of them."""
        self.device.reset()
        work()
        total = self.device.count("allocations")
        for n in sorted({*range(1, total, max(1, total // attempts)), total}):
            self.device.fail(n)
            with self.assertRaises(cvx.CvxError, msg=f"allocation {n} of {total}") as caught:
                work()
            self.assertEqual(caught.exception.code, OUT_OF_MEMORY, str(caught.exception)[:300])
            self.assertNotIn("defect", str(caught.exception))
            self.assertEqual(self.device.memory(), self.weights, f"allocation {n} of {total}")

    def test_a_load_that_finds_no_memory_leaves_nothing(self):
        self.fail_in_turn(30, lambda: cvx.Pipeline(library, sim.MODEL, "cuda", "f16").close())

    def test_a_run_that_finds_no_memory_says_so_and_the_next_one_is_the_same(self):
        short = dict(steps=4, frames=5)
        for mode in MODES:
            with self.subTest(mode):
                enable(self.pipeline, mode)
                before = sim.frames(self.pipeline, **short)
                self.fail_in_turn(24, lambda: sim.run(self.pipeline, **short))
                self.assertEqual(sim.frames(self.pipeline, **short), before)

    def test_a_device_that_is_too_small(self):
        self.device.capacity(self.weights + (1 << 20))
        with self.assertRaises(cvx.CvxError) as caught:
            sim.run(self.pipeline, **SHORT)
        self.assertEqual(caught.exception.code, OUT_OF_MEMORY)
        self.device.capacity()
        sim.run(self.pipeline, **SHORT)


class Hosts(OnTheDevice):
    """What hosts do beside generating."""

    def test_frames_that_stay_on_the_device(self):
        expected = sim.frames(self.pipeline, **SHORT)
        self.device.reset()
        video = sim.generate(self.pipeline, frames_on_device=1, **SHORT)
        self.assertEqual(self.device.count("device_to_host"), 0)
        self.assertEqual(sim.text(library, "cvx_video_frames_device", video), "cuda:0")
        data, size, stream = cvx.P(), ctypes.c_size_t(), cvx.P()
        sim.function(library, "cvx_video_device_frames", cvx.P, cvx.I32, cvx.OUT,
                     ctypes.POINTER(ctypes.c_size_t), cvx.OUT)(
            video, 0, ctypes.byref(data), ctypes.byref(size), ctypes.byref(stream))
        self.assertTrue(data.value >> 62, "an address of the host")
        self.assertEqual((size.value, stream.value), (4 * len(expected[1]), None))
        self.assertEqual(sim.frames_of(self.pipeline, video), expected)

    def test_prompts_of_a_length_that_cudnns_attention_does_not_take(self):
        for length in (13, 16, 226):
            sim.latents(self.pipeline, max_sequence_length=length, steps=1, frames=1)

    def test_clones_with_caches_of_their_own_run_beside_each_other(self):
        other = sim.clone(self.pipeline)
        other.enable_cache("pab")
        both, found = {"dense": self.pipeline, "pab": other}, {}
        expected = {name: sim.frames(pipeline, **SHORT) for name, pipeline in both.items()}

        def work(name):
            found[name] = sim.frames(both[name], **SHORT)
        threads = [threading.Thread(target=work, args=(name,)) for name in both]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        other.close()
        self.assertEqual(found, expected)


class Precision(unittest.TestCase):
    """Products in float32 are products of float32."""

    def setUp(self):
        self.device = sim.Device()
        self.device.as_it_was()
        self.addCleanup(self.device.as_it_was)

    def convolutions(self, work):
        """How many there were, in float32 with TF32 allowed, in half precision without tensor cores."""
        self.device.reset()
        work()
        made = self.device.report()["launches_by_operator"].get("aten::cudnn_convolution", 0)
        self.assertGreater(made, 10)
        return self.device.count("tf32"), self.device.count("no_tensor_cores")

    def test_no_convolution_of_a_float32_run_may_take_tf32(self):
        for folder, decode in ((sim.MODEL, {}), (sim.MODEL, {"vae_tiling": 1}),
                               (os.path.join(sim.FAMILIES, "5b"), {})):
            pipeline = cvx.Pipeline(library, folder, "cuda", "f32")
            wanted = dict(steps=1, frames=9, **decode)
            found = self.convolutions(lambda: sim.frames(pipeline, **wanted))
            self.assertEqual(found, (0, 0), folder)
            pipeline.close()

    def test_encoding_a_video_neither(self):
        pipeline = cvx.Pipeline(library, os.path.join(sim.FAMILIES, "5b"), "cuda", "f32")
        size = 32
        pixels = bytes(range(256)) * (9 * size * size * 3 // 256)
        with sim.options(library, steps=2, frames=9) as options:
            library.generate_options_set_video(options, pixels, size, size, 9, 0, 0,
                                               cvx.PIXELS_RGB8)
            library.generate_options_set_output(options, cvx.OUTPUT_LATENTS)
            sim.function(library, "cvx_generate_options_set_size", cvx.P, cvx.I32, cvx.I32)(
                options, size, size)

            def work():
                video = cvx.P()
                library.pipeline_generate(pipeline.pointer, options, ctypes.byref(video))
                library.video_free(video)
            self.assertEqual(self.convolutions(work), (0, 0))
        pipeline.close()

    def test_half_precision_keeps_its_tensor_cores(self):
        pipeline = cvx.Pipeline(library, sim.MODEL, "cuda", "bf16")
        found = self.convolutions(lambda: sim.frames(pipeline, steps=1, frames=9))
        self.assertEqual(found, (0, 0))
        pipeline.close()


class Results(unittest.TestCase):
    """Half precision against float32 on the CPU. (Float32 is judged by tests/parity.rs.)

    From given latents, and without noise of its own (DDIM): DPM draws noise in the latents'
    dtype. The limits are some times what was measured; what they let through is the noise of
    half precision, so they tell a wrong operator only where it is far off.
    """

    # Relative L2 error of the latents, and of the frames PSNR in dB.
    LIMITS = {"f16": (2e-2, 45), "bf16": (1.5e-1, 30)}

    def test_half_precision_is_near_float32(self):
        with tempfile.TemporaryDirectory() as folder:
            sim.with_ddim(folder)
            start = self.run_all(folder, "cpu", "f32", None)
            shape = start["dense"][0][0]
            rng = random.Random(1)
            noise = shape, array.array("f", (rng.gauss(0, 1) for _ in range(math.prod(shape))))
            expected = self.run_all(folder, "cpu", "f32", noise)
            for dtype, limits in self.LIMITS.items():
                found = self.run_all(folder, "cuda", dtype, noise)
                for mode in MODES:
                    with self.subTest(f"{dtype}, {mode}"):
                        self.compare(found[mode], expected[mode], *limits)

    @staticmethod
    def run_all(folder, device, dtype, noise):
        pipeline, found = cvx.Pipeline(library, folder, device, dtype), {}
        for mode in MODES:
            enable(pipeline, mode)
            wanted = dict(latents=noise, **SHORT)
            found[mode] = sim.latents(pipeline, **wanted), sim.frames(pipeline, **wanted)
        pipeline.close()
        return found

    def compare(self, found, expected, error, psnr):
        (latents, video), (true_latents, true_video) = ([part[1] for part in run]
                                                        for run in (found, expected))
        square = sum((a - b) ** 2 for a, b in zip(latents, true_latents))
        self.assertLess(math.sqrt(square / sum(b * b for b in true_latents)), error)
        square = sum((a - b) ** 2 for a, b in zip(video, true_video))
        self.assertLess(square / len(video), 10 ** (-psnr / 10))


if __name__ == "__main__":
    unittest.main()

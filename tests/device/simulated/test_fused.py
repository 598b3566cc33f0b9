#!/usr/bin/env python3
"""The library's own kernels for CUDA devices (src/backend/cuda), which the stand-in for the driver runs
on the simulated device's memory, against libtorch's operators; how often something is launched; and
what happens where they can't be loaded."""

import contextlib
import ctypes
import json
import os
import struct
import tempfile
import unittest

import cvx_sim as sim
from cases import DEVICE_LOST, INVALID_ARGUMENT, OUT_OF_MEMORY, alone
from cvx_sim import cvx
from test_matrix import ADAPTER, CONFIGS, FOLDER, MODES, SHORT, distance, enable

library = cvx.Library()
KERNELS = ("norm_heads", "norm_modulate_1", "gate_norm_modulate_1", "add_gated", "moments",
           "modulate_silu")


def load(kernels, dtype="f32", folder=FOLDER, device="cuda", log=None, quantization=None,
         streaming=None):
    options, found = library.load_options_new(), cvx.Pipeline.__new__(cvx.Pipeline)
    found.library, found.pointer = library, cvx.P()
    found.log = sim.LOG(lambda info, _: log and log(info.contents.message.decode()))
    text = lambda name, *values: sim.function(
        library, "cvx_load_options_set_" + name, cvx.P, *[cvx.STR] * len(values))(
            options, *(value.encode() for value in values))
    try:
        text("device" if "," not in device else "devices", device)
        text("dtype", dtype)
        text("cuda_kernels", kernels)
        if quantization:
            text("component_quantization", "transformer", quantization)
        if streaming:
            text("weight_streaming", "transformer", streaming)
        library.load_options_set_prompt_cache_size(options, 0)
        sim.function(library, "cvx_load_options_set_log_callback", cvx.P, sim.LOG, cvx.P, cvx.P)(
            options, found.log, None, None)
        library.pipeline_load(folder.encode(), options, ctypes.byref(found.pointer))
    finally:
        library.load_options_free(options)
    return found


@contextlib.contextmanager
def both(*arguments, **named):
    """The same pipeline with libtorch's operators and with our kernels."""
    pipelines = load("libtorch", *arguments, **named), load("fused", *arguments, **named)
    try:
        yield pipelines
    finally:
        for pipeline in pipelines:
            pipeline.close()


def kernels_of(pipeline):
    """cvx_video_kernels of a short run."""
    video = sim.generate(pipeline, steps=1, frames=1)
    try:
        return sim.text(library, "cvx_video_kernels", video)
    finally:
        library.video_free(video)


def without_last_block(folder, to):
    """The pipeline folder with a block less."""
    for name in os.listdir(folder):
        if name != "transformer":
            os.symlink(os.path.abspath(os.path.join(folder, name)), os.path.join(to, name))
    os.mkdir(os.path.join(to, "transformer"))
    old, new = (os.path.join(f, "transformer", "config.json") for f in (folder, to))
    with open(old, encoding="utf-8") as file:
        config = json.load(file)
    config["num_layers"] -= 1
    with open(new, "w", encoding="utf-8") as file:
        json.dump(config, file)
    name = "diffusion_pytorch_model.safetensors"
    with open(os.path.join(folder, "transformer", name), "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    gone = f"transformer_blocks.{config['num_layers']}."
    kept, body = {}, b""
    for tensor, info in header.items():
        if tensor == "__metadata__" or tensor.startswith(gone):
            continue
        start, end = info["data_offsets"]
        kept[tensor] = {**info, "data_offsets": [len(body), len(body) + end - start]}
        body += data[start:end]
    text = json.dumps(kept).encode()
    with open(os.path.join(to, "transformer", name), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + body)


class Fused(unittest.TestCase):
    # Relative L2 error of latents in half precision: as far as float32 is, of which the two ways are
    # on either side.
    LIMITS = {"f32": 1e-5, "f16": 1e-2, "bf16": 6e-2}

    @classmethod
    def setUpClass(cls):
        load("libtorch").close()  # the device is there
        cls.device = sim.Device()

    def setUp(self):
        self.device.as_it_was()
        self.addCleanup(lambda: self.assertEqual(self.device.memory(), 0))
        self.addCleanup(self.device.as_it_was)

    def launches(self):
        return self.device.report()["launches_by_operator"]

    def test_each_kernel_runs_and_gives_what_libtorch_gives(self):
        for family in ("5b", "2b", "1.5-5b"):
            folder = os.path.join(sim.FAMILIES, family)
            for dtype, limit in self.LIMITS.items():
                with self.subTest(f"{family}, {dtype}"), both(dtype, folder) as (plain, fused):
                    wanted = dict(steps=2, frames=5)
                    expected = [f(plain, **wanted) for f in (sim.latents, sim.frames)]
                    self.device.reset()
                    found = [f(fused, **wanted) for f in (sim.latents, sim.frames)]
                    for one, other in zip(found, expected):
                        self.assertEqual(one[0], other[0])
                        self.assertLess(distance(one[1], other[1]), limit)
                    launched = self.launches()
                    name = "float" if dtype == "f32" else dtype
                    for kernel in KERNELS:
                        self.assertIn(f"cvx_{kernel}_{name}", launched)
                    self.assertNotIn("aten::native_layer_norm.out", launched)

    def test_the_same_seed_is_the_same_bytes(self):
        pipeline = load("fused", "bf16")
        self.assertEqual(sim.frames(pipeline, **SHORT), sim.frames(pipeline, **SHORT))
        pipeline.close()

    def test_every_technique(self):
        for dtype in ("f32", "bf16"):
            with both(dtype) as (plain, fused):
                for technique in MODES:
                    with self.subTest(f"{dtype}, {technique or 'uncached'}"):
                        enable(plain, technique)
                        enable(fused, technique)
                        expected, found = (sim.latents(p, **SHORT)[1] for p in (plain, fused))
                        # Six steps instead of two.
                        self.assertLess(distance(found, expected), 3 * self.LIMITS[dtype])
        self.assertIn("pab", CONFIGS)

    def test_weights_that_are_quantized_or_stream_and_adapters(self):
        for how in (dict(quantization="int8"), dict(quantization="fp8"), dict(streaming="file"),
                    dict(streaming="host")):
            with self.subTest(how), both(**how) as (plain, fused):
                expected, found = (sim.latents(p, steps=2, frames=5)[1] for p in (plain, fused))
                self.assertLess(distance(found, expected), 1e-5)
                self.assertIn("cvx_norm_heads_float", self.launches())
        with both() as (plain, fused):
            for pipeline in (plain, fused):
                sim.load_lora(pipeline, ADAPTER)
            expected, found = (sim.latents(p, steps=2, frames=5)[1] for p in (plain, fused))
            self.assertLess(distance(found, expected), 1e-5)

    def test_launches_of_a_block(self):
        for dtype in ("f16", "bf16", "f32"):
            for kernels, most in (("fused", 12), ("libtorch", 48)):
                counts = []
                with tempfile.TemporaryDirectory() as shorter:
                    without_last_block(FOLDER, shorter)
                    for folder in (FOLDER, shorter):
                        pipeline, at = load(kernels, dtype, folder), []
                        sim.latents(pipeline, steps=3, frames=9, on_progress=lambda stage, *_: at.append(
                            self.device.count("kernels")) if stage == "denoise" else None)
                        pipeline.close()
                        counts.append(at[2] - at[1])
                a_block = counts[0] - counts[1]
                with self.subTest(f"{dtype}, {kernels}: {a_block}"):
                    self.assertGreater(a_block, 8)
                    self.assertLessEqual(a_block, most)

    def test_no_step_waits(self):
        pipeline = load("fused", "bf16")
        for technique in (None, "pab", "faster_cache"):
            enable(pipeline, technique)
            sim.run(pipeline, on_progress=lambda stage, done, total: self.device.forbid_waits(
                stage == "encode" and done == total or stage == "denoise" and done < total), **SHORT)
            self.device.forbid_waits(False)
        pipeline.close()

    def test_videos_say_what_computed_them(self):
        with both() as (plain, fused):
            self.assertTrue(kernels_of(plain).endswith("on cuda:0"))
            self.assertTrue(kernels_of(fused).endswith("on cuda:0, fused kernels"))
        on_cpu = load("fused", device="cpu")
        self.assertNotIn("fused", kernels_of(on_cpu))
        on_cpu.close()

    def test_another_name_is_refused(self):
        with self.assertRaises(cvx.CvxError) as caught:
            load("cutlass")
        self.assertEqual(caught.exception.code, INVALID_ARGUMENT)
        self.assertIn('"cutlass"', str(caught.exception))

    def test_they_are_loaded_once_for_a_device_and_go_with_the_last_pipeline(self):
        driver, ever = sim.Driver().handle, ctypes.c_int()
        count = lambda: driver.simdriver_modules(ctypes.byref(ever))
        self.assertEqual(count(), 0)
        before = ever.value
        pipelines = [load("fused"), load("fused", "bf16")]
        self.assertEqual((count(), ever.value), (1, before + 1))
        clone = sim.clone(pipelines[0])
        for pipeline in pipelines:
            pipeline.close()
        self.assertEqual(count(), 1)
        sim.run(clone, steps=1, frames=1)
        clone.close()
        self.assertEqual(count(), 0)

    def test_no_memory_for_what_a_kernel_writes_is_told_as_such(self):
        pipeline = load("fused", "f16")
        weights, wanted = self.device.memory(), dict(steps=1, frames=1)
        self.device.reset()
        before = sim.frames(pipeline, **wanted)
        total = self.device.count("allocations")
        for n in range(1, total + 1, 7):
            self.device.fail(n)
            with self.assertRaises(cvx.CvxError) as caught:
                sim.run(pipeline, **wanted)
            self.assertEqual(caught.exception.code, OUT_OF_MEMORY, str(caught.exception))
            self.assertEqual(self.device.memory(), weights)
        self.assertEqual(sim.frames(pipeline, **wanted), before)
        pipeline.close()

    def test_a_device_that_is_lost_at_a_launch(self):
        script = ("from test_fused import load\np = load('fused', 'bf16')\nd = sim.Device()\n"
                  "def lose(stage, done, total): d.lose(stage == 'denoise' and done == 1)\n"
                  "try: sim.run(p, steps=4, frames=5, on_progress=lose)\n"
                  "except cvx.CvxError as e: print(e.code)\nd.lose(False); p.close()\n"
                  "print(d.memory(), 'cvx_norm_heads_bf16' in d.report()['launches_by_operator'])")
        self.assertEqual(alone(script), f"{DEVICE_LOST}\n0 True")

    def test_a_driver_that_does_not_take_them(self):
        script = ("from test_fused import load, kernels_of\nlog = []\n"
                  "p = load('fused', 'bf16', log=log.append)\nprint(kernels_of(p))\n"
                  "print([line for line in log if 'kernels' in line][0])\np.close()")
        for status, reason in (("222", "unsupported toolchain"), ("218", "JIT compilation failed"),
                               ("2", "out of memory")):
            said = alone(script, SIMCUDA_PTX=status).split("\n")
            self.assertTrue(said[0].endswith("on cuda:0"), said)
            self.assertIn("fused kernels can't be loaded on cuda:0", said[1])
            self.assertIn(reason, said[1])

    def test_on_a_second_device_and_on_two_as_one(self):
        script = ("from test_fused import load, distance\n"
                  "out = [sim.latents(p, steps=2, frames=5)[1] for p in"
                  " (load('libtorch', device='cuda:1'), load('fused', device='cuda:1'),"
                  " load('fused', device='cuda:0,cuda:1'))]\n"
                  "print(max(distance(o, out[0]) for o in out[1:]) < 1e-5,"
                  " sim.Device().count('foreign'))")
        self.assertEqual(alone(script, SIMCUDA_DEVICES="2"), "True 0")


if __name__ == "__main__":
    unittest.main()

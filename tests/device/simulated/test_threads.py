#!/usr/bin/env python3
"""Where work on the device is done: on threads of the library, and never in a context of the host's."""

import ctypes
import subprocess
import sys
import threading
import time
import unittest

import cvx_sim as sim
from cases import DEVICE_UNAVAILABLE, OnTheDevice, alone, load
from cvx_sim import cvx

library = cvx.Library()
SHORT = dict(steps=2, frames=9)

STEP = ctypes.CFUNCTYPE(ctypes.c_int32, cvx.P, cvx.P)


class StepInfo(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("numbers", ctypes.c_int32 * 3),
                ("doubles", ctypes.c_double * 2), ("handle", cvx.P)]


def on_steps(options, call, keep):
    callback = STEP(lambda info, _: int(bool(call(
        ctypes.cast(info, ctypes.POINTER(StepInfo)).contents.handle))))
    keep.append(callback)
    sim.function(library, "cvx_generate_options_set_step_callback", cvx.P, STEP, cvx.P, cvx.P)(
        options, callback, None, None)


class Contexts(OnTheDevice):
    """The calling thread has a context of its own, as a program that uses CUDA's driver has."""

    def setUp(self):
        super().setUp()
        self.device.host_context()
        self.addCleanup(self.device.host_context, False)

    def untouched(self):
        self.assertEqual(self.device.count("foreign"), 0)

    def test_no_function_uses_the_device_on_the_hosts_thread(self):
        pipeline = cvx.Pipeline(library, sim.MODEL, "cuda", "f16")
        self.untouched()
        sim.encode(pipeline)
        other = sim.clone(pipeline)
        for mode in ("pab", "faster_cache"):
            other.enable_cache(mode)
            sim.run(other, **SHORT)
        shape, latents = sim.latents(pipeline, **SHORT)
        pipeline.decode(shape, latents)
        self.untouched()
        video = sim.generate(pipeline, frames_on_device=1, **SHORT)
        tensor, data = cvx.P(), cvx.P()
        sim.function(library, "cvx_video_frames_dlpack", cvx.P, cvx.I32, cvx.I32, cvx.OUT)(
            video, 0, sim.PIXELS_F32, ctypes.byref(tensor))
        ctypes.CFUNCTYPE(None, cvx.P)(ctypes.cast(tensor.value + 56, ctypes.POINTER(cvx.P))[0])(
            tensor)
        for name in ("rgb8", "rgba8", "f32"):
            sim.function(library, "cvx_video_frames_" + name, cvx.P, cvx.I32, cvx.OUT, cvx.P)(
                video, 0, ctypes.byref(data), None)
        sim.frames_of(pipeline, video)
        self.untouched()
        job = sim.submit(pipeline, **SHORT)
        sim.frames_of(pipeline, job.video())
        job.free()
        sim.trim(library, "cuda")
        other.close()
        pipeline.close()
        self.untouched()

    def test_nor_do_the_functions_of_a_callback(self):
        keep, seen, me = [], [], threading.get_ident()

        def step(handle):
            seen.append(threading.get_ident())
            data, shape = cvx.P(), (ctypes.c_int64 * 5)()
            at = ctypes.POINTER(ctypes.c_int64)
            for name in ("latents", "preview_rgb8"):
                sim.function(library, "cvx_step_" + name, cvx.P, cvx.OUT, at)(
                    handle, ctypes.byref(data), shape)
            sim.function(library, "cvx_step_latents", cvx.P, cvx.OUT, at)(
                handle, ctypes.byref(data), shape)
            numbers = (ctypes.c_float * cvx.product(shape))()
            ctypes.memmove(numbers, data, ctypes.sizeof(numbers))
            sim.function(library, "cvx_step_set_latents", cvx.P, cvx.P, cvx.P, ctypes.c_size_t)(
                handle, numbers, shape, 5)
            tensor = cvx.P()
            sim.function(library, "cvx_step_latents_dlpack", cvx.P, cvx.OUT)(
                handle, ctypes.byref(tensor))
            ctypes.CFUNCTYPE(None, cvx.P)(
                ctypes.cast(tensor.value + 56, ctypes.POINTER(cvx.P))[0])(tensor)
            # The pipeline at work, another one of its weights, and one of its own.
            with self.assertRaises(cvx.CvxError) as caught:
                sim.run(pipeline, **SHORT)
            self.assertEqual(caught.exception.code, 9)  # BUSY
            other = sim.clone(pipeline)
            sim.run(other, steps=1, frames=1)
            other.close()
        # Previews leave something with the weights.
        pipeline = cvx.Pipeline(library, sim.MODEL, "cuda", "f16")
        with sim.options(library, on_progress=lambda *_: seen.append(threading.get_ident()),
                         **SHORT) as options:
            on_steps(options, step, keep)
            sim.set_device_frames(library, options, 2,
                                  lambda _: seen.append(threading.get_ident()), keep)
            video = cvx.P()
            library.pipeline_generate(pipeline.pointer, options, ctypes.byref(video))
        library.video_free(video)
        pipeline.close()
        self.untouched()
        self.assertEqual((set(seen), len(seen) > 8), ({me}, True))

    def test_the_current_device_is_left_alone(self):
        said = alone("d = sim.Device(); d.current_device(1)\n" + load("cuda:0")
                     + "sim.run(p, steps=1); p.close(); print(d.current_device())",
                     SIMCUDA_DEVICES="2")
        self.assertEqual(said, "1")


class Threads(OnTheDevice):
    def test_one_thread_does_all_that_is_not_at_once(self):
        def work():
            sim.run(self.pipeline, **SHORT)
            job = sim.submit(self.pipeline, **SHORT)
            library.video_free(job.video())
            job.free()
        for _ in range(3):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        self.assertEqual(self.device.threads(), 1)

    def test_runs_at_once_have_a_thread_each_and_none_waits_for_another(self):
        other, inside, met = sim.clone(self.pipeline), threading.Barrier(2, timeout=60), []

        def wait(stage, done, _):
            if (stage, done) == ("denoise", 1):
                inside.wait()
                met.append(stage)
        threads = [threading.Thread(target=sim.run, args=(pipeline,),
                                    kwargs=dict(on_progress=wait, **SHORT))
                   for pipeline in (self.pipeline, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        other.close()
        self.assertEqual((len(met), self.device.threads()), (2, 2))

    def test_a_callback_may_wait_for_another_thread_that_generates(self):
        other, done = sim.clone(self.pipeline), []

        def generate():
            sim.run(other, steps=1, frames=1)
            done.append(True)

        def wait(stage, count, _):
            if (stage, count) == ("denoise", 1):
                thread = threading.Thread(target=generate)
                thread.start()
                thread.join()
        sim.run(self.pipeline, on_progress=wait, **SHORT)
        other.close()
        self.assertEqual(done, [True])


class Ends(unittest.TestCase):
    """Processes that end or fork while the device's threads are there."""

    HEAD = (f"import sys; sys.path.insert(0, {sim.HERE!r})\n"
            "import ctypes, os, threading, time, cvx_sim as sim\n"
            "cvx = sim.cvx; library = cvx.Library()\n"
            "p = cvx.Pipeline(library, sim.MODEL, 'cuda', 'f16')\n"
            "leave = ctypes.CDLL(None).exit\n")

    def ends(self, script, code):
        started = time.monotonic()
        result = subprocess.run([sys.executable, "-c", self.HEAD + script], capture_output=True,
                                text=True, timeout=120, check=False)
        self.assertEqual((result.returncode, result.stderr), (code, ""), result.stdout)
        return result.stdout, time.monotonic() - started

    def test_a_callback_ends_the_process(self):
        for stage in ("encode", "denoise", "decode"):
            said, _ = self.ends(
                f"sim.run(p, steps=2, frames=9, on_progress=lambda s, *_: s == {stage!r} and "
                "leave(7))\nprint('not here')", 7)
            self.assertEqual(said, "")

    def test_another_thread_ends_the_process(self):
        self.ends("threading.Thread(target=lambda: (time.sleep(0.3), leave(7))).start()\n"
                  "while True:\n"
                  "    try: sim.run(p, steps=50, frames=9)\n"
                  "    except cvx.CvxError: time.sleep(5)\n", 7)

    def test_a_child_frees_and_is_refused(self):
        said, _ = self.ends(
            "sim.run(p, steps=1, frames=1)\n"
            "child = os.fork()\n"
            "if child == 0:\n"
            "    try: sim.run(p, steps=1, frames=1)\n"
            "    except cvx.CvxError as e: print(e.code, flush=True)\n"
            "    p.close(); os._exit(3)\n"
            "print(os.waitpid(child, 0)[1] >> 8)\n"
            "sim.run(p, steps=1, frames=1); p.close()\n", 0)
        self.assertEqual(said.split(), [str(DEVICE_UNAVAILABLE), "3"])


if __name__ == "__main__":
    unittest.main()

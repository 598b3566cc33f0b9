#!/usr/bin/env python3
"""A device that is lost: every later call on it fails for good, as after an illegal access."""

import array
import time
import unittest

import cvx_sim as sim
from cases import DEVICE_LOST, alone
from cvx_sim import cvx

library = cvx.Library()
# Of two groups of frames, so that there is more to do after the first.
SHORT = dict(steps=3, frames=17)


class Lost(unittest.TestCase):
    def setUp(self):
        self.pipeline = cvx.Pipeline(library, sim.MODEL, "cuda", "f16")
        self.device = sim.Device()
        self.addCleanup(self.device.as_it_was)
        self.addCleanup(self.pipeline.close)

    def refused(self, work, text="illegal memory access"):
        with self.assertRaises(cvx.CvxError) as caught:
            work()
        self.assertEqual(caught.exception.code, DEVICE_LOST, caught.exception)
        self.assertIn(text, str(caught.exception))

    def lose_at(self, stage, done):
        """Follows a run until there, and loses the device."""
        return lambda s, d, total: self.device.lose() if (s, d) == (stage, done) else None

    def test_a_run_that_loses_it_says_so_wherever_it_is(self):
        for stage, done in (("encode", 1), ("denoise", 1), ("denoise", 3), ("decode", 1)):
            with self.subTest(f"{stage} {done}"):
                pipeline = cvx.Pipeline(library, sim.MODEL, "cuda", "f16")
                self.refused(lambda: sim.run(
                    pipeline, on_progress=self.lose_at(stage, done), **SHORT))
                # Whatever the device says then.
                self.device.lose(False)
                self.refused(lambda: sim.run(pipeline, **SHORT))
                pipeline.close()
        self.pipeline.close()
        self.assertEqual(self.device.memory(), 0)

    def test_every_later_call_says_so_and_freeing_works(self):
        video = sim.generate(self.pipeline, frames_on_device=1, **SHORT)
        other = sim.clone(self.pipeline)
        self.device.lose()
        shape, values = [1, 2, 16, 4, 4], array.array("f", bytes(4 * 2 * 16 * 16))
        self.refused(lambda: sim.run(self.pipeline, **SHORT))
        # A clone shares the weights, so it knows without asking the device.
        self.device.lose(False)
        for work in (lambda: sim.run(other, **SHORT), lambda: self.pipeline.decode(shape, values),
                     lambda: self.pipeline.enable_cache("pab"), lambda: sim.clone(other),
                     lambda: sim.submit(other, **SHORT), lambda: sim.encode(other)):
            self.refused(work)
        self.device.lose()
        self.assertEqual(sim.text(library, "cvx_pipeline_device", self.pipeline.pointer), "cuda:0")
        # Frames on the device are out of reach, and their object can be freed.
        self.refused(lambda: self.pipeline._frames(video))
        library.video_free(video)
        for pipeline in (self.pipeline, other):
            pipeline.close()
        self.assertEqual(self.device.memory(), 0)

    def test_jobs_that_wait_end_and_say_so(self):
        def lose(stage, done, total):
            if (stage, done) == ("denoise", 1):
                self.device.lose()
        jobs = [sim.submit(self.pipeline, on_progress=lose, **SHORT),
                sim.submit(self.pipeline, **SHORT)]
        self.pipeline.close()
        for job in jobs:
            self.refused(job.video)
            job.free()
        # The worker lets go of the pipeline after it has told of the job.
        deadline = time.monotonic() + 10
        while self.device.memory() != 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertEqual(self.device.memory(), 0)

    def test_a_load_on_it_fails_and_leaves_nothing(self):
        self.pipeline.close()
        self.device.lose()
        self.refused(lambda: cvx.Pipeline(library, sim.MODEL, "cuda", "f16"))
        self.assertEqual(self.device.memory(), 0)

    def test_the_cpu_goes_on(self):
        on_cpu = cvx.Pipeline(library, sim.MODEL, "cpu")
        before = sim.frames(on_cpu, **SHORT)
        self.device.lose()
        self.refused(lambda: sim.run(self.pipeline, **SHORT))
        self.assertEqual(sim.frames(on_cpu, **SHORT), before)
        self.pipeline.close()
        self.assertEqual(sim.frames(on_cpu, **SHORT), before)
        on_cpu.close()

    def test_a_process_that_lost_it_ends_in_order_and_prints_nothing(self):
        said = alone(
            "p = cvx.Pipeline(library, sim.MODEL, 'cuda', 'f16'); d = sim.Device()\n"
            "lose = lambda s, done, total: d.lose() if (s, done) == ('denoise', 1) else None\n"
            "try: sim.run(p, steps=3, frames=5, on_progress=lose)\n"
            "except cvx.CvxError as e: print(e.code)\n"
            "p.close(); print(d.memory())")
        self.assertEqual(said.split(), [str(DEVICE_LOST), "0"])


if __name__ == "__main__":
    unittest.main()

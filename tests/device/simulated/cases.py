"""What the tests of the library on the simulated device have in common."""

import os
import subprocess
import sys
import unittest

import cvx_sim as sim
from cvx_sim import cvx

INVALID_ARGUMENT, DEVICE_UNAVAILABLE, OUT_OF_MEMORY, CANCELLED, DEVICE_LOST = 2, 7, 8, 10, 14


def alone(script, **environment):
    """What a script prints in a process of its own: a process looks for CUDA once. It must end
    well, and write nothing to stderr: the host's belongs to the host."""
    head = (f"import sys; sys.path.insert(0, {sim.HERE!r})\n"
            "import cvx_sim as sim; cvx = sim.cvx; library = cvx.Library()\n")
    result = subprocess.run([sys.executable, "-c", head + script], capture_output=True, text=True,
                            env={**os.environ, **environment}, check=False)
    if result.returncode != 0 or result.stderr:
        raise AssertionError(f"{result.returncode}: {result.stderr[-2000:]}")
    return result.stdout.strip()


def load(device, dtype="f32"):
    """A script that loads the demo model as `p`, or prints why not and ends."""
    return (f"try: p = cvx.Pipeline(library, sim.MODEL, {device!r}, {dtype!r})\n"
            "except cvx.CvxError as e: print(e.code, e); sys.exit()\n")


class OnTheDevice(unittest.TestCase):
    """Runs of the demo model in half precision, on a device that is as it was after each test."""

    @classmethod
    def setUpClass(cls):
        cls.pipeline = cvx.Pipeline(cvx.Library(), sim.MODEL, "cuda", "f16")
        cls.device = sim.Device()
        cls.weights = cls.device.memory()

    @classmethod
    def tearDownClass(cls):
        cls.pipeline.close()
        assert cls.device.memory() == 0, "device memory outlives the pipeline"

    def setUp(self):
        self.pipeline.disable_cache()
        self.device.as_it_was()
        self.addCleanup(lambda: self.assertEqual(self.device.memory(), self.weights))
        self.addCleanup(self.device.as_it_was)

#!/usr/bin/env python3
"""Listing devices, giving memory back, and what is said of a CUDA library that does not fit."""

import os
import tempfile
import unittest

import cvx_sim as sim
from cases import DEVICE_UNAVAILABLE, INVALID_ARGUMENT, OUT_OF_MEMORY, alone, load
from cvx_sim import cvx

library = cvx.Library()
GIB = 1 << 30

# What a process of its own prints of each device.
LIST = ("for d in sim.devices(library): print(d.device, d.usable, d.name, d.uuid,\n"
        "    d.memory_total, d.memory_free, d.capability, d.unusable_reason, sep='|')\n")


def listed(**environment):
    """The devices but for the CPU, as lists of texts."""
    lines = [line.split("|") for line in alone(LIST, **environment).splitlines()]
    assert lines[0][:2] == ["cpu", "1"], lines[0]
    return lines[1:]


class Listing(unittest.TestCase):
    def test_two_devices_are_told_apart(self):
        found = listed(SIMCUDA_DEVICES="2", SIMCUDA_MEMORY=str(8 * GIB), SIMCUDA_CAPABILITY="89")
        uuid = ["GPU-" + "-".join(byte * n for n in (4, 2, 2, 2, 6)) for byte in ("01", "02")]
        size = str(8 * GIB)
        self.assertEqual(found, [
            ["cuda:0", "1", "Simulated GPU 0", uuid[0], size, size, "(8, 9)", ""],
            ["cuda:1", "1", "Simulated GPU 1", uuid[1], size, size, "(8, 9)", ""]])

    def test_luids_are_told_where_there_are_some(self):
        said = ("for d in sim.devices(library): print(d.has_luid, d.luid_node_mask, hex(d.luid))")
        self.assertEqual(alone(said).split("\n"), 2 * ["0 0 0x0"])
        found = alone(said, SIMCUDA_LUID="1", SIMCUDA_DEVICES="2").split("\n")
        self.assertEqual(found, ["0 0 0x0", "1 1 0x" + "1".zfill(2)[1:] + "01" * 7,
                                 "1 2 0x" + "2" + "02" * 7])

    def test_listing_takes_no_memory_of_a_device(self):
        said = alone("sim.devices(library); d = sim.Device()\n"
                     "print(d.count('allocations'), d.reserved())")
        self.assertEqual(said, "0 0")

    def test_without_a_gpu_there_is_the_cpu(self):
        self.assertEqual(listed(SIMCUDA_DEVICES="0"), [])

    def test_a_device_that_libtorch_does_not_find_says_why(self):
        found = listed(SIMCUDA_DEVICES="1", SIMCUDA_DRIVER_DEVICES="2")
        self.assertEqual([device[1] for device in found], ["1", "0"])
        self.assertIn("libtorch finds no more than 1", found[1][7])
        found = listed(SIMCUDA_DEVICES="0", SIMCUDA_DRIVER_DEVICES="1")
        self.assertEqual((len(found), found[0][1]), (1, "0"))
        self.assertIn("Found no NVIDIA driver", found[0][7])

    def test_free_memory_is_what_the_allocator_has_not_reserved(self):
        said = alone(load("cuda:1") + "d = sim.Device()\n"
                     "free = lambda: [i.memory_total - i.memory_free\n"
                     "                for i in sim.devices(library)[1:]]\n"
                     "print(free() == [0, d.reserved(1)], d.reserved(1) > 0)", SIMCUDA_DEVICES="2")
        self.assertEqual(said, "True True")

    def test_a_name_of_the_list_can_be_loaded_on(self):
        said = alone("for d in sim.devices(library):\n"
                     "    p = cvx.Pipeline(library, sim.MODEL, d.device, 'f32')\n"
                     "    print(sim.text(library, 'cvx_pipeline_device', p.pointer) == d.device)\n",
                     SIMCUDA_DEVICES="2")
        self.assertEqual(said.split(), ["True"] * 3)


class Trimming(unittest.TestCase):
    def test_what_the_allocator_keeps_goes_and_the_pipeline_stays(self):
        said = alone(load("cuda") + "d = sim.Device(); before = sim.frames(p, steps=2)\n"
                     "kept = d.reserved() - d.memory()\n"
                     "sim.trim(library, 'cuda:0')\n"
                     "print(kept > 0, d.reserved() == d.memory() > 0)\n"
                     "print(sim.frames(p, steps=2) == before)")
        self.assertEqual(said.split(), ["True", "True", "True"])

    def test_it_loads_nothing(self):
        maps = "print('libtorch_cuda' in open('/proc/self/maps').read())\n"
        said = alone(f"for name in ('cpu', 'cuda', 'cuda:7'): sim.trim(library, name)\n{maps}"
                     f"sim.devices(library)\n{maps}")
        self.assertEqual(said.split(), ["False", "True"])

    def test_what_is_no_device_is_refused(self):
        said = alone(load("cuda") + "for name in ('cuda:1', 'gpu', 'auto', ''):\n"
                     "    try: sim.trim(library, name)\n"
                     "    except cvx.CvxError as e: print(e.code)", SIMCUDA_DEVICES="1")
        self.assertEqual(said.split(), [str(DEVICE_UNAVAILABLE)] + 3 * [str(INVALID_ARGUMENT)])


class Limits(unittest.TestCase):
    def test_a_limit_holds_in_loads_and_runs_until_another_one(self):
        said = alone(
            "mib = 1 << 20; d = None\n"
            "def load(limit, device='cuda:1'):\n"
            "    return sim.load_with(library, sim.MODEL, device, max_device_memory=limit)\n"
            "def fails(work):\n"
            "    try: work()\n"
            "    except cvx.CvxError as e: print(e.code, d and d.memory(1) == weights)\n"
            # Weights take 22 MiB in float32, and a run some more.
            "fails(lambda: load(20 * mib)); d = sim.Device(); print(d.memory(1))\n"
            "p = load(25 * mib); weights = d.memory(1); run = lambda q: sim.frames(q, steps=2, frames=9)\n"
            "fails(lambda: run(p)); print(d.memory(1) == weights)\n"
            "q = load(1 << 50); wide = run(q); print(run(p) == wide, d.peak(1) > 25 * mib)\n"
            # It stays when a load fails by it; 0 leaves it, and the other device has none.
            "q.close(); fails(lambda: load(25 * mib)); fails(lambda: load(0)); fails(lambda: run(p))\n"
            "print(run(load(0, 'cuda:0')) == wide)", SIMCUDA_DEVICES="2")
        self.assertEqual(said.split("\n"), [
            f"{OUT_OF_MEMORY} None", "0", f"{OUT_OF_MEMORY} True", "True", "True True",
            *3 * [f"{OUT_OF_MEMORY} True"], "True"])

    def test_on_the_cpu_it_is_without_effect(self):
        said = alone("p = sim.load_with(library, sim.MODEL, 'cpu', max_device_memory=1)\n"
                     "print(sim.frames(p, steps=1, frames=1)[0][0])")
        self.assertEqual(said, "1")


class Versions(unittest.TestCase):
    """Libraries that do not belong together."""

    # Loads the demo model, or says why not, and prints what the library warned of.
    SCRIPT = ("import ctypes, sys\n"
              "said = []\n"
              "def log(level, text):\n"
              "    if level >= 3: said.append(text)\n"
              "try: p = sim.load_with_log(library, sim.MODEL, 'cuda', log)\n"
              "except cvx.CvxError as e: print(e.code, e)\n"
              "for text in said: print(text)\n")

    def beside(self, files, **environment):
        """The same with the simulated library in a folder above which there are such files."""
        with tempfile.TemporaryDirectory() as root:
            os.mkdir(os.path.join(root, "lib"))
            simulated = os.environ["LD_LIBRARY_PATH"].split(":")[0]
            for name in ("libtorch_cuda.so", "libcuda.so.1", "libnvidia-ml.so.1"):
                os.symlink(os.path.join(simulated, name), os.path.join(root, "lib", name))
            for name, text in files.items():
                with open(os.path.join(root, name), "w", encoding="utf-8") as file:
                    file.write(text)
            return alone(self.SCRIPT, LD_LIBRARY_PATH=os.path.join(root, "lib"), **environment)

    def test_what_belongs_together_is_no_matter(self):
        self.assertEqual(alone(self.SCRIPT), "")
        self.assertEqual(self.beside({"build-version": "2.11.0\n"}), "")
        self.assertEqual(self.beside({"version.py": "__version__ = '2.11.0+cu130'\n"}), "")

    def test_another_patch_release_is_warned_of(self):
        said = self.beside({"version.py": "__version__ = '2.11.1+cu130'\n"})
        self.assertEqual(len(said.splitlines()), 1, said)
        for part in ("lib/libtorch_cuda.so", "PyTorch 2.11.1+cu130", "built with 2.11.0"):
            self.assertIn(part, said)

    def test_another_release_is_not_loaded(self):
        said = self.beside({"build-version": "2.10.0+cu128\n"})
        self.assertTrue(said.startswith(f"{DEVICE_UNAVAILABLE} "), said)
        self.assertIn("PyTorch 2.10.0+cu128", said)
        with_maps = self.SCRIPT
        try:
            self.SCRIPT += "print('libtorch_cuda' in open('/proc/self/maps').read())\n"
            self.assertTrue(self.beside({"build-version": "2.10.0"}).endswith("False"))
        finally:
            self.SCRIPT = with_maps

    def test_another_cuda_and_an_old_cudnn_are_warned_of(self):
        said = alone(self.SCRIPT, SIMCUDA_CUDART="12060", SIMCUDA_CUDNN="91002").splitlines()
        self.assertEqual(len(said), 2, said)
        self.assertIn("CUDA 12.6", said[0])
        self.assertIn("cuDNN 9.10.2", said[1])
        self.assertIn("no cuDNN", alone(self.SCRIPT, SIMCUDA_CUDNN="0"))


if __name__ == "__main__":
    unittest.main()

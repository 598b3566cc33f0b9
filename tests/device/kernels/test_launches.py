#!/usr/bin/env python3
"""fused.py, which launches the kernels for probe.py, on the stand-in for the driver: its arguments are
the kernels', and its compositions of libtorch's operators what the kernels compute. For a Python that
has PyTorch; LD_LIBRARY_PATH names the folder of the stand-in."""

import os
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

import fused  # noqa: E402

try:
    import torch
except ImportError:
    torch = None


@unittest.skipIf(torch is None, "PyTorch is not there")
class Launches(unittest.TestCase):
    def test_each_kernel_is_near_its_composition(self):
        # Addresses as the stand-in has those of a device (tests/device/simulated/simcuda.h).
        plain = torch.Tensor.data_ptr
        torch.Tensor.data_ptr = lambda tensor: plain(tensor) | 1 << 62
        try:
            for dtype, limit in ((torch.bfloat16, 8e-3), (torch.float16, 1e-3), (torch.float32, 1e-5)):
                module = fused.Module(lambda: 0)
                for name, launch, _, results, _, _ in fused.cases(torch, "cpu", dtype, True):
                    with self.subTest(f"{name}, {dtype}"):
                        launch(module)
                        found, expected = (part.float() for part in results())
                        self.assertLess(float((found - expected).norm() / expected.norm()), limit)
                module.close()
        finally:
            torch.Tensor.data_ptr = plain


if __name__ == "__main__":
    unittest.main()

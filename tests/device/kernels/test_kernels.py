#!/usr/bin/env python3
"""The kernels for CUDA devices, without one: what NVIDIA's compiler makes of them, and their numbers
on the CPU. `make test-kernels`.

NVRTC is where pip put nvidia-cuda-nvrtc-cu12, CXX a C++ compiler.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import nvrtc  # noqa: E402

# A kernel whose 512 numbers can't all be in registers.
SPILLING = """
extern "C" __global__ void __launch_bounds__(1024) planted(float *x) {
  float v[512];
  for (int i = 0; i < 512; ++i) v[i] = x[i * 1024 + threadIdx.x];
  __syncthreads();
  for (int i = 0; i < 512; ++i) x[(i * 7 % 512) * 1024 + threadIdx.x] = v[i] * v[(i * 3 + 1) % 512];
}
"""


class Compiled(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.compiler = nvrtc.Compiler(os.environ["NVRTC"])

    def test_the_ptx_is_what_the_sources_give(self):
        with open(nvrtc.PTX, "rb") as file:
            kept = file.read()
        self.assertTrue(nvrtc.digest().encode() in kept, "run `make kernels`")
        self.assertTrue(kept == self.compiler.ptx(), "run `make kernels`")

    def test_all_variables_are_in_registers_on_every_card(self):
        for card in nvrtc.CARDS:
            with self.subTest(card):
                spilled, kernels = nvrtc.in_local_memory(self.compiler.compile(card)[1])
                self.assertEqual(spilled, {})
                # As many as there are entries in the PTX.
                with open(nvrtc.PTX, encoding="utf-8") as file:
                    self.assertEqual(kernels, file.read().count(".entry "))

    def test_a_variable_in_memory_would_be_found(self):
        log = self.compiler.compile("sm_80", SPILLING)[1]
        self.assertEqual(list(nvrtc.in_local_memory(log)[0]), ["planted"])


# Of a file, what stands there and what is to stand there: mistakes that the numbers must show.
MISTAKES = {
    "the first token of the video is not turned":
        ("tokens.cuh", "token >= text", "token > text"),
    "the scale is not added to 1":
        ("tokens.cuh", "*= 1 + factor[i]", "*= factor[i]"),
    "the first token of the video has the text's vectors":
        ("tokens.cuh", "(u32)tokens < (u32)text;", "(u32)tokens <= (u32)text;"),
    "the sum of squares of numbers far from zero":
        ("tokens.cuh", "      v[part][i] -= mean;\n      squares += v[part][i] * v[part][i];",
         "      squares += v[part][i] * v[part][i] - mean * mean;\n      v[part][i] -= mean;"),
    "no barrier between two sums":
        ("tokens.cuh", "  __syncthreads();\n  return sum;", "  return sum;"),
    "a row is normed as it was before the branch":
        ("tokens.cuh", "for (int i = 0; i < 8; ++i) v[part][i] += g[i] * b[i];\n      store(x + start + at, v[part]);",
         "for (int i = 0; i < 8; ++i) b[i] = v[part][i] + g[i] * b[i];\n      store(x + start + at, b);"),
    "moments are merged without the distance of means":
        ("video.cuh", "difference * difference * into.count * share", "0 * difference"),
    "lines are those of half the height":
        ("video.cuh", "line = row / (height / lines)", "line = row / (height / lines) / 2"),
    "a frame has the modulation of the first":
        ("video.cuh", "frames.of[blockIdx.y]", "frames.of[0]"),
    "writing beyond the end":
        ("video.cuh", "if (vector >= vectors) return;", "if (vector > vectors) return;"),
    "rounding toward zero":
        ("numbers.cuh", "pack(x[2 * i], x[2 * i + 1], T())",
         "pack(x[2 * i] * 0.998f, x[2 * i + 1] * 0.998f, T())"),
}


class Arithmetic(unittest.TestCase):
    """tests/device/kernels/test_arithmetic.cpp."""

    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory()) \
            if hasattr(self, "enterContext") else self.made_folder()

    def made_folder(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return folder.name

    def run_with(self, name, *change):
        """The exit status and what is printed, of kernels with a change."""
        folder = os.path.join(self.folder, name)
        shutil.copytree(nvrtc.KERNELS, folder)
        if change:
            file, old, new = change
            path = os.path.join(folder, file)
            with open(path, encoding="utf-8") as kernels:
                text = kernels.read()
            self.assertIn(old, text)
            with open(path, "w", encoding="utf-8") as kernels:
                kernels.write(text.replace(old, new))
        # A change is looked for in one dtype, to be quick.
        quick = ["-O0", "-DONLY_BF16"] if change else ["-O1", "-Wall", "-Wextra", "-Werror"]
        program = os.path.join(folder, "test")
        here = os.path.dirname(os.path.abspath(__file__))
        subprocess.run([os.environ.get("CXX", "c++"), "-std=c++17", *quick, "-Wno-unknown-pragmas", f"-I{here}",
                        f'-DKERNELS="{os.path.join(folder, "kernels.cu")}"',
                        os.path.join(here, "test_arithmetic.cpp"), "-o", program], check=True)
        result = subprocess.run([program], capture_output=True, text=True, check=False)
        return result.returncode, result.stdout

    def test_the_numbers_are_those_of_double_precision(self):
        status, printed = self.run_with("as_they_are")
        self.assertEqual(status, 0, printed)
        # Of each kernel in each dtype.
        for name in ("norm_heads", "norm_modulate", "gate_norm_modulate", "add_gated", "moments",
                     "modulate_silu"):
            for dtype in ("bf16", "f16", "float"):
                self.assertIn(f"{name} {dtype}", printed)

    def test_mistakes_would_be_found(self):
        for number, (mistake, change) in enumerate(MISTAKES.items()):
            with self.subTest(mistake):
                self.assertEqual(self.run_with(str(number), *change)[0], 1)


if __name__ == "__main__":
    unittest.main()

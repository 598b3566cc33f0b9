#!/usr/bin/env python3
"""The probe (probe.py) as it runs where there is no GPU: on the CPU, and on the simulated device.

What a card is to decide is decided by limits, so they are tried: float32 with the mantissa of TF32 must
be found out. CVX_LIBRARY names the library; the simulated device is used where LD_LIBRARY_PATH has it.
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
SIMULATED = any(os.path.exists(os.path.join(folder, "libtorch_cuda.so"))
                for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder)


def probe(*arguments, **environment):
    """(exit status, rows) of smoke, at the size of a test unless `full_size`."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "rows")
        result = subprocess.run(
            [sys.executable, os.path.join(HERE, "probe.py"), "smoke", "--without-torch", "--rows",
             path, *arguments], capture_output=True, text=True, check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment})
        with open(path, encoding="utf-8") as file:
            kept = file.read()
    if result.stderr or kept != result.stdout:
        raise AssertionError(result.stderr[-2000:] or "the file has other rows")
    return result.returncode, [json.loads(line) for line in result.stdout.splitlines()]


def errors(rows):
    return {row["dtype"]: row["latents_error"] for row in rows
            if row["row"] == "results" and "dtype" in row}


class Cpu(unittest.TestCase):
    def test_the_cpu_is_itself(self):
        status, rows = probe("--device", "cpu", "--short")
        self.assertEqual((status, rows[-1]), (0, dict(rows[-1], ok=True, failed=[])))
        self.assertEqual(errors(rows), {"f32": 0.0, "f16": 0.0, "bf16": 0.0})
        self.assertIn("same seed, same bytes", [row["row"] for row in rows])

    def test_what_fails_is_a_row_and_the_rest_goes_on(self):
        status, rows = probe("--device", "cuda:77", "--short", LD_LIBRARY_PATH="")
        self.assertEqual(status, 1)
        failed = rows[-1]["failed"]
        self.assertIn("results f32", failed)
        self.assertIn("same seed", failed)
        self.assertTrue(any("CUDA" in row.get("error", "") for row in rows))


@unittest.skipUnless(SIMULATED, "make test-simulated runs it with the simulated device")
class Simulated(unittest.TestCase):
    def test_float32_is_near_and_half_precision_within_its_limits(self):
        # As on a card: convolutions that allow TF32 take it, and in float32 none of ours does.
        status, rows = probe("--short", SIMCUDA_TF32="1")
        self.assertEqual(status, 0, rows)
        found = errors(rows)
        self.assertLess(found["f32"], 2e-5)
        self.assertLess(found["f16"], found["bf16"])
        self.assertEqual(3, sum(row["row"] == "results, fused kernels" for row in rows))

    def test_tf32_is_found_out(self):
        status, rows = probe("--short", SIMCUDA_TF32="2")
        self.assertEqual((status, rows[-1]["failed"]), (1, ["results", "results, fused kernels"]))
        off, = (row for row in rows if row["row"] == "results" and not row["ok"])
        self.assertEqual(off["dtype"], "f32")
        self.assertGreater(off["latents_error"], 2 * off["limit"])


if __name__ == "__main__":
    unittest.main()

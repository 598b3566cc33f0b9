#!/usr/bin/env python3
"""Quantized weights on the simulated device: what its allocator counts, and the runs."""

import unittest

from cases import alone

# Loads the demo model with its transformer quantized, and prints what a script asks for.
LOAD = """
def load(kind, dtype):
    options = library.load_options_new()
    library.load_options_set_device(options, b"cuda")
    library.load_options_set_dtype(options, dtype.encode())
    if kind:
        set = sim.function(library, "cvx_load_options_set_component_quantization",
                           cvx.P, cvx.STR, cvx.STR)
        set(options, b"transformer", kind.encode())
        set(options, b"text_encoder", kind.encode())
    p = cvx.Pipeline.__new__(cvx.Pipeline)
    p.library, p.pointer = library, cvx.P()
    library.pipeline_load(sim.MODEL.encode(), options, sim.ctypes.byref(p.pointer))
    library.load_options_free(options)
    return p
library._handle.cvx_pipeline_weight_bytes.argtypes = [cvx.P]
library._handle.cvx_pipeline_weight_bytes.restype = sim.ctypes.c_uint64
def frames(p):
    return list(sim.frames_of(p, sim.generate(p, steps=3)))
"""

MEMORY = LOAD + """
p = load(None, {dtype!r})
d = sim.Device()
whole = d.memory()
p.close()
d.reset()
p = load({kind!r}, {dtype!r})
said = library._handle.cvx_pipeline_weight_bytes(p.pointer)
now, peak = d.memory(), d.peak()
sim.run(p, steps=1)
after = d.memory()
p.close()
print(whole, said, now, peak, after, d.memory())
"""

RUNS = LOAD + """
whole = load(None, {dtype!r})
expected = frames(whole)
p = load({kind!r}, {dtype!r})
found, again = frames(p), frames(p)
square = sum((a - b) ** 2 for a, b in zip(found, expected)) / len(expected)
print(found == again, square)
"""


class Quantized(unittest.TestCase):
    def test_the_device_holds_what_the_pipeline_says_and_less_than_the_whole_at_any_time(self):
        for kind in ("int8", "fp8", "int4"):
            for dtype in ("f32", "f16", "bf16"):
                with self.subTest(kind=kind, dtype=dtype):
                    numbers = alone(MEMORY.format(kind=kind, dtype=dtype))
                    whole, said, now, peak, after, end = map(int, numbers.split())
                    # The allocator rounds up to 512 bytes a tensor.
                    self.assertLess(now - said, 512 * 1000)
                    self.assertLess(now, whole)
                    self.assertEqual((after, end), (now, 0))
                    if dtype == "f32":
                        self.assertLess(peak, whole)

    def test_runs_are_near_those_of_whole_weights(self):
        for kind, most in (("int8", 1e-3), ("fp8", 1e-2), ("int4", 3e-2)):
            for dtype in ("f32", "f16", "bf16"):
                with self.subTest(kind=kind, dtype=dtype):
                    same, square = alone(RUNS.format(kind=kind, dtype=dtype)).split()
                    self.assertEqual(same, "True")
                    self.assertLess(float(square), most)
                    self.assertGreater(float(square), 0)


if __name__ == "__main__":
    unittest.main()

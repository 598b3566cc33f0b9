#!/usr/bin/env python3
"""Quantized weights on the simulated device: what its allocator counts, and the runs."""

import json
import unittest

from cases import alone

# Loads the demo model with its transformer quantized, and prints what a script asks for.
LOAD = """
def load(kind, dtype):
    options = library.load_options_new()
    library.load_options_set_device(options, b"cuda")
    library.load_options_set_dtype(options, dtype.encode())
    library.load_options_set_prompt_cache_size(options, 0)
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
    return list(sim.frames_of(p, sim.generate(p, steps=2))[1])
"""

EACH = LOAD + """
import json
d, said = sim.Device(), {}
for dtype in ("f32", "f16", "bf16"):
    p = load(None, dtype)
    whole, expected = d.memory(), frames(p)
    p.close()
    for kind in ("int8", "fp8", "int4"):
        d.reset()
        p = load(kind, dtype)
        weights = library._handle.cvx_pipeline_weight_bytes(p.pointer)
        now, peak = d.memory(), d.peak()
        found = frames(p)
        square = sum((a - b) ** 2 for a, b in zip(found, expected)) / len(expected)
        after = d.memory()
        same = found == frames(p)
        p.close()
        said[dtype + " " + kind] = [whole, weights, now, peak, after, d.memory(), same, square]
print(json.dumps(said))
"""

FLOAT8 = LOAD + """
expected = frames(load("fp8", {dtype!r}))
try:
    p = load("fp8_compute", {dtype!r})
except cvx.CvxError as e:
    print(json.dumps(str(e)))
else:
    found = frames(p)
    square = sum((a - b) ** 2 for a, b in zip(found, expected)) / len(expected)
    print(json.dumps([found == frames(p), square]))
"""

# Bytes of weights on the device, the most in a run, and how often steps wait.
STREAMED = LOAD.replace("def load(kind, dtype):", "def load(kind, dtype, mode='resident'):").replace(
    "    p = cvx", """    for component in (b"transformer", b"text_encoder"):
        library.load_options_set_weight_streaming(options, component, mode.encode())
    p = cvx""") + """
import json
d, said = sim.Device(), {}
for dtype, kinds in (("f32", ("int8",)), ("f16", ("fp8", "int4"))):
    for kind in kinds:
        p = load(kind, dtype)
        resident, expected = d.memory(), frames(p)
        d.reset()
        frames(p)
        resident_peak = d.peak()
        p.close()
        for mode in ("file", "host"):
            p = load(kind, dtype, mode)
            streamed, found, at = d.memory(), frames(p), {}
            d.reset()
            sim.run(p, steps=2, on_progress=lambda *now: at.update({now[:2]: d.count("waits")}))
            first = max(count for (stage, _), count in at.items() if stage == "encode")
            peak = d.peak()
            p.close()
            said[" ".join((dtype, kind, mode))] = [
                resident, streamed, peak, resident_peak, found == expected,
                at["denoise", 2] - first, d.memory()]
print(json.dumps(said))
"""


class Quantized(unittest.TestCase):
    def test_products_of_float8_numbers_want_a_card_that_has_them(self):
        for capability in ("75", "80", "86"):
            said = json.loads(alone("import json\n" + FLOAT8.format(dtype="f16"),
                                    SIMCUDA_CAPABILITY=capability))
            for words in ("fp8_compute", "8.9 or later", "capability " + ".".join(capability)):
                self.assertIn(words, said)
        for capability, dtype in (("89", "f16"), ("90", "bf16"), ("90", "f32")):
            same, square = json.loads(alone("import json\n" + FLOAT8.format(dtype=dtype),
                                            SIMCUDA_CAPABILITY=capability))
            self.assertTrue(same)
            self.assertLess(square, 1e-2)
            self.assertGreater(square, 0)

    def test_the_device_holds_what_the_pipeline_says_and_runs_are_near(self):
        most = {"int8": 1e-3, "fp8": 1e-2, "int4": 3e-2}
        for name, numbers in json.loads(alone(EACH)).items():
            with self.subTest(name):
                whole, said, now, peak, after, end, same, square = numbers
                # The allocator rounds up to 512 bytes a tensor.
                self.assertLess(now - said, 512 * 1000)
                self.assertLess(now, whole)
                self.assertEqual((after, end), (now, 0))
                if name.startswith("f32"):
                    self.assertLess(peak, whole, "the component was on the device whole")
                self.assertTrue(same)
                self.assertLess(square, most[name.split()[1]])
                self.assertGreater(square, 0)

    def test_what_is_quantized_by_the_load_streams_from_host_memory(self):
        for name, numbers in json.loads(alone(STREAMED)).items():
            with self.subTest(name):
                resident, streamed, peak, resident_peak, same, waits, end = numbers
                self.assertLess(streamed, 0.75 * resident)
                self.assertLess(peak, 0.9 * resident_peak)
                self.assertTrue(same)
                self.assertEqual((waits, end), (0, 0))


if __name__ == "__main__":
    unittest.main()

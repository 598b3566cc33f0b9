#!/usr/bin/env python3
"""What examples/vulkan draws is the video, pixel by pixel, and it is drawn while it is decoded.

Usage: test_picture.py PROGRAM, with LIB_DIR naming the folder of the library.
"""

import glob
import os
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
sys.path.insert(0, os.path.join(ROOT, "tests", "python"))

import cvx  # noqa: E402

MODEL = os.path.join(ROOT, "examples", "demo-model", "pipeline")
PROMPT = "a red ball moves right on a black background"
STEPS, FRAMES = 2, 17
PROGRAM = sys.argv.pop(1) if len(sys.argv) > 1 else "picture"
# Where distributions put the manifest of lavapipe.
DRIVERS = glob.glob("/usr/share/vulkan/icd.d/lvp_icd*.json")


def draw(output, *arguments):
    environment = dict(os.environ, VK_ICD_FILENAMES=DRIVERS[0], VK_DRIVER_FILES=DRIVERS[0])
    return subprocess.run([PROGRAM, MODEL, PROMPT, output, *arguments], capture_output=True,
                          text=True, check=False, env=environment)


class Picture(unittest.TestCase):
    def test_what_is_drawn_is_the_video_and_comes_while_it_is_decoded(self):
        with tempfile.TemporaryDirectory() as folder:
            output = os.path.join(folder, "drawn")
            result = draw(output, str(STEPS), str(FRAMES))
            self.assertEqual(result.returncode, 0, result.stderr)
            with open(output, "rb") as file:
                drawn = file.read()
        lines = result.stdout.splitlines()
        self.assertIn("llvmpipe", lines[0])
        self.assertEqual(lines[-1], f"the run has ended: {FRAMES} frames")
        # Group by group: the first is drawn before the second is decoded.
        self.assertEqual([line.split()[1] for line in lines[1:-1]], ["0", "9"])
        library = cvx.Library(os.path.join(os.environ["LIB_DIR"], "libcogvideox.so"))
        pipeline = cvx.Pipeline(library, MODEL, "cpu", "f32")
        shape, latents = pipeline.generate(PROMPT, STEPS, seed=0, num_frames=FRAMES,
                                            latents=True)
        shape, floats = pipeline.decode(shape, latents)
        pipeline.close()
        expected = bytearray()
        for start in range(0, len(floats), 3):
            expected += bytes(round(value * 255) for value in floats[start:start + 3]) + b"\xff"
        self.assertEqual(len(drawn), len(expected))
        # Rounding of Python's double differs where float32 lies on a tie.
        far = [i for i, (a, b) in enumerate(zip(drawn, expected)) if abs(a - b) > 1]
        off = sum(a != b for a, b in zip(drawn, expected))
        self.assertEqual((far[:3], off < 20), ([], True), off)
        self.assertGreater(len(set(drawn)), 50, "a picture")

    def test_an_error_is_told(self):
        result = draw("/no/such/folder/drawn", "1", "1")
        self.assertEqual(result.returncode, 1)
        self.assertIn("picture: cannot write", result.stderr)


if __name__ == "__main__":
    if not DRIVERS:
        sys.exit("test-vulkan needs Mesa's software driver: install mesa-vulkan-drivers")
    unittest.main()

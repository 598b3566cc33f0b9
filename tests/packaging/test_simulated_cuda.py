"""No package comes with the simulated CUDA device of the tests."""

import sys
import unittest

from support import ROOT, new_folder, run

sys.path.insert(0, str(ROOT / "packaging"))

import layout  # noqa: E402
from release import Refused  # noqa: E402


class SimulatedCuda(unittest.TestCase):
    def folder(self, source):
        """A folder that looks like libtorch's, with a CUDA library made of `source`."""
        folder = new_folder("libtorch")
        (folder / "libtorch_cpu.so").touch()
        (folder / "cuda.c").write_text(source, encoding="utf-8")
        run("cc", "-shared", "-fPIC", "cuda.c", "-o", "libtorch_cuda.so", cwd=folder)
        return str(folder)

    def installation(self, libtorch):
        return layout.installation("/p", "/p/lib", "/p/include", "/p/share", libtorch)

    def test_an_installation_does_not_look_for_libtorch_beside_it(self):
        with self.assertRaisesRegex(Refused, "simulated CUDA device"):
            self.installation(self.folder("int simcuda_counter(void) { return 0; }"))
        self.assertEqual(self.installation(self.folder("int other;")).libtorch, None)


if __name__ == "__main__":
    unittest.main()

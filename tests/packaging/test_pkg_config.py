"""A C program and a Makefile with pkg-config."""

import unittest

from support import (MODEL, RELEASE, SONAME, dynamic, environment, expected_frames, frames_of, installation,
                     project, run)


class PkgConfig(unittest.TestCase):
    def test_makefile(self):
        folder = project("c")
        # A blank in the path of a prefix is beyond make and the shell, so by a link without one.
        prefix = folder / "prefix"
        prefix.symlink_to(installation())
        env = environment(PKG_CONFIG_PATH=prefix / "lib" / "pkgconfig")
        self.assertEqual(run("pkg-config", "--modversion", "cogvideox", env=env).strip(), RELEASE)
        run("make", cwd=folder, env=env)
        self.assertIn(SONAME, dynamic(folder / "generate")["NEEDED"])
        self.assertEqual(frames_of(folder / "generate", MODEL), expected_frames())


if __name__ == "__main__":
    unittest.main()

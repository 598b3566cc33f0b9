"""The Go and C# bindings from a package: their sources, and the library behind them."""

import os
import unittest

from support import (GO, MODEL, RELEASE, distribution, dynamic, environment, expected_frames, frames_of, installation,
                     project, run)


class Go(unittest.TestCase):
    def program(self, prefix, binding):
        """A program of the module in `binding`, with the library in `prefix`, by pkg-config."""
        folder = project("go")
        # pkg-config and cgo pass flags by words: a prefix with a blank is reached by a link.
        link = folder / "prefix"
        link.symlink_to(prefix)
        # The user's cache spares compiling Go's own packages; nothing is fetched.
        cache = run(GO, "env", "GOCACHE", env=dict(os.environ)).strip()
        env = environment(PKG_CONFIG_PATH=link / "lib" / "pkgconfig", CGO_LDFLAGS=f"-Wl,-rpath,{link / 'lib'}",
                          CGO_ENABLED="1", GOCACHE=cache, GOPROXY="off", GOTOOLCHAIN="local",
                          GOFLAGS="-buildvcs=false")
        run(GO, "mod", "init", "example.com/generate", cwd=folder, env=env)
        run(GO, "mod", "edit", f"-require=cogvideox@v{RELEASE}", f"-replace=cogvideox={link / binding}",
            cwd=folder, env=env)
        run(GO, "build", "-o", "generate", cwd=folder, env=env)
        return folder / "generate"

    def test_installed(self):
        program = self.program(installation(), "share/cogvideox/go")
        self.assertEqual(frames_of(program, MODEL), expected_frames())

    def test_from_the_folder(self):
        program = self.program(distribution(), "bindings/go")
        self.assertIn("libcogvideox.so", dynamic(program)["NEEDED"])
        self.assertEqual(frames_of(program, MODEL), expected_frames())


class CSharp(unittest.TestCase):
    def program(self, binding):
        """A program with the binding's sources, compiled by mono's compiler."""
        folder = project("csharp")
        run("mcs", "-langversion:7.2", "-out:generate.exe", "Generate.cs", f"-recurse:{binding}/*.cs", cwd=folder)
        return folder / "generate.exe"

    def test_installed(self):
        prefix = installation()
        program = self.program(prefix / "share" / "cogvideox" / "csharp")
        frames = frames_of("mono", program, MODEL, env=environment(LD_LIBRARY_PATH=prefix / "lib"))
        self.assertEqual(frames, expected_frames())

    def test_beside_the_program(self):
        """What a host of plugins does: one folder with the assembly and all libraries."""
        program = self.program(distribution() / "bindings" / "csharp")
        for library in (distribution() / "lib").glob("*.so*"):
            (program.parent / library.name).hardlink_to(library)
        self.assertEqual(frames_of("mono", program, MODEL), expected_frames())


if __name__ == "__main__":
    unittest.main()

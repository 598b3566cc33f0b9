#!/usr/bin/env python3
"""README.md's programs: that it shows the files of examples/, and that these do the same.

    LIB_DIR=target/release python3 tests/readme/check.py

The shortest program in C, C++, C# and Go is compiled against the library in LIB_DIR and run
with the demo model. All four write the same video, byte for byte; without the model each says
in one line what is missing, and fails.
"""

import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIB_DIR = Path(os.environ.get("LIB_DIR") or ROOT / "target" / "release").resolve()
MODEL = "examples/demo-model/pipeline"
# heading in README.md, language of the code block, file
SHOWN = [("C", "c", "examples/c/quickstart.c"), ("C++", "cpp", "examples/cpp/quickstart.cpp"),
         ("C#", "csharp", "examples/csharp/Quickstart.cs"),
         ("Go", "go", "examples/go/quickstart/main.go")]
LINK = [f"-L{LIB_DIR}", "-lcogvideox", f"-Wl,-rpath,{LIB_DIR}",
        f"-Wl,-rpath-link,{ROOT / '.libtorch' / 'lib'}"]


def run(command, **more):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, **more)


def build(command, **more):
    result = run(command, **more)
    if result.returncode != 0:
        raise AssertionError(f"{command[0]}: {result.stdout}{result.stderr}")


def build_c(source, program, folder):
    build(["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}", source,
           "-o", program, *LINK])
    return [program]


def build_cpp(source, program, folder):
    build(["c++", "-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}", source,
           "-o", program, *LINK])
    return [program]


def build_csharp(source, program, folder):
    binding = sorted((ROOT / "bindings" / "csharp" / "Runtime").rglob("*.cs"))
    build(["mcs", "-nologo", "-unsafe", f"-out:{program}.exe", source, *binding])
    return ["mono", f"{program}.exe"]


def build_go(source, program, folder):
    (folder / "cogvideox.pc").write_text(
        f"Name: cogvideox\nDescription: for a test\nVersion: 0.1.0\nCflags: -I{ROOT / 'include'}\n"
        f"Libs: {' '.join(LINK)}\n", encoding="utf-8")
    go = shutil.which("go") or "/usr/local/go/bin/go"
    build([go, "build", "-o", program, "."], cwd=source.parent,
          env={**os.environ, "PKG_CONFIG_PATH": str(folder)})
    return [program]


BUILD = {"c": build_c, "cpp": build_cpp, "csharp": build_csharp, "go": build_go}


class Readme(unittest.TestCase):
    def test_shows_the_programs_as_they_are(self):
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        for heading, language, path in SHOWN:
            program = (ROOT / path).read_text(encoding="utf-8")
            block = f"**{heading}**\n\n```{language}\n{program}```\n"
            self.assertTrue(block in readme, f"README.md does not show {path} as it is")

    def test_programs_do_the_same(self):
        environment = {**os.environ, "OMP_NUM_THREADS": "1",
                       "COGVIDEOX_LIBRARY": str(LIB_DIR / "libcogvideox.so")}
        videos = {}
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for heading, language, path in SHOWN:
                command = BUILD[language](ROOT / path, folder / language, folder)
                place = folder / f"run-{language}"
                place.mkdir()
                failed = run(command, cwd=place, env=environment)
                self.assertEqual(failed.returncode, 1, f"{heading} without a model: {failed}")
                self.assertIn(MODEL, failed.stderr, heading)
                self.assertEqual(len(failed.stderr.splitlines()), 1, failed.stderr)
                (place / "examples").symlink_to(ROOT / "examples")
                done = run(command, cwd=place, env=environment)
                self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""), heading)
                videos[heading] = (place / "ball.mp4").read_bytes()
        self.assertEqual(videos["C"][4:8], b"ftyp")
        for heading, video in videos.items():
            self.assertEqual(video, videos["C"], f"{heading} and C write different videos")


if __name__ == "__main__":
    unittest.main()

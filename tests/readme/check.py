#!/usr/bin/env python3
"""README.md's programs: that it shows the files of examples/, and that these do the same. And
that every file which the papers name or link to is there.

    LIB_DIR=target/release python3 tests/readme/check.py

The shortest program in C, C++, C# and Go is compiled against the library in LIB_DIR and run
with the demo model. All four write the same video, byte for byte; without the model each says
in one line what is missing, and fails.
"""

import re
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "python"))

import programs  # noqa: E402 (needs the path)

MODEL = "examples/demo-model/pipeline"
# heading in README.md, language of the code block, file
SHOWN = [("C", "c", "examples/c/quickstart.c"), ("C++", "cpp", "examples/cpp/quickstart.cpp"),
         ("C#", "csharp", "examples/csharp/Quickstart.cs"),
         ("Go", "go", "examples/go/quickstart/main.go")]

# What maintainers read: every path in it is one of this checkout.
PAPERS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md",
          *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md")))]
# A path from the top on, as it is written between backticks or in a picture; {a,b} is both.
PATH = re.compile(r"(?<![\w/.-])((?:src|tests|include|bindings|docs|examples|packaging|\.ci)/[\w./{},*-]*[\w/}*])")


class Papers(unittest.TestCase):
    def test_every_file_that_is_named_is_there(self):
        for paper in PAPERS:
            path = ROOT / paper
            text = path.read_text(encoding="utf-8")
            named = set(PATH.findall(text))
            for name in sorted(alternative for one in named for alternative in spread(one)):
                self.assertTrue(any(ROOT.glob(name)), f"{paper} names {name}")
            prose = re.sub(r"(?ms)^```.*?^```$", "", text)
            for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", prose):
                self.assertTrue((path.parent / target).exists(), f"{paper} links to {target}")

    def test_the_changelog_knows_the_header(self):
        header = (ROOT / "include/cogvideox.h").read_text(encoding="utf-8")
        text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
        for name in re.findall(r"`(cvx_\w+)", text):
            self.assertIn(name, header)
        for ending in re.findall(r"`…(_\w+)", text):
            self.assertTrue(ending == "_set_" or f"{ending}(" in header, ending)
        manifest = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
        version = re.search(r'(?m)^version = "(.*?)"', manifest)[1]
        self.assertIn(f"## [{version}]", text)


def spread(name):
    """`src/{a,b}.rs` is `src/a.rs` and `src/b.rs`."""
    match = re.search(r"\{([^}]*)\}", name)
    if not match:
        return [name.rstrip("/")]
    return [name[:match.start()] + part + name[match.end():] for part in match[1].split(",")]


class Readme(unittest.TestCase):
    def test_shows_the_programs_as_they_are(self):
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        for heading, language, path in SHOWN:
            program = (ROOT / path).read_text(encoding="utf-8")
            block = f"**{heading}**\n\n```{language}\n{program}```\n"
            self.assertTrue(block in readme, f"README.md does not show {path} as it is")

    def test_programs_do_the_same(self):
        videos = {}
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for heading, language, path in SHOWN:
                command = programs.BUILD[language](ROOT / path, folder / language, folder)
                place = folder / f"run-{language}"
                place.mkdir()
                failed = programs.run(command, cwd=place, env=programs.ENVIRONMENT)
                self.assertEqual(failed.returncode, 1, f"{heading} without a model: {failed}")
                self.assertIn(MODEL, failed.stderr, heading)
                self.assertEqual(len(failed.stderr.splitlines()), 1, failed.stderr)
                (place / "examples").symlink_to(ROOT / "examples")
                done = programs.run(command, cwd=place, env=programs.ENVIRONMENT)
                self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""), heading)
                videos[heading] = (place / "ball.mp4").read_bytes()
        self.assertEqual(videos["C"][4:8], b"ftyp")
        for heading, video in videos.items():
            self.assertEqual(video, videos["C"], f"{heading} and C write different videos")


if __name__ == "__main__":
    unittest.main()

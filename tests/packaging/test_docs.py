"""The samples in docs/ are the ones that the tests run, and do what is said of them."""

import re
import unittest

from support import CONSUMERS, LIBTORCH, ROOT, distribution, files, new_folder, run


def blocks(document, language):
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", text)


class Docs(unittest.TestCase):
    def test_samples_are_the_projects_of_these_tests(self):
        for language, file in (("cmake", "c/CMakeLists.txt"), ("make", "c/Makefile")):
            (sample,) = blocks("packaging.md", language)
            self.assertEqual(sample, (CONSUMERS / file).read_text(encoding="utf-8"))

    def test_every_file_that_is_linked_to_is_there(self):
        for document in ("packaging.md", "unity.md", "unreal.md"):
            text = (ROOT / "docs" / document).read_text(encoding="utf-8")
            for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
                self.assertTrue((ROOT / "docs" / target).exists(), f"{document}: {target}")


class Unreal(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = new_folder("unreal")
        sources = [block for block in blocks("unreal.md", "csharp") if "class CogVideoX " in block]
        assert len(sources) == 1
        (cls.folder / "CogVideoX.Build.cs").write_text(sources[0], encoding="utf-8")
        run("mcs", "-warnaserror", "-out:rules.exe", "CogVideoX.Build.cs", CONSUMERS / "unreal" / "StandIns.cs",
            cwd=cls.folder)
        (cls.folder / "linux-x86_64").symlink_to(distribution())

    def rules(self, platform):
        """What the rules ask for: (what, value) pairs, paths from the package's folder on."""
        output = run("mono", "rules.exe", self.folder, platform, cwd=self.folder)
        text = output.replace(f"{self.folder}/linux-x86_64/", "")
        return {tuple(line.rsplit(" ", 1)) for line in text.splitlines()}

    def test_build_cs_links_and_stages_the_package(self):
        found = files(distribution())
        staged = {f"lib/{name}" for name in ("libcogvideox.so", *LIBTORCH)}
        staged |= {path for path in found if path.startswith("licenses/")}
        self.assertEqual(self.rules("Linux"), {
            ("type", "External"), ("define", "WITH_COGVIDEOX=1"), ("include", "include"),
            ("link", "lib/libcogvideox.so"), ("rpath", "lib"),
            *(("stage NonUFS", path) for path in staged),
        })

    def test_other_platforms_do_without(self):
        self.assertEqual(self.rules("Win64"), {("type", "External"), ("define", "WITH_COGVIDEOX=0")})


if __name__ == "__main__":
    unittest.main()

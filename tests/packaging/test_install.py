"""`make install`: which files, their SONAME and rpath, the variables, `make uninstall`."""

import os
import unittest

from support import (LIB_DIR, LIBTORCH, ROOT, SONAME, VERSIONED, dynamic, files, installation, make, new_folder,
                     run)

LIBRARY = {"lib/libcogvideox.so", f"lib/{SONAME}", f"lib/{VERSIONED}"}


def tracked(folder):
    """Files of the checkout below a folder, relative to it."""
    paths = run("git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard", folder).splitlines()
    return {os.path.relpath(path, folder) for path in paths}


class Install(unittest.TestCase):
    def test_exactly_these_files(self):
        headers = {path for path in tracked("include") if path.endswith((".h", ".hpp"))}
        bindings = {path for path in tracked("bindings")
                    if not path.endswith("_test.go")
                    and not {"tests", "testdata"} & set(path.split("/"))}
        expected = LIBRARY | {
            *(f"lib/cogvideox/{name}" for name in LIBTORCH),
            *(f"include/{path}" for path in headers),
            *(f"share/cogvideox/{path}" for path in bindings),
            "lib/pkgconfig/cogvideox.pc",
            "lib/cmake/cogvideox/cogvideox-config.cmake",
            "lib/cmake/cogvideox/cogvideox-config-version.cmake",
            "share/licenses/cogvideox/LICENSE",
            "share/licenses/cogvideox/THIRD-PARTY-LICENSES.txt",
        }
        found = files(installation())
        licences = {path for path in found if path.startswith("share/licenses/cogvideox/libtorch/")}
        self.assertTrue(any("LICENSE" in path for path in licences), licences)
        self.assertEqual(found - licences, expected)
        self.assertIn("cogvideox.h", headers)

    def test_soname_links_and_rpath(self):
        lib = installation() / "lib"
        self.assertEqual(os.readlink(lib / "libcogvideox.so"), SONAME)
        self.assertEqual(os.readlink(lib / SONAME), VERSIONED)
        section = dynamic(lib / VERSIONED)
        self.assertEqual(section["SONAME"], [SONAME])
        self.assertEqual(section["RPATH"], ["$ORIGIN/cogvideox"])
        self.assertNotIn("RUNPATH", section)
        built = dynamic(LIB_DIR / "libcogvideox.so")
        self.assertEqual(section["NEEDED"], built["NEEDED"])
        for name in LIBTORCH:
            paths = dynamic(lib / "cogvideox" / name)
            rpath = paths.get("RPATH", []) + paths.get("RUNPATH", [])
            self.assertIn(rpath, ([], ["$ORIGIN"]), name)

    def test_stripped_and_the_same_symbols(self):
        library = installation() / "lib" / "libcogvideox.so"
        sections = run("readelf", "-SW", library)
        self.assertNotIn(".debug_line", sections)
        self.assertNotIn(".symtab", sections)
        self.assertLess(library.stat().st_size, 12 << 20)
        exported = [
            sorted(line.split()[-1] for line in run("nm", "-D", "--defined-only", path).splitlines())
            for path in (library, LIB_DIR / "libcogvideox.so")
        ]
        self.assertEqual(*exported)

    def test_no_path_of_this_machine_in_any_text(self):
        prefix = installation()
        for path in files(prefix):
            if path.endswith((".pc", ".cmake", ".h", ".hpp")):
                text = (prefix / path).read_text(encoding="utf-8")
                self.assertNotIn(str(ROOT), text, path)
                self.assertNotIn(str(prefix.parent), text, path)

    def test_licences_of_all_that_is_inside(self):
        folder = installation() / "share" / "licenses" / "cogvideox"
        text = (folder / "THIRD-PARTY-LICENSES.txt").read_text(encoding="utf-8")
        for package in ("tokenizers", "tch", "torch-sys", "openh264-sys2", "safetensors"):
            self.assertRegex(text, rf"(?m)^{package} \d+\.\d+\S*: ")
        self.assertIn("Cisco Systems", text)
        # The libtorch that is copied has oneMKL in it, whose terms want their text to go along.
        mkl = (folder / "libtorch" / "mkl-LICENSE.txt").read_text(encoding="utf-8")
        self.assertIn("Intel Simplified Software License", mkl)
        self.assertIn("Redistributions must reproduce", mkl)
        self.assertTrue((folder / "libtorch" / "mkl-third-party-programs.txt").is_file())
        # Only compiled for the tests, or by the compiler.
        self.assertNotRegex(text, r"(?m)^(cbindgen|thiserror-impl) ")

    def test_destdir_libdir_and_a_libtorch_elsewhere(self):
        stage, libtorch = new_folder("stage"), new_folder("libtorch")
        places = dict(DESTDIR=stage, PREFIX="/usr", LIBDIR="/usr/lib/x86_64-linux-gnu")
        # A folder without libtorch is a mistake to be told now, not when a program starts.
        told = make("install", fails=True, INSTALL_LIBTORCH=libtorch, **places)
        self.assertIn(f"INSTALL_LIBTORCH={libtorch} has no libtorch_cpu.so", told)
        self.assertEqual(files(stage), set())

        (libtorch / "libtorch_cpu.so").touch()
        make("install", INSTALL_LIBTORCH=libtorch, **places)
        lib = stage / "usr/lib/x86_64-linux-gnu"
        self.assertEqual(dynamic(lib / "libcogvideox.so")["RUNPATH"], [str(libtorch)])
        self.assertFalse((lib / "cogvideox").exists())
        text = (lib / "pkgconfig" / "cogvideox.pc").read_text(encoding="utf-8")
        self.assertIn("includedir=${pcfiledir}/../../../include\n", text)
        self.assertNotIn(str(stage), text)

        make("install", INSTALL_LIBTORCH="system", **places)
        section = dynamic(lib / "libcogvideox.so")
        self.assertFalse({"RUNPATH", "RPATH"} & set(section), section)
        self.assertIn("libtorch_cpu.so", section["NEEDED"])

        (stage / "usr/include/of_others.h").touch()
        make("uninstall", **places)
        self.assertEqual(files(stage), {"usr/include/of_others.h"})

    def test_line_tables_stay_on_request_and_uninstall_leaves_nothing(self):
        prefix = new_folder("prefix")
        make("install", PREFIX=prefix, INSTALL_LIBTORCH="system", STRIP="")
        self.assertIn(".debug_line", run("readelf", "-SW", prefix / "lib" / "libcogvideox.so"))
        # Installing again over it does no harm.
        make("install", PREFIX=prefix, INSTALL_LIBTORCH="system")
        self.assertTrue(LIBRARY < files(prefix))
        make("uninstall", PREFIX=prefix)
        self.assertEqual(files(prefix), set())
        self.assertFalse(list(prefix.glob("*/*")))

    def test_mistakes_are_told_in_one_sentence(self):
        prefix = new_folder("prefix")
        for variables, sentence in (
            (dict(PREFIX="relative"), "PREFIX=relative is not an absolute path"),
            (dict(PREFIX=prefix, INSTALL_LIBTORCH="none"), "neither copy, system nor an absolute folder"),
            (dict(PREFIX=prefix, LIB_DIR=prefix), f"{prefix}/libcogvideox.so is missing: run `make build`"),
        ):
            told = make("install", fails=True, **variables)
            self.assertIn(sentence, told)
            self.assertNotIn("Traceback", told)
        self.assertEqual(files(prefix), set())


if __name__ == "__main__":
    unittest.main()

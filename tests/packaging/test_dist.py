"""`make dist`: one folder with all that is needed, wherever it lies."""

import os
import re
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

from support import (LIBTORCH, MODEL, RELEASE, ROOT, distribution, dynamic, environment, expected_frames, files,
                     frames_of, installation, new_folder, project, run, workplace)

# What may come from the system: the C library in its parts, and the runtimes of C and C++.
SYSTEM = re.compile(r"(ld-linux-x86-64|lib(c|m|dl|rt|pthread|util|gcc_s|stdc\+\+))\.so\.\d+")


def linked_program(rpath):
    """A C program that is linked with the library and looks for it in a folder."""
    folder, sources = distribution(), project("c")
    run("cc", "generate.c", "-o", "generate", f"-I{folder / 'include'}", f"-L{folder / 'lib'}", "-lcogvideox",
        f"-Wl,-rpath,{rpath}", cwd=sources)
    return sources / "generate"


def opening_program():
    """A C program that opens the library with dlopen."""
    sources = project("dlopen")
    run("cc", "-std=c11", "-D_DEFAULT_SOURCE", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "generate.c", "-o",
        "generate", "-ldl", cwd=sources)
    return sources / "generate"


def loaded(*command):
    """The libraries whose initialisers ran in a program that writes frames, and its frames.
    The environment is empty but for what makes the dynamic linker talk."""
    log = new_folder("linker") / "log"
    frames = frames_of(*command, env={"LD_DEBUG": "libs", "LD_DEBUG_OUTPUT": str(log), "OMP_NUM_THREADS": "1"})
    (written,) = log.parent.iterdir()
    text = written.read_text(encoding="utf-8", errors="replace")
    return set(re.findall(r"calling init: (\S.*)", text)), frames


class Dist(unittest.TestCase):
    def test_the_same_headers_bindings_and_licences_as_an_installation(self):
        folder = distribution()
        self.assertRegex(folder.name, rf"^libcogvideox-{re.escape(RELEASE)}-linux-\w+$")
        found, installed = files(folder), files(installation())

        def below(paths, place):
            return {path.removeprefix(place) for path in paths if path.startswith(place)}

        for here, there in (("include/", "include/"), ("bindings/", "share/cogvideox/"),
                            ("licenses/", "share/licenses/cogvideox/"), ("lib/cmake/", "lib/cmake/"),
                            ("lib/pkgconfig/", "lib/pkgconfig/")):
            self.assertEqual(below(found, here), below(installed, there))
        lib = {"libcogvideox.so", *LIBTORCH}
        self.assertEqual({path for path in below(found, "lib/") if "/" not in path}, lib)
        self.assertEqual({path for path in found if "/" not in path}, {"README.md"})
        text = (folder / "README.md").read_text(encoding="utf-8")
        self.assertNotIn("@", text)
        self.assertRegex(text, r"glibc 2\.\d+ or newer and a libstdc\+\+ with GLIBCXX_3\.4\.\d+ or newer")

    def test_unversioned_and_looking_beside_itself_only(self):
        lib = distribution() / "lib"
        section = dynamic(lib / "libcogvideox.so")
        self.assertEqual(section["SONAME"], ["libcogvideox.so"])
        self.assertEqual(section["RPATH"], ["$ORIGIN"])
        self.assertNotIn("RUNPATH", section)
        self.assertLess((lib / "libcogvideox.so").stat().st_size, 12 << 20)
        for name in LIBTORCH:
            paths = dynamic(lib / name)
            self.assertIn(paths.get("RPATH", []) + paths.get("RUNPATH", []), ([], ["$ORIGIN"]), name)

    def from_the_folder_alone(self, *command):
        folder = distribution()
        libraries, frames = loaded(*command)
        self.assertEqual(frames, expected_frames())
        ours = {path for path in libraries if os.path.basename(path) in {"libcogvideox.so", *LIBTORCH}}
        self.assertEqual({os.path.realpath(path) for path in ours},
                         {str(folder / "lib" / name) for name in ("libcogvideox.so", *LIBTORCH)})
        programs = {str(word) for word in command}
        for path in libraries - ours - programs:
            self.assertRegex(os.path.basename(path), SYSTEM)

    def test_a_linked_program_takes_nothing_else(self):
        # As a program that brings the folder along would have it.
        program = linked_program("$ORIGIN/package/lib")
        (program.parent / "package").symlink_to(distribution())
        self.from_the_folder_alone(program, MODEL)

    def test_a_host_of_plugins_takes_nothing_else(self):
        self.from_the_folder_alone(opening_program(), distribution() / "lib" / "libcogvideox.so", MODEL)

    def test_a_host_with_another_libtorch_on_its_library_path(self):
        decoys = new_folder("decoys")
        (decoys / "empty.c").write_text("int decoy;\n", encoding="utf-8")
        for name in LIBTORCH:
            run("cc", "-shared", "-fPIC", "empty.c", "-o", name, f"-Wl,-soname,{name}", cwd=decoys)
        program = opening_program()
        for library in (distribution() / "lib" / "libcogvideox.so", installation() / "lib" / "libcogvideox.so"):
            frames = frames_of(program, library, MODEL, env=environment(LD_LIBRARY_PATH=decoys))
            self.assertEqual(frames, expected_frames())

    def test_the_same_files_give_the_same_archive(self):
        archives = []
        for umask, time in ((0o022, 10**9), (0o077, 10**9 + 7)):
            folder = new_folder("archive") / "package"
            before = os.umask(umask)
            try:
                shutil.copytree(distribution() / "include", folder)
                (folder / "program").write_text("#!/bin/sh\n", encoding="utf-8")
            finally:
                os.umask(before)
            (folder / "program").chmod(0o755 & ~umask)
            for path in [folder, *folder.rglob("*")]:
                os.utime(path, (time, time))
            code = "import sys; sys.path.insert(0, sys.argv[1]); import package; package.pack(*sys.argv[2:])"
            archives.append(folder.with_name("package.tar.gz"))
            run(sys.executable, "-c", code, ROOT / "packaging", folder, archives[-1],
                env=environment(SOURCE_DATE_EPOCH=1234567890))
        first, second = (path.read_bytes() for path in archives)
        self.assertEqual(first, second)
        listing = run("tar", "-tvzf", archives[0], env=environment(TZ="UTC"))
        self.assertRegex(listing, r"-rwxr-xr-x 0/0 +\d+ 2009-02-13 23:31 package/program\n")
        self.assertRegex(listing, r"-rw-r--r-- 0/0 +\d+ 2009-02-13 23:31 package/cogvideox.h\n")

    def test_cmake(self):
        folder = project("c")
        run("cmake", "-S", folder, "-B", folder / "build", f"-DCMAKE_PREFIX_PATH={distribution()}")
        run("cmake", "--build", folder / "build")
        program = folder / "build" / "generate"
        self.assertIn("libcogvideox.so", dynamic(program)["NEEDED"])
        self.assertEqual(frames_of(program, MODEL), expected_frames())

    def test_pkg_config(self):
        folder = project("c")
        env = environment(PKG_CONFIG_PATH=distribution() / "lib" / "pkgconfig")
        run("make", cwd=folder, env=env)
        self.assertEqual(frames_of(folder / "generate", MODEL), expected_frames())

    def test_on_a_machine_with_nothing_but_the_c_library(self):
        """A root folder with the package, the model, two programs and the C and C++ runtimes:
        no Python, no Rust, no shell; of /proc, /sys and /dev only what libtorch reads."""
        root = workplace() / "root"
        package = root / "opt" / "some" / "plugin"
        package.parent.mkdir(parents=True)
        before = distribution()
        # By its path: without all of /proc, programs cannot tell where they lie themselves.
        linked, opening = linked_program("/opt/some/plugin/lib"), opening_program()
        system = re.findall(r"(/\S+) \(0x", run("ldd", before / "lib" / "libcogvideox.so") + run("ldd", opening))
        for path in {path for path in system if SYSTEM.fullmatch(os.path.basename(path))}:
            target = root / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(os.path.realpath(path), target)
            target.chmod(0o755)
        for path in ("proc/cpuinfo", "sys/devices/system/cpu/possible", "sys/devices/system/cpu/present"):
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(Path("/", path).read_bytes())
        (root / "dev").mkdir()
        (root / "dev" / "urandom").write_bytes(os.urandom(1 << 16))
        shutil.copytree(MODEL, root / "model")
        (root / "tmp").mkdir()
        shutil.copy(linked, root / "linked")
        shutil.copy(opening, root / "open")
        # Moved, not copied; moved back for the other tests.
        before.rename(package)
        try:
            for command in (["/linked"], ["/open", "/opt/some/plugin/lib/libcogvideox.so"]):
                output = self.inside(root, [*command, "/model", "/tmp/frames.rgb"])
                frames = root / "tmp" / "frames.rgb"
                # The library's own silence is not disturbed by what is missing here.
                self.assertIn(output, ("", "17 frames of 64 x 64\n"))
                self.assertEqual(frames.read_bytes(), expected_frames(), output)
                frames.unlink()
        finally:
            package.rename(before)

    def inside(self, root, command):
        """Runs a command with another root folder and an empty environment."""
        enter = ["chroot", str(root)] if os.geteuid() == 0 else ["unshare", "-r", "chroot", str(root)]
        path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "OMP_NUM_THREADS": "1"}
        try:
            allowed = subprocess.run([*enter, "/open"], env=path, capture_output=True, timeout=600)
        except FileNotFoundError as missing:
            self.skipTest(f"{missing.filename} is not here to change the root folder with")
        # /open without arguments ends with 2; anything else is a root that can't be changed.
        if allowed.returncode != 2:
            self.skipTest(f"the root folder can't be changed here: {allowed.stderr.decode().strip()}")
        result = subprocess.run([*enter, *command], env=path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                text=True, timeout=600)
        self.assertEqual(result.returncode, 0, result.stdout)
        return result.stdout


if __name__ == "__main__":
    unittest.main()

"""find_package(cogvideox): programs in C and C++, versions, a damaged installation."""

import shutil
import unittest

from support import (MODEL, RELEASE, SONAME, VERSIONED, dynamic, expected_frames, frames_of, installation,
                     new_folder, project, run)


def configure(folder, fails=False, prefix=None):
    return run("cmake", "-S", folder, "-B", folder / "build", f"-DCMAKE_PREFIX_PATH={prefix or installation()}",
               "-DCMAKE_BUILD_TYPE=Release", fails=fails)


class CMake(unittest.TestCase):
    def generates(self, name):
        folder = project(name)
        configure(folder)
        run("cmake", "--build", folder / "build")
        program = folder / "build" / "generate"
        self.assertIn(SONAME, dynamic(program)["NEEDED"])
        self.assertNotIn("libtorch_cpu.so", dynamic(program)["NEEDED"])
        self.assertEqual(frames_of(program, MODEL), expected_frames())

    def test_c(self):
        self.generates("c")

    def test_cpp(self):
        self.generates("cpp")

    def wanted(self, version, fails=False):
        folder = new_folder("version")
        (folder / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.19)\nproject(version C)\n"
            f"find_package(cogvideox {version} REQUIRED)\n"
            'message(STATUS "found ${cogvideox_VERSION} with ${cogvideox_LIBTORCH_DIR}")\n'
        )
        return configure(folder, fails)

    def test_versions(self):
        libtorch = installation() / "lib" / "cogvideox"
        major, minor, patch = map(int, RELEASE.split("."))
        newer, next_major = f"{major}.{minor + 1}", f"{major + 1}.0"
        for version in ("", f"{major}.{minor}", f"{RELEASE} EXACT", f"{major}.0", f"{RELEASE}...{newer}",
                        f"{major}.0...<{next_major}"):
            self.assertIn(f"found {RELEASE} with {libtorch}\n", self.wanted(version))
        for version in (newer, next_major, f"{major}.{minor}.{patch + 1} EXACT", f"{newer}...{next_major}",
                        f"{major}.0...<{RELEASE}"):
            self.assertIn(RELEASE, self.wanted(version, fails=True))

    def test_a_damaged_installation_is_named(self):
        prefix = new_folder("damaged")
        for part in ("include", "lib/cmake"):
            shutil.copytree(installation() / part, prefix / part)
        told = configure(project("c"), fails=True, prefix=prefix)
        self.assertIn(f"{VERSIONED} is missing", " ".join(told.split()))


if __name__ == "__main__":
    unittest.main()

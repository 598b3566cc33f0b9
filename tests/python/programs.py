"""Compiles single programs in C, C++, C# and Go against the library in LIB_DIR, for
tests/readme and tests/bench.

Each function returns the command that runs the program; ENVIRONMENT is what it runs in.
"""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIB_DIR = Path(os.environ.get("LIB_DIR") or ROOT / "target" / "release").resolve()
# OpenMP's threads spin against each other in runs as small as those of the tests.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1",
               "COGVIDEOX_LIBRARY": str(LIB_DIR / "libcogvideox.so")}
LINK = [f"-L{LIB_DIR}", "-lcogvideox", f"-Wl,-rpath,{LIB_DIR}",
        f"-Wl,-rpath-link,{ROOT / '.libtorch' / 'lib'}"]


def run(command, **more):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, **more)


def build(command, **more):
    result = run(command, **more)
    if result.returncode != 0:
        raise AssertionError(f"{command[0]}: {result.stdout}{result.stderr}")


def go():
    """The go command, also where it was installed from its archive and is not on PATH."""
    return shutil.which("go") or "/usr/local/go/bin/go"


def c(source, program, folder):
    build(["cc", "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}", source,
           "-o", program, *LINK, "-pthread"])
    return [program]


def cpp(source, program, folder):
    build(["c++", "-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}", source,
           "-o", program, *LINK, "-pthread"])
    return [program]


def csharp(source, program, folder):
    binding = sorted((ROOT / "bindings" / "csharp" / "Runtime").rglob("*.cs"))
    build(["mcs", "-nologo", "-unsafe", "-optimize", f"-out:{program}.exe", source, *binding])
    return ["mono", f"{program}.exe"]


def golang(source, program, folder):
    (folder / "cogvideox.pc").write_text(
        f"Name: cogvideox\nDescription: for a test\nVersion: 0.1.0\nCflags: -I{ROOT / 'include'}\n"
        f"Libs: {' '.join(LINK)}\n", encoding="utf-8")
    build([go(), "build", "-o", program, "."], cwd=source.parent,
          env={**os.environ, "PKG_CONFIG_PATH": str(folder)})
    return [program]


BUILD = {"c": c, "cpp": cpp, "csharp": csharp, "go": golang}

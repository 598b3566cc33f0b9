"""Installed copies of the library, made once for all tests, and programs built against them.

The tests know the checkout only as the place that `make` runs in: what they build and run lies
in a temporary folder and sees the installed files alone.
"""

import atexit
import functools
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONSUMERS = Path(__file__).resolve().parent / "consumers"
LIB_DIR = Path(os.environ.get("LIB_DIR") or ROOT / "target" / "release").resolve()
MODEL = ROOT / "examples" / "demo-model" / "pipeline"
GO = shutil.which("go") or "/usr/local/go/bin/go"

HEADER = (ROOT / "include" / "cogvideox.h").read_text(encoding="utf-8")
RELEASE = ".".join(re.search(rf"define CVX_VERSION_{part} (\d+)", HEADER)[1] for part in ("MAJOR", "MINOR", "PATCH"))
SONAME = "libcogvideox.so." + re.search(r"define CVX_ABI_VERSION (\d+)", HEADER)[1]
VERSIONED = f"{SONAME}.{RELEASE}"

LIBTORCH = {"libc10.so", "libcudart.so.13", "libcupti.so.13", "libgomp.so.1", "libtorch_cpu.so"}


@functools.cache
def workplace():
    folder = Path(tempfile.mkdtemp(prefix="cogvideox-packaging-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def new_folder(name):
    return Path(tempfile.mkdtemp(prefix=name + "-", dir=workplace()))


def environment(**more):
    """Nothing of the caller's that would help a program to find the library."""
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(workplace()), "LC_ALL": "C.UTF-8",
            "OMP_NUM_THREADS": "1", **{name: str(value) for name, value in more.items()}}


def run(*command, fails=False, cwd=None, env=None):
    """Runs a command, which must succeed, or fail if `fails`; returns all that it printed."""
    command = [str(word) for word in command]
    result = subprocess.run(command, cwd=cwd or workplace(), env=env or environment(),
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
    if (result.returncode != 0) != fails:
        raise AssertionError(f"{' '.join(command)}: exit status {result.returncode}\n{result.stdout}")
    return result.stdout


def make(target, fails=False, **variables):
    """`make TARGET` in the checkout, with the caller's environment but for what make hands on."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
    settings = [f"{name}={value}" for name, value in variables.items()]
    return run("make", "-s", "-C", ROOT, target, f"LIB_DIR={LIB_DIR}", *settings, fails=fails,
               env={**env, "DIST_GZIP_LEVEL": "1"})


@functools.cache
def installation():
    """The prefix of `make install`, moved after it was made: only what does not depend on where
    it was installed works in the tests."""
    prefix = workplace() / "installed"
    make("install", PREFIX=prefix)
    moved = workplace() / "moved to another place"
    prefix.rename(moved)
    return moved


@functools.cache
def distribution():
    """The folder of `make dist`, unpacked from its archive elsewhere."""
    output = workplace() / "dist"
    make("dist", DIST=output)
    (archive,) = output.glob("*.tar.gz")
    made = output / archive.name.removesuffix(".tar.gz")
    # Away with the folder that was packed: the unpacked one must do without it.
    made.rename(output / "packed")
    unpacked = workplace() / "unpacked"
    unpacked.mkdir()
    run("tar", "-xzf", archive, "-C", unpacked)
    shutil.rmtree(output)
    return unpacked / made.name


def files(folder):
    """Everything below a folder that is no folder, as paths relative to it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or path.is_file()}


def project(name):
    """A copy of one of the projects in consumers/, outside the checkout."""
    folder = new_folder(name)
    shutil.copytree(CONSUMERS / name, folder, dirs_exist_ok=True)
    return folder


def dynamic(path):
    """The dynamic section of a library: tag -> values."""
    found = {}
    for tag, value in re.findall(r"\((\w+)\)\s.*\[(.*)\]", run("readelf", "-dW", path)):
        found.setdefault(tag, []).append(value)
    return found


def frames_of(*command, **more):
    """Runs a program that writes frames to the file named by its last argument; returns them."""
    file = new_folder("frames") / "frames.rgb"
    run(*command, file, **more)
    return file.read_bytes()


@functools.cache
def expected_frames():
    """The frames of the consumers' video, from the library as it was built."""
    folder = project("c")
    run("cc", "generate.c", "-o", "generate", f"-I{ROOT / 'include'}", f"-L{LIB_DIR}", "-lcogvideox",
        f"-Wl,-rpath,{LIB_DIR}", cwd=folder)
    frames = frames_of(folder / "generate", MODEL)
    assert len(frames) >= 9 * 64 * 64 * 3 and len(set(frames)) > 100, "no picture"
    return frames

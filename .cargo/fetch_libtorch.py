#!/usr/bin/env python3
"""Puts libtorch where the build looks for it: the link `.libtorch` in the checkout.

The files come from the torch wheel (CUDA build) and the two small NVIDIA wheels
that libtorch_cpu.so needs to load, fetched with pip, and are kept in a per-user
cache (`$XDG_CACHE_HOME/libcogvideox` or `~/.cache/libcogvideox`), so a second
checkout costs nothing. Only what the build links is unpacked, and its licences, which
packages must carry.

`LIBTORCH=/path` set by the user wins: nothing is fetched, the version is checked
and `.libtorch` points there.

Standard library only; any Python 3.8 or newer, of any platform tag, will do.
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile

TORCH = "2.11.0"
# Name of the file -> requirement and what the file's SHA-256 must be.
WHEELS = {
    "torch": (f"torch=={TORCH}", "0f68f4ac6d95d12e896c3b7a912b5871619542ec54d3649cf48cc1edd4dd2756"),
    "nvidia_cuda_runtime": ("nvidia-cuda-runtime==13.0.96",
                            "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548"),
    "nvidia_cuda_cupti": ("nvidia-cuda-cupti==13.0.85",
                          "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8"),
}
# The release of Intel's oneMKL that is inside of that libtorch_cpu.so, as torch.__config__.show()
# says: the torch wheel names its licence and does not have the text, which this wheel of headers has.
MKL = "2024.2.0"
MKL_WHEEL = (f"mkl-include=={MKL}", "63ed16ece64d9420e9fe1d5e1b55e0680632b61ad1c0e5f207b17f85233fcc09")
# archive member (regular expression) -> path below the libtorch folder
WANTED = [
    (r"torch/lib/(libtorch_cpu\.so|libc10\.so|libgomp\.so\.1)", r"lib/\1"),
    (r"torch/include/(.+)", r"include/\1"),
    (r"nvidia/cu13/lib/(libcudart\.so\.13|libcupti\.so\.13)", r"lib/\1"),
    (r"(torch|nvidia_[a-z_]+)-[^/]+\.dist-info/licenses/([^/]+)", r"licenses/\1/\2"),
]
MKL_WANTED = [
    (r"mkl_include-[^/]+\.dist-info/(LICENSE\.txt)", r"\1"),
    (r"mkl_include-[^/]+\.data/data/share/doc/mkl/licensing/(third-party-programs[^/]*\.txt)", r"\1"),
]
# pip matches a manylinux tag exactly, and each of the wheels carries another.
PLATFORMS = ["manylinux1_x86_64", "manylinux2014_x86_64"] + [f"manylinux_2_{n}_x86_64" for n in range(17, 29)]


def fail(sentence):
    sys.exit(f"libtorch: {sentence}")


def version_of(folder):
    """The version a libtorch or torch folder says it has, or None if it is silent."""
    for name, pattern in (("build-version", r"(\d+\.\d+\.\d+)"), ("version.py", r"__version__ = '(\d+\.\d+\.\d+)")):
        try:
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                found = re.search(pattern, file.read())
        except OSError:
            continue
        if found:
            return found.group(1)
    return None


def check_user_folder(folder):
    for needed in ("lib/libtorch_cpu.so", "lib/libc10.so", "include/ATen/ATen.h"):
        if not os.path.exists(os.path.join(folder, needed)):
            fail(f"LIBTORCH={folder} has no {needed}; point it at a libtorch {TORCH} folder, or unset it.")
    found = version_of(folder)
    if found and found != TORCH:
        fail(f"LIBTORCH={folder} is version {found}, this build needs {TORCH}; point it elsewhere, or unset it.")


def download(requirement, sha256, folder):
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run(pip + ["--version"], capture_output=True).returncode != 0:
        fail(f"{sys.executable} has no pip, which fetches the torch wheel; install pip (python3-pip), or set LIBTORCH.")
    command = pip + ["download", "-q", "--no-deps", "--only-binary=:all:", "-d", folder,
                     "--python-version", "3.12", "--implementation", "cp", "--abi", "cp312", "--abi", "none"]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    # Hashes are taken from a file alone.
    wanted = os.path.join(folder, "requirement.txt")
    with open(wanted, "w", encoding="utf-8") as file:
        file.write(f"{requirement} --hash=sha256:{sha256}\n")
    command += ["--require-hashes", "-r", wanted]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        fail(f"pip could not download {requirement} (no network, or not the file that is expected?): {last}")


def unpack(archive, target, wanted=WANTED):
    with zipfile.ZipFile(archive) as wheel:
        for member in wheel.namelist():
            if member.endswith("/"):
                continue
            for pattern, place in wanted:
                found = re.fullmatch(pattern, member)
                if found:
                    if os.path.isabs(member) or ".." in member.split("/") or "\\" in member:
                        fail(f"{os.path.basename(archive)} has a file that would lie outside: {member}")
                    path = os.path.join(target, found.expand(place))
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    with wheel.open(member) as source, open(path, "wb") as sink:
                        shutil.copyfileobj(source, sink, 1 << 20)


def is_complete(folder):
    return all(os.path.exists(os.path.join(folder, name)) for name in ("build-version", "licenses"))


def fill_cache(target):
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        fail("only x86-64 Linux is fetched automatically; set LIBTORCH to a libtorch "
             f"{TORCH} folder for {os.uname().sysname} {os.uname().machine}.")
    parent = os.path.dirname(target)
    os.makedirs(parent, exist_ok=True)
    if shutil.disk_usage(parent).free < 2 << 30:
        fail(f"{parent} has less than 2 GiB free, which fetching libtorch needs.")
    # Everything is made beside the target and renamed into place, so that a broken
    # or concurrent fetch never leaves half a libtorch in the cache.
    with tempfile.TemporaryDirectory(dir=parent) as work:
        print(f"libtorch: fetching {TORCH} into {target} (about 530 MB, once per user)", flush=True)
        staged = os.path.join(work, "libtorch")
        for name, (requirement, sha256) in WHEELS.items():
            download(requirement, sha256, work)
            (archive,) = glob.glob(os.path.join(work, name + "-*.whl"))
            unpack(archive, staged)
            os.remove(archive)
        # torch-sys asks the linker for -ltorch, which in the wheel pulls CUDA in; a linker
        # script that names the CPU library serves.
        with open(os.path.join(staged, "lib", "libtorch.so"), "w", encoding="utf-8") as script:
            script.write("INPUT ( AS_NEEDED ( libtorch_cpu.so ) )\n")
        with open(os.path.join(staged, "build-version"), "w", encoding="utf-8") as file:
            file.write(TORCH + "\n")
        os.chmod(staged, 0o755)
        try:
            os.rename(staged, target)
        except OSError:
            # Another fetch was faster, or this cache was made before licences were kept.
            if not os.path.exists(os.path.join(target, "build-version")):
                raise
            if not is_complete(target):
                os.rename(os.path.join(staged, "licenses"), os.path.join(target, "licenses"))


def cache():
    folder = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(folder, "libcogvideox")


def mkl_licences():
    """The folder of oneMKL's licence texts, which packages with libtorch must carry; fetched the first
    time. Nothing but packaging asks for it."""
    target = os.path.join(cache(), f"mkl-{MKL}-licences")
    if not os.path.exists(os.path.join(target, "LICENSE.txt")):
        os.makedirs(cache(), exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache()) as work:
            download(*MKL_WHEEL, work)
            (archive,) = glob.glob(os.path.join(work, "mkl_include-*.whl"))
            staged = os.path.join(work, "licences")
            unpack(archive, staged, MKL_WANTED)
            os.chmod(staged, 0o755)
            try:
                os.rename(staged, target)
            except OSError:
                # Another fetch was faster.
                if not os.path.exists(os.path.join(target, "LICENSE.txt")):
                    raise
    return target


def main():
    checkout = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    link = os.path.join(checkout, ".libtorch")
    user = os.environ.get("LIBTORCH")
    if user:
        folder = os.path.abspath(user)
        check_user_folder(folder)
    else:
        folder = os.path.join(cache(), f"libtorch-{TORCH}")
        if not is_complete(folder):
            fill_cache(folder)
    if os.path.realpath(link) != os.path.realpath(folder):
        if os.path.islink(link):
            os.remove(link)
        os.symlink(folder, link)


if __name__ == "__main__":
    main()

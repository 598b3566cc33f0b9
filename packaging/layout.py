"""What lies where in a package, and putting it there.

There are two layouts. An installation (`make install`) has a versioned library and libtorch
in a folder of its own, as distributions and /usr/local want it. A distribution folder
(`make dist`) has an unversioned library beside the libtorch libraries, as a plugin of an
engine or an application that brings everything along wants it.
"""

import os
import shutil
from dataclasses import dataclass

import elf
import licenses
from release import ROOT, Refused, versions

_TEMPLATES = os.path.join(ROOT, "packaging", "templates")
_HEADERS = (".h", ".hpp")
_BINDINGS = ("csharp", "go")
# Tests and build outputs, which stay out of a package.
_NOT_SOURCES = ("bin", "obj", "out", "test", "tests", "testdata")


@dataclass
class Layout:
    """Where things lie: absolute paths, as they will be when the package is used."""

    libdir: str
    includedir: str
    bindings: str
    licenses: str
    # What pkg-config calls the prefix.
    prefix: str
    # Where the libtorch libraries are copied to; None: they are found elsewhere.
    libtorch: str
    # The rpath of the library; "" if the system's loader finds libtorch. To a libtorch of its own
    # it is an RPATH, so that no LD_LIBRARY_PATH of a host, meant for another program's libtorch,
    # puts that in its place.
    rpath: str
    # File name of the library, then the links to it.
    names: list
    soname: str


def installation(prefix, libdir, includedir, datadir, libtorch):
    """`libtorch`: copy, system, or the folder in which it is found."""
    release, abi = versions()
    own = os.path.join(libdir, "cogvideox")
    if libtorch == "copy":
        rpath = "$ORIGIN/cogvideox"
    elif libtorch == "system":
        rpath = ""
    elif os.path.isabs(libtorch):
        rpath = libtorch
        if not os.path.exists(os.path.join(libtorch, "libtorch_cpu.so")):
            raise Refused(f"INSTALL_LIBTORCH={libtorch} has no libtorch_cpu.so")
        refuse_simulated_cuda(libtorch)
    else:
        raise Refused(f"INSTALL_LIBTORCH={libtorch} is neither copy, system nor an absolute folder")
    return Layout(
        libdir=libdir,
        includedir=includedir,
        bindings=os.path.join(datadir, "cogvideox"),
        licenses=os.path.join(datadir, "licenses", "cogvideox"),
        prefix=prefix,
        libtorch=own if libtorch == "copy" else None,
        rpath=rpath,
        # The whole file name sorts by interface, then by release, which is how ldconfig
        # picks the newest.
        names=[f"libcogvideox.so.{abi}.{release}", f"libcogvideox.so.{abi}", "libcogvideox.so"],
        soname=f"libcogvideox.so.{abi}",
    )


def distribution(folder):
    libdir = os.path.join(folder, "lib")
    return Layout(
        libdir=libdir,
        includedir=os.path.join(folder, "include"),
        bindings=os.path.join(folder, "bindings"),
        licenses=os.path.join(folder, "licenses"),
        prefix=folder,
        libtorch=libdir,
        rpath="$ORIGIN",
        names=["libcogvideox.so"],
        soname="libcogvideox.so",
    )


def refuse_simulated_cuda(folder):
    """The tests have a stand-in for libtorch's CUDA library, which computes on the CPU; the library
    would load it from the folder of libtorch like the real one."""
    path = os.path.join(folder, "libtorch_cuda.so")
    if os.path.exists(path) and any(line.endswith(" simcuda_counter") for line in elf.exported(path)):
        raise Refused(f"{path} is the simulated CUDA device of the tests: remove it")


class Writer:
    """Writes files below DESTDIR; notes what it wrote."""

    def __init__(self, destdir=""):
        self.destdir = destdir
        self.written = []

    def place(self, *parts):
        """The path to write for a path of the layout, its folder made."""
        path = self.destdir + os.path.join(*parts)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        # A link of an older installation must not be written through.
        if os.path.lexists(path):
            os.remove(path)
        self.written.append(path)
        return path

    def file(self, source, *parts):
        path = self.place(*parts)
        shutil.copyfile(source, path)
        os.chmod(path, 0o644)

    def text(self, text, *parts):
        path = self.place(*parts)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o644)


def fill(name, values):
    """A template with its @NAME@s replaced."""
    with open(os.path.join(_TEMPLATES, name), encoding="utf-8") as file:
        text = file.read()
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text


def headers():
    """Paths below include/ of every header."""
    return _sources(os.path.join(ROOT, "include"), _HEADERS)


def binding_sources():
    """Paths below bindings/ of what a program needs of each binding."""
    found = []
    for language in _BINDINGS:
        folder = os.path.join(ROOT, "bindings", language)
        found += [os.path.join(language, path) for path in _sources(folder, "")]
    return found


def _sources(folder, endings):
    found = []
    for path, folders, files in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if name not in _NOT_SOURCES and not name.startswith(".")
        )
        found += [
            os.path.relpath(os.path.join(path, name), folder)
            for name in sorted(files)
            if name.endswith(endings) and not name.endswith("_test.go") and not name.startswith(".")
        ]
    return found


def write(layout, writer, library, notices, strip):
    """Puts the package there. `library`: path of the built libcogvideox.so; `notices`: path of
    the licences of what it contains. Answers the paths of the libraries in the package."""
    built = elf.read(library)
    names = layout.names
    libraries = [writer.place(layout.libdir, names[0])]
    kind = "RPATH" if layout.libtorch else "RUNPATH"
    elf.copy(built.path, libraries[0], soname=layout.soname, rpath=layout.rpath, kind=kind, strip=strip)
    for link, target in zip(names[1:], names):
        os.symlink(target, writer.place(layout.libdir, link))

    writer.file(os.path.join(ROOT, "LICENSE"), layout.licenses, "LICENSE")
    writer.file(notices, layout.licenses, "THIRD-PARTY-LICENSES.txt")
    if layout.libtorch:
        needed = elf.closure(built)
        for name, source in sorted(needed.items()):
            libraries.append(writer.place(layout.libtorch, name))
            # libtorch is as PyTorch built it, but looks for its libraries in its own folder
            # only: in its rpath are folders beside a site-packages.
            rpath = "$ORIGIN" if elf.read(source).rpath else None
            elf.copy(source, libraries[-1], rpath=rpath, kind="RPATH")
        folder = os.path.dirname(needed["libtorch_cpu.so"])
        refuse_simulated_cuda(folder)
        for name, source in sorted(licenses.of_libtorch(folder).items()):
            writer.file(source, layout.licenses, "libtorch", name)

    for path in headers():
        writer.file(os.path.join(ROOT, "include", path), layout.includedir, path)
    for path in binding_sources():
        writer.file(os.path.join(ROOT, "bindings", path), layout.bindings, path)
    _write_pkg_config(layout, writer)
    _write_cmake(layout, writer)
    return libraries


def _write_pkg_config(layout, writer):
    folder = os.path.join(layout.libdir, "pkgconfig")
    places = {
        "PREFIX": os.path.relpath(layout.prefix, folder),
        "LIBDIR": os.path.relpath(layout.libdir, folder),
        "INCLUDEDIR": os.path.relpath(layout.includedir, folder),
        "VERSION": versions()[0],
    }
    writer.text(fill("cogvideox.pc.in", places), folder, "cogvideox.pc")


def _write_cmake(layout, writer):
    folder = os.path.join(layout.libdir, "cmake", "cogvideox")
    libtorch = layout.libtorch or layout.rpath
    if layout.libtorch:
        libtorch = os.path.relpath(layout.libtorch, layout.libdir)
    release = versions()[0]
    values = {
        "VERSION": release,
        "MAJOR": release.split(".")[0],
        "LIBDIR": os.path.relpath(layout.libdir, folder),
        "INCLUDEDIR": os.path.relpath(layout.includedir, folder),
        "FILE": layout.names[0],
        "SONAME": layout.soname,
        "LIBTORCH": libtorch,
    }
    for name in ("cogvideox-config.cmake", "cogvideox-config-version.cmake"):
        writer.text(fill(f"{name}.in", values), folder, name)


def remove(layout, destdir):
    """Takes an installation away: its files, and the folders that are its own with all that
    is in them."""
    libdir = destdir + layout.libdir
    own = [
        os.path.join(libdir, "cogvideox"),
        os.path.join(libdir, "cmake", "cogvideox"),
        destdir + os.path.join(layout.includedir, "cogvideox"),
        destdir + layout.bindings,
        destdir + layout.licenses,
    ]
    files = [os.path.join(libdir, name) for name in layout.names]
    files.append(os.path.join(libdir, "pkgconfig", "cogvideox.pc"))
    files += [destdir + os.path.join(layout.includedir, path) for path in headers()]
    for path in own:
        shutil.rmtree(path, ignore_errors=True)
    for path in files:
        if os.path.lexists(path):
            os.remove(path)
    # Folders that may have been made for it, if nothing else is in them.
    for path in (
        os.path.join(libdir, "cmake"),
        os.path.join(libdir, "pkgconfig"),
        os.path.dirname(destdir + layout.licenses),
        os.path.dirname(destdir + layout.bindings),
        destdir + layout.includedir,
        libdir,
    ):
        if os.path.isdir(path) and not os.listdir(path):
            os.rmdir(path)

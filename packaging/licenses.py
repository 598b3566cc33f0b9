"""The licences of what a package contains besides this project: the Rust crates inside
libcogvideox, and the libtorch libraries beside it."""

import glob
import importlib.util
import json
import mmap
import os
import re
import sys

from release import ROOT, Refused, output_of

_NAME = re.compile(r"(licen[sc]e|copying|notice|unlicense|copyright)([.\-_].*)?", re.IGNORECASE)


def _linked(metadata):
    """The packages whose code is in the library: normal dependencies, and theirs, but no
    procedural macros, which run in the compiler."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    macros = {
        package["id"]
        for package in metadata["packages"]
        if any("proc-macro" in target["kind"] for target in package["targets"])
    }
    pending, seen = [metadata["resolve"]["root"]], set()
    while pending:
        package = pending.pop()
        if package in seen or package in macros:
            continue
        seen.add(package)
        for dependency in nodes[package]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                pending.append(dependency["pkg"])
    seen.discard(metadata["resolve"]["root"])
    return [package for package in metadata["packages"] if package["id"] in seen]


def _texts(package):
    """The licence texts in a package's folder, those of C sources inside it among them."""
    folder = os.path.dirname(package["manifest_path"])
    for path, folders, files in sorted(os.walk(folder)):
        folders[:] = [name for name in folders if name not in ("tests", "test", "benches", "examples")]
        for name in sorted(files):
            if _NAME.fullmatch(name) and not name.endswith((".rs", ".c", ".h", ".py")):
                with open(os.path.join(path, name), encoding="utf-8", errors="replace") as file:
                    yield file.read().strip()


def third_party(cargo):
    """One text with the licences of every crate in the library."""
    command = [cargo, "metadata", "--locked", "--format-version", "1"]
    command += ["--filter-platform", _target(cargo)]
    command += ["--manifest-path", os.path.join(ROOT, "Cargo.toml")]
    packages = _linked(json.loads(output_of(command)))
    lines = [
        "libcogvideox contains the Rust standard library (MIT or Apache-2.0) and these packages.",
        "Where a licence is a choice, any of the choices will do. The texts that come with the",
        "packages follow the list.",
        "",
    ]
    users = {}
    for package in sorted(packages, key=lambda package: (package["name"], package["version"])):
        name = f"{package['name']} {package['version']}"
        authors = ", ".join(package["authors"]) or package["repository"] or "authors not named"
        lines.append(f"{name}: {package['license'] or 'see its text'} ({authors})")
        for text in _texts(package):
            users.setdefault(text, []).append(name)
    for text, names in users.items():
        unique = list(dict.fromkeys(names))
        lines += ["", "=" * 80, f"Of {', '.join(unique)}:", "", text]
    return "\n".join(lines) + "\n"


def _target(cargo):
    found = re.search(r"^host: (.+)$", output_of([cargo, "-vV"]), re.MULTILINE)
    if not found:
        raise Refused(f"{cargo} -vV does not say what it builds for")
    return found.group(1)


def of_libtorch(folder):
    """The licence texts of the libtorch whose libraries lie in `folder`: name -> path."""
    own = os.path.join(folder, "..", "licenses")
    site = os.path.join(folder, "..", "..")
    found = {
        os.path.relpath(path, own).replace(os.sep, "-"): path
        for path in glob.glob(os.path.join(own, "**", "*"), recursive=True)
    }
    # A torch that pip installed: site-packages/torch/lib, its licences beside torch.
    for project in ("torch", "nvidia_cuda_runtime", "nvidia_cuda_cupti"):
        for path in glob.glob(os.path.join(site, f"{project}-*.dist-info", "**", "*"), recursive=True):
            if _NAME.fullmatch(os.path.basename(path)):
                found[f"{project}-{os.path.basename(path)}"] = path
    if os.environ.get("LIBTORCH_LICENSES"):
        given = os.environ["LIBTORCH_LICENSES"]
        found = {name: os.path.join(given, name) for name in sorted(os.listdir(given))}
    elif _has_mkl(folder) and not any(map(_is_intels, found.values())):
        texts = glob.glob(os.path.join(_fetch().mkl_licences(), "*.txt"))
        found.update({f"mkl-{os.path.basename(path)}": path for path in texts})
    found = {name: path for name, path in found.items() if os.path.isfile(path)}
    if not found:
        raise Refused(
            f"no licence texts lie beside the libtorch in {folder}, and a copy must carry them: set "
            "LIBTORCH_LICENSES to a folder that has them, or do not copy libtorch (INSTALL_LIBTORCH)"
        )
    return found


def _has_mkl(folder):
    """Whether Intel's oneMKL is linked into the libtorch, as it is into PyTorch's own for x86-64."""
    with open(os.path.join(folder, "libtorch_cpu.so"), "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as library:
            return library.find(b"oneAPI Math Kernel Library Version") >= 0


def _is_intels(path):
    if not os.path.isfile(path):
        return False
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read(100).lstrip().startswith("Intel Simplified Software License")


def _fetch():
    """.cargo/fetch_libtorch.py, which knows what is inside of the libtorch that it fetches."""
    path = os.path.join(ROOT, ".cargo", "fetch_libtorch.py")
    spec = importlib.util.spec_from_file_location("fetch_libtorch", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main():
    """licenses.py CARGO FILE: writes the licences of the crates, once per Cargo.lock."""
    cargo, target = sys.argv[1:]
    try:
        text = third_party(cargo)
    except Refused as sentence:
        sys.exit(f"licences: {sentence}")
    os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
    with open(target, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    main()

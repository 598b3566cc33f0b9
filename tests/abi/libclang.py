"""The C and C++ parser of these checks: libclang with its Python binding.

The wheel holds both and is fetched with pip into the per-user cache that libtorch is in
(`$XDG_CACHE_HOME/libcogvideox` or `~/.cache/libcogvideox`), once per user. It brings no
headers of its own, so it reads those of the system's compiler.
"""

import functools
import glob
import os
import subprocess
import sys
import tempfile

VERSION = "18.1.1"


def folder():
    """Where the binding lies; fetches it if it is not there yet."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    target = os.path.join(cache, "libcogvideox", f"libclang-{VERSION}")
    if not os.path.exists(os.path.join(target, "complete")):
        fetch(target)
    return target


def fetch(target):
    parent = os.path.dirname(target)
    os.makedirs(parent, exist_ok=True)
    # Made beside the target and renamed into place: half a fetch never stays in the cache.
    with tempfile.TemporaryDirectory(dir=parent) as work:
        staged = os.path.join(work, "libclang")
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check",
               "--no-deps", "--only-binary=:all:", "--target", staged, f"libclang=={VERSION}"]
        result = subprocess.run(pip, capture_output=True, text=True)
        if result.returncode != 0:
            last = (result.stderr.strip().splitlines() or ["no message"])[-1]
            sys.exit(f"tests/abi: pip could not install libclang {VERSION} (no pip, no network?): "
                     f"{last}")
        open(os.path.join(staged, "complete"), "w").close()
        os.chmod(staged, 0o755)
        try:
            os.rename(staged, target)
        except OSError:
            if not os.path.exists(os.path.join(target, "complete")):
                raise


@functools.lru_cache(maxsize=None)
def load():
    """The module `clang.cindex`, ready for use."""
    path = folder()
    if path not in sys.path:
        sys.path.insert(0, path)
    from clang import cindex
    if not cindex.Config.loaded:
        (library,) = glob.glob(os.path.join(path, "clang", "native", "libclang.so*"))
        cindex.Config.set_library_file(library)
    return cindex


@functools.lru_cache(maxsize=None)
def system_includes(language):
    """The folders in which the system's compiler looks for headers, as arguments."""
    compiler = "c++" if language == "c++" else "cc"
    result = subprocess.run([compiler, "-E", "-v", "-x", language, os.devnull],
                            capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    if result.returncode != 0:
        sys.exit(f"tests/abi: {compiler} does not run: {result.stderr.strip()}")
    listed = result.stderr.split("search starts here:\n")[-1].split("End of search list.")[0]
    return tuple(word for line in listed.splitlines() if line.startswith(" ")
                 for word in ("-isystem", line.strip()))


def parse(path, language="c", standard="c11", arguments=(), text=None, macros=False):
    """Parses one file; any diagnostic at all is an error, so nothing is half understood."""
    cindex = load()
    unit = cindex.TranslationUnit
    options = unit.PARSE_DETAILED_PROCESSING_RECORD if macros else unit.PARSE_NONE
    flags = ["-x", language, f"-std={standard}", *system_includes(language), *arguments]
    unsaved = None if text is None else [(path, text)]
    try:
        parsed = cindex.Index.create().parse(path, flags, unsaved, options)
    except cindex.TranslationUnitLoadError as error:
        raise ValueError(f"{path} cannot be read") from error
    wrong = [d for d in parsed.diagnostics if d.severity >= cindex.Diagnostic.Warning]
    if wrong:
        raise ValueError(f"{path} does not parse: " + "; ".join(told(d) for d in wrong[:3]))
    return parsed


def told(diagnostic):
    """What the compiler says, with the lines it speaks of: they name the thing at fault."""
    said = [str(diagnostic)]
    for part in (diagnostic, *diagnostic.children):
        file = part.location.file
        if file is not None and os.path.exists(file.name):
            with open(file.name, encoding="utf-8", errors="replace") as source:
                lines = source.read().splitlines()
            line = lines[part.location.line - 1].strip()
            said.append(f"{os.path.basename(file.name)}:{part.location.line}: {line}")
    return " | ".join(said)

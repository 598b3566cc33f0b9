"""Checks bindings/go.

cgo takes types from the header itself, so what is left to be proved is that

- every function and constant of the header is used,
- every constant that the package offers under a header's name is that one,
- for every callback there is a C function of exactly its type, and the Go function it calls
  takes and returns the same, as the header that cgo makes of it says,
- no struct of the header is written down a second time in Go.
"""

import atexit
import functools
import glob
import json
import os
import re
import shutil
import subprocess
import tempfile

import libclang

DUMP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "dump", "dump.go")
# What memory may be read as besides the C types themselves: numbers, which have a size.
NUMBERS = {"byte", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64",
           "float32", "float64", "uintptr"}


def command(arguments, folder, environment=None):
    result = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, env=environment)
    if result.returncode != 0:
        raise ValueError(f"go: {' '.join(arguments[:3])}: {result.stderr.strip()[-2000:]}")
    return result.stdout


@functools.lru_cache(maxsize=None)
def go():
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if not found:
        raise ValueError("go: there is no go command: install Go, see bindings/go/README.md")
    return found


@functools.lru_cache(maxsize=None)
def dumper():
    """dump/dump.go, compiled once for a run of the checks."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    program = os.path.join(folder, "dump")
    command([go(), "build", "-o", program, DUMP], folder)
    return program


def plain(name):
    return name.replace("_", "").lower()


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def sources(folder):
    return sorted(path for path in glob.glob(os.path.join(folder, "*.go"))
                  if not path.endswith("_test.go"))


def check(interface, folder, include):
    if not sources(folder):
        return [f"go: there are no sources in {folder}"]
    dump = json.loads(command([dumper(), "--", *sources(folder)], folder))
    names = set(dump["names"])
    for path in sorted(glob.glob(os.path.join(folder, "*.[ch]"))):
        code = re.sub(r"/\*.*?\*/|//[^\n]*", "", read(path), flags=re.DOTALL)
        names |= set(re.findall(r"\bcvx_\w+|\bCVX_\w+", code))
    problems = [f"go: function {name} is not used" for name in sorted(interface.functions)
                if name not in names]
    problems += [f"go: constant {name} is not used" for name in sorted(interface.constants)
                 if name not in names]
    # cgo itself refuses names that are not in the header; files that are not built here (for
    # another tag or system) it does not see.
    known = {*interface.functions, *interface.constants, *interface.callbacks, *interface.structs}
    problems += [f"go: {name} ({where}) is not in the header"
                 for name, where in sorted(dump["names"].items())
                 if re.match(r"(struct_)?cvx_|CVX_", name)
                 and re.sub(r"^struct_|^sizeof_", "", name) not in known]
    problems += check_constants(interface, dump)
    problems += [f"go: memory of C is read as {entry['to']} at {entry['where']}: use the "
                 "header's own struct" for entry in dump["conversions"]
                 if entry["to"] in dump["structs"] or entry["to"] == "struct"]
    return problems + check_callbacks(interface, dump, folder, include)


def check_constants(interface, dump):
    """A Go constant that is made from CVX_JOB_FAILED is called JobFailed, and the other way."""
    problems = []
    called = {}
    for name in interface.constants:
        words = name[len("CVX_"):]
        for ours in (words, re.sub("^ERROR_", "ERR_", words), "HEADER_" + words):
            called[plain(ours)] = name
    for entry in dump["constants"]:
        ours, theirs, where = entry["name"], entry["from"], entry["where"]
        if theirs.startswith("CVX_"):
            if not entry["exact"]:
                problems.append(f"go: constant {ours} ({where}) is not simply {theirs}")
            elif called.get(plain(ours)) != theirs:
                problems.append(f"go: constant {ours} ({where}) is made from {theirs}: the names "
                                "do not agree")
        elif plain(ours) in called:
            problems.append(f"go: constant {ours} ({where}) is not made from "
                            f"C.{called[plain(ours)]}")
    return problems


def check_callbacks(interface, dump, folder, include):
    include, folder = os.path.abspath(include), os.path.abspath(folder)
    exporting = [os.path.basename(path) for path in sources(folder)
                 if re.search(r"^//export ", read(path), re.MULTILINE)]
    with tempfile.TemporaryDirectory() as work:
        # Makes work/_cgo_export.h: what the exported Go functions are to C.
        command([go(), "tool", "cgo", "-objdir", work, "-importpath", "cogvideox", "--",
                 f"-I{include}", f"-I{folder}", *exporting], folder)
        thunks = Thunks(interface, set(dump["exports"]))
        for path in sorted(glob.glob(os.path.join(folder, "*.c"))):
            thunks.read(libclang.parse(path, arguments=[
                "-I", include, "-I", folder, "-I", work, "-Werror=incompatible-pointer-types"]),
                path)
    return thunks.problems + [
        f"go: there is no C function of the type {name} that is handed out as one"
        for name in sorted(interface.callbacks) if name not in thunks.served] + [
        f"go: {name} is exported to C, and no C function calls it"
        for name in dump["exports"] if name not in thunks.called]


class Thunks:
    """The C functions of the package that are handed to the library as callbacks."""

    def __init__(self, interface, exports):
        self.interface, self.exports = interface, exports
        self.kinds = libclang.load().CursorKind
        self.problems, self.served, self.called = [], {}, set()

    def read(self, parsed, path):
        for cursor in parsed.cursor.get_children():
            if cursor.location.file is None or cursor.location.file.name != path:
                continue
            if cursor.kind == self.kinds.VAR_DECL:
                self.variable(cursor)
            elif cursor.kind == self.kinds.FUNCTION_DECL and cursor.is_definition():
                self.function(cursor)

    def variable(self, cursor):
        """const cvx_x_callback name = function; without a cast."""
        name = cursor.type.get_declaration().spelling
        if name not in self.interface.callbacks:
            return
        nodes = list(cursor.walk_preorder())
        casts = [node for node in nodes if node.kind == self.kinds.CSTYLE_CAST_EXPR]
        functions = [node.referenced for node in nodes
                     if node.kind == self.kinds.DECL_REF_EXPR and node.referenced
                     and node.referenced.kind == self.kinds.FUNCTION_DECL]
        where = f"go: {os.path.basename(cursor.location.file.name)}:{cursor.location.line}"
        if casts or len(functions) != 1:
            self.problems.append(f"{where}: {cursor.spelling} ({name}) must be one function, "
                                 "without a cast")
            return
        wanted = cursor.type.get_canonical().get_pointee().get_canonical().spelling
        found = functions[0].type.get_canonical().spelling
        if wanted != found:
            self.problems.append(f"{where}: {functions[0].spelling} is {found}, {name} is {wanted}")
        self.served[name] = functions[0].spelling

    def function(self, cursor):
        """A thunk hands its own arguments on to one Go function of the same type."""
        for node in cursor.walk_preorder():
            callee = node.referenced if node.kind == self.kinds.CALL_EXPR else None
            if callee is None or callee.spelling not in self.exports:
                continue
            self.called.add(callee.spelling)
            ours, theirs = signature(cursor.type), signature(callee.type)
            if ours != theirs:
                self.problems.append(f"go: //export {callee.spelling} is {theirs}, "
                                     f"{cursor.spelling} that calls it is {ours}")
            arguments = [referenced(argument) for argument in node.get_arguments()]
            parameters = [parameter.spelling for parameter in cursor.get_arguments()]
            if arguments != parameters:
                self.problems.append(f"go: {cursor.spelling} hands {arguments} on to "
                                     f"{callee.spelling}, its parameters are {parameters}")


def signature(type_):
    """A function type without the const of pointers, which Go's exports do not know."""
    spelled = [type_.get_result(), *type_.argument_types()]
    result, *rest = [re.sub(r"\bconst ", "", part.get_canonical().spelling) for part in spelled]
    return f"{result} ({', '.join(rest)})"


def referenced(argument):
    names = [node.spelling for node in argument.walk_preorder()
             if node.kind == libclang.load().CursorKind.DECL_REF_EXPR]
    return names[0] if len(names) == 1 else None

"""Checks bindings/csharp.

The binding is compiled, and dump/Dump.cs asks the compiled library, by reflection, what it
declares: so what is compared is what the runtime marshals by, not what a text looks like. Its
declarations have the header's own names (bindings/csharp/Runtime/Native), parameters included.
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

from interface import pointee

DUMP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "dump", "Dump.cs")
SCALARS = {
    "void": "Void", "i8": "SByte", "u8": "Byte", "i32": "Int32", "u32": "UInt32",
    "i64": "Int64", "u64": "UInt64", "usize": "UIntPtr", "f32": "Single", "f64": "Double",
}
# Public enums, and the constants that their members are: Stage.Load is CVX_STAGE_LOAD.
ENUMS = {
    "ErrorCode": "CVX_ERROR_", "Stage": "CVX_STAGE_", "LogLevel": "CVX_LOG_",
    "OutputKind": "CVX_OUTPUT_", "LayerState": "CVX_LAYER_", "PixelFormat": "CVX_PIXELS_",
    "UnconditionalState": "CVX_UNCONDITIONAL_", "JobState": "CVX_JOB_",
    "PipelineTask": "CVX_TASK_",
}
# Members that are no constants of the header, or are called otherwise there.
MEMBERS = {("ErrorCode", "Ok"): "CVX_OK", ("ErrorCode", "None"): "CVX_OK",
           ("Stage", "None"): 0}
# Where the constants are.
CLASS = "NativeMethods"


def command(arguments, what):
    try:
        result = subprocess.run(arguments, capture_output=True, text=True)
    except FileNotFoundError:
        raise ValueError(f"csharp: {arguments[0]} is missing ({what}): install mono-mcs and "
                         "mono-runtime") from None
    if result.returncode != 0:
        raise ValueError(f"csharp: {what} failed: {(result.stdout + result.stderr).strip()}")
    return result.stdout


def reflect(folder):
    sources = sorted(glob.glob(os.path.join(folder, "Runtime", "**", "*.cs"), recursive=True))
    if not sources:
        raise ValueError(f"csharp: there are no sources in {folder}/Runtime")
    with tempfile.TemporaryDirectory() as work:
        binding = os.path.join(work, "binding.dll")
        command(["mcs", "-nologo", "-unsafe", "-warn:0", "-target:library", f"-out:{binding}",
                 *sources], "compiling the binding")
        return json.loads(command(["mono", dumper(), binding], "reading the binding"))


@functools.lru_cache(maxsize=None)
def dumper():
    """dump/Dump.cs, compiled once for a run of the checks."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    program = os.path.join(folder, "dump.exe")
    command(["mcs", "-nologo", f"-out:{program}", DUMP], "compiling dump/Dump.cs")
    return program


def plain(name):
    return name.replace("_", "").lower()


class Checker:
    def __init__(self, interface, dump):
        self.interface, self.dump = interface, dump
        self.problems = []

    def say(self, sentence):
        self.problems.append(f"csharp: {sentence}")

    def run(self):
        self.functions()
        self.delegates()
        self.structs()
        self.constants()
        self.enums()
        self.thunks()
        return self.problems

    def functions(self):
        imports = {}
        for entry in self.dump["imports"]:
            name = entry["entry"] or entry["name"]
            if name in imports:
                self.say(f"function {name} is imported twice")
            imports[name] = entry
            if not entry["library"].startswith("cogvideox"):
                continue
            if name not in self.interface.functions:
                self.say(f"function {name} is not in the header")
                continue
            if entry["convention"] != "Cdecl":
                self.say(f"function {name} is called by {entry['convention']}, not Cdecl")
            if not entry["preserve"]:
                self.say(f"function {name}: PreserveSig is off")
            self.compare(f"function {name}", entry, self.interface.functions[name])
        for name in sorted(set(self.interface.functions) - set(imports)):
            self.say(f"function {name} is missing")

    def compare(self, where, entry, function):
        parameters = entry["parameters"]
        if len(parameters) != len(function.parameters):
            self.say(f"{where} has {len(parameters)} parameters, the header has "
                     f"{len(function.parameters)}: {function}")
        else:
            for (name, declared), (c_name, type_) in zip(parameters, function.parameters):
                if name != c_name:
                    self.say(f"{where}: parameter {name} is called {c_name} in the header")
                if not self.fits(declared, type_):
                    self.say(f"{where}: parameter {name} is {declared}, the header has {type_}")
        if not self.fits_answer(entry["answer"], function.answer):
            self.say(f"{where} returns {entry['answer']}, the header has {function.answer}")

    def fits_answer(self, declared, type_):
        if pointee(type_) is not None:
            return declared == "IntPtr"
        return declared == SCALARS.get(type_)

    def fits(self, declared, type_):
        """Whether the runtime passes a parameter declared so as the C type."""
        if type_ in self.interface.callbacks:
            return declared == f"delegate {type_}"
        inner, const = pointee(type_), type_.startswith("const*")
        if inner is None:
            return declared == SCALARS.get(type_)
        direction, held = self.split(declared)
        if direction == "out" and const:
            return False  # the library only reads it
        if inner == "void":
            return declared == "IntPtr"
        if inner == "char":
            return declared in ("IntPtr", "Byte[]")
        if inner.startswith("struct "):
            name = inner[len("struct "):]
            struct = self.interface.structs.get(name)
            if struct is not None and not struct.opaque:
                return bool(direction) and held == f"struct {name}"
            return declared == "IntPtr" or self.is_handle(declared, name)
        if pointee(inner) is not None:
            return (direction and held == "IntPtr") or declared in ("IntPtr[]", "IntPtr*")
        number = SCALARS[inner]
        return (direction and held == number) or declared in (f"{number}[]", f"{number}*")

    @staticmethod
    def split(declared):
        for direction in ("in", "out", "ref"):
            if declared.startswith(direction + " "):
                return direction, declared[len(direction) + 1:]
        return "", declared

    @staticmethod
    def is_handle(declared, struct):
        """PipelineHandle holds a cvx_pipeline."""
        if not declared.startswith("handle "):
            return False
        name = re.sub(r"Handle$", "", declared[len("handle "):])
        return plain(name) == plain(re.sub(r"^cvx_", "", struct))

    def delegates(self):
        found = {entry["name"]: entry for entry in self.dump["delegates"]
                 if entry["name"].startswith("cvx_")}
        for name, function in sorted(self.interface.callbacks.items()):
            entry = found.pop(name, None)
            if entry is None:
                self.say(f"callback {name} is missing")
                continue
            if entry["convention"] != "Cdecl":
                self.say(f"callback {name} is called by {entry['convention'] or 'default'}, not "
                         "Cdecl")
            self.compare(f"callback {name}", entry, function)
        for name in sorted(found):
            self.say(f"callback {name} is not in the header")

    def structs(self):
        found = {entry["name"]: entry for entry in self.dump["structs"]
                 if entry["name"].startswith("cvx_")}
        for name, struct in sorted(self.interface.structs.items()):
            if struct.opaque:
                continue
            entry = found.pop(name, None)
            if entry is None:
                self.say(f"struct {name} is missing")
                continue
            if not entry["sequential"] or entry["size"] is None:
                self.say(f"struct {name} has no layout that C could read")
            elif entry["size"] != struct.size:
                self.say(f"struct {name} has {entry['size']} bytes, the header's {struct.size}")
            self.fields(name, entry["fields"], struct.fields)
        for name in sorted(found):
            self.say(f"struct {name} is not in the header")

    def fields(self, name, ours, theirs):
        our_names, their_names = [field[0] for field in ours], [field[0] for field in theirs]
        for field in their_names:
            if field not in our_names:
                self.say(f"struct {name}: field {field} is missing")
        for field in our_names:
            if field not in their_names:
                self.say(f"struct {name}: field {field} is not in the header")
        if len(our_names) == len(their_names) and our_names != their_names:
            self.say(f"struct {name}: its fields are {our_names}, the header has {their_names}")
        c_fields = {field: (type_, offset) for field, type_, offset, _ in theirs}
        for field, declared, offset in ours:
            if field not in c_fields:
                continue
            type_, c_offset = c_fields[field]
            wanted = "IntPtr" if pointee(type_) is not None else SCALARS.get(type_)
            if declared != wanted:
                self.say(f"struct {name}: field {field} is {declared}, the header has {type_}")
            if offset != c_offset:
                self.say(f"struct {name}: field {field} lies at {offset}, in C at {c_offset}")

    def constants(self):
        found = {name.split(".", 1)[1]: value for name, value in self.dump["constants"]
                 if name.startswith(CLASS + ".CVX_")}
        for name, value in sorted(self.interface.constants.items()):
            if name not in found:
                self.say(f"constant {name} is missing")
            elif found[name] != value:
                self.say(f"constant {name} is {found[name]}, in the header {value}")
        for name in sorted(set(found) - set(self.interface.constants)):
            self.say(f"constant {name} is not in the header")

    def enums(self):
        found = {entry["name"]: entry for entry in self.dump["enums"]}
        for name in sorted(set(found) - set(ENUMS)):
            self.say(f"enum {name}: name its constants in ENUMS of tests/abi/csharp_binding.py")
        for name, prefix in sorted(ENUMS.items()):
            if name not in found:
                self.say(f"enum {name} (its members are {prefix}*) is missing")
                continue
            if found[name]["underlying"] != "Int32":
                self.say(f"enum {name} is of {found[name]['underlying']}, not Int32")
            wanted = {plain(constant[len(prefix):]): constant
                      for constant in self.interface.constants if constant.startswith(prefix)}
            for member, value in sorted(found[name]["members"].items()):
                constant = MEMBERS.get((name, member)) if (name, member) in MEMBERS else (
                    wanted.pop(plain(member), None))
                expected = self.interface.constants.get(constant, constant)
                if expected is None:
                    self.say(f"enum {name}.{member} is no constant of the header")
                elif expected != value:
                    self.say(f"enum {name}.{member} is {value}, {constant} is {expected}")
            for constant in sorted(wanted.values()):
                self.say(f"enum {name} has no member for {constant}")

    def thunks(self):
        """What native code calls must be static (IL2CPP), one at least for each callback."""
        delegates = {entry["name"]: entry for entry in self.dump["delegates"]}
        served = set()
        for thunk in self.dump["thunks"]:
            serves = delegates.get(thunk["serves"])
            if not thunk["static"]:
                self.say(f"callback method {thunk['name']} is not static")
            if serves is None:
                self.say(f"callback method {thunk['name']} does not say which delegate it serves")
                continue
            served.add(thunk["serves"])
            ours = [thunk["answer"]] + [type_ for _, type_ in thunk["parameters"]]
            theirs = [serves["answer"]] + [type_ for _, type_ in serves["parameters"]]
            if ours != theirs:
                self.say(f"callback method {thunk['name']} is {ours}, {thunk['serves']} {theirs}")
        for name in sorted(set(self.interface.callbacks) - served):
            self.say(f"callback {name}: no static method is marked MonoPInvokeCallback for it")


def check(interface, folder):
    return Checker(interface, reflect(folder)).run()

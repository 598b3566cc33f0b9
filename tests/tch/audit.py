"""Which arguments tch's generated functions really give to libtorch.

tch leaves out an operator's parameters that it has no type for, wherever they stand among the
others, and hands on the rest by position. What follows a parameter that was left out then lands
in another one, if C++ can convert it: `_addmm_activation(self, mat1, mat2, use_gelu)` sets `beta`,
and what runs is ReLU. No check of tch, of the compiler or of libtorch notices.

So the C++ that tch's functions are made of is read here and compared with the declarations in
libtorch's headers: every argument must stand where the parameter of its name and type stands,
and what is not given must have a default.
"""

import os
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Written by hand in tch and in torch_api.cpp, and read by hand: each gives its arguments by
# position to one call of libtorch that takes exactly those.
HAND_WRITTEN = {
    "f_copy_", "f_copy_data", "f_copy_data_u8", "f_double_value", "f_from_blob",
    "f_from_data_size", "f_from_slice", "f_get", "f_int64_value", "f_kind", "f_size", "f_to_device",
    "f_to_kind", "f_view",
}


class Unreadable(Exception):
    """The generated source has a form that this file does not know."""


def crate(name):
    """The folder of a dependency's sources, in the version that Cargo.lock names."""
    lock = (ROOT / "Cargo.lock").read_text()
    version = re.search(rf'name = "{name}"\nversion = "(.*?)"', lock)[1]
    home = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo"))
    found = list(home.glob(f"registry/src/*/{name}-{version}"))
    if not found:
        raise FileNotFoundError(f"no sources of {name} {version} in {home}: build first")
    return found[0]


def split(text):
    """`text` at the commas that are in no brackets, "<" and ">" of templates among them."""
    parts, depth, start = [], 0, 0
    for i, c in enumerate(text):
        if c in "([{" or c == "<" and text[i - 1] != " ":
            depth += 1
        elif c in ")]}" or c == ">" and text[i - 1] != "-":
            depth -= 1
        elif c == "," and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    return [*parts, text[start:].strip()] if text.strip() else []


def balanced(text, start):
    """What stands in the bracket that opens at `start`."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if depth == 0:
            return text[start + 1:i]
    raise Unreadable(f"no closing bracket: {text[start:start + 80]}")


# ---- tch's side ---------------------------------------------------------------------------

# How the generated C++ writes an argument: its name in the C function, and its kind.
ARGUMENTS = [(re.compile(pattern), kind) for pattern, kind in [
    (r"\((\w+) \? ::std::optional<at::Tensor>\(\*\1\) : ::std::nullopt\)", "tensor?"),
    (r"of_carray_tensor\((\w+)_data, \1_len\)", "tensors"),
    (r"torch::IntArrayRef\((\w+)_data, \1_len\)", "ints"),
    (r"(\w+)_data == nullptr \? .*IntArrayRef.*", "ints?"),
    (r"(\w+)_null \? .*optional<int64_t>.*", "int?"),
    (r"(\w+)_null \? .*optional<double>.*", "double?"),
    (r"(\w+) < 0 \? .*optional<at::ScalarType>.*", "dtype?"),
    (r"at::ScalarType\((\w+)\)", "dtype"),
    (r"at::device\(device_of_int\((\w+)_device\)\)\.dtype\(at::ScalarType\(\1_kind\)\)", "options"),
    (r"std::string\((\w+)_ptr, \1_len\)", "string"),
    (r"\(bool\)(\w+)", "bool"),
]]
C_TYPES = {"tensor": "tensor", "scalar": "scalar", "int64_t": "int", "double": "double"}


def argument(text, c_types):
    """(name, kind) of an argument as the generated C++ writes it."""
    for pattern, kind in ARGUMENTS:
        if match := pattern.fullmatch(text):
            return match[1], kind
    name = text.removeprefix("*")
    kind = C_TYPES.get(c_types.get(name))
    if kind is None or (kind in ("tensor", "scalar")) != text.startswith("*"):
        raise Unreadable(f"argument {text!r}")
    return name.removesuffix("_scalar"), kind


class Tch:
    """The generated functions of tch by their Rust names."""

    def __init__(self):
        rust = (crate("tch") / "src/wrappers/tensor_fallible_generated.rs").read_text()
        cpp = (crate("torch-sys") / "libtch/torch_api_generated.cpp").read_text()
        self.cpp = {re.search(r"\b(atg_\w+)\(", text)[1]: text
                    for text in cpp.split("\n}\n") if "atg_" in text}
        functions = re.split(r"\n    pub fn (?=f_)", rust)[1:]
        self.names = {re.match(r"\w+", text)[0]: re.search(r"\b(atg_\w+)\(", text)[1]
                      for text in functions}

    def call(self, name):
        """(operator, whether it is a method, arguments) of the call that is behind `name`."""
        c_name = self.names[name]
        text = self.cpp[c_name]
        head = re.search(rf"\b{c_name}\(", text)
        c_types = {}
        for parameter in split(balanced(text, head.end() - 1)):
            c_type, c_parameter = re.fullmatch(r"(.*?)\s*\*?(\w+)", parameter).groups()
            c_types[c_parameter] = c_type.strip()
        call = re.compile(r"(torch::|self->)(\w+)\(").search(text, head.end())
        if call is None:
            raise Unreadable(f"{c_name} calls nothing")
        arguments = [argument(text, c_types) for text in split(balanced(text, call.end() - 1))]
        return call[2], call[1] == "self->", arguments


def called(folder=ROOT / "src"):
    """The `f_…` functions that our sources call."""
    names = set()
    for path in folder.rglob("*.rs"):
        names |= set(re.findall(r"(?:\.|Tensor::)(f_\w+)\(", path.read_text(encoding="utf-8")))
    return names


# ---- libtorch's side ------------------------------------------------------------------------

TYPES = {
    "Tensor": "tensor", "Scalar": "scalar", "IntArrayRef": "ints", "OptionalIntArrayRef": "ints?",
    "TensorList": "tensors", "ITensorListRef": "tensors", "int64_t": "int", "double": "double",
    "bool": "bool", "ScalarType": "dtype", "TensorOptions": "options", "string_view": "string",
}


def kind_of(c_type):
    """The kind of a C++ type; the type itself where tch never gives such an argument."""
    plain = re.sub(r"\bconst\b|&|\s|(::)?(at|c10|std)::", "", c_type)
    optional = re.fullmatch(r"optional<(.*)>", plain)
    if optional:
        return kind_of(optional[1]) + "?"
    return TYPES.get(plain, plain)


class Libtorch:
    """What libtorch declares."""

    def __init__(self, folder=ROOT / ".libtorch"):
        self.include = folder / "include/ATen"
        self.methods = (self.include / "core/TensorBody.h").read_text()

    def overloads(self, operator, method):
        """The parameters of each declaration: [(name, kind, whether it has a default)]."""
        if method:
            text, start = self.methods, rf"^  (?:inline )?(?:at::)?Tensor ?&? ?{operator}\("
        else:
            # In-place operators and those with an out= are declared beside the plain one.
            path = self.include / f"ops/{operator.removesuffix('_out').removesuffix('_')}.h"
            text = path.read_text() if path.exists() else ""
            start = rf"^inline [\w:&<>, ]+? {operator}\("
        found = []
        for match in re.finditer(start, text, re.MULTILINE):
            parameters = []
            for parameter in split(balanced(text, match.end() - 1)):
                declared, _, default = parameter.partition("=")
                c_type, name = re.fullmatch(r"(.*?)\s*(\w+)", declared.strip()).groups()
                parameters.append((name, kind_of(c_type), default != ""))
            found.append(parameters)
        if not found:
            raise Unreadable(f"libtorch's headers do not declare {operator}")
        return found


def fits(arguments, parameters):
    """Whether every argument lands in the parameter of its own name, and nothing is missing."""
    if len(arguments) > len(parameters):
        return False
    for (name, kind), (parameter, wanted, _) in zip(arguments, parameters):
        if name != parameter or wanted not in (kind, kind + "?"):
            return False
    return all(default for _, _, default in parameters[len(arguments):])


def audit(names, tch, libtorch):
    """One line for each of `names` whose arguments do not land where they should."""
    faults = []
    for name in sorted(names - HAND_WRITTEN):
        if name not in tch.names:
            faults.append(f"{name}: neither generated by tch nor in HAND_WRITTEN")
            continue
        try:
            operator, method, arguments = tch.call(name)
            overloads = libtorch.overloads(operator, method)
        except Unreadable as problem:
            faults.append(f"{name}: can't be read: {problem}")
            continue
        if not any(fits(arguments, parameters) for parameters in overloads):
            given = ", ".join(f"{kind} {name}" for name, kind in arguments)
            takes = "; ".join(", ".join(f"{kind} {name}" for name, kind, _ in parameters)
                              for parameters in overloads)
            faults.append(f"{name} gives {operator} ({given}), which takes ({takes})")
    return faults

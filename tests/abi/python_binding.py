"""Checks tests/python/cvx.py, the functions that benchmarks and device checks call by ctypes.

It declares only what those scripts call, so a function may be missing from it; what it does
declare must be the header's.
"""

import ctypes
import importlib.util

from interface import pointee

SCALARS = {
    "i32": ctypes.c_int32, "u32": ctypes.c_uint32, "i64": ctypes.c_int64, "u64": ctypes.c_uint64,
    "usize": ctypes.c_size_t, "f32": ctypes.c_float, "f64": ctypes.c_double, "void": None,
}
# Python name -> the header's name
CALLBACKS = {"WEIGHT_CALLBACK": "cvx_attention_weight_callback"}
CONSTANTS = {"OUTPUT_FRAMES": "CVX_OUTPUT_FRAMES", "OUTPUT_LATENTS": "CVX_OUTPUT_LATENTS"}


def fits(declared, type_, interface):
    """Whether a ctypes type is one that passes the C type."""
    inner = pointee(type_)
    if inner is None:
        if type_ in interface.callbacks:
            return declared is ctypes.c_void_p
        return declared is SCALARS.get(type_, ...)
    if pointee(inner) is not None:
        return declared is ctypes.POINTER(ctypes.c_void_p)
    return declared is ctypes.c_void_p or (declared is ctypes.c_char_p and inner == "char")


def spelled(declared):
    return getattr(declared, "__name__", str(declared))


def compare(where, answer, arguments, function, interface):
    problems = []
    if len(arguments) != len(function.parameters):
        problems.append(f"{where}: {len(arguments)} parameters, the header has "
                        f"{len(function.parameters)}: {function}")
    else:
        for declared, (name, type_) in zip(arguments, function.parameters):
            if not fits(declared, type_, interface):
                problems.append(f"{where}: parameter {name} is {spelled(declared)}, the header "
                                f"has {type_}")
    if not fits(answer, function.answer, interface):
        problems.append(f"{where}: returns {spelled(answer)}, the header has {function.answer}")
    return problems


def check(interface, path):
    spec = importlib.util.spec_from_file_location("cvx_binding", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    declared = {name: (arguments, ctypes.c_void_p) for name, arguments in module.FALLIBLE.items()}
    declared.update(module.OTHER)
    problems = []
    for name, (arguments, answer) in declared.items():
        function = interface.functions.get(name)
        if function is None:
            problems.append(f"python: {name} is not in the header")
            continue
        problems += compare(f"python: {name}", answer, arguments, function, interface)
        if name in module.FALLIBLE and function.answer != "*struct cvx_error":
            problems.append(f"python: {name} is declared to answer an error, and does not")
    for ours, theirs in CALLBACKS.items():
        prototype = getattr(module, ours)
        problems += compare(f"python: {ours}", prototype._restype_, prototype._argtypes_,
                            interface.callbacks[theirs], interface)
    for ours, theirs in CONSTANTS.items():
        if getattr(module, ours) != interface.constants.get(theirs):
            problems.append(f"python: {ours} is {getattr(module, ours)}, {theirs} is "
                            f"{interface.constants.get(theirs)}")
    return problems

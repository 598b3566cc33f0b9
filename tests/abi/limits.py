#!/usr/bin/env python3
"""Every function of include/cogvideox.h with each of its numbers at their limits, each of its texts
as what is no UTF-8, empty and a mebibyte long, and each of its buffers as short as its capacity says,
before a page that nobody may touch. None may end the process; what it returns must be an error that
can be read, or none, and a buffer that was too short must be as it was. Which functions there are is
read from the header, so that a new one is covered by itself.

    LIB_DIR=target/release python3 tests/abi/limits.py             all
    LIB_DIR=target/release python3 tests/abi/limits.py cvx_pipeline_tokenize
"""

import ctypes
import mmap
import sys

import children
from nulls import SCALARS, Library

FLOATS = [float("nan"), float("inf"), float("-inf"), 1e300, -1e300, 5e-324, 0.0, -1.0]
# By the name of the parameter: how many there are of what a pointer before it leads to.
CAPACITIES = ("count", "rank", "size", "unique_id_size", "length", "capacity", "sequence_length")
TEXTS = {"no UTF-8": b"\xffx\xfe\x80", "nothing": b"", "a mebibyte": b"a" * (1 << 20)}
SHORT = (0, 1, 2, 3)
FILLED = 0xA5


def limits(type_):
    if type_ in ("f32", "f64"):
        return FLOATS
    bits = ctypes.sizeof(SCALARS[type_]) * 8
    if type_.startswith("i"):
        return [-(1 << bits - 1), -1, 0, (1 << bits - 1) - 1]
    return [0, (1 << bits) - 1]


def is_data(type_):
    """Whether it leads to as many elements as another parameter says."""
    inner = type_.removeprefix("const").removeprefix("*")
    return type_ != "const*char" and type_ not in SCALARS and "*" in type_ and (
        inner in SCALARS or inner == "void" or type_.startswith("const*const*"))


def calls(interface, name):
    """A function's calls: what kind, which parameter, what it is given."""
    parameters = interface.functions[name].parameters
    for parameter, type_ in parameters:
        if type_ in SCALARS:
            for value in limits(type_):
                # JSON has no NaN.
                yield name, "number", parameter, repr(value)
        if type_ == "const*char":
            for text in TEXTS:
                yield name, "text", parameter, text
        if type_ == "usize" and parameter in CAPACITIES:
            for count in SHORT:
                yield name, "room", parameter, count


def describe(call):
    name, _, parameter, value = call
    return f"{name} with {parameter} {value}"


class Limits(Library):
    def __init__(self, path, interface):
        super().__init__(path, interface)
        self.libc = ctypes.CDLL(None, use_errno=True)

    def guarded(self, size):
        """`size` bytes before a page that must not be touched."""
        pages = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE
        whole = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(whole))
        end = start + pages * mmap.PAGESIZE
        assert self.libc.mprotect(ctypes.c_void_p(end), mmap.PAGESIZE, 0) == 0
        self.kept.append(whole)
        ctypes.memset(end - size, FILLED, size)
        return end - size

    def elements(self, type_, count):
        """An array that a pointer of `type_` leads to; its address and its bytes."""
        inner = type_.removeprefix("const").removeprefix("*")
        if type_.startswith("const*const*"):
            # Of texts, or of handles.
            array = [self.value(inner) for _ in range(count)]
            address = self.guarded(count * ctypes.sizeof(ctypes.c_void_p))
            ctypes.memmove(address, (ctypes.c_void_p * count)(*array),
                           count * ctypes.sizeof(ctypes.c_void_p))
            return address, 0
        element = SCALARS.get(inner, ctypes.c_uint8)
        size = count * ctypes.sizeof(element)
        address = self.guarded(size)
        if type_.startswith("const"):
            # Ones, which shapes, seeds and weights may be.
            ctypes.memmove(address, (element * count)(*[1] * count), size)
            return address, 0
        return address, size

    def value(self, type_):
        # What runs, runs small; what is set is set in an object of its own.
        if type_ in ("const*struct cvx_generate_options", "const*const*struct cvx_generate_options"):
            return self.small()
        if type_ == "*struct cvx_generate_options":
            return self.call("cvx_generate_options_new", [])
        return super().value(type_)

    def try_(self, entry):
        name, kind, parameter, value = entry
        parameters = self.interface.functions[name].parameters
        given, outs = {}, []
        if kind == "number":
            type_ = dict(parameters)[parameter]
            number = float(value) if type_ in ("f32", "f64") else int(value)
            given[parameter] = SCALARS[type_](number).value
        elif kind == "text":
            self.kept.append(ctypes.create_string_buffer(TEXTS[value]))
            given[parameter] = ctypes.addressof(self.kept[-1])
        else:
            given[parameter] = value
            for before, type_ in parameters:
                if before == parameter:
                    break
                if is_data(type_):
                    # Of numbers with a shape of ones there is one.
                    count = 1 if parameter == "rank" and before != "shape" else value
                    given[before], size = self.elements(type_, count)
                    outs.append((given[before], size))
        answer = self.call(name, self.fitting(name, given))
        fallible = self.interface.functions[name].answer == "*struct cvx_error"
        for address, size in outs if fallible and answer != 0 else []:
            found = ctypes.string_at(address, size)
            assert found == bytes([FILLED]) * size, f"{describe(entry)}: it failed and wrote"
        if kind == "text" and value == "no UTF-8" and fallible:
            # Others of its parameters may be at fault first, but it can't succeed.
            assert answer != 0, f"{describe(entry)}: it succeeded"


def main():
    interface = children.interface()
    if children.is_child():
        return children.child(Limits(children.library(), interface).try_)
    names = sys.argv[1:] or sorted(interface.functions)
    plan = [call for name in names for call in calls(interface, name)]
    status = children.drive(__file__, plan, describe)
    kinds = {kind: sum(call[1] == kind for call in plan) for kind in ("number", "text", "room")}
    print(f"limits: {kinds['number']} numbers, {kinds['text']} texts, {kinds['room']} buffers")
    return status


if __name__ == "__main__":
    sys.exit(main())

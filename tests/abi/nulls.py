#!/usr/bin/env python3
"""Every function of include/cogvideox.h with NULL: for all of its pointers at once, and for each
by itself beside valid ones. None may end the process, and what it returns must be an error that
can be read, or none. Which functions there are is read from the header, so that a new one is
covered by itself.

    LIB_DIR=target/release python3 tests/abi/nulls.py             all
    LIB_DIR=target/release python3 tests/abi/nulls.py cvx_video_save

The calls are made in child processes; one that ends early is told with the call that it was at, and
another goes on behind that.
"""

import ctypes
import os
import re
import sys

import children

PIPELINE = os.path.join(children.ROOT, "tests", "pipelines", "2b")
ROOM = 1 << 16
# No message shows 1e300 with all its digits.
LONG_NUMBER = re.compile("[0-9]{25}")

SCALARS = {
    "i8": ctypes.c_int8, "u8": ctypes.c_uint8, "i16": ctypes.c_int16, "u16": ctypes.c_uint16,
    "i32": ctypes.c_int32, "u32": ctypes.c_uint32, "i64": ctypes.c_int64, "u64": ctypes.c_uint64,
    "usize": ctypes.c_size_t, "f32": ctypes.c_float, "f64": ctypes.c_double,
}


def is_pointer(type_):
    return type_ not in SCALARS and type_ != "void"


class Library:
    """The functions by ctypes, and valid things to give them."""

    def __init__(self, path, interface):
        self.library, self.interface = ctypes.CDLL(path), interface
        self.kept, self.made, self.options = [], {}, None
        # Before the calls, some of which leave a run under way.
        for type_ in sorted(interface.structs, reverse=True):
            if interface.structs[type_].opaque:
                self.handle(type_)

    def call(self, name, values):
        """Calls it; an error that it returns is read and freed. The answer is its code."""
        function = self.interface.functions[name]
        entry = getattr(self.library, name)
        entry.argtypes = [SCALARS.get(type_, ctypes.c_void_p) for type_ in function.types()]
        answer = function.answer
        entry.restype = None if answer == "void" else SCALARS.get(answer, ctypes.c_void_p)
        found = entry(*values)
        if answer != "*struct cvx_error":
            return found
        if found is None:
            return 0
        code = self.call("cvx_error_code", [found])
        message = ctypes.string_at(self.call("cvx_error_message", [found])).decode()
        self.call("cvx_error_free", [found])
        if code == 0 or not message or "\n" in message or LONG_NUMBER.search(message):
            raise AssertionError(f"{name}: an error of code {code} with message {message!r}")
        # INTERNAL is the library's own mistake.
        if code == self.interface.constants["CVX_ERROR_INTERNAL"]:
            raise AssertionError(f"{name}: {message}")
        return code

    def need(self, name, *values):
        """Calls what must succeed, with an out-parameter behind `values`; returns what is there."""
        out = ctypes.c_void_p()
        code = self.call(name, [*values, ctypes.addressof(out)])
        assert code == 0 and out.value, f"{name}: {code}"
        return out.value

    def text(self, text):
        self.kept.append(ctypes.create_string_buffer(text.encode()))
        return ctypes.addressof(self.kept[-1])

    def room(self, size=ROOM):
        self.kept.append(ctypes.create_string_buffer(size))
        return ctypes.addressof(self.kept[-1])

    def handle(self, type_):
        """A live object; None where nothing here can make one."""
        if type_ not in self.made:
            self.made[type_] = self.make(type_)
        return self.made[type_]

    def make(self, type_):
        if f"{type_}_new" in self.interface.functions:
            parameters = self.interface.functions[f"{type_}_new"].parameters
            if not parameters:
                return self.call(f"{type_}_new", [])
            if len(parameters) == 1:
                return self.need(f"{type_}_new")
        if type_ == "cvx_cache_config":
            return self.call("cvx_pab_config_new", [])
        if type_ == "cvx_pipeline":
            return self.need("cvx_pipeline_load", self.text(PIPELINE), None)
        if type_ == "cvx_video":
            return self.need("cvx_pipeline_generate", self.handle("cvx_pipeline"), self.small())
        if type_ == "cvx_job":
            job = self.need("cvx_pipeline_submit", self.handle("cvx_pipeline"), self.small(), None,
                            None, None)
            self.call("cvx_job_wait", self.fitting("cvx_job_wait", {"job": job}))
            return job
        if type_ == "cvx_cache_stats":
            return self.need("cvx_pipeline_preview_cache", self.handle("cvx_pipeline"),
                             self.handle("cvx_cache_config"), self.small())
        return None

    def small(self):
        """Options of the smallest run, which no call changes."""
        if self.options is None:
            self.options = self.call("cvx_generate_options_new", [])
            for setter, values in (("num_frames", [9]), ("num_inference_steps", [1]),
                                   ("size", [32, 32])):
                assert self.call(f"cvx_generate_options_set_{setter}", [self.options, *values]) == 0
        return self.options

    def value(self, type_):
        """Something valid for a parameter."""
        if type_ in SCALARS:
            return SCALARS[type_](1).value
        if type_ in self.interface.callbacks or type_.startswith("fn "):
            return None  # none is valid everywhere
        inner = type_.removeprefix("const").removeprefix("*")
        if inner == "char":
            return self.text("x")
        if inner.startswith("struct "):
            struct = self.interface.structs.get(inner.removeprefix("struct "))
            if struct is None or struct.opaque:
                return self.handle(inner.removeprefix("struct "))
            room = self.room()
            if struct.fields and struct.fields[0][0] == "struct_size":
                size = SCALARS[struct.fields[0][1]]
                ctypes.cast(room, ctypes.POINTER(size))[0] = struct.size
            return room
        return self.room()

    def fitting(self, name, given):
        return [given[parameter] if parameter in given else self.value(type_)
                for parameter, type_ in self.interface.functions[name].parameters]


def calls(interface, name):
    """What is NULL in each of a function's calls."""
    pointers = [parameter for parameter, type_ in interface.functions[name].parameters
                if is_pointer(type_)]
    if pointers:
        yield pointers
    if len(pointers) > 1:
        yield from ([pointer] for pointer in pointers)


def main():
    interface = children.interface()
    if children.is_child():
        library = Library(children.library(), interface)
        return children.child(lambda entry: library.call(
            entry[0], library.fitting(entry[0], dict.fromkeys(entry[1]))))
    names = sys.argv[1:] or sorted(interface.functions)
    plan = [(name, nulls) for name in names for nulls in calls(interface, name)]
    return children.drive(__file__, plan, lambda call: f"{call[0]} with NULL for {', '.join(call[1])}")


if __name__ == "__main__":
    sys.exit(main())

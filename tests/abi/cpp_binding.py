"""Checks include/cogvideox.hpp and include/cogvideox/*.hpp.

C++ takes types from the C header itself, and its compiler checks every call. What is left to be
proved is what a compiler lets pass:

- every function and constant of the header is used,
- every enumerator is its constant, by the constant's name and not by a number,
- every callback has a function of exactly its type, and a setter is given the one of its own
  callback; no cast makes a function fit,
- numbers are handed on as they are: int32_t where C takes int32_t, and not a double or an
  int64_t that would be converted without a word.
"""

import os
import re

import libclang
from header import Reader

STANDARDS = ("c++17", "c++20")
# Enumerators that are no constants of the header: what they are is said in constants.hpp.
OWN = {("Stage", "none"), ("Flow", "go_on"), ("Flow", "stop")}
# Members that call the C function they are given, with the handle and their other arguments.
HELPERS = {"call", "call_with_text", "call_with_callback", "make_video"}


def plain(name):
    return name.replace("_", "").lower()


def check(interface, include):
    checker = Checker(interface, include)
    for standard in STANDARDS:
        checker.read(standard)
    return checker.finish()


class Checker:
    def __init__(self, interface, include):
        self.interface, self.include = interface, os.path.abspath(include)
        self.cindex = libclang.load()
        self.kinds = self.cindex.CursorKind
        self.reader = Reader()
        self.problems = []
        self.used, self.thunks = set(), {}

    def say(self, cursor, sentence):
        file = os.path.relpath(cursor.location.file.name, self.include)
        problem = f"cpp: {sentence} ({file}:{cursor.location.line})"
        if problem not in self.problems:
            self.problems.append(problem)

    def ours(self, cursor):
        file = cursor.location.file
        return file is not None and file.name.endswith(".hpp") and (
            os.path.abspath(file.name).startswith(self.include + os.sep))

    def read(self, standard):
        main = os.path.join(self.include, "abi_check.cpp")
        parsed = libclang.parse(main, "c++", standard, ["-I", self.include], macros=True,
                                text='#include "cogvideox.hpp"\n')
        top = [cursor for cursor in parsed.cursor.get_children() if self.ours(cursor)]
        for cursor in top:
            if cursor.kind == self.kinds.MACRO_INSTANTIATION:
                self.used.add(cursor.spelling)
        for cursor in top:
            self.walk(cursor, None)

    def walk(self, cursor, call):
        """Visits everything below; call is the call that the cursor is an argument of."""
        kinds = self.kinds
        if cursor.kind in (kinds.DECL_REF_EXPR, kinds.OVERLOADED_DECL_REF):
            self.used.add(cursor.spelling)
        elif cursor.kind == kinds.ENUM_DECL:
            self.enum(cursor)
        elif cursor.kind == kinds.VAR_DECL:
            self.variable(cursor)
        elif cursor.kind in (kinds.FUNCTION_DECL, kinds.FUNCTION_TEMPLATE):
            self.thunk(cursor)
        elif cursor.kind == kinds.CALL_EXPR:
            self.call(cursor)
        elif cursor.kind in (kinds.CXX_REINTERPRET_CAST_EXPR, kinds.CSTYLE_CAST_EXPR,
                             kinds.CXX_STATIC_CAST_EXPR, kinds.CXX_FUNCTIONAL_CAST_EXPR):
            self.cast(cursor)
        for child in cursor.get_children():
            self.walk(child, call)

    # ---- constants ----------------------------------------------------------------------

    def initialiser(self, cursor):
        """The tokens behind "=", joined."""
        tokens = [token.spelling for token in cursor.get_tokens()]
        return "".join(tokens[tokens.index("=") + 1:]) if "=" in tokens else None

    def enum(self, cursor):
        families = {}
        for member in cursor.get_children():
            if member.kind != self.kinds.ENUM_CONSTANT_DECL:
                continue
            name, source = member.spelling, self.initialiser(member)
            if source is None or not re.fullmatch(r"CVX_\w+", source):
                if (cursor.spelling, name) not in OWN:
                    self.say(member, f"enumerator {cursor.spelling}::{name} is not made from a "
                                     "constant of the header")
                continue
            value = self.interface.constants.get(source)
            if member.enum_value != value:
                self.say(member, f"enumerator {cursor.spelling}::{name} is {member.enum_value}, "
                                 f"{source} is {value}")
            if not plain(source).endswith(plain(name)):
                self.say(member, f"enumerator {cursor.spelling}::{name} is made from {source}: "
                                 "the names do not agree")
            if source != "CVX_OK":
                families.setdefault(source.split("_")[1], []).append(source)
        if len(families) > 1:
            self.say(cursor, f"enum {cursor.spelling} mixes constants: {families}")
        for family, members in families.items():
            for constant in sorted(self.interface.constants):
                if constant.startswith(f"CVX_{family}_") and constant not in members:
                    self.say(cursor, f"enum {cursor.spelling} has no enumerator for {constant}")
            if cursor.enum_type.get_canonical().spelling != "int":
                self.say(cursor, f"enum {cursor.spelling} is of {cursor.enum_type.spelling}, "
                                 "not std::int32_t")

    def variable(self, cursor):
        if "constexpr" not in [token.spelling for token in cursor.get_tokens()]:
            return  # a variable that begins with a constant, and changes
        source = self.initialiser(cursor) or ""
        if re.fullmatch(r"CVX_\w+", source) and source in self.interface.constants:
            if not plain(cursor.spelling).endswith(plain(source[len("CVX_"):])):
                self.say(cursor, f"{cursor.spelling} is made from {source}: the names do not agree")

    # ---- callbacks ----------------------------------------------------------------------

    def spell(self, type_):
        try:
            return self.reader.spell(type_)
        except ValueError:
            return type_.spelling

    def thunk(self, cursor):
        """A function that takes a struct of the header and user_data, as callbacks do."""
        parameters = [child for child in cursor.get_children()
                      if child.kind == self.kinds.PARM_DECL]
        types = [self.spell(parameter.type) for parameter in parameters]
        is_one = len(types) == 2 and re.search(r"struct cvx_\w+_(info|status)", types[0])
        is_free = "free" in cursor.spelling and types == ["*void"]
        if not (is_one or is_free):
            return
        found = (self.spell(cursor.result_type), types)
        serves = {name for name, function in self.interface.callbacks.items()
                  if (function.answer, function.types()) == found}
        if not serves:
            self.say(cursor, f"function {cursor.spelling} looks like a callback and is none: "
                             f"{found[0]} ({', '.join(types)})")
        self.thunks[cursor.spelling] = serves

    def cast(self, cursor):
        canonical = cursor.type.get_canonical()
        kind = self.cindex.TypeKind
        function = (canonical.kind == kind.POINTER and canonical.get_pointee().kind
                    in (kind.FUNCTIONPROTO, kind.FUNCTIONNOPROTO))
        if function:
            self.say(cursor, f"a cast makes a function a {cursor.type.spelling}")
        elif cursor.kind == self.kinds.CSTYLE_CAST_EXPR:
            self.say(cursor, f"a C cast to {cursor.type.spelling} could hide anything")

    # ---- calls --------------------------------------------------------------------------

    def named(self, cursor):
        """The header's function that an expression is, as Function; None for anything else."""
        while cursor.kind == self.kinds.UNEXPOSED_EXPR:
            children = list(cursor.get_children())
            if len(children) != 1:
                break
            cursor = children[0]
        if cursor.kind not in (self.kinds.DECL_REF_EXPR, self.kinds.OVERLOADED_DECL_REF):
            return None
        return self.interface.functions.get(cursor.spelling) and cursor.spelling

    def call(self, cursor):
        children = list(cursor.get_children())
        if not children:
            return
        callee, arguments = children[0], children[1:]
        name = self.named(callee)
        if name:
            self.numbers(cursor, name, arguments, self.interface.functions[name].parameters)
            return
        handed = [(index, self.named(argument)) for index, argument in enumerate(arguments)]
        handed = [(index, name) for index, name in handed if name]
        if not handed:
            return
        # In a template the member that is called has no name yet but the written one.
        helper = callee.spelling or next((token.spelling for token in cursor.get_tokens()), "")
        if helper not in HELPERS and self.typed(callee, handed[0][0]):
            return  # the compiler compares it with a type that is written there
        if helper not in HELPERS or handed[0][0] != 0 or len(handed) > 1:
            self.say(cursor, f"function {handed[0][1]} is handed to {helper}, which tests/abi/"
                             "cpp_binding.py does not know")
            return
        name = handed[0][1]
        parameters = self.interface.functions[name].parameters[1:]
        if helper == "call":
            self.numbers(cursor, name, arguments[1:], parameters)
        elif helper == "make_video":  # hands its own out_video on, as the last
            self.numbers(cursor, name, arguments[1:], parameters[:-1])
        elif helper == "call_with_text":
            self.text(cursor, name, arguments, parameters)
        else:
            self.callback(cursor, name, arguments, parameters)

    def typed(self, callee, index):
        """Whether that parameter of a function is a pointer to functions of one given type."""
        declared = callee.referenced
        nodes = [callee, *callee.walk_preorder()] if declared is None else [declared]
        for node in nodes:
            parameters = [child for child in node.get_children()
                          if child.kind == self.kinds.PARM_DECL]
            if index < len(parameters) and "(*" in parameters[index].type.spelling:
                return True
        return False

    def numbers(self, cursor, name, arguments, parameters):
        """Each number that is handed on has the type that C takes."""
        if any(self.is_pack(argument) for argument in arguments):
            return
        if len(arguments) != len(parameters):
            self.say(cursor, f"function {name} is called with {len(arguments)} arguments "
                             f"for {', '.join(parameter for parameter, _ in parameters)}")
            return
        for argument, (parameter, type_) in zip(arguments, parameters):
            found = self.own_type(argument)
            if found is not None and re.fullmatch(r"[iuf]\d+|usize|bool", found):
                wanted = {"usize": "u64"}.get(type_, type_)
                if {"usize": "u64"}.get(found, found) != wanted:
                    self.say(cursor, f"function {name}: parameter {parameter} is handed a "
                                     f"{found}, the header has {type_}")

    @staticmethod
    def is_pack(argument):
        return "..." in [token.spelling for token in argument.get_tokens()]

    def own_type(self, cursor):
        """The type of an expression before the compiler converts it."""
        while cursor.kind == self.kinds.UNEXPOSED_EXPR:
            children = list(cursor.get_children())
            if len(children) != 1:
                break
            cursor = children[0]
        try:
            return self.reader.spell(cursor.type.get_canonical())
        except ValueError:
            return None

    def text(self, cursor, name, arguments, parameters):
        """call_with_text(function, "parameter", text)"""
        if [type_ for _, type_ in parameters] != ["const*char"]:
            self.say(cursor, f"function {name} does not take one text")

    def callback(self, cursor, name, arguments, parameters):
        """call_with_callback(setter, thunk, callable, before...)"""
        types = [type_ for _, type_ in parameters]
        if types[-1] != "cvx_free_callback" or types[-2] != "*void":
            self.say(cursor, f"function {name} takes no callback with user_data and free_user_data")
            return
        wanted = types[-3]
        thunks = {node.spelling for node in arguments[1].walk_preorder()
                  if node.spelling in self.thunks}
        if len(thunks) != 1:
            self.say(cursor, f"function {name} is given {sorted(thunks)} as its callback, not one "
                             "function that the compiler could compare")
        elif wanted not in self.thunks[next(iter(thunks))]:
            self.say(cursor, f"function {name} is given {next(iter(thunks))} as its callback, "
                             f"which is no {wanted}")
        self.numbers(cursor, name, arguments[3:], parameters[:-3])

    def finish(self):
        missing = [f"cpp: function {name} is not used" for name in sorted(self.interface.functions)
                   if name not in self.used]
        missing += [f"cpp: constant {name} is not used"
                    for name in sorted(self.interface.constants) if name not in self.used]
        served = set().union(*self.thunks.values()) if self.thunks else set()
        missing += [f"cpp: callback {name}: no function has its type"
                    for name in sorted(self.interface.callbacks) if name not in served]
        return self.problems + missing

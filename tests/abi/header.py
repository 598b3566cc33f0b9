"""Reads include/cogvideox.h with libclang into an Interface."""

import os
import subprocess
import tempfile

import libclang
from interface import Function, Interface, Struct

# Constants are numbers; these macros of the header are not.
NO_CONSTANTS = {"CVX_MUST_USE", "CVX_DEPRECATED"}


class Reader:
    """Spells clang's types in the words of interface.py."""

    def __init__(self):
        self.cindex = libclang.load()
        kind = self.cindex.TypeKind
        self.scalars = {
            kind.VOID: "void", kind.CHAR_S: "char", kind.SCHAR: "i8", kind.UCHAR: "u8",
            kind.SHORT: "i16", kind.USHORT: "u16", kind.INT: "i32", kind.UINT: "u32",
            kind.FLOAT: "f32", kind.DOUBLE: "f64", kind.BOOL: "bool",
        }
        self.wide = {kind.LONG: "i", kind.LONGLONG: "i", kind.ULONG: "u", kind.ULONGLONG: "u"}

    def spell(self, type_):
        kind = self.cindex.TypeKind
        if type_.kind == kind.TYPEDEF:
            name = type_.get_declaration().spelling
            if name.startswith("cvx_") and type_.get_canonical().kind == kind.POINTER:
                return name
            if name == "size_t":
                return "usize"
        if type_.kind in (kind.TYPEDEF, kind.ELABORATED):
            inner = (type_.get_declaration().underlying_typedef_type
                     if type_.kind == kind.TYPEDEF else type_.get_named_type())
            return self.spell(inner)
        if type_.kind == kind.POINTER:
            inner = type_.get_pointee()
            if inner.get_canonical().kind in (kind.FUNCTIONPROTO, kind.FUNCTIONNOPROTO):
                return self.signature_text(inner.get_canonical())
            const = "const*" if inner.is_const_qualified() else "*"
            return const + self.spell(inner)
        if type_.kind == kind.RECORD:
            return f"struct {type_.get_declaration().spelling}"
        if type_.kind in self.scalars:
            return self.scalars[type_.kind]
        if type_.kind in self.wide:
            return f"{self.wide[type_.kind]}{type_.get_size() * 8}"
        if type_.get_canonical() != type_:  # other ways to name a type, which C++ has
            return self.spell(type_.get_canonical())
        raise ValueError(f"the header uses {type_.spelling}, a type these checks do not know")

    def signature_text(self, type_):
        inside = ", ".join(self.spell(argument) for argument in type_.argument_types())
        return f"fn {self.spell(type_.get_result())} ({inside})"

    def function(self, type_, parameters):
        if type_.kind != self.cindex.TypeKind.FUNCTIONPROTO or type_.is_function_variadic():
            raise ValueError(f"{type_.spelling} has no fixed parameters")
        names = [parameter.spelling for parameter in parameters]
        types = [self.spell(argument) for argument in type_.argument_types()]
        return Function(self.spell(type_.get_result()), list(zip(names, types)))

    def struct(self, cursor):
        definition = cursor.get_definition()
        if definition is None:
            return Struct()
        fields = []
        for entry in definition.type.get_fields():
            offset = definition.type.get_offset(entry.spelling)
            if offset < 0 or offset % 8 or entry.is_bitfield():
                raise ValueError(f"{cursor.spelling}.{entry.spelling} lies at no whole byte")
            fields.append((entry.spelling, self.spell(entry.type), offset // 8,
                           entry.type.get_size()))
        return Struct(definition.type.get_size(), fields)


def read(path):
    """The Interface of a header; what does not begin with cvx_ or CVX_ is not part of it."""
    reader, interface = Reader(), Interface()
    kinds = reader.cindex.CursorKind
    include = os.path.dirname(os.path.abspath(path))
    parsed = libclang.parse(path, arguments=["-I", include], macros=True)
    macros = []
    for cursor in parsed.cursor.get_children():
        if cursor.location.file is None or not os.path.samefile(cursor.location.file.name, path):
            continue
        name = cursor.spelling
        if cursor.kind == kinds.MACRO_DEFINITION and name.startswith("CVX_"):
            if name not in NO_CONSTANTS:
                macros.append(name)
        elif cursor.kind == kinds.FUNCTION_DECL:
            interface.functions[name] = reader.function(cursor.type, cursor.get_arguments())
        elif cursor.kind == kinds.STRUCT_DECL:
            if name.startswith("cvx_"):  # struct DLManagedTensor is the host's
                interface.structs[name] = reader.struct(cursor)
        elif cursor.kind == kinds.TYPEDEF_DECL:
            type_ = cursor.underlying_typedef_type
            if type_.kind == reader.cindex.TypeKind.POINTER:
                parameters = [child for child in cursor.get_children()
                              if child.kind == kinds.PARM_DECL]
                signature = type_.get_pointee().get_canonical()
                interface.callbacks[name] = reader.function(signature, parameters)
        elif cursor.kind == kinds.ENUM_DECL:
            raise ValueError(f"{path}: enum {name}: constants are macros, so that their "
                             "width is the same everywhere")
    values, layouts = probe(path, macros, interface.structs)
    interface.constants = values
    for name, (size, offsets) in layouts.items():
        struct = interface.structs[name]
        parsed_layout = (struct.size, [(offset, size) for _, _, offset, size in struct.fields])
        if parsed_layout != (size, offsets):
            raise ValueError(f"{name}: the parser lays it out as {parsed_layout}, the compiler "
                             f"as {(size, offsets)}")
    return interface


def probe(path, macros, structs):
    """Values of macros and layouts of structs, as the system's C compiler has them."""
    lines = [f'#include "{os.path.abspath(path)}"', "#include <stdio.h>", "int main(void) {"]
    # An int32_t that takes the value without a conversion: a macro that is a float, a string
    # or too wide does not compile.
    for name in macros:
        lines.append(f'    {{ enum {{ v = {name} }}; '
                     f'_Static_assert(_Generic(({name}), int: 1, default: 0), "{name}"); '
                     f'printf("c {name} %d\\n", (int)v); }}')
    for name, struct in structs.items():
        if not struct.opaque:
            lines.append(f'    printf("s {name} %zu\\n", sizeof({name}));')
            for field, *_ in struct.fields:
                lines.append(f'    printf("f {name} %zu %zu\\n", offsetof({name}, {field}), '
                             f'sizeof((({name} *)0)->{field}));')
    lines += ["    return 0;", "}", ""]
    values, layouts = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        source, program = os.path.join(folder, "probe.c"), os.path.join(folder, "probe")
        with open(source, "w", encoding="utf-8") as file:
            file.write("\n".join(lines))
        compiled = subprocess.run(["cc", "-std=c11", "-Wall", "-Werror", "-o", program, source],
                                  capture_output=True, text=True)
        if compiled.returncode != 0:
            raise ValueError(f"{path}: its constants and structs do not compile: "
                             f"{compiled.stderr.strip()}")
        output = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    for line in output.splitlines():
        kind, name, *numbers = line.split()
        numbers = [int(number) for number in numbers]
        if kind == "c":
            values[name] = numbers[0]
        elif kind == "s":
            layouts[name] = (numbers[0], [])
        else:
            layouts[name][1].append(tuple(numbers))
    return values, layouts

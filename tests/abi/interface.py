"""What a C interface consists of, as plain data that can be compared and kept as JSON.

Types are strings in one spelling, whatever a header calls them:

    void  i32  u32  i64  u64  usize  f32  f64  char      by value
    struct cvx_pipeline                                  what a pointer points to
    cvx_progress_callback                                a callback, by its name
    *T  and  const*T                                     a pointer to T, to a const T
"""

import json
import re
from dataclasses import dataclass, field

FIELD = re.compile(r"(.+) (\w+) at (\d+), (\d+) bytes")


@dataclass
class Function:
    """A function, or the signature of a callback."""
    answer: str
    parameters: list  # of (name, type)

    def types(self):
        return [type_ for _, type_ in self.parameters]

    def __str__(self):
        inside = ", ".join(f"{type_} {name}" for name, type_ in self.parameters)
        return f"{self.answer} ({inside})"


@dataclass
class Struct:
    """A struct with its layout in bytes; an opaque one has no size and no fields."""
    size: int = None
    fields: list = field(default_factory=list)  # of (name, type, offset, size)

    @property
    def opaque(self):
        return self.size is None


@dataclass
class Interface:
    functions: dict = field(default_factory=dict)  # name -> Function
    callbacks: dict = field(default_factory=dict)  # name -> Function
    structs: dict = field(default_factory=dict)    # name -> Struct
    constants: dict = field(default_factory=dict)  # name -> int

    def to_text(self):
        """JSON with one line per item, so that a changed item is a changed line."""
        def lines(items, value):
            return ",\n".join(f"    {json.dumps(name)}: {json.dumps(value(item))}"
                              for name, item in sorted(items.items()))

        def signature(function):
            return [function.answer] + [f"{type_} {name}" for name, type_ in function.parameters]

        def layout(struct):
            return "opaque" if struct.opaque else [
                f"{struct.size} bytes"] + [f"{type_} {name} at {offset}, {size} bytes"
                                           for name, type_, offset, size in struct.fields]
        parts = [("constants", lines(self.constants, int)), ("structs", lines(self.structs, layout)),
                 ("callbacks", lines(self.callbacks, signature)),
                 ("functions", lines(self.functions, signature))]
        return "{\n" + ",\n".join(f'  "{name}": {{\n{text}\n  }}' for name, text in parts) + "\n}\n"

    @staticmethod
    def from_text(text):
        def signature(entry):
            pairs = [parameter.rsplit(" ", 1) for parameter in entry[1:]]
            return Function(entry[0], [(name, type_) for type_, name in pairs])

        def layout(entry):
            if entry == "opaque":
                return Struct()
            fields = [FIELD.fullmatch(field).groups() for field in entry[1:]]
            return Struct(int(entry[0].split()[0]), [
                (name, type_, int(offset), int(size)) for type_, name, offset, size in fields])
        data = json.loads(text)
        return Interface(
            {name: signature(entry) for name, entry in data["functions"].items()},
            {name: signature(entry) for name, entry in data["callbacks"].items()},
            {name: layout(entry) for name, entry in data["structs"].items()},
            dict(data["constants"]))


def pointee(type_):
    """What a pointer type points to, or None for a type that is no pointer."""
    for prefix in ("const*", "*"):
        if type_.startswith(prefix):
            return type_[len(prefix):]
    return None


def without_const(type_):
    return type_.replace("const*", "*")

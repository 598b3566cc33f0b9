#!/usr/bin/env python3
"""Writes the typed setters of cache configs in C++, C# and Go from include/cogvideox.h: their
signatures from its declarations, their comments from its comments.

    python3 tests/abi/generate_setters.py           writes them (make setters)

tests/abi/check.py wants the committed text to be what this writes. Setters of callbacks, which
each language has in a form of its own, and cvx_cache_config_set_field are written by hand.
"""

import os
import re
import sys
import textwrap

import header

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PREFIX = "cvx_cache_config_set_"
BY_HAND = re.compile(r"cvx_cache_config_set_(field|\w+_callback)")
WIDTH = 100


class Setter:
    """One function of the header, and what a binding makes of it."""

    def __init__(self, name, function, comment):
        self.c_name, self.field = name, name[len(PREFIX):]
        names = [parameter for parameter, _ in function.parameters[1:]]
        types = tuple(type_ for _, type_ in function.parameters[1:])
        self.names = names
        self.kind = {
            ("i32",): "number", ("i32", "i32"): "window", ("f64",): "real", ("u64",): "bytes",
            ("const*char",): "text", ("const*const*char", "usize"): "texts",
        }.get(types)
        if self.kind is None:
            raise ValueError(f"{name}: no binding has a form for setters of {types}")
        self.text, self.errors = split(name, comment)
        flag = f"unless {names[0]} is 0 or 1, or "
        if self.kind == "number" and flag in self.errors:
            self.kind, self.errors = "flag", self.errors.replace(flag, "")
            self.text = re.sub(r"Default: .*", truth, self.text)

    def pascal(self):
        return "Set" + pascal(self.field)


def pascal(name):
    return "".join(word.capitalize() for word in name.split("_"))


def truth(sentence):
    """What C writes as 0 and 1."""
    return re.sub(r"\b[01]\b", lambda digit: ("false", "true")[int(digit[0])], sentence[0])


def split(name, comment):
    """What a comment says of the field, and of errors; both on one line."""
    said, found, errors = comment.partition("\n\nErrors: ")
    if not found:
        raise ValueError(f"{name}: its comment has no paragraph \"Errors: …\"")
    errors, since, rest = " ".join(errors.split()).partition(" Since ")
    if not since or not re.fullmatch(r"[\d.]+\.", rest):
        raise ValueError(f"{name}: its comment does not end with \"Since …\"")
    return " ".join(said.split()), errors


def read(path):
    """The setters that are written here, in the header's order."""
    interface = header.read(path)
    with open(path, encoding="utf-8") as file:
        source = file.read()
    setters = []
    for name, function in interface.functions.items():
        if not name.startswith(PREFIX) or BY_HAND.fullmatch(name):
            continue
        found = re.search(rf"/\*\*((?:(?!\*/).)*)\*/\s*CVX_MUST_USE\s*struct cvx_error \*{name}\(",
                          source, re.DOTALL)
        if not found:
            raise ValueError(f"{name}: the header has no comment above it")
        lines = [re.sub(r"^ \* ?", "", line) for line in found[1].splitlines()]
        setters.append(Setter(name, function, "\n".join(lines).strip()))
    if not setters:
        raise ValueError(f"{path} has no setters of cache configs")
    return setters


def named(text, codes, methods):
    """Names of C in a comment as a language has them: `codes` makes those of errors, `methods`
    those of functions, from the object's name and the function's."""
    text = re.sub(r"\b(INVALID_ARGUMENT|INVALID_UTF8|NULL_ARGUMENT)\b",
                  lambda match: codes(match[0]), text)
    return re.sub(r"\bcvx_(cache_config|cache_stats|pipeline)_(\w+)",
                  lambda match: methods(match[1], match[2]), text)


def wrapped(text, prefix):
    """Lines of a comment, each behind `prefix`; none ends at a no-break space, which becomes one."""
    lines = textwrap.wrap(text, WIDTH - len(prefix), break_long_words=False,
                          break_on_hyphens=False)
    return [prefix + line.replace("\u00a0", " ") for line in lines]


def bracketed(head, items, tail, indent):
    """A call or declaration: on one line where it fits, else a line for each item."""
    line = head + ", ".join(items) + tail
    if len(line) <= WIDTH:
        return [line]
    lines = [head + items[0] + ","]
    lines += [indent + item + "," for item in items[1:-1]]
    return lines + [indent + items[-1] + tail]


# ---- C++ ------------------------------------------------------------------------------------

def cpp_setter(setter):
    def methods(owner, name):
        own = {"cache_config": "", "cache_stats": "CacheStats::", "pipeline": "Pipeline::"}[owner]
        return f"{own}{name}()"

    lines = []
    for part in (setter.text, f"Errors: {setter.errors}"):
        part = named(part, lambda code: f"Code::{code.lower()}", methods)
        lines += (["    ///"] if lines else []) + wrapped(part, "    /// ")
    first = setter.names[0]
    parameters, arguments = {
        "number": ([f"std::int32_t {first}"], [first]),
        "window": ([f"std::int32_t {name}" for name in setter.names], setter.names),
        "real": ([f"double {first}"], [first]),
        "bytes": ([f"std::uint64_t {first}"], [first]),
        "flag": ([f"bool {first}"], [f"{first} ? 1 : 0"]),
        "text": ([f"const Text &{first}"], [f'"{first}"', first]),
        "texts": ([f"Span<const char *const> {first}"], [f"{first}.data()", f"{first}.size()"]),
    }[setter.kind]
    head = f"    Result<void> set_{setter.field}("
    lines += bracketed(head, parameters, ") {", " " * len(head))
    head = "        return call_with_text(" if setter.kind == "text" else "        return call("
    lines += bracketed(head, [setter.c_name, *arguments], ");", " " * len(head))
    return lines + ["    }"]


def cpp(setters):
    return "\n\n".join("\n".join(cpp_setter(setter)) for setter in setters) + "\n"


# ---- Go -------------------------------------------------------------------------------------

def go_setter(setter):
    def methods(owner, name):
        return f"[{pascal(owner)}.{pascal(name)}]"

    def codes(code):
        return "[Err" + pascal(code.lower()).replace("Utf8", "UTF8") + "]"

    name, first = setter.pascal(), setter.names[0]
    # Nothing of Go's is NULL.
    errors = re.sub(r"\bNULL_ARGUMENT(, |\.$)", "", setter.errors)
    lines = [f"// {name} sets {setter.field}."]
    for part in [setter.text] + [f"Errors: {errors}"] * bool(errors):
        lines += ["//"] + wrapped(named(part, codes, methods), "// ")
    parameters, helper, own, given, arguments = {
        "number": (f"{first} int", "changeNumber", [f'"{first}"', first], f", {first} C.int32_t",
                   first),
        "window": (", ".join(setter.names) + " int", "changeWindow", setter.names,
                   ", " + ", ".join(setter.names) + " C.int32_t", ", ".join(setter.names)),
        "real": (f"{first} float64", "change", [], "", f"C.double({first})"),
        "bytes": (f"{first} uint64", "change", [], "", f"C.uint64_t({first})"),
        "flag": (f"{first} bool", "change", [], "", f"toBool({first})"),
        "text": (f"{first} string", "changeText", [f'"{first}"', first], ", text *C.char", "text"),
        "texts": (f"{first} ...string", "changeTexts", [first],
                  ", texts **C.char, count C.size_t", "texts, count"),
    }[setter.kind]
    before = ", ".join([f'"{name}"', *own])
    return lines + [
        f"func (c *CacheConfig) {name}({parameters}) error {{",
        f"\treturn c.{helper}({before}, func(ptr *C.cvx_cache_config{given}) *C.cvx_error {{",
        f"\t\treturn C.{setter.c_name}(ptr, {arguments})",
        "\t})",
        "}",
    ]


def go(setters):
    head = ("// Code generated by tests/abi/generate_setters.py from cogvideox.h; DO NOT EDIT.\n\n"
            "package cogvideox\n\n// #include <cogvideox.h>\nimport \"C\"\n\n")
    return head + "\n\n".join("\n".join(go_setter(setter)) for setter in setters) + "\n"


# ---- C# -------------------------------------------------------------------------------------

# What comments mention and C# calls otherwise.
CSHARP = {"CacheStats.LayerOverBudget": "CacheStatistics.IsLayerOverBudget"}


def csharp_setter(setter):
    def methods(owner, name):
        called = ("" if owner == "cache_config" else pascal(owner) + ".") + pascal(name)
        return f'<see\u00a0cref="{CSHARP.get(called, called)}"/>'

    def codes(code):
        return pascal(code.lower())

    def escaped(text):
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    # Null and texts that are none are the language's own exceptions, thrown before C is called.
    errors = re.sub(r"(; )?NULL_ARGUMENT(, INVALID_UTF8)?", "", setter.errors).lstrip(".")
    first = setter.names[0]
    name = first if setter.kind in ("number", "texts", "bytes") else "value"
    errors = re.sub(rf"\bif {first}\b", f"if {name}", errors)
    parameters, arguments, said = {
        "number": ([f"int {name}"], [name], ["A whole number from 1."]),
        "window": ([f"int {one}" for one in setter.names], setter.names,
                   ["The lower end, not inside.", "The upper end, not inside."]),
        "real": (["double value"], ["value"], ["Any number that is finite in float32."]),
        "bytes": ([f"ulong {name}"], [name], ["A number of bytes."]),
        "flag": (["bool value"], ["value ? 1 : 0"], ["Whether it is so."]),
        "text": (["string value"], ['Utf8.Required(value, "value")'], ["One of those names."]),
        "texts": ([f"params string[] {name}"], ["texts.Pointers", "(UIntPtr)texts.Pointers.Length"],
                  ["Regular expressions."]),
    }[setter.kind]
    slash = "        /// "
    lines = [slash + "<summary>"]
    lines += wrapped(named(escaped(setter.text), codes, methods), slash)
    lines += [slash + "</summary>"]
    for parameter, what in zip(setter.names if setter.kind == "window" else [name], said):
        lines += [f'{slash}<param name="{parameter}">{what}</param>']
    lines += [slash + "<returns>The config itself.</returns>"]
    if errors:
        lines += [slash + '<exception cref="CogVideoXException">']
        lines += wrapped(named(escaped(errors), codes, methods), slash)
        lines += [slash + "</exception>"]
    lines += [f"        public CacheConfig {setter.pascal()}({', '.join(parameters)})", "        {"]
    call = [f"return Checked(NativeMethods.{setter.c_name}(",
            f"    {', '.join(['Handle', *arguments])}));"]
    if setter.kind == "texts":
        call = [f'using (var texts = new Utf8Array({name}, "{name}"))', "{",
                *["    " + line for line in call], "}"]
    return lines + ["            " + line for line in call] + ["        }"]


def csharp(setters):
    head = """// Written by tests/abi/generate_setters.py from cogvideox.h; do not edit.

using System;
using CogVideoX.Native;

namespace CogVideoX
{
    // The fields, under the names that they have in diffusers' configs. A value that a field may
    // not have, and a field that the technique lacks, is InvalidArgument at once.
    public sealed partial class CacheConfig
    {
"""
    return head + "\n\n".join("\n".join(csharp_setter(setter)) for setter in setters) + "\n    }\n}\n"


# ---- files ----------------------------------------------------------------------------------

# Of the C++ class a part is written: what lies between these two lines.
BEGIN = "    // Written by tests/abi/generate_setters.py from cogvideox.h, up to the line \"end\": begin\n"
END = "    // end\n"
FILES = {
    "include/cogvideox/cache_config.hpp": cpp,
    "bindings/csharp/Runtime/CacheConfig.Fields.cs": csharp,
    "bindings/go/cache_fields.go": go,
}


def files(root):
    """What each file should be, beside what it is: (path, wanted, found)."""
    setters = read(os.path.join(root, "include", "cogvideox.h"))
    for path, make in FILES.items():
        try:
            with open(os.path.join(root, path), encoding="utf-8") as file:
                found = file.read()
        except FileNotFoundError:
            found = ""
        wanted = make(setters)
        if path.endswith(".hpp"):
            before, begin, rest = found.partition(BEGIN)
            _, end, after = rest.partition(END)
            if not begin or not end:
                raise ValueError(f"{path}: the lines between which setters are written are gone")
            wanted = before + begin + "\n" + wanted + "\n" + end + after
        yield path, wanted, found


def check(root):
    """Problems, each a sentence."""
    problems = []
    for path, wanted, found in files(root):
        if wanted != found:
            pairs = zip(wanted.splitlines() + [""], found.splitlines() + [""])
            line = next((number for number, (a, b) in enumerate(pairs, 1) if a != b), 1)
            problems.append(f"setters: {path} is not what the header makes from line {line} on: "
                            "run `make setters`")
    return problems


def main():
    for path, wanted, found in files(ROOT):
        if wanted != found:
            with open(os.path.join(ROOT, path), "w", encoding="utf-8") as file:
                file.write(wanted)
            print(f"wrote {path}")


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"setters: {error}")

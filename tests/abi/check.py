#!/usr/bin/env python3
"""Whether the bindings are what include/cogvideox.h says, and whether the header still is what
was promised.

    python3 tests/abi/check.py                    everything
    python3 tests/abi/check.py cpp go             parts of it
    python3 tests/abi/check.py --update-baseline  records what was added to the header

Parts: baseline, history, setters, cpp, csharp, go, python. Needs a C and a C++ compiler's headers, mono
for csharp, Go for go, and fetches libclang once. tests/abi/selftest.py proves that mistakes are
found.
"""

import argparse
import os
import sys

import baseline
import cpp_binding
import csharp_binding
import generate_setters
import go_binding
import header
import python_binding

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BASELINE = "tests/abi/baseline"


def check_history(root):
    problems, compared = baseline.check_history(root, BASELINE)
    if compared == 0 and not problems:
        print("abi: history: nothing to compare (no baseline in git here)")
    return problems


PARTS = {
    "baseline": lambda interface, root: baseline.check(interface, os.path.join(root, BASELINE)),
    "history": lambda interface, root: check_history(root),
    "setters": lambda interface, root: generate_setters.check(root),
    "cpp": lambda interface, root: cpp_binding.check(interface, os.path.join(root, "include")),
    "csharp": lambda interface, root: csharp_binding.check(
        interface, os.path.join(root, "bindings", "csharp")),
    "go": lambda interface, root: go_binding.check(
        interface, os.path.join(root, "bindings", "go"), os.path.join(root, "include")),
    "python": lambda interface, root: python_binding.check(
        interface, os.path.join(root, "tests", "python", "cvx.py")),
}


def run(root, parts=PARTS):
    """Problems by part, each a sentence that names what is wrong."""
    interface = header.read(os.path.join(root, "include", "cogvideox.h"))
    found = {}
    for part in parts:
        try:
            found[part] = PARTS[part](interface, root)
        except (ValueError, OSError) as error:  # what is to be checked cannot even be read
            found[part] = [str(error)]
    return interface, found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--root", default=ROOT, help="the checkout (default: this one)")
    parser.add_argument("--update-baseline", action="store_true",
                        help="record what was added to the header")
    arguments = parser.parse_args()
    for part in arguments.parts:
        if part not in PARTS:
            parser.error(f"no part {part}: there are {', '.join(PARTS)}")
    if arguments.update_baseline:
        interface = header.read(os.path.join(arguments.root, "include", "cogvideox.h"))
        problems = baseline.update(interface, os.path.join(arguments.root, BASELINE))
        for problem in problems:
            print(f"abi: baseline: {problem}", file=sys.stderr)
        return 1 if problems else 0
    try:
        interface, found = run(arguments.root, arguments.parts or PARTS)
    except ValueError as error:
        sys.exit(f"abi: {error}")
    print(f"abi: {len(interface.functions)} functions, {len(interface.constants)} constants, "
          f"{len(interface.callbacks)} callbacks, "
          f"{sum(not struct.opaque for struct in interface.structs.values())} structs")
    for part, problems in found.items():
        print(f"abi: {part}: {'as the header' if not problems else f'{len(problems)} problems'}")
        for problem in problems:
            print(f"  {problem}", file=sys.stderr)
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())

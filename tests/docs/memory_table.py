#!/usr/bin/env python3
"""docs/memory.md's tables, printed by the library's own plans.

    memory_table.py            writes them into docs/memory.md, between its marks
    memory_table.py --check    fails if they are not what is there

Plans need a folder's configs alone, so these are made here, with the sizes of the published models.
CVX_LIBRARY names the library (default: target/release); no CUDA device is needed.
"""

import argparse
import ctypes
import json
import os
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(ROOT, "tests", "python"))

import cvx  # noqa: E402 (needs the path)
from full_size import MODELS, folder_of  # noqa: E402

PAGE = os.path.join(ROOT, "docs", "memory.md")
BUDGETS = (6, 8, 12, 16, 24, 48, 80)
# Of each card, what CUDA's context, libraries and the screen take is not the library's to plan with.
RESERVED = 0.6e9


def plan(library, folder, device, size, budget=0):
    load, run, pointer = library.load_options_new(), library.generate_options_new(), cvx.P()

    def function(name, *types):
        found = getattr(library._handle, name)
        found.argtypes, found.restype = types, cvx.P
        return library._raising(found)
    try:
        library.load_options_set_device(load, device.encode())
        width, height, frames = size
        function("cvx_generate_options_set_size", cvx.P, cvx.I32, cvx.I32)(run, width, height)
        library.generate_options_set_num_frames(run, frames)
        function("cvx_plan_new", cvx.STR, cvx.P, cvx.P, cvx.P, cvx.U64, cvx.OUT)(
            folder.encode(), load, run, None, int(budget), ctypes.byref(pointer))
        text = library._handle.cvx_plan_json
        text.argtypes, text.restype = [cvx.P], cvx.STR
        return json.loads(text(pointer))
    finally:
        library.load_options_free(load)
        library.generate_options_free(run)
        free = library._handle.cvx_plan_free
        free.argtypes, free.restype = [cvx.P], None
        free(pointer)


def gb(count):
    return f"{count / 1e9:.1f}"


def tables():
    library, lines = cvx.Library(), []
    with tempfile.TemporaryDirectory() as parent:
        folders = {model: folder_of(model, parent) for model in MODELS}
        for device, dtype in (("cuda", "bf16, on a CUDA device"), ("cpu", "float32, on the CPU")):
            lines += [f"**Bytes at the peak of a run, {dtype}**, in GB (1e9 bytes):", "",
                      "| weights | tiles | " + " | ".join(MODELS) + " |",
                      "| --- | --- |" + " ---: |" * len(MODELS)]
            plans = {model: plan(library, folder, device, MODELS[model][2])
                     for model, folder in folders.items()}
            for index, choice in enumerate(plans["5b"]["choices"]):
                peaks = [gb(plans[model]["choices"][index]["peak_bytes"]) for model in MODELS]
                lines.append(f"| {choice['mode']} | {'yes' if choice['tiles'] else 'no'} | "
                             + " | ".join(peaks) + " |")
            lines.append("")
        lines += ["**The fastest way that fits on a card**, by `\"best\"` of a plan with the card's GB "
                  "less 0.6 for CUDA itself; time beside resident weights, which is for comparing:",
                  "", "| card | " + " | ".join(MODELS) + " |", "| ---: |" + " --- |" * len(MODELS)]
        for budget in BUDGETS:
            cells = []
            for model, folder in folders.items():
                found = plan(library, folder, "cuda", MODELS[model][2], budget * 1e9 - RESERVED)
                if found["best"] is None:
                    least = min(choice["peak_bytes"] for choice in found["choices"])
                    cells.append(f"none: at least {gb(least)}")
                else:
                    best = found["choices"][found["best"]]
                    tiles = ", tiles" if best["tiles"] else ""
                    cells.append(f"{best['mode']}{tiles}: {gb(best['peak_bytes'])}, "
                                 f"× {best['relative_time']:.2f}")
            lines.append(f"| {budget} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    begin, end = "<!-- tables: tests/docs/memory_table.py -->\n", "<!-- end of tables -->\n"
    with open(PAGE, encoding="utf-8") as file:
        before, rest = file.read().split(begin)
    found, after = rest.split(end)
    expected = "\n" + tables() + "\n"
    if arguments.check:
        if found != expected:
            sys.exit("docs/memory.md: the tables are not what plans say: run "
                     "tests/docs/memory_table.py and commit what it writes")
        print("docs/memory.md: the tables are what plans say")
        return
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write(before + begin + expected + end + after)


if __name__ == "__main__":
    main()

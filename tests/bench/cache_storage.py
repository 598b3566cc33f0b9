#!/usr/bin/env python3
"""What caches in smaller dtypes save and cost on the demo model: docs/memory.md.

For each technique and dtype: the most bytes kept, processor time beside that of the same cache in
float32 in the same minute, and how near the clips are to its own (PSNR of all frames of a clip, over
prompts and seeds). Needs no package.

    CVX_LIBRARY=target/release/libcogvideox.so tests/bench/cache_storage.py --write
"""

import argparse
import ctypes
import json
import os
import statistics
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import quantization as bench  # noqa: E402
from quantization import cvx  # noqa: E402

PAGE = os.path.join(bench.ROOT, "docs", "memory.md")
BEGIN, END = "<!-- measured: tests/bench/cache_storage.py -->", "<!-- end -->"
TECHNIQUES = {"Pyramid Attention Broadcast": {"technique": "pab"},
              "FasterCache": {"technique": "faster_cache"}}
DTYPES = ("f32", "f16", "bf16", "fp8")


def enable(library, pipeline, fields):
    config, error = cvx.P(), library._handle.cvx_cache_config_from_json
    error.argtypes, error.restype = [cvx.STR, cvx.OUT], ctypes.c_void_p
    assert not error(json.dumps(fields).encode(), ctypes.byref(config))
    library.pipeline_enable_cache(pipeline, config)
    library.cache_config_free(config)


def bytes_kept(library, pipeline):
    handle, stats = library._handle, cvx.P()
    handle.cvx_pipeline_cache_stats.argtypes = [cvx.P, cvx.OUT]
    handle.cvx_pipeline_cache_stats.restype = ctypes.c_void_p
    assert not handle.cvx_pipeline_cache_stats(pipeline, ctypes.byref(stats))
    handle.cvx_cache_stats_bytes_peak.argtypes = [cvx.P]
    handle.cvx_cache_stats_bytes_peak.restype = ctypes.c_uint64
    handle.cvx_cache_stats_free.argtypes, handle.cvx_cache_stats_free.restype = [cvx.P], None
    kept = handle.cvx_cache_stats_bytes_peak(stats)
    handle.cvx_cache_stats_free(stats)
    return kept


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--write", action="store_true", help="into docs/memory.md")
    wanted = parser.parse_args()
    library = cvx.Library()
    pipeline = bench.load(library, {})
    runs = [(name, dtype) for name in TECHNIQUES for dtype in DTYPES]
    clips, seconds, kept = ({run: [] for run in runs} for _ in range(3))
    for clip in range(wanted.clips):
        # In turn, so that what else the machine does falls on all alike.
        for name, dtype in runs:
            enable(library, pipeline, {**TECHNIQUES[name], "cache_dtype": dtype})
            prompt = bench.PROMPTS[clip % len(bench.PROMPTS)]
            frames, taken = bench.run(library, pipeline, prompt, clip, wanted.steps)
            clips[name, dtype].append(frames)
            seconds[name, dtype].append(taken)
            kept[name, dtype].append(bytes_kept(library, pipeline))
        print(f"clip {clip + 1} of {wanted.clips}", file=sys.stderr)
    lines = ["| cache | dtype | MB kept | processor time of a run | PSNR, median | PSNR, lowest |",
             "| --- | --- | --- | --- | --- | --- |"]
    for name, dtype in runs:
        size, whole = max(kept[name, dtype]), max(kept[name, "f32"])
        ratio = statistics.median(
            a / b for a, b in zip(seconds[name, dtype], seconds[name, "f32"]))
        near = [bench.psnr(*pair) for pair in zip(clips[name, dtype], clips[name, "f32"])]
        told = ("—", "—") if dtype == "f32" else (
            f"{statistics.median(near):.1f} dB", f"{min(near):.1f} dB")
        lines.append(f"| {name} | {dtype} | {size / 1e6:.2f} ({size / whole:.2f} ×) | {ratio:.2f} × | "
                     f"{told[0]} | {told[1]} |")
    lines.append("")
    lines.append(f"{wanted.clips} clips, {wanted.steps} steps each, against the same cache in float32, on "
                 f"the CPU ({bench.cpu()}, one thread).")
    text = "\n".join(lines)
    print(text)
    if wanted.write:
        with open(PAGE, encoding="utf-8") as file:
            page = file.read()
        head, rest = page.split(BEGIN)
        with open(PAGE, "w", encoding="utf-8") as file:
            file.write(head + BEGIN + "\n" + text + "\n" + END + rest.split(END, 1)[1])


if __name__ == "__main__":
    main()

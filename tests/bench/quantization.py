#!/usr/bin/env python3
"""What quantized weights cost and save on the demo model: docs/quantization.md.

For each kind: the bytes of all weights, processor time of a run beside that of whole weights in the
same minute, and how near the clips are to those of whole weights (PSNR of all frames of a clip, over
prompts and seeds). Needs no package.

    CVX_LIBRARY=target/release/libcogvideox.so tests/bench/quantization.py --write

With --products the same for products in bfloat16 and int8 (docs/performance.md).
"""

import argparse
import ctypes
import math
import os
import statistics
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
sys.path.insert(0, os.path.join(HERE, "..", "python"))

import cvx  # noqa: E402

MODEL = os.path.join(ROOT, "examples", "demo-model", "pipeline")
PAGE = os.path.join(ROOT, "docs", "quantization.md")
PRODUCTS_PAGE = os.path.join(ROOT, "docs", "performance.md")
BEGIN, END = "<!-- measured: tests/bench/quantization.py -->", "<!-- end -->"
PROMPTS = ["a red ball moves right on a black background",
           "a green square moves left on a navy background",
           "a blue triangle moves up on a gray background",
           "a yellow ball moves down on a brown background"]
KINDS = [("none", {}),
         *[(kind, {"transformer": kind, "text_encoder": kind}) for kind in ("int8", "fp8", "int4")],
         ("int4, transformer alone", {"transformer": "int4"}),
         ("int4, T5 alone", {"text_encoder": "int4"})]
PRODUCTS = [("none", {}),
            *[(f"float32, products in {kind}", {"products": kind}) for kind in ("bfloat16", "int8")]]


def load(library, kinds):
    options, pointer = library.load_options_new(), cvx.P()
    library.load_options_set_device(options, b"cpu")
    library.load_options_set_prompt_cache_size(options, 0)
    for component, kind in kinds.items():
        if component == "products":
            library.load_options_set_cpu_matmul_precision(options, kind.encode())
            continue
        library.load_options_set_component_quantization(options, component.encode(), kind.encode())
    library.pipeline_load(MODEL.encode(), options, ctypes.byref(pointer))
    library.load_options_free(options)
    return pointer


def run(library, pipeline, prompt, seed, steps):
    """Frames as bytes, and seconds of processor time."""
    options, video = library.generate_options_new(), cvx.P()
    library.generate_options_set_prompt(options, prompt.encode())
    library.generate_options_set_seed(options, seed)
    library.generate_options_set_num_inference_steps(options, steps)
    start = time.process_time()
    library.pipeline_generate(pipeline, options, ctypes.byref(video))
    seconds = time.process_time() - start
    library.generate_options_free(options)
    data = cvx.P()
    library.video_frames_rgb8(video, 0, ctypes.byref(data), None)
    count = 3 * (library.video_num_frames(video) * library.video_height(video)
                 * library.video_width(video))
    frames = ctypes.string_at(data, count)
    library.video_free(video)
    return frames, seconds


def psnr(found, expected):
    square = sum((a - b) ** 2 for a, b in zip(found, expected)) / len(expected)
    return math.inf if square == 0 else 10 * math.log10(255 ** 2 / square)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--write", action="store_true", help="into docs/quantization.md, or with "
                        "--products into docs/performance.md")
    parser.add_argument("--products", action="store_true")
    wanted = parser.parse_args()
    compared, page_of = (PRODUCTS, PRODUCTS_PAGE) if wanted.products else (KINDS, PAGE)
    library = cvx.Library()
    library._handle.cvx_pipeline_weight_bytes.argtypes = [cvx.P]
    library._handle.cvx_pipeline_weight_bytes.restype = ctypes.c_uint64
    pipelines = {name: load(library, kinds) for name, kinds in compared}
    clips = {name: [] for name, _ in compared}
    seconds = {name: [] for name, _ in compared}
    for clip in range(wanted.clips):
        # In turn, so that what else the machine does falls on all alike.
        for name, _ in compared:
            prompt = PROMPTS[clip % len(PROMPTS)]
            frames, time_taken = run(library, pipelines[name], prompt, clip, wanted.steps)
            clips[name].append(frames)
            seconds[name].append(time_taken)
        print(f"clip {clip + 1} of {wanted.clips}", file=sys.stderr)
    whole = library._handle.cvx_pipeline_weight_bytes(pipelines["none"])
    lines = ["| weights | MB of all weights | processor time of a run | PSNR, median | PSNR, lowest |",
             "| --- | --- | --- | --- | --- |"]
    for name, _ in compared:
        size = library._handle.cvx_pipeline_weight_bytes(pipelines[name])
        ratio = statistics.median(a / b for a, b in zip(seconds[name], seconds["none"]))
        near = [psnr(*pair) for pair in zip(clips[name], clips["none"])]
        told = ("—", "—") if name == "none" else (
            f"{statistics.median(near):.1f} dB", f"{min(near):.1f} dB")
        label = "whole (float32)" if name == "none" else name
        lines.append(f"| {label} | {size / 1e6:.1f} ({size / whole:.2f} ×) | {ratio:.2f} × | "
                     f"{told[0]} | {told[1]} |")
    lines.append("")
    lines.append(f"{wanted.clips} clips, {wanted.steps} steps each, on the CPU ({cpu()}, one thread).")
    text = "\n".join(lines)
    print(text)
    if wanted.write:
        with open(page_of, encoding="utf-8") as file:
            page = file.read()
        head, rest = page.split(BEGIN)
        with open(page_of, "w", encoding="utf-8") as file:
            file.write(head + BEGIN + "\n" + text + "\n" + END + rest.split(END)[1])


def cpu():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    return names[0] if names else "unknown"


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""A folder with the shapes of CogVideoX-5b and random weights in bfloat16, and what a run of it
takes when its weights are read block by block: memory, and time beside resident weights.

    large_model.py write FOLDER [--layers 42] [--text-layers 24]    20 GB as published
    large_model.py run FOLDER [--streaming file] [--size 64x64] [--frames 5] [--steps 1]
    large_model.py compare FOLDER      steps with resident and with streamed weights in turn

Needs Python and the library alone (CVX_LIBRARY, or target/release), on Linux. Videos of random
weights show nothing.
"""

import argparse
import ctypes
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "python"))

import full_size  # noqa: E402 (needs the path)


def write_tensors(path, tensors):
    """Numbers of about 0.004 to 0.03 of either sign."""
    pool = bytearray(64 << 20)
    chance = random.Random(5)
    exponents = bytes((0x3b, 0x3c, 0xbb, 0xbc))
    pool[0::2] = chance.randbytes(len(pool) // 2)
    pool[1::2] = chance.randbytes(len(pool) // 2).translate(exponents * 64)
    head, header, end = full_size.header_of(tensors)
    with open(path, "wb") as file:
        file.write(head)
        for entry in header.values():
            left = entry["data_offsets"][1] - entry["data_offsets"][0]
            start = 2 * chance.randrange(len(pool) // 4)
            while left > 0:
                part = memoryview(pool)[start:start + left]
                file.write(part)
                left, start = left - len(part), 0
    return end


def write(folder, layers, text_layers):
    parent = os.path.dirname(os.path.abspath(folder))
    with tempfile.TemporaryDirectory(dir=parent) as made:
        os.rename(full_size.folder_of("5b", made, {"transformer": {"num_layers": layers},
                                                   "text_encoder": {"num_layers": text_layers}}),
                  folder)
    for component, tensors in full_size.tensors_of(folder).items():
        path = os.path.join(folder, component, full_size.COMPONENTS[component] + ".safetensors")
        print(f"{component}: {write_tensors(path, tensors) / 1e9:.2f} GB", flush=True)


class Progress(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("stage", ctypes.c_int32),
                ("done", ctypes.c_uint64), ("total", ctypes.c_uint64),
                ("timestep", ctypes.c_double)]


def memory(field):
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return 0


def run(folder, streaming, size, frames, steps, latents):
    """One run; prints a line of JSON. Times of steps are from one report to the next."""
    import cvx
    peaks, over = {"anonymous": 0}, threading.Event()

    def watch():
        while not over.wait(0.02):
            peaks["anonymous"] = max(peaks["anonymous"], memory("RssAnon"))
    threading.Thread(target=watch, daemon=True).start()
    library = cvx.Library()
    started = time.perf_counter()
    pipeline = cvx.Pipeline(library, folder, streaming=streaming)
    report = {"streaming": streaming, "load_s": round(time.perf_counter() - started, 2)}
    times = []
    callback_type = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.POINTER(Progress), ctypes.c_void_p)

    def note(info, _):
        times.append((info.contents.stage, time.perf_counter(), time.process_time()))
        return 0
    callback = callback_type(note)
    options, video = library.generate_options_new(), cvx.P()

    def setter(name, *types):
        return cvx.Library._raising(library, getattr_typed(library, name, types))

    def getattr_typed(library, name, types):
        function = getattr(library._handle, "cvx_generate_options_set_" + name)
        function.argtypes, function.restype = [cvx.P, *types], cvx.P
        return function
    library.generate_options_set_prompt(options, b"a red ball")
    setter("size", cvx.I32, cvx.I32)(options, *size)
    library.generate_options_set_num_frames(options, frames)
    library.generate_options_set_num_inference_steps(options, steps)
    library.generate_options_set_output(options, cvx.OUTPUT_LATENTS if latents
                                        else cvx.OUTPUT_FRAMES)
    setter("progress_callback", callback_type, cvx.P, cvx.P)(options, callback, None, None)
    started = time.perf_counter()
    library.pipeline_generate(pipeline.pointer, options, ctypes.byref(video))
    report["run_s"] = round(time.perf_counter() - started, 2)
    # The last report of encoding begins the first step.
    encoded = max(at for at, (stage, *_) in enumerate(times) if stage == 2)
    marks = [times[encoded]] + [mark for mark in times[encoded:] if mark[0] == 3]
    report["encode_s"] = round(marks[0][1] - started, 2)
    pairs = list(zip(marks, marks[1:]))
    report["step_s"] = [round(b[1] - a[1], 2) for a, b in pairs]
    report["step_cpu_s"] = [round(b[2] - a[2], 2) for a, b in pairs]
    over.set()
    report["peak_resident_gb"] = round(memory("VmHWM") / 1e9, 2)
    report["peak_beside_files_gb"] = round(max(peaks["anonymous"], memory("RssAnon")) / 1e9, 2)
    print(json.dumps(report), flush=True)


def compare(folder, arguments):
    """Each mode in processes of its own, in turn, so that a busy machine is busy for both."""
    best = {}
    for _ in range(arguments.rounds):
        for streaming in ("resident", "file", "host"):
            said = subprocess.run(
                [sys.executable, __file__, "run", folder, "--streaming", streaming, "--size",
                 arguments.size, "--frames", str(arguments.frames), "--steps", "3", "--latents"],
                check=True, capture_output=True, text=True).stdout
            print(said, end="", flush=True)
            report = json.loads(said)
            for clock in ("step_s", "step_cpu_s"):
                key = streaming, clock
                best[key] = min(best.get(key, float("inf")), *report[clock][1:])
    for clock in ("step_s", "step_cpu_s"):
        for streaming in ("file", "host"):
            ratio = best[streaming, clock] / best["resident", clock]
            print(f"{clock}, least of all: {streaming} {best[streaming, clock]:.2f}, resident "
                  f"{best['resident', clock]:.2f}: {ratio:.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["write", "run", "compare"])
    parser.add_argument("folder")
    parser.add_argument("--layers", type=int, default=42)
    parser.add_argument("--text-layers", type=int, default=24)
    parser.add_argument("--streaming", default="file")
    parser.add_argument("--size", default="64x64")
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--latents", action="store_true", help="decode nothing")
    arguments = parser.parse_args()
    if arguments.what == "write":
        write(arguments.folder, arguments.layers, arguments.text_layers)
    elif arguments.what == "run":
        size = tuple(int(side) for side in arguments.size.split("x"))
        run(arguments.folder, arguments.streaming, size, arguments.frames, arguments.steps,
            arguments.latents)
    else:
        compare(arguments.folder, arguments)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Times libcogvideox beside diffusers on the same weights, in one run.

The two take turns, each in a process of its own (so that peak memory is each one's own),
with the same number of threads; the figures are medians over the rounds and the ratios are
taken round by round, so that a machine whose speed drifts does not tilt them.

Three sizes: `tiny` (the tests' pipeline of 2 heads × 16, where calls cost more than arithmetic),
`middle` (512 wide) and `wide` (two layers of CogVideoX-5b's widths, and its VAE). Beside each stands
what a large matrix product reaches on this machine, and how much of it a step does.

Usage: bench.py [--sizes tiny,middle,wide] [--rounds N] [--steps N] [--threads N] [--busy N]
                [--modes dense,pab,faster_cache] [--streaming resident|file|host] [--json FILE]

--busy has so many other processes keep a core busy meanwhile. --streaming is how libcogvideox
keeps weights.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time

import environment

HERE = os.path.dirname(os.path.abspath(__file__))
# Folder of the cache, steps and rounds at most, runs of which the quickest counts.
SIZES = {
    "tiny": {"folder": None, "steps": 20, "rounds": 5, "times": 5},
    "middle": {"folder": "bench-model-1", "steps": 50, "rounds": 9, "times": 1},
    "wide": {"folder": "bench-wide-1", "steps": 4, "rounds": 1, "times": 1},
}
TINY = os.path.join(HERE, "..", "pipelines", "5b")
ROWS = [
    ("load_s", "load", "s"),
    ("denoise_dense_s", "denoise, uncached", "s"),
    ("denoise_dense_cpu_s", "the same, processor", "s"),
    ("denoise_pab_s", "denoise, PAB", "s"),
    ("denoise_faster_cache_s", "denoise, FasterCache", "s"),
    ("denoise_bfloat16_s", "denoise, bfloat16 products", "s"),
    ("denoise_int8_s", "denoise, int8 products", "s"),
    ("decode_s", "VAE decode", "s"),
    ("decode_cpu_s", "VAE decode, processor", "s"),
    ("encode_s", "VAE encode", "s"),
    ("encode_cpu_s", "VAE encode, processor", "s"),
    ("peak_denoise_mib", "peak memory, denoise", "MiB"),
    ("peak_mib", "peak memory, with decode", "MiB"),
]


# What diffusers has beside rows that it has no way for.
BESIDE = {"denoise_bfloat16_s": "denoise_dense_s", "denoise_int8_s": "denoise_dense_s"}


def run(command, threads):
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    result = subprocess.run(command, capture_output=True, text=True, env=env)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{result.stderr[-2000:]}")
    return json.loads(result.stdout.strip().splitlines()[-1])


def folder_of(size, reference):
    """The pipeline of that size, made first if it is not there."""
    if SIZES[size]["folder"] is None:
        return TINY
    model = os.path.join(environment.cache_folder(), SIZES[size]["folder"])
    if not os.path.isdir(model):
        subprocess.run([reference, os.path.join(HERE, "make_model.py"), model, size], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return model


def step_flops(model):
    """Floating-point operations of a step of 9 frames with guidance: the blocks' matrix products and
    attention."""
    with open(os.path.join(model, "transformer", "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    width = config["num_attention_heads"] * config["attention_head_dim"]
    patch = config["patch_size"]
    video = 3 * (config["sample_height"] // patch) * (config["sample_width"] // patch)
    tokens = video + config["max_text_seq_length"]
    block = 2 * 12 * tokens * width ** 2 + 4 * tokens ** 2 * width
    return 2 * config["num_layers"] * block


def compare(size, options, reference, threads, peak):
    """Runs the two at one size in turn, and answers the report."""
    limits = SIZES[size]
    model = folder_of(size, reference)
    steps, rounds = min(options.steps, limits["steps"]), min(options.rounds, limits["rounds"])
    work = [model, str(steps), options.modes, str(limits["times"])]
    theirs, ours = [], []
    for number in range(rounds):
        # Who goes first changes every round: a warm file cache favours the second.
        turns = [
            ("theirs", [reference, os.path.join(HERE, "worker_diffusers.py"), *work], theirs),
            ("ours", [sys.executable, os.path.join(HERE, "worker_cogvideox.py"), *work,
                      options.streaming], ours)]
        for name, command, reports in turns if number % 2 == 0 else reversed(turns):
            print(f"{size}, round {number + 1} of {rounds}: {name} …", file=sys.stderr, flush=True)
            reports.append(run(command, threads))

    table = {}
    for key, label, unit in ROWS:
        beside = BESIDE.get(key, key)
        if key not in ours[0] or beside not in theirs[0]:
            continue
        ratios = [t[beside] / o[key] for t, o in zip(theirs, ours)]
        table[key] = {
            "label": label, "unit": unit,
            "diffusers": statistics.median(t[beside] for t in theirs),
            "libcogvideox": statistics.median(o[key] for o in ours),
            "ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios),
        }
    print(f"\n{size}: {threads} threads, {steps} steps, {rounds} rounds; "
          "ratio = diffusers / libcogvideox, above 1 is better")
    print(f"{'':26}{'diffusers':>12}{'libcogvideox':>14}{'ratio':>8}   (min – max)")
    for row in table.values():
        digits = 3 if row["unit"] == "s" and row["diffusers"] < 10 else 2
        print(f"{row['label']:26}{row['diffusers']:>9.{digits}f} {row['unit']:<3}"
              f"{row['libcogvideox']:>10.{digits}f} {row['unit']:<3}{row['ratio']:>8.2f}"
              f"   ({row['ratio_min']:.2f} – {row['ratio_max']:.2f})")
    speedups = speed_ups(theirs, ours, options.modes.split(","))
    for mode, (of_theirs, of_ours) in speedups.items():
        print(f"speed-up of {mode} over uncached: diffusers {of_theirs:.2f}, "
              f"libcogvideox {of_ours:.2f}")

    report = {"threads": threads, "steps": steps, "rounds": rounds, "rows": table,
              "speed_ups": speedups, "runs": {"diffusers": theirs, "libcogvideox": ours}}
    if "denoise_dense_s" in table:
        flops = steps * step_flops(model)
        row = table["denoise_dense_s"]
        reached = {who: flops / row[who] / 1e9 for who in ("diffusers", "libcogvideox")}
        report["denoise_gflops_per_second"] = reached
        print(", ".join(f"{who} denoises at {found:.0f} GFLOP/s, {100 * found / max(peak.values()):.0f} %"
                        for who, found in reached.items())
              + f" of the {max(peak.values()):.0f} that a large product reaches")
    preview, step = (statistics.median(o[key] for o in ours)
                     for key in ("preview_cpu_s", "step_cpu_s"))
    print(f"a preview takes {1e3 * preview:.2f} ms of processor time, {100 * preview / step:.3f} % of "
          f"the {step:.2f} s of a step, and the first one, once, "
          f"{statistics.median(o['preview_first_cpu_s'] for o in ours):.2f} s")
    return report


def main():
    arguments = argparse.ArgumentParser(description="libcogvideox beside diffusers")
    arguments.add_argument("--sizes", default="tiny,middle,wide")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--steps", type=int, default=20)
    arguments.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments.add_argument("--busy", type=int, default=0)
    arguments.add_argument("--modes", default="dense,pab,faster_cache")
    arguments.add_argument("--streaming", default="resident",
                           choices=["resident", "file", "host"])
    arguments.add_argument("--json", default=os.path.join(HERE, "..", "..", "out", "bench.json"))
    options = arguments.parse_args()

    reference, threads = environment.reference_python(), options.threads
    before = os.getloadavg()[0]
    peak = run([reference, os.path.join(HERE, "matrix_peak.py")], threads)
    print(f"a product of 2048 × 2048 matrices reaches {peak['mkl']:.0f} GFLOP/s with MKL and "
          f"{peak['onednn']:.0f} with oneDNN on {threads} threads ({processor()})")
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"])
              for _ in range(options.busy)]
    try:
        sizes = {size: compare(size, options, reference, threads, peak)
                 for size in options.sizes.split(",")}
    finally:
        for other in others:
            other.kill()
            other.wait()
    report = {"date": time.strftime("%Y-%m-%d"), "machine": processor(), "threads": threads,
              "busy_processes": options.busy, "weight_streaming": options.streaming,
              "load_before_and_after": [round(load, 1) for load in (before, os.getloadavg()[0])],
              "matrix_peak_gflops_per_second": peak, "sizes": sizes}
    os.makedirs(os.path.dirname(os.path.abspath(options.json)), exist_ok=True)
    with open(options.json, "w", encoding="utf-8") as file:
        json.dump(report, file, indent=1)
    print(f"written: {os.path.relpath(options.json)}")


def processor():
    """The processor's name; Python's own `platform` does not know it on Linux."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()


def speed_ups(theirs, ours, modes):
    """Of each cached mode over the same process's uncached run: (diffusers, libcogvideox)."""
    result = {}
    for mode in modes:
        if mode == "dense" or "dense" not in modes:
            continue
        key = f"denoise_{mode}_s"
        result[mode] = tuple(
            statistics.median(r["denoise_dense_s"] / r[key] for r in reports)
            for reports in (theirs, ours))
    return result


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Checks a CUDA device against the CPU through the C functions, then times it beside diffusers.

Takes the built library as it is, against the PyTorch 2.11 of the Python that runs this
script; builds nothing. Needs torch; where diffusers 0.42.1 and transformers are installed too,
half precision is judged by diffusers' own error and the timing part runs.

1. Results, on a small trained model: latents and frames of the device against those of the
   CPU, uncached, with PAB and with FasterCache. In float32 with the folder's own scheduler; in
   float16 and bfloat16 with DDIM from the same initial latents, since DPM draws its noise in
   the latents' dtype, from another stream.
2. Time and memory, on random weights of CogVideoX-5b's size that are made in a temporary
   folder: libcogvideox and diffusers on the same weights, taking turns.

Prints tables and writes JSON; exit status 1 if a result is off.

    python tests/device/check.py                       # the first CUDA device
    python tests/device/check.py --device cpu          # both parts on the CPU, small model
"""

import argparse
import array
import importlib.util
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile

import job

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
MODES = ("dense", "pab", "faster_cache")
SEED = 1

# Relative L2 error of the latents against float32 on the CPU. Half precision is judged by
# diffusers' own error where it can run, since the error of a whole run depends on the model;
# these are the limits without it: about twice what the simulated device is off by (docs/cuda.md). No
# convolution makes latents, so that float32 has no TF32 in it, and none is allowed for.
LIMITS = {"cpu": 1e-4, "f32": 1e-4, "f16": 1e-2, "bf16": 6e-2}
DIFFUSERS_MARGIN = 1.5
# Nearer limits, which see TF32 in convolutions, are those of probe.py.
FRAMES_PSNR_DB = {"cpu": 60.0, "f32": 60.0, "f16": 25.0, "bf16": 15.0}


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--library", help="default: target/release/libcogvideox.so")
    parser.add_argument("--model", help="pipeline folder of part 1; default: the demo model")
    parser.add_argument("--steps", type=int, default=12, help="steps of part 1")
    parser.add_argument("--size", choices=("5b", "small", "none"),
                        help="model of part 2; default: 5b, on the CPU small")
    parser.add_argument("--dtype", choices=("f32", "f16", "bf16"),
                        help="dtype of part 2; default: bf16, on the CPU f32")
    parser.add_argument("--timed-steps", type=int, default=20)
    parser.add_argument("--num-frames", type=int, help="of part 2; default: the model's own")
    parser.add_argument("--modes", default=",".join(MODES), help="of part 2")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--keep", metavar="FOLDER", help="make the model of part 2 here, once")
    parser.add_argument("--json", default=os.path.join(ROOT, "out", "device.json"))
    options = parser.parse_args()
    cpu = options.device == "cpu"
    options.size = options.size or ("small" if cpu else "5b")
    options.dtype = options.dtype or ("f32" if cpu else "bf16")
    return options


def demo_model():
    for folder in ("examples/demo-model/pipeline", "tests/pipelines/5b"):
        path = os.path.join(ROOT, folder)
        if os.path.exists(os.path.join(path, "model_index.json")):
            return path
    sys.exit("no model to check with: name one with --model")


def environment(library, threads=None):
    """Lets the library find the PyTorch of this Python."""
    torch = importlib.util.find_spec("torch")
    if torch is None:
        sys.exit(f"{sys.executable} has no torch; run this with the Python whose PyTorch to use")
    folder = os.path.join(torch.submodule_search_locations[0], "lib")
    paths = [folder] + [p for p in (os.environ.get("LD_LIBRARY_PATH"),) if p]
    env = dict(os.environ, LD_LIBRARY_PATH=":".join(paths), PYTHONDONTWRITEBYTECODE="1")
    if library:
        env["CVX_LIBRARY"] = os.path.abspath(library)
    if threads:
        env["OMP_NUM_THREADS"] = str(threads)
    return env


def work(worker, env, **task):
    command = [sys.executable, os.path.join(HERE, worker), json.dumps(task)]
    result = subprocess.run(command, capture_output=True, text=True, env=env)
    if result.returncode != 0:
        sys.exit(f"{worker} on {task['device']} in {task['dtype']} failed:\n"
                 + result.stderr.strip()[-2000:])
    return json.loads(result.stdout.strip().splitlines()[-1])


def runs(folder, tag, steps, latents=None, shape=None):
    return [dict(mode=mode, steps=steps, seed=SEED, num_frames=None, latents=latents,
                 latents_shape=shape, decode=True, save=os.path.join(folder, f"{tag}.{mode}"))
            for mode in MODES]


# Part 1: results


def with_ddim(model, folder):
    """The same pipeline with the DDIM scheduler; the weights stay where they are."""
    for name in os.listdir(model):
        if name not in ("model_index.json", "scheduler"):
            os.symlink(os.path.abspath(os.path.join(model, name)), os.path.join(folder, name))
    os.mkdir(os.path.join(folder, "scheduler"))
    for name in ("model_index.json", "scheduler/scheduler_config.json"):
        with open(os.path.join(model, name), encoding="utf-8") as file:
            text = file.read().replace("CogVideoXDPMScheduler", "CogVideoXDDIMScheduler")
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)
    return folder


def noise(path, shape):
    numbers = random.Random(SEED)
    count = math.prod(shape)
    job.write_floats(path, array.array("f", (numbers.gauss(0, 1) for _ in range(count))))
    return path


def compare(ours, expected):
    """Errors of the latents and frames saved at `ours` against those at `expected`."""
    a, b = job.read_floats(ours + ".latents"), job.read_floats(expected + ".latents")
    if len(a) != len(b) or not all(map(math.isfinite, a)):
        return dict(relative_l2=math.inf, max_abs=math.inf, psnr_db=-math.inf)
    differences = [x - y for x, y in zip(a, b)]
    square = sum(d * d for d in differences)
    norm = sum(y * y for y in b)
    frames, expected_frames = (job.read_floats(p + ".frames") for p in (ours, expected))
    mse = sum((x - y) ** 2 for x, y in zip(frames, expected_frames)) / max(len(frames), 1)
    same = len(frames) == len(expected_frames) and math.isfinite(mse)
    psnr = -math.inf if not same else (math.inf if mse == 0 else -10 * math.log10(mse))
    return dict(relative_l2=math.sqrt(square / norm) if norm else math.inf,
                max_abs=max(map(abs, differences)), psnr_db=psnr)


def judge(found, dtype, device, theirs):
    kind = "cpu" if device == "cpu" else dtype
    limit, psnr = LIMITS[kind], FRAMES_PSNR_DB[kind]
    if theirs is not None and kind in ("f16", "bf16"):
        limit = DIFFUSERS_MARGIN * theirs["relative_l2"] + LIMITS["f32"]
        psnr = theirs["psnr_db"] - 20 * math.log10(DIFFUSERS_MARGIN)
    return found["relative_l2"] <= limit and found["psnr_db"] >= psnr


def results(options, folder, has_diffusers):
    env, device = environment(options.library), options.device
    # Another number of threads on the CPU, so that comparing it with itself says something.
    other = environment(options.library, threads=1) if device == "cpu" else env
    own = options.model or demo_model()
    ddim = os.path.join(folder, "ddim")
    os.mkdir(ddim)
    with_ddim(own, ddim)

    base = work("run_cogvideox.py", env, model=own, device="cpu", dtype="f32", warm_up=0,
                runs=runs(folder, "cpu.own", options.steps))
    shape = base["runs"][0]["latents_shape"]
    latents = noise(os.path.join(folder, "noise"), shape)
    given = dict(latents=latents, shape=shape)
    work("run_cogvideox.py", env, model=ddim, device="cpu", dtype="f32", warm_up=0,
         runs=runs(folder, "cpu.ddim", options.steps, **given))

    table = []
    for dtype in ("f32", "f16", "bf16"):
        model, scheduler, start = (own, "own", {}) if dtype == "f32" else (ddim, "ddim", given)
        ours, theirs = f"ours.{dtype}", f"theirs.{dtype}"
        work("run_cogvideox.py", other, model=model, device=device, dtype=dtype, warm_up=0,
             runs=runs(folder, ours, options.steps, **start))
        if has_diffusers:
            # diffusers on the CPU in half precision would take hours and say nothing.
            their_dtype = "f32" if device == "cpu" else dtype
            work("run_diffusers.py", env, model=model, device=device, dtype=their_dtype,
                 warm_up=0, runs=runs(folder, theirs, options.steps, **start))
        for mode in MODES:
            expected = os.path.join(folder, f"cpu.{scheduler}.{mode}")
            found = compare(os.path.join(folder, f"{ours}.{mode}"), expected)
            reference = None
            if has_diffusers:
                reference = compare(os.path.join(folder, f"{theirs}.{mode}"), expected)
            table.append(dict(dtype=dtype, scheduler=scheduler, mode=mode, **found,
                              diffusers=reference, ok=judge(found, dtype, device, reference)))
    return table


def print_results(table, device):
    print(f"\nResults on {device} against float32 on the CPU (relative L2 and greatest absolute "
          "error of the latents, PSNR of the frames)")
    print(f"{'dtype':6}{'scheduler':10}{'cache':14}{'rel. L2':>10}{'max abs':>10}{'PSNR dB':>9}"
          f"{'diffusers: rel. L2':>20}{'PSNR dB':>9}")
    for row in table:
        theirs = row["diffusers"]
        reference = (f"{theirs['relative_l2']:>20.2e}{theirs['psnr_db']:>9.1f}" if theirs
                     else f"{'-':>20}{'-':>9}")
        print(f"{row['dtype']:6}{row['scheduler']:10}{row['mode']:14}{row['relative_l2']:>10.2e}"
              f"{row['max_abs']:>10.2e}{row['psnr_db']:>9.1f}{reference}"
              f"   {'ok' if row['ok'] else 'OFF'}")


# Part 2: time and memory


def timing(options, folder):
    env = environment(options.library)
    model = options.keep or os.path.join(folder, "model")
    if not os.path.exists(os.path.join(model, "model_index.json")):
        print(f"making a pipeline of size {options.size} in {model} …", file=sys.stderr, flush=True)
        made = subprocess.run(
            [sys.executable, os.path.join(HERE, "make_model.py"), model, options.size,
             options.device, options.dtype], capture_output=True, text=True, env=env)
        if made.returncode != 0:
            sys.exit("make_model.py failed:\n" + made.stderr.strip()[-2000:])
    common = dict(seed=SEED, num_frames=options.num_frames, latents=None, latents_shape=None)
    modes = options.modes.split(",")
    timed = [dict(mode=mode, steps=options.timed_steps, decode=False, save=None, **common)
             for mode in modes]
    # Decoding comes last: it takes the most memory, and the allocator keeps it.
    timed.append(dict(mode="dense", steps=1, decode=True, save=None, **common))
    task = dict(model=model, device=options.device, dtype=options.dtype, warm_up=2, runs=timed)

    reports = {"run_diffusers.py": [], "run_cogvideox.py": []}
    for number in range(options.rounds):
        turns = list(reports)
        for worker in turns if number % 2 == 0 else reversed(turns):
            print(f"round {number + 1} of {options.rounds}: {worker} …", file=sys.stderr,
                  flush=True)
            reports[worker].append(figures(work(worker, env, **task), modes))
    theirs, ours = reports["run_diffusers.py"], reports["run_cogvideox.py"]
    return {key: dict(diffusers=statistics.median(r[key] for r in theirs),
                      libcogvideox=statistics.median(r[key] for r in ours))
            for key in ours[0]}


def figures(report, modes):
    found = {"load, s": report["load_s"]}
    for mode, run in zip(modes, report["runs"]):
        found[f"denoise {mode}, s"] = run["denoise_s"]
        if run["memory_mib"] is not None:
            found[f"memory so far, {mode}, MiB"] = run["memory_mib"]
    decoded = report["runs"][-1]
    found["decode, s"] = decoded["decode_s"]
    if decoded["memory_mib"] is not None:
        found["memory so far, decode, MiB"] = decoded["memory_mib"]
    return found


def print_timing(table, options):
    print(f"\nTime and memory on {options.device} in {options.dtype}, size {options.size}, "
          f"{options.timed_steps} steps; ratio = diffusers / libcogvideox, above 1 is better")
    print(f"{'':34}{'diffusers':>12}{'libcogvideox':>14}{'ratio':>8}")
    for label, row in table.items():
        row["ratio"] = row["diffusers"] / row["libcogvideox"] if row["libcogvideox"] else math.inf
        print(f"{label:34}{row['diffusers']:>12.2f}{row['libcogvideox']:>14.2f}"
              f"{row['ratio']:>8.2f}")


def finite(value):
    """JSON has no infinity: an infinite PSNR (no difference at all) becomes null."""
    if isinstance(value, dict):
        return {key: finite(v) for key, v in value.items()}
    if isinstance(value, list):
        return [finite(v) for v in value]
    return value if not isinstance(value, float) or math.isfinite(value) else None


def main():
    options = parse()
    has_diffusers = all(map(importlib.util.find_spec, ("diffusers", "transformers")))
    report = {"device": options.device}
    with tempfile.TemporaryDirectory() as folder:
        report["results"] = results(options, folder, has_diffusers)
        print_results(report["results"], options.device)
        if options.size == "none":
            pass
        elif has_diffusers:
            report["timing"] = timing(options, folder)
            print_timing(report["timing"], options)
        else:
            print("\nno timing: this Python has no diffusers and transformers")
    os.makedirs(os.path.dirname(os.path.abspath(options.json)), exist_ok=True)
    with open(options.json, "w", encoding="utf-8") as file:
        json.dump(finite(report), file, indent=1, allow_nan=False)
    print(f"\nwritten: {os.path.relpath(options.json)}")
    sys.exit(0 if all(row["ok"] for row in report["results"]) else 1)


if __name__ == "__main__":
    main()

"""One process of libcogvideox through its C functions: what worker_diffusers.py does.

Usage: worker_cogvideox.py MODEL STEPS MODE,MODE,…
"""

import json
import os
import resource
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))

import cvx  # noqa: E402

PROMPT = "a red ball moves right on a navy background"


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(model, steps, modes):
    report = {}
    library = cvx.Library()
    started = time.perf_counter()
    pipeline = cvx.Pipeline(library, model)
    report["load_s"] = time.perf_counter() - started
    report["loaded_mib"] = peak_mib()
    for mode in modes:
        if mode != "dense":
            pipeline.enable_cache(mode)
        started = time.perf_counter()
        shape, latents = pipeline.generate(PROMPT, steps, num_frames=9, latents=True)
        report[f"denoise_{mode}_s"] = time.perf_counter() - started
        if mode == "dense":
            report["peak_denoise_mib"] = peak_mib()
            started = time.perf_counter()
            pipeline.decode(shape, latents)
            report["decode_s"] = time.perf_counter() - started
            report["peak_mib"] = peak_mib()
    report["peak_cached_mib"] = peak_mib()
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3].split(","))

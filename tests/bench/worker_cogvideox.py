"""One process of libcogvideox through its C functions: what worker_diffusers.py does.

Usage: worker_cogvideox.py MODEL STEPS MODE,MODE,… [TIMES [STREAMING]]

Each run is made TIMES times (once), of which the quickest counts. STREAMING is how weights are
kept: resident (default), file or host.
"""

import json
import os
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))

import cvx  # noqa: E402
from measured import peak_mib, quickest  # noqa: E402

PROMPT = "a red ball moves right on a navy background"


def frame_side(model):
    """Of square frames of about the size that the VAE was made for."""
    with open(os.path.join(model, "vae", "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    return min(config["sample_height"], config["sample_width"]) // 16 * 16


def frames(count, side):
    """A video whose pixels all differ a little; what they show does not change the time."""
    row = bytes((7 * x) % 251 for x in range(3 * side))
    return row * side * count, side, side, count


def encode(pipeline, side, report):
    """Encodes 9 frames of side x side, timed from the last report of the stage before, the text
    encoder's, to the last one of its own."""
    before = []

    def progress(info):
        now = (time.perf_counter(), time.process_time())
        if info.stage != cvx.STAGE_ENCODE_IMAGE:
            if "encode_s" not in report:
                before[:] = now
        elif info.done == info.total:
            report["encode_s"] = now[0] - before[0]
            report["encode_cpu_s"] = now[1] - before[1]
    for _ in range(2):
        # The first run reads the encoder's weights too, and does not count.
        report.pop("encode_s", None)
        pipeline.generate(PROMPT, 1, latents=True, guidance=1.0, video_rgb8=frames(9, side),
                          strength=1.0, progress=progress)


def previews(pipeline, steps, report):
    """The median processor time of a preview, and that of a step without it."""
    taken, since, own = [], [], []

    def step(handle):
        before = time.process_time()
        if since:
            own.append(before - since[-1])
        pipeline.preview(handle)
        since.append(time.process_time())
        taken.append(since[-1] - before)
    # The first preview fits the map, and does not count.
    pipeline.generate(PROMPT, max(steps, 6), num_frames=9, latents=True, step=step)
    report["preview_cpu_s"] = statistics.median(taken[1:])
    report["preview_first_cpu_s"] = taken[0]
    report["step_cpu_s"] = statistics.median(own)


def products(library, model, steps, times, report):
    """The uncached run with products in fewer bits, where the processor has them."""
    for precision in ("bfloat16", "int8"):
        try:
            pipeline = cvx.Pipeline(library, model, matmul_precision=precision)
        except cvx.CvxError as error:
            print(error, file=sys.stderr)
            continue
        quickest(report, f"denoise_{precision}", times,
                 lambda made=pipeline: made.generate(PROMPT, steps, num_frames=9, latents=True))


def main(model, steps, modes, times=1, streaming="resident"):
    report = {}
    library = cvx.Library()
    started = time.perf_counter()
    pipeline = cvx.Pipeline(library, model, streaming=streaming)
    report["load_s"] = time.perf_counter() - started
    report["loaded_mib"] = peak_mib()
    for mode in modes:
        if mode != "dense":
            pipeline.enable_cache(mode)
        shape, latents = quickest(
            report, f"denoise_{mode}", times,
            lambda: pipeline.generate(PROMPT, steps, num_frames=9, latents=True))
        if mode == "dense":
            report["peak_denoise_mib"] = peak_mib()
            made = (shape, latents)
            quickest(report, "decode", times, lambda made=made: pipeline.decode(*made))
            report["peak_mib"] = peak_mib()
    report["peak_cached_mib"] = peak_mib()
    pipeline.disable_cache()
    encode(pipeline, frame_side(model), report)
    previews(pipeline, steps, report)
    if streaming == "resident":
        products(library, model, steps, times, report)
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3].split(","), *map(int, sys.argv[4:5]),
         *sys.argv[5:])

#!/usr/bin/env python3
"""How the time of a run grows with its frames, its size, its steps, and with clones and threads: the
benchmark's middle model through the C functions, one thing changed at a time.

    growth.py [--rounds N] [--threads N] [--json FILE] [--svg FILE]
    growth.py --draw FILE.json --svg FILE        the plot of a report that is there

The rounds take turns through all points, and the least of each counts. Frames, size and steps are
measured in processor time on one thread, so that they mean something beside other work as well;
clones and threads in seconds of the clock, for which the machine has to be quiet.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "python"))

import bench  # noqa: E402 (needs the path)
import cvx  # noqa: E402
import environment  # noqa: E402

PROMPT = "a red ball moves right on a navy background"
# axis -> its points: (what stands on the axis, frames, side, steps, clones, threads)
AXES = {
    "frames": [(n, n, 128, 1, 1, 1) for n in (9, 17, 33, 49)],
    "side of a frame": [(n, 9, n, 1, 1, 1) for n in (128, 192, 256, 320)],
    "steps": [(n, 9, 128, n, 1, 1) for n in (1, 2, 4, 8)],
    "clones at once": [(n, 9, 192, 2, n, 1) for n in (1, 2, 4)],
    "threads": [(n, 9, 256, 2, 1, n) for n in (1, 2, 4, 8)],
}
CLOCK = ("clones at once", "threads")


def measure(points):
    """In this process: seconds of each point (processor, clock), encoding and decoding apart."""
    library = cvx.Library()
    pipeline = cvx.Pipeline(library, os.path.join(environment.cache_folder(), "bench-model-1"))
    found = []
    for _, frames, side, steps, clones, _ in points:
        handles = [pipeline] + [pipeline.clone() for _ in range(clones - 1)]

        def denoise(handle, frames=frames, side=side, steps=steps):
            handle.generate(PROMPT, steps, num_frames=frames, size=(side, side), latents=True)

        # The first of each shape has its kernels made.
        denoise(pipeline)
        threads = [threading.Thread(target=denoise, args=(handle,)) for handle in handles]
        before, processor = time.perf_counter(), time.process_time()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found.append([time.process_time() - processor, time.perf_counter() - before])
        for handle in handles[1:]:
            handle.close()
    print(json.dumps(found))


def worker(points, threads):
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    result = subprocess.run([sys.executable, __file__, "--points", json.dumps(points)], env=env,
                            capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(result.stderr[-2000:])
    return json.loads(result.stdout.strip().splitlines()[-1])


def rounds_of(count, most):
    """axis -> [x, seconds] of each point, the least of the rounds."""
    found = {axis: {} for axis in AXES}
    for number in range(count):
        for axis, points in AXES.items():
            print(f"round {number + 1} of {count}: {axis} …", file=sys.stderr, flush=True)
            kept = [point for point in points if point[5] <= most]
            for threads in sorted({point[5] for point in kept}):
                some = [point for point in kept if point[5] == threads]
                for point, seconds in zip(some, worker(some, threads)):
                    taken = seconds[1 if axis in CLOCK else 0]
                    found[axis][point[0]] = min(taken, found[axis].get(point[0], taken))
    return {axis: sorted(points.items()) for axis, points in found.items()}


def drawn(report):
    """The points as an SVG: a panel for each axis, beside a line of proportional growth."""
    wide, tall, left, top, gap = 190, 150, 46, 48, 62
    panels = []
    for number, (axis, points) in enumerate(report["axes"].items()):
        x0 = left + number * (wide + gap)
        most_x = max(x for x, _ in points)
        most_y = max(y for _, y in points) * 1.1

        def at(x, y, x0=x0, most_x=most_x, most_y=most_y):
            return f"{x0 + wide * x / most_x:.1f},{top + tall * (1 - y / most_y):.1f}"

        first_x, first_y = points[0]
        # Where it crosses the frame of the panel: above, or at the right.
        end = min(most_x, first_x * most_y / first_y)
        lines = [
            f'<rect x="{x0}" y="{top}" width="{wide}" height="{tall}" fill="none" stroke="#999"/>',
            f'<text x="{x0 + wide / 2}" y="{top - 10}" text-anchor="middle">{axis}</text>',
            f'<polyline points="{at(0, 0)} {at(end, first_y * end / first_x)}" fill="none" '
            'stroke="#bbb" stroke-dasharray="4 3"/>',
            f'<polyline points="{" ".join(at(x, y) for x, y in points)}" fill="none" '
            'stroke="#1f6feb" stroke-width="2"/>']
        for x, y in points:
            cx, cy = at(x, y).split(",")
            lines.append(f'<circle cx="{cx}" cy="{cy}" r="3" fill="#1f6feb"/>')
            lines.append(f'<text x="{cx}" y="{top + tall + 15}" text-anchor="middle">{x}</text>')
        lines.append(f'<text x="{x0 - 5}" y="{top + 9}" text-anchor="end">{most_y:.3g}</text>')
        lines.append(f'<text x="{x0 - 5}" y="{top + tall}" text-anchor="end">0</text>')
        unit = "s" if axis in CLOCK else "s of processor"
        lines.append(f'<text x="{x0 + wide / 2}" y="{top + tall + 32}" text-anchor="middle" '
                     f'fill="#666">{unit}</text>')
        panels.extend(lines)
    width = left + len(report["axes"]) * (wide + gap)
    said = f'{report["machine"]}, {report["date"]}; dashed: in proportion to the first point'
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top + tall + 44}" '
        'font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{left}" y="18" font-size="12">Denoising, 8 layers of 512, {said}</text>',
        *panels, "</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json")
    parser.add_argument("--svg")
    parser.add_argument("--draw")
    parser.add_argument("--points", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.points:
        measure(json.loads(options.points))
        return
    if options.draw:
        with open(options.draw, encoding="utf-8") as file:
            report = json.load(file)
    else:
        bench.folder_of("middle", environment.reference_python())
        before = os.getloadavg()[0]
        axes = rounds_of(options.rounds, options.threads)
        report = {"date": time.strftime("%Y-%m-%d"), "machine": bench.processor(),
                  "rounds": options.rounds,
                  "load_before_and_after": [round(n, 1) for n in (before, os.getloadavg()[0])],
                  "axes": axes}
        print(json.dumps(report, indent=1))
    if options.json and not options.draw:
        with open(options.json, "w", encoding="utf-8") as file:
            file.write(json.dumps(report, indent=1) + "\n")
    if options.svg:
        with open(options.svg, "w", encoding="utf-8") as file:
            file.write(drawn(report))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""What a call of the library costs from C, C++, C# and Go.

    LIB_DIR=target/release python3 tests/bench/call_overhead.py [--rounds N] [--json FILE]

Compiles and runs call_overhead.cpp (C and C++), CallOverhead.cs and call_overhead_go, which
measure the same calls. They take turns for some rounds, and the least counts, since anything
else on the machine only adds. Writes a table; with --json also a report.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "python"))

import programs  # noqa: E402 (needs the path)

# name -> what is called
CALLS = {
    "number": "a number of a video (`cvx_video_num_frames`)",
    "text": "a text of a pipeline (`cvx_pipeline_family`)",
    "set number": "a setter (`…_set_spatial_attention_block_skip_range`)",
    "set text": "a setter of a text (`cvx_cache_config_set_cache_dtype`)",
    "set callback": "a callback given, the one before freed (`…_set_current_timestep_callback`)",
    "error": "a setter that fails: the error with its code and message",
    "object": "an object made and freed (`cvx_pab_config_new`, `…_free`)",
    "poll": "everything about a job (`cvx_job_poll`)",
    "frames": "all frames of a video, without a copy (`cvx_video_frames_rgb8`)",
}
LANGUAGES = {"c": "C", "cpp": "C++", "csharp": "C#", "go": "Go"}


def build(folder):
    return [programs.cpp(HERE / "call_overhead.cpp", folder / "cpp", folder),
            programs.csharp(HERE / "CallOverhead.cs", folder / "csharp", folder),
            programs.golang(HERE / "call_overhead_go" / "main.go", folder / "go", folder)]


def measure(command):
    result = programs.run(command, cwd=programs.ROOT, env=programs.ENVIRONMENT)
    if result.returncode != 0:
        sys.exit(f"{command[-1]} failed:\n{result.stdout}{result.stderr}")
    calls = json.loads(result.stdout)["calls"]
    if set(calls) != set(CALLS):
        sys.exit(f"{command[-1]} measured {sorted(calls)}, not {sorted(CALLS)}")
    return calls


def least(rounds):
    """name -> language -> microseconds"""
    found = {name: {} for name in CALLS}
    for calls in rounds:
        for name, by_language in calls.items():
            for language, microseconds in by_language.items():
                before = found[name].get(language, microseconds)
                found[name][language] = round(min(before, microseconds), 5)
    return found


def table(calls):
    lines = ["| microseconds per call | " + " | ".join(LANGUAGES.values()) + " |",
             "| --- |" + " ---: |" * len(LANGUAGES)]
    for name, what in CALLS.items():
        lines.append(f"| {what} | " + " | ".join(
            f"{calls[name][language]:.3g}" for language in LANGUAGES) + " |")
    return "\n".join(lines)


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.machine()


def said(*command):
    """The first line of what a program says of its version."""
    result = subprocess.run(command, capture_output=True, text=True)
    return (result.stdout or result.stderr).splitlines()[0]


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--json", type=Path)
    options = arguments.parse_args()
    before = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        commands = build(Path(folder))
        rounds = [measure(command) for _ in range(options.rounds) for command in commands]
    calls = least(rounds)
    loads = [round(load, 1) for load in (before[0], os.getloadavg()[0])]
    print(table(calls))
    print(f"\nload of the machine: {loads[0]} before, {loads[1]} after")
    if options.json:
        report = {
            "date": datetime.date.today().isoformat(),
            "machine": processor(),
            "cores": len(os.sched_getaffinity(0)),
            "load_before_and_after": loads,
            "rounds": options.rounds,
            "unit": "microseconds per call, the least of the rounds",
            "versions": {"c, cpp": said("c++", "--version"), "csharp": said("mono", "--version"),
                         "go": said(programs.go(), "version")},
            "calls": calls,
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

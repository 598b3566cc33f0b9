"""Makes a list of calls in child processes, for which a call that ends its process is one that
failed, and not the end of the test."""

import json
import os
import subprocess
import sys
import tempfile

import header

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Longer than any call takes.
LONGEST = 120


def interface():
    return header.read(os.path.join(ROOT, "include", "cogvideox.h"))


def library():
    directory = os.environ.get("LIB_DIR", os.path.join(ROOT, "target", "release"))
    return os.path.abspath(os.environ.get("CVX_LIBRARY", os.path.join(directory, "libcogvideox.so")))


def is_child():
    return sys.argv[1:2] == ["--child"]


def child(call):
    """Calls `call(entry)` for the rest of the list; an AssertionError of it is told."""
    with open(sys.argv[2], encoding="utf-8") as file:
        plan = json.load(file)
    begin = int(sys.argv[3])
    for number, entry in enumerate(plan[begin:], begin):
        print(f"at {number}", flush=True)
        try:
            call(entry)
        except AssertionError as problem:
            print(f"wrong {problem}", flush=True)
    print("end", flush=True)


def drive(script, plan, describe):
    """Has children of `script` go through `plan`, whose first items are functions' names, and tells
    what came of it. `describe(entry)` names a call."""
    label = os.path.splitext(os.path.basename(script))[0]
    path = library()
    problems, begin, ended = [], 0, not plan
    with tempfile.TemporaryDirectory() as folder:
        listed = os.path.join(folder, "plan.json")
        with open(listed, "w", encoding="utf-8") as file:
            json.dump(plan, file)
        work = os.path.join(folder, "work")
        os.mkdir(work)
        while not ended:
            command = [sys.executable, os.path.abspath(script), "--child", listed, str(begin)]
            # A file, because what is printed before a crash or a hang counts.
            with open(os.path.join(folder, "out"), "w+", encoding="utf-8") as out:
                try:
                    status = subprocess.run(command, cwd=work, stdout=out,
                                            env={**os.environ, "CVX_LIBRARY": path}, timeout=LONGEST,
                                            check=False).returncode
                except subprocess.TimeoutExpired:
                    status = f"no answer in {LONGEST} s"
                out.seek(0)
                lines = out.read().splitlines()
            problems += [line.removeprefix("wrong ") for line in lines if line.startswith("wrong ")]
            ended = lines[-1:] == ["end"]
            if not ended:
                at = [int(line[3:]) for line in lines if line.startswith("at ")]
                if not at:
                    print(f"{label}: the process ended ({status}) before the first call")
                    return 1
                problems.append(f"{describe(plan[at[-1]])}: the process ended ({status})")
                begin = at[-1] + 1
                ended = begin == len(plan)
    for problem in problems:
        print(f"{label}: {problem}")
    print(f"{label}: {len(plan)} calls of {len(set(entry[0] for entry in plan))} functions")
    print(f"{len(plan) - len(problems)} passed, {len(problems)} failed")
    return 1 if problems else 0

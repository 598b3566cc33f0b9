"""The ABI that has been promised, `baseline/abi-<number>.json`, and what may become of it.

Three things are checked:

1. The header takes nothing back: what the baseline of its CVX_ABI_VERSION has is there, with
   the same types, values, offsets. A struct may grow at its end.
2. The baseline is complete: what was added to the header is in it, so that it cannot be taken
   back unnoticed later. `make abi-baseline` adds it, and refuses what is against rule 1.
3. No commit took anything back by editing the baseline itself: every version of each file is
   compared with the one before it.

Whoever must break the ABI raises CVX_ABI_VERSION (src/capi/version.rs), and `make
abi-baseline` starts a new file. The old one stays.
"""

import os
import re
import subprocess
from dataclasses import replace

from interface import Interface

# They tell which release it is, and change with it: no part of a promise.
RELEASE = {"CVX_VERSION_MAJOR", "CVX_VERSION_MINOR", "CVX_VERSION_PATCH"}
FILE = re.compile(r"abi-(\d+)\.json")


def taken_back(old, new):
    """What a program built against `old` misses in `new`, a sentence for each."""
    problems = []
    for what in ("function", "callback"):
        before, now = getattr(old, what + "s"), getattr(new, what + "s")
        for name in sorted(before):
            if name not in now:
                problems.append(f"{what} {name} was removed")
            elif ((before[name].answer, before[name].types())
                  != (now[name].answer, now[name].types())):
                problems.append(f"{what} {name} changed from {before[name]} to {now[name]}")
    for name, value in sorted(old.constants.items()):
        if name not in new.constants:
            problems.append(f"constant {name} was removed")
        elif new.constants[name] != value:
            problems.append(f"constant {name} changed from {value} to {new.constants[name]}")
    for name in sorted(old.structs):
        if name not in new.structs:
            problems.append(f"struct {name} was removed")
        else:
            problems += changed_struct(name, old.structs[name], new.structs[name])
    return problems


def changed_struct(name, old, new):
    if old.opaque:
        return [] if new.opaque else [f"struct {name} was opaque and has fields now"]
    if new.opaque:
        return [f"struct {name} had fields and is opaque now"]
    problems = []
    for index, field in enumerate(old.fields):
        found = new.fields[index] if index < len(new.fields) else None
        if found != field:
            problems.append(f"struct {name}: field {shown(field)} became {shown(found)}")
    if not problems and new.size < old.size:
        problems.append(f"struct {name} shrank from {old.size} to {new.size} bytes")
    grew = new.size > old.size or len(new.fields) > len(old.fields)
    if not problems and grew and old.fields[0][0] != "struct_size":
        problems.append(f"struct {name} grew, but has no struct_size that tells hosts so")
    return problems


def shown(field):
    if field is None:
        return "nothing"
    name, type_, offset, size = field
    return f"{type_} {name} ({size} bytes at {offset})"


def promised(header):
    """The header as it is kept."""
    constants = {name: value for name, value in header.constants.items() if name not in RELEASE}
    return replace(header, constants=constants)


def numbers(folder):
    found = [FILE.fullmatch(name) for name in os.listdir(folder)] if os.path.isdir(folder) else []
    return sorted(int(match.group(1)) for match in found if match)


def load(folder, number):
    with open(os.path.join(folder, f"abi-{number}.json"), encoding="utf-8") as file:
        return Interface.from_text(file.read())


def check(header, folder):
    """Rules 1 and 2 for the header, against the files in `folder`."""
    header = promised(header)
    number = header.constants["CVX_ABI_VERSION"]
    there = numbers(folder)
    if there and number < there[-1]:
        return [f"CVX_ABI_VERSION is {number}, but there was a {there[-1]}: it only grows"]
    if number not in there:
        return [f"CVX_ABI_VERSION is {number}, and no baseline is kept for it: run "
                "`make abi-baseline` and commit the new file"]
    problems = [f"{problem}: programs built against ABI {number} break; undo it, or raise "
                "CVX_ABI_VERSION" for problem in taken_back(load(folder, number), header)]
    if problems:
        return problems
    with open(os.path.join(folder, f"abi-{number}.json"), encoding="utf-8") as file:
        kept = file.read()
    if kept != header.to_text():
        before = set(kept.splitlines())
        new = [line.split(":")[0].strip(' "') for line in header.to_text().splitlines()
               if line not in before and line.rstrip(",") not in before
               and line + "," not in before]
        named = ", ".join(new[:5]) + (f" and {len(new) - 5} more" if len(new) > 5 else "")
        return [f"abi-{number}.json does not have what the header has ({named}): run "
                "`make abi-baseline` and commit it"]
    return []


def update(header, folder):
    """Writes the header into its baseline; returns what forbids that."""
    number = header.constants["CVX_ABI_VERSION"]
    there = numbers(folder)
    if number in there or (there and number < there[-1]):
        problems = [p for p in check(header, folder) if "make abi-baseline" not in p]
        if problems:
            return problems
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, f"abi-{number}.json"), "w", encoding="utf-8") as file:
        file.write(promised(header).to_text())
    return []


def git(root, *arguments):
    result = subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True)
    return result.stdout if result.returncode == 0 else None


def check_history(root, folder="tests/abi/baseline"):
    """Rule 3, for the commits that are here; (problems, how many steps were compared)."""
    log = git(root, "log", "--full-history", "--format=%H %P", "--", folder)
    if log is None:
        return [], 0  # a copy of the sources without their history
    steps = [(commit, parent) for commit, *parents in map(str.split, log.splitlines())
             for parent in parents]
    head = git(root, "rev-parse", "HEAD").strip()
    steps.append((None, head))  # what is not committed yet
    problems, compared = [], 0
    for commit, parent in steps:
        listed = git(root, "ls-tree", "--name-only", parent, folder + "/")
        for path in (listed or "").splitlines():
            if not FILE.fullmatch(os.path.basename(path)):
                continue
            compared += 1
            old, new = git(root, "show", f"{parent}:{path}"), version(root, commit, path)
            where = f"commit {commit[:9]}" if commit else "the working tree"
            if new is None:
                problems.append(f"{where}: {path} was deleted: a promised ABI stays on record")
                continue
            problems += [f"{where}: {path}: {problem}: a baseline is only added to"
                         for problem in taken_back(Interface.from_text(old),
                                                   Interface.from_text(new))]
    return problems, compared


def version(root, commit, path):
    if commit:
        return git(root, "show", f"{commit}:{path}")
    try:
        with open(os.path.join(root, path), encoding="utf-8") as file:
            return file.read()
    except OSError:
        return None

#!/usr/bin/env python3
"""Every test, file and target that docs/checklist.md and docs/reliability.md name is there: what holds a
promise must not go without the promise."""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGES = ("docs/checklist.md", "docs/reliability.md")


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as file:
        return file.read()


def missing(page, text, sources, makefile):
    """Names in a page's code spans that nothing answers to."""
    defined = set(re.findall(r"\b(?:fn|def|TEST\()\s*([a-z0-9_]+)", sources))
    for span in re.findall(r"`([^`\n]+)`", text):
        if span.startswith("make "):
            target = span.split()[1]
            if not re.search(rf"(?m)^[^#\t]*\b{re.escape(target)}\b[^=]*:", makefile):
                yield f"{page}: there is no target {span!r}"
        elif re.fullmatch(r"(tests|docs|examples|src|bindings|include)/[\w./-]+", span):
            if not os.path.exists(os.path.join(ROOT, span)):
                yield f"{page}: there is no {span!r}"
        elif re.fullmatch(r"[a-z]+(_[a-z0-9]+){3,}", span) and not span.startswith("cvx_"):
            if span not in defined:
                yield f"{page}: there is no test {span!r}"


def main():
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True,
                            capture_output=True, text=True).stdout.split("\n")
    endings = (".rs", ".cpp", ".py")
    sources = "\n".join(read(path) for path in listed
                        if path.endswith(endings) and os.path.isfile(os.path.join(ROOT, path)))
    makefile = read("Makefile")
    # The check proves itself first.
    planted = "`make no-such-target` `tests/no_such_file.rs` `no_test_has_this_name`"
    assert len(list(missing("planted", planted, sources, makefile))) == 3
    problems = [problem for page in PAGES for problem in missing(page, read(page), sources, makefile)]
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()

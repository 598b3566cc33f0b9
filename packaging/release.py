"""What a package is named after: the versions in the header, and the platform."""

import os
import platform
import re
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HEADER = os.path.join(ROOT, "include", "cogvideox.h")


class Refused(Exception):
    """A sentence for the user: what is wrong, and what to do."""


def output_of(command):
    try:
        result = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise Refused(f"{command[0]} is not on PATH") from None
    if result.returncode != 0:
        raise Refused(f"{' '.join(command)} failed: {(result.stderr or result.stdout).strip()}")
    return result.stdout


def _number(text, name):
    found = re.search(rf"^#define {name} (\d+)$", text, re.MULTILINE)
    if not found:
        raise Refused(f"{HEADER} defines no {name}")
    return found.group(1)


def versions():
    """The release ("0.1.0") and the number of the binary interface ("1")."""
    with open(HEADER, encoding="utf-8") as file:
        text = file.read()
    release = ".".join(_number(text, f"CVX_VERSION_{part}") for part in ("MAJOR", "MINOR", "PATCH"))
    return release, _number(text, "CVX_ABI_VERSION")


def platform_name():
    return f"{platform.system().lower()}-{platform.machine()}"

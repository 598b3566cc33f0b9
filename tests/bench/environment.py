"""The Python environment that the reference runs in, made once per user."""

import os
import subprocess
import sys

PACKAGES = [
    "torch==2.11.0", "diffusers==0.42.1", "transformers==5.23.0",
    "sentencepiece", "accelerate", "safetensors", "protobuf",
]


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.join(base, "libcogvideox")
    os.makedirs(folder, exist_ok=True)
    return folder


def reference_python():
    """A Python that has the reference: $CVX_REFERENCE_PYTHON, or a venv made here."""
    given = os.environ.get("CVX_REFERENCE_PYTHON")
    if given:
        return given
    venv = os.path.join(cache_folder(), "reference-venv")
    python = os.path.join(venv, "bin", "python")
    done = os.path.join(venv, "complete")
    if not os.path.exists(done):
        print(f"making the reference environment in {venv} (about 5 GB, once per user)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
        with open(done, "w", encoding="utf-8") as file:
            file.write("\n".join(PACKAGES) + "\n")
    return python

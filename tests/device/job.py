"""What a worker is asked to do, and what it returns.

A job is a JSON object on the command line:
    model, device, dtype    as the load options take them
    warm_up                 steps of a run before anything is timed; 0: none
    runs                    a list of
        mode                dense, pab or faster_cache
        steps, seed
        num_frames          or null for the model's own
        latents             a file of float32 initial latents, or null
        latents_shape       their shape
        save                where the results go: SAVE.latents, SAVE.frames, as raw float32;
                            or null
        decode              whether to decode
The answer is one JSON line: load_s and for every run denoise_s, decode_s, latents_shape,
frames_shape and memory_mib: null on the CPU, else what the process has taken of the device so
far, which only grows, since libtorch's allocator keeps what it once needed.
"""

import array
import ctypes
import json
import sys
import time

PROMPT = "a red ball moves right on a navy background"


def read():
    return json.loads(sys.argv[1])


def read_floats(path):
    values = array.array("f")
    with open(path, "rb") as file:
        values.frombytes(file.read())
    return values


def write_floats(path, values):
    with open(path, "wb") as file:
        values.tofile(file)


class Clock:
    """Seconds since it was made; what is timed must have come back to the host."""

    def __init__(self):
        self.started = time.perf_counter()

    def seconds(self):
        return time.perf_counter() - self.started


def cuda_runtime():
    for version in (13, 12):
        try:
            return ctypes.CDLL(f"libcudart.so.{version}")
        except OSError:
            continue
    raise RuntimeError("neither libcudart.so.13 nor libcudart.so.12 can be loaded")


class DeviceMemory:
    """What this process takes of a CUDA device, asked of the CUDA runtime that it has loaded."""

    def __init__(self, device):
        self.runtime = None
        if device.startswith("cuda"):
            self.index = int(device.partition(":")[2] or 0)
            self.runtime = cuda_runtime()
            self.before = self.used()

    def used(self):
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.runtime.cudaSetDevice(self.index)
        status = self.runtime.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total))
        if status != 0:
            raise RuntimeError(f"cudaMemGetInfo returns {status}: no usable CUDA device {self.index}")
        return total.value - free.value

    def mib(self):
        return None if self.runtime is None else (self.used() - self.before) / 2**20

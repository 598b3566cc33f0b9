"""NVIDIA's runtime compiler, which needs no GPU and no CUDA toolkit: src/backend/cuda/kernels to PTX,
and to the code of each generation of cards.

    nvrtc.py FOLDER    writes kernels.ptx; FOLDER is where pip put nvidia-cuda-nvrtc-cu12 (`make kernels`)
"""

import ctypes
import hashlib
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
KERNELS = os.path.normpath(os.path.join(HERE, "..", "..", "..", "src", "backend", "cuda", "kernels"))
PTX = os.path.join(KERNELS, "kernels.ptx")
# One PTX for all: the oldest architecture with bfloat16. The kernels are bound by memory and use nothing
# that later ones have, and the driver compiles it for the card that there is.
ARCHITECTURE = "compute_80"
CARDS = ["sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"]


def sources():
    """Names and texts of the files that kernels.cu is made of, itself first."""
    names = ["kernels.cu"] + sorted(n for n in os.listdir(KERNELS) if n.endswith(".cuh"))
    texts = []
    for name in names:
        with open(os.path.join(KERNELS, name), encoding="utf-8") as file:
            texts.append((name, file.read()))
    return texts


def digest():
    """Of the sources: what kernels.ptx says that it was made from."""
    of = hashlib.sha256()
    for name, text in sources():
        of.update(f"{name}\0{text}\0".encode())
    return of.hexdigest()


class Compiler:
    def __init__(self, folder):
        libraries = os.path.join(folder, "nvidia", "cuda_nvrtc", "lib")
        ctypes.CDLL(os.path.join(libraries, "libnvrtc-builtins.so.12.8"), mode=ctypes.RTLD_GLOBAL)
        self.library = ctypes.CDLL(os.path.join(libraries, "libnvrtc.so.12"))
        self.library.nvrtcGetErrorString.restype = ctypes.c_char_p

    def _call(self, name, *arguments):
        status = getattr(self.library, name)(*arguments)
        if status:
            raise RuntimeError(f"{name}: {self.library.nvrtcGetErrorString(status).decode()}")

    def _text(self, program, what):
        size = ctypes.c_size_t()
        self._call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        self._call(f"nvrtcGet{what}", program, text)
        return text.raw

    def compile(self, architecture, more=""):
        """PTX or a cubin, and what the compiler says; `more` is added to the sources."""
        (_, main), *headers = sources()
        as_c = lambda texts: (ctypes.c_char_p * len(texts))(*(text.encode() for text in texts))
        program = ctypes.c_void_p()
        self._call("nvrtcCreateProgram", ctypes.byref(program), (main + more).encode(),
                   b"kernels.cu", len(headers), as_c([text for _, text in headers]),
                   as_c([name for name, _ in headers]))
        options = [f"--gpu-architecture={architecture}", "--std=c++17"]
        real = architecture.startswith("sm")
        if real:
            options.append("--ptxas-options=-v")
        try:
            failed = self.library.nvrtcCompileProgram(program, len(options), as_c(options))
            log = self._text(program, "ProgramLog").rstrip(b"\0\n").decode()
            if failed:
                raise RuntimeError(log)
            return self._text(program, "CUBIN" if real else "PTX"), log
        finally:
            self.library.nvrtcDestroyProgram(ctypes.byref(program))

    def ptx(self):
        """What kernels.ptx is to hold."""
        code, log = self.compile(ARCHITECTURE)
        if log:
            raise RuntimeError(log)
        return f"// Made by `make kernels`. Sources: sha256 {digest()}\n".encode() + code.rstrip(b"\0")


def in_local_memory(log):
    """{kernel: bytes} of those whose variables did not all fit into registers, and how many kernels the
    log tells of."""
    found, kernels, name = {}, 0, None
    for line in log.splitlines():
        if match := re.search(r"Function properties for (\w+)", line):
            name, kernels = match[1], kernels + 1
        if match := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes "
                              r"spill loads", line):
            if any(int(number) for number in match.groups()):
                found[name] = max(map(int, match.groups()))
    return found, kernels


if __name__ == "__main__":
    with open(PTX, "wb") as written:
        written.write(Compiler(sys.argv[1]).ptx())

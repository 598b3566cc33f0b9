"""libcogvideox on the simulated CUDA device, by ctypes. Needs no package.

LD_LIBRARY_PATH must name the folder of the simulated libtorch_cuda.so, CVX_LIBRARY the library.
"""

import contextlib
import ctypes
import json
import os
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..", "..")
sys.path.insert(0, os.path.join(ROOT, "tests", "python"))

import cvx  # noqa: E402

MODEL = os.path.join(ROOT, "examples", "demo-model", "pipeline")
# Folders of published architectures, tiny and with random weights.
FAMILIES = os.path.join(ROOT, "tests", "pipelines")
PROMPT = "a red ball moves right on a black background"
# CVX_PIXELS_F32
PIXELS_F32 = 3
STAGES = {1: "load", 2: "encode", 3: "denoise", 4: "decode"}


def with_ddim(folder):
    """The demo model in `folder`, with the scheduler that draws no noise."""
    for name in os.listdir(MODEL):
        if name not in ("model_index.json", "scheduler"):
            os.symlink(os.path.abspath(os.path.join(MODEL, name)), os.path.join(folder, name))
    os.mkdir(os.path.join(folder, "scheduler"))
    for name in ("model_index.json", "scheduler/scheduler_config.json"):
        with open(os.path.join(MODEL, name), encoding="utf-8") as file:
            config = file.read()
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(config.replace("CogVideoXDPMScheduler", "CogVideoXDDIMScheduler"))


class Device:
    """What the simulated device counts, and its switches (simcuda.h)."""

    def __init__(self):
        handle = ctypes.CDLL("libtorch_cuda.so")
        self.function = lambda name: getattr(handle, "simcuda_" + name)
        for name in ("counter", "memory", "memory_peak", "memory_reserved", "most_ahead",
                     "threads"):
            self.function(name).restype = ctypes.c_uint64
        for name in ("set_capacity", "fail_allocation", "set_kernel_time"):
            self.function(name).argtypes = [ctypes.c_uint64]
        self.function("host_alloc").restype = cvx.P
        self.function("host_alloc").argtypes = [ctypes.c_int32, ctypes.c_uint64]
        self.function("host_free").argtypes = [cvx.P]
        self.function("read").argtypes = [cvx.P, cvx.P, ctypes.c_uint64]

    def count(self, name):
        value = self.function("counter")(name.encode())
        assert value != 2 ** 64 - 1, name
        return value

    def memory(self, index=0):
        return self.function("memory")(index)

    def peak(self, index=0):
        return self.function("memory_peak")(index)

    def reserved(self, index=0):
        return self.function("memory_reserved")(index)

    def reset(self):
        self.function("reset")()

    def capacity(self, size=16 << 30):
        self.function("set_capacity")(size)

    def fail(self, n):
        self.function("fail_allocation")(n)

    def forbid_waits(self, forbidden=True):
        self.function("forbid_waits")(int(forbidden))

    def lose(self, lost=True):
        self.function("lose_device")(int(lost))

    def kernel_time(self, nanoseconds=0):
        self.function("set_kernel_time")(nanoseconds)

    def threads(self):
        return self.function("threads")()

    def host_context(self, current=True):
        self.function("host_context")(int(current))

    def current_device(self, device=None):
        if device is not None:
            self.function("set_current_device")(device)
        return self.function("current_device")()

    def alloc(self, size, device=0):
        return self.function("host_alloc")(device, size)

    def free(self, address):
        self.function("host_free")(address)

    def read(self, address, size):
        data = ctypes.create_string_buffer(size)
        self.function("read")(data, address, size)
        return data.raw

    def most_ahead(self):
        return self.function("most_ahead")()

    def as_it_was(self):
        for undo in (self.capacity, lambda: self.fail(0), lambda: self.forbid_waits(False),
                     lambda: self.lose(False), self.kernel_time, self.reset):
            undo()

    def report(self):
        with tempfile.NamedTemporaryFile() as file:
            assert self.function("report")(file.name.encode()) == 0
            with open(file.name, encoding="utf-8") as written:
                return json.load(written)


class Driver:
    """The stand-in for libcuda.so.1 (driver.cpp): streams of the host's."""

    def __init__(self):
        self.handle = ctypes.CDLL("libcuda.so.1")
        # As a program that uses CUDA has done.
        assert self.handle.cuInit(0) == 0
        self.handle.simdriver_stream.restype = self.handle.simdriver_event.restype = cvx.P
        self.handle.simdriver_record.argtypes = [cvx.P, cvx.P]
        self.handle.simdriver_orders.restype = ctypes.c_char_p

    def stream(self, context):
        return self.handle.simdriver_stream(context)

    def event(self, context):
        return self.handle.simdriver_event(context)

    def record(self, event, stream):
        assert self.handle.simdriver_record(event, stream) == 0

    def orders(self):
        return self.handle.simdriver_orders().decode().splitlines()


class DeviceFrames(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in (
        "struct_size", "pixels", "video", "first_frame", "num_frames", "total_frames", "width",
        "height")] + [("data", cvx.P), ("row_stride", ctypes.c_size_t),
                      ("frame_stride", ctypes.c_size_t), ("stream", cvx.P),
                      ("device", ctypes.c_char_p)]


DEVICE_FRAMES = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.POINTER(DeviceFrames), cvx.P)


def set_device_frames(library, options, pixels, call, keep):
    """`call(DeviceFrames)` for each group; the callback goes to the list `keep`."""
    callback = DEVICE_FRAMES(lambda info, _: int(bool(call(info.contents))))
    keep.append(callback)
    function(library, "cvx_generate_options_set_device_frames_callback", cvx.P, cvx.I32,
             DEVICE_FRAMES, cvx.P, cvx.P)(options, pixels, callback, None, None)


def set_buffer(library, options, pixels, address, size, row=0, frame=0, device=True):
    name = "device_frames_buffer" if device else "frames_buffer"
    size_t = ctypes.c_size_t
    function(library, "cvx_generate_options_set_" + name, cvx.P, cvx.I32, cvx.P, size_t, size_t,
             size_t)(options, pixels, address, size, row, frame)


def set_stream(library, options, stream):
    function(library, "cvx_generate_options_set_stream", cvx.P, cvx.P)(options, stream)


def set_event(library, options, which, event):
    """`which`: "wait" or "record"."""
    function(library, f"cvx_generate_options_set_{which}_event", cvx.P, cvx.P)(options, event)


PROGRESS = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p)


class Progress(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("stage", ctypes.c_int32),
                ("done", ctypes.c_uint64), ("total", ctypes.c_uint64),
                ("timestep", ctypes.c_double)]


def function(library, name, *types):
    """A function that cvx.py does not know; its error is raised."""
    found = getattr(library._handle, name)
    found.argtypes, found.restype = types, ctypes.c_void_p
    return library._raising(found)


def text(library, name, pointer):
    found = getattr(library._handle, name)
    found.argtypes, found.restype = [cvx.P], cvx.STR
    return found(pointer).decode()


@contextlib.contextmanager
def options(library, steps=4, frames=5, seed=1, prompt=PROMPT, latents=None, on_progress=None,
            keep=None, **flags):
    """Options of a run. `on_progress(stage, done, total)` may return True to stop it; `flags` are
    setters that take one int32, such as vae_tiling=1. What must live as long as the run goes to the
    list `keep`, where the run outlives this."""
    pointer = library.generate_options_new()
    try:
        library.generate_options_set_prompt(pointer, prompt.encode())
        library.generate_options_set_num_inference_steps(pointer, steps)
        library.generate_options_set_num_frames(pointer, frames)
        library.generate_options_set_seed(pointer, seed)
        if latents is not None:
            library.generate_options_set_latents(pointer, *cvx.c_tensor(*latents))
        for name, value in flags.items():
            function(library, "cvx_generate_options_set_" + name, cvx.P, cvx.I32)(pointer, value)

        def call(info, _):
            info = ctypes.cast(info, ctypes.POINTER(Progress)).contents
            return int(bool(on_progress(STAGES[info.stage], info.done, info.total)))
        callback = PROGRESS(call)  # kept alive until the options are gone
        if keep is not None:
            keep.append(callback)
        if on_progress:
            function(library, "cvx_generate_options_set_progress_callback", cvx.P, PROGRESS, cvx.P,
                     cvx.P)(pointer, callback, None, None)
        yield pointer
    finally:
        library.generate_options_free(pointer)


def generate(pipeline, **wanted):
    """A cvx_video, the caller's to free."""
    video = cvx.P()
    with options(pipeline.library, **wanted) as pointer:
        pipeline.library.pipeline_generate(pipeline.pointer, pointer, ctypes.byref(video))
    return video


def run(pipeline, **wanted):
    """Generates and lets go."""
    pipeline.library.video_free(generate(pipeline, **wanted))


def frames_of(pipeline, video):
    try:
        return pipeline._frames(video)
    finally:
        pipeline.library.video_free(video)


def frames(pipeline, **wanted):
    """(shape, float array) of a run."""
    return frames_of(pipeline, generate(pipeline, **wanted))


def latents(pipeline, **wanted):
    video = generate(pipeline, output=cvx.OUTPUT_LATENTS, **wanted)
    try:
        return pipeline._latents(video)
    finally:
        pipeline.library.video_free(video)


def enable(pipeline, config):
    """Caches with a config in JSON."""
    library, pointer = pipeline.library, cvx.P()
    function(library, "cvx_cache_config_from_json", cvx.STR, cvx.OUT)(json.dumps(config).encode(),
                                                                      ctypes.byref(pointer))
    try:
        library.pipeline_enable_cache(pipeline.pointer, pointer)
    finally:
        library.cache_config_free(pointer)


def load_lora(pipeline, path):
    function(pipeline.library, "cvx_pipeline_load_lora", cvx.P, cvx.STR, cvx.STR)(
        pipeline.pointer, path.encode(), None)


def lora(pipeline, verb, *numbers):
    """cvx_pipeline_fuse_lora and its likes."""
    function(pipeline.library, f"cvx_pipeline_{verb}_lora", cvx.P, *[cvx.F64] * len(numbers))(
        pipeline.pointer, *numbers)


class LogInfo(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("level", ctypes.c_int32),
                ("message", ctypes.c_char_p)]


LOG = ctypes.CFUNCTYPE(None, ctypes.POINTER(LogInfo), ctypes.c_void_p)


def load_with_log(library, folder, device, log):
    """A pipeline; `log(level, text)` receives the messages of its load and of its runs."""
    options, other = library.load_options_new(), cvx.Pipeline.__new__(cvx.Pipeline)
    other.library, other.pointer = library, cvx.P()
    other.log = LOG(lambda info, _: log(info.contents.level, info.contents.message.decode()))
    try:
        library.load_options_set_device(options, device.encode())
        function(library, "cvx_load_options_set_log_callback", cvx.P, LOG, cvx.P, cvx.P)(
            options, other.log, None, None)
        library.pipeline_load(folder.encode(), options, ctypes.byref(other.pointer))
    finally:
        library.load_options_free(options)
    return other


def load_with(library, folder, device, **numbers):
    """A pipeline in float32; `numbers` are setters that take one uint64."""
    options, other = library.load_options_new(), cvx.Pipeline.__new__(cvx.Pipeline)
    other.library, other.pointer = library, cvx.P()
    try:
        library.load_options_set_device(options, device.encode())
        library.load_options_set_dtype(options, b"f32")
        library.load_options_set_prompt_cache_size(options, 0)
        for name, value in numbers.items():
            function(library, "cvx_load_options_set_" + name, cvx.P, cvx.U64)(options, value)
        library.pipeline_load(folder.encode(), options, ctypes.byref(other.pointer))
    finally:
        library.load_options_free(options)
    return other


class DeviceInfo(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("usable", ctypes.c_int32),
                ("texts", ctypes.c_char_p * 4), ("memory_total", ctypes.c_uint64),
                ("memory_free", ctypes.c_uint64), ("numbers", ctypes.c_int32 * 2),
                ("has_luid", ctypes.c_int32), ("luid_node_mask", ctypes.c_uint32),
                ("luid", ctypes.c_uint64)]


def devices(library):
    """cvx_device_list, as DeviceInfo with the texts and the capability as attributes."""
    handle, found = cvx.P(), []
    function(library, "cvx_device_list_new", cvx.OUT)(ctypes.byref(handle))
    for name, answer in (("count", cvx.I32), ("free", None)):
        plain = getattr(library._handle, "cvx_device_list_" + name)
        plain.argtypes, plain.restype = [cvx.P], answer
    for index in range(library._handle.cvx_device_list_count(handle)):
        info = DeviceInfo(struct_size=ctypes.sizeof(DeviceInfo))
        function(library, "cvx_device_list_get", cvx.P, cvx.I32, cvx.P)(handle, index,
                                                                        ctypes.byref(info))
        texts = [text.decode() for text in info.texts]
        info.device, info.name, info.uuid, info.unusable_reason = texts
        info.capability = tuple(info.numbers)
        info.texts = (ctypes.c_char_p * 4)()  # they go with the list
        found.append(info)
    library._handle.cvx_device_list_free(handle)
    return found


def trim(library, device):
    function(library, "cvx_device_trim", cvx.STR)(device.encode())


class Job:
    """A cvx_job, the caller's to free, and what it needs while it lives."""

    def __init__(self, library, pointer, keep):
        self.library, self.pointer, self.keep = library, pointer, keep

    def video(self):
        """Waits for the end: a cvx_video, the caller's to free."""
        video = cvx.P()
        function(self.library, "cvx_job_wait", cvx.P, cvx.F64, cvx.P)(self.pointer, -1, None)
        function(self.library, "cvx_job_take_video", cvx.P, cvx.OUT)(self.pointer,
                                                                     ctypes.byref(video))
        return video

    def free(self):
        free = self.library._handle.cvx_job_free
        free.restype, free.argtypes = None, [cvx.P]
        free(self.pointer)


def submit(pipeline, **wanted):
    """A job. Progress callbacks are called on its worker."""
    pointer, keep = cvx.P(), []
    with options(pipeline.library, keep=keep, **wanted) as chosen:
        function(pipeline.library, "cvx_pipeline_submit", cvx.P, cvx.P, cvx.P, cvx.P, cvx.P,
                 cvx.OUT)(pipeline.pointer, chosen, None, None, None, ctypes.byref(pointer))
    return Job(pipeline.library, pointer, keep)


def encode(pipeline, prompt=PROMPT, length=16):
    """The text encoder's output, as long as the buffer."""
    found = (ctypes.c_float * (length * 1024))()
    function(pipeline.library, "cvx_pipeline_encode_prompt", cvx.P, cvx.STR, ctypes.c_size_t,
             cvx.P, ctypes.c_size_t)(pipeline.pointer, prompt.encode(), length, found, len(found))
    return found


def clone(pipeline):
    """Another pipeline over the same weights."""
    pointer = cvx.P()
    function(pipeline.library, "cvx_pipeline_clone", cvx.P, cvx.OUT)(pipeline.pointer,
                                                                     ctypes.byref(pointer))
    other = cvx.Pipeline.__new__(cvx.Pipeline)
    other.library, other.pointer = pipeline.library, pointer
    return other

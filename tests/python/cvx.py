"""The C functions of libcogvideox for the benchmarks and device checks, by ctypes.

Only what those scripts call; a host in Python would want more. Needs no package.
"""

import ctypes
import os

P = ctypes.c_void_p
I32, I64, U64, F64, STR = (ctypes.c_int32, ctypes.c_int64, ctypes.c_uint64, ctypes.c_double,
                           ctypes.c_char_p)
OUT = ctypes.POINTER(P)

# name -> argument types; every one of these returns cvx_error *
FALLIBLE = {
    "cvx_load_options_set_device": [P, STR],
    "cvx_load_options_set_dtype": [P, STR],
    "cvx_load_options_set_prompt_cache_size": [P, I32],
    "cvx_load_options_set_component_device": [P, STR, STR],
    "cvx_load_options_set_component_quantization": [P, STR, STR],
    "cvx_load_options_set_weight_streaming": [P, STR, STR],
    "cvx_load_options_set_cuda_kernels": [P, STR],
    "cvx_load_options_set_cpu_matmul_precision": [P, STR],
    "cvx_pipeline_load": [STR, P, OUT],
    "cvx_pipeline_clone": [P, OUT],
    "cvx_generate_options_set_prompt": [P, STR],
    "cvx_generate_options_set_num_frames": [P, I32],
    "cvx_generate_options_set_size": [P, I32, I32],
    "cvx_generate_options_set_num_inference_steps": [P, I32],
    "cvx_generate_options_set_guidance_scale": [P, F64],
    "cvx_generate_options_set_seed": [P, U64],
    "cvx_generate_options_set_output": [P, I32],
    "cvx_generate_options_set_latents": [P, P, P, ctypes.c_size_t],
    "cvx_generate_options_set_video": [P, P, I32, I32, I32, ctypes.c_size_t, ctypes.c_size_t, I32],
    "cvx_generate_options_set_strength": [P, F64],
    "cvx_generate_options_set_progress_callback": [P, P, P, P],
    "cvx_generate_options_set_step_callback": [P, P, P, P],
    "cvx_step_preview_rgb8": [P, OUT, P],
    "cvx_pipeline_generate": [P, P, OUT],
    "cvx_pipeline_decode_latents": [P, P, P, ctypes.c_size_t, P, OUT],
    "cvx_pipeline_enable_cache": [P, P],
    "cvx_pipeline_disable_cache": [P],
    "cvx_video_latents": [P, OUT, P],
    "cvx_video_frames_f32": [P, I32, OUT, P],
    "cvx_video_frames_rgb8": [P, I32, OUT, P],
    "cvx_cache_config_set_spatial_attention_block_skip_range": [P, I32],
    "cvx_cache_config_set_spatial_attention_timestep_skip_range": [P, I32, I32],
    "cvx_cache_config_set_unconditional_batch_timestep_skip_range": [P, I32, I32],
    "cvx_cache_config_set_attention_weight_callback": [P, P, P, P],
}
# name -> (argument types, answer)
OTHER = {
    "cvx_error_code": ([P], I32),
    "cvx_error_message": ([P], STR),
    "cvx_error_free": ([P], None),
    "cvx_load_options_new": ([], P),
    "cvx_load_options_free": ([P], None),
    "cvx_generate_options_new": ([], P),
    "cvx_generate_options_free": ([P], None),
    "cvx_pab_config_new": ([], P),
    "cvx_faster_cache_config_new": ([], P),
    "cvx_cache_config_free": ([P], None),
    "cvx_pipeline_free": ([P], None),
    "cvx_video_free": ([P], None),
    "cvx_video_num_frames": ([P], I32),
    "cvx_video_width": ([P], I32),
    "cvx_video_height": ([P], I32),
}
OUTPUT_FRAMES, OUTPUT_LATENTS = 0, 1
PIXELS_RGB8, STAGE_ENCODE_IMAGE = 1, 6
WEIGHT_CALLBACK = ctypes.CFUNCTYPE(F64, P, P)


class ProgressInfo(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("stage", I32), ("done", U64), ("total", U64),
                ("timestep", F64)]


class StepEndInfo(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("step", I32), ("num_steps", I32),
                ("reserved", I32), ("timestep", F64), ("guidance_scale", F64), ("handle", P)]


PROGRESS_CALLBACK = ctypes.CFUNCTYPE(I32, ctypes.POINTER(ProgressInfo), P)
STEP_CALLBACK = ctypes.CFUNCTYPE(I32, ctypes.POINTER(StepEndInfo), P)


class CvxError(RuntimeError):
    def __init__(self, code, message):
        super().__init__(f"{message} (code {code})")
        self.code = code


def default_library():
    here = os.path.dirname(os.path.abspath(__file__))
    return os.path.join(here, "..", "..", "target", "release", "libcogvideox.so")


class Library:
    """The functions as attributes without their `cvx_`; a returned error is raised."""

    def __init__(self, path=None):
        self._handle = ctypes.CDLL(path or os.environ.get("CVX_LIBRARY") or default_library())
        for name, arguments in FALLIBLE.items():
            function = getattr(self._handle, name)
            function.argtypes, function.restype = arguments, P
            setattr(self, name[4:], self._raising(function))
        for name, (arguments, answer) in OTHER.items():
            function = getattr(self._handle, name)
            function.argtypes, function.restype = arguments, answer
            setattr(self, name[4:], function)

    def _raising(self, function):
        def call(*arguments):
            error = function(*arguments)
            if error:
                code, message = self.error_code(error), self.error_message(error).decode()
                self.error_free(error)
                raise CvxError(code, message)
        return call


class Pipeline:
    """One loaded pipeline folder."""

    def __init__(self, library, folder, device="cpu", dtype="auto", components=None,
                 streaming=None, cuda_kernels=None, matmul_precision=None):
        """`components`: devices of components that are elsewhere, by their names. `streaming`: how the
        blocks of the transformer and of the text encoder are kept. `matmul_precision`: of their products
        on the CPU."""
        self.library = library
        options = library.load_options_new()
        self.pointer = P()
        try:
            library.load_options_set_device(options, device.encode())
            library.load_options_set_dtype(options, dtype.encode())
            # Every run encodes its prompts, and keeps nothing of them.
            library.load_options_set_prompt_cache_size(options, 0)
            for component, place in (components or {}).items():
                library.load_options_set_component_device(
                    options, component.encode(), place.encode())
            for component in ("text_encoder", "transformer") if streaming else ():
                library.load_options_set_weight_streaming(
                    options, component.encode(), streaming.encode())
            if cuda_kernels:
                library.load_options_set_cuda_kernels(options, cuda_kernels.encode())
            if matmul_precision:
                library.load_options_set_cpu_matmul_precision(options, matmul_precision.encode())
            library.pipeline_load(folder.encode(), options, ctypes.byref(self.pointer))
        finally:
            library.load_options_free(options)

    def clone(self):
        """Another one with the same weights."""
        other = Pipeline.__new__(Pipeline)
        other.library, other.pointer = self.library, P()
        self.library.pipeline_clone(self.pointer, ctypes.byref(other.pointer))
        return other

    def close(self):
        self.library.pipeline_free(self.pointer)
        self.pointer = P()

    def enable_cache(self, mode):
        """`pab`: skip 2 in (100, 800). `faster_cache`: the documentation's settings."""
        library = self.library
        if mode == "pab":
            config = library.pab_config_new()
            window = (100, 800)
        else:
            config = library.faster_cache_config_new()
            window = (-1, 681)
        try:
            library.cache_config_set_spatial_attention_block_skip_range(config, 2)
            library.cache_config_set_spatial_attention_timestep_skip_range(config, *window)
            if mode != "pab":
                library.cache_config_set_unconditional_batch_timestep_skip_range(config, -1, 781)
                self._weight = WEIGHT_CALLBACK(lambda info, data: 0.3)
                library.cache_config_set_attention_weight_callback(
                    config, ctypes.cast(self._weight, P), None, None)
            library.pipeline_enable_cache(self.pointer, config)
        finally:
            library.cache_config_free(config)

    def disable_cache(self):
        self.library.pipeline_disable_cache(self.pointer)

    def generate(self, prompt, steps, seed=1, guidance=6.0, num_frames=None, latents=False,
                 initial_latents=None, video_rgb8=None, strength=None, progress=None, step=None,
                 size=None):
        """Answers latents or frames as (shape, float array); takes initial latents likewise.

        `video_rgb8`: bytes, width, height and number of frames of a video to make anew. `progress`
        is called with each ProgressInfo, `step` with the handle that the step callback is given."""
        library = self.library
        options, video = library.generate_options_new(), P()
        try:
            library.generate_options_set_prompt(options, prompt.encode())
            library.generate_options_set_num_inference_steps(options, steps)
            library.generate_options_set_guidance_scale(options, guidance)
            library.generate_options_set_seed(options, seed)
            if num_frames:
                library.generate_options_set_num_frames(options, num_frames)
            if size:
                library.generate_options_set_size(options, *size)
            if initial_latents:
                library.generate_options_set_latents(options, *c_tensor(*initial_latents))
            if video_rgb8:
                pixels, *size = video_rgb8
                library.generate_options_set_video(options, pixels, *size, 0, 0, PIXELS_RGB8)
            if strength is not None:
                library.generate_options_set_strength(options, strength)
            # They are alive until the run has ended.
            follow = PROGRESS_CALLBACK(lambda info, _: progress(info.contents) or 0)
            look = STEP_CALLBACK(lambda info, _: step(info.contents.handle) or 0)
            if progress:
                library.generate_options_set_progress_callback(
                    options, ctypes.cast(follow, P), None, None)
            if step:
                library.generate_options_set_step_callback(
                    options, ctypes.cast(look, P), None, None)
            if latents:
                library.generate_options_set_output(options, OUTPUT_LATENTS)
            library.pipeline_generate(self.pointer, options, ctypes.byref(video))
        finally:
            library.generate_options_free(options)
        try:
            return self._latents(video) if latents else self._frames(video)
        finally:
            library.video_free(video)

    def decode(self, shape, values):
        video = P()
        self.library.pipeline_decode_latents(self.pointer, *c_tensor(shape, values), None,
                                             ctypes.byref(video))
        try:
            return self._frames(video)
        finally:
            self.library.video_free(video)

    def preview(self, step):
        """The picture that a step's handle has: shape and bytes."""
        data, shape = P(), (I64 * 5)()
        self.library.step_preview_rgb8(step, ctypes.byref(data), shape)
        return list(shape), ctypes.string_at(data, product(shape))

    def _latents(self, video):
        data, shape = P(), (I64 * 5)()
        self.library.video_latents(video, ctypes.byref(data), shape)
        return list(shape), floats(data, product(shape))

    def _frames(self, video):
        library, data = self.library, P()
        library.video_frames_f32(video, 0, ctypes.byref(data), None)
        shape = [library.video_num_frames(video), library.video_height(video),
                 library.video_width(video), 3]
        return shape, floats(data, product(shape))


def product(numbers):
    result = 1
    for number in numbers:
        result *= number
    return result


def c_tensor(shape, values):
    """The arguments data, shape and rank of a function that takes a tensor."""
    data = (ctypes.c_float * len(values)).from_buffer_copy(values)
    return data, (I64 * len(shape))(*shape), len(shape)


def floats(pointer, count):
    """A copy of `count` float32 at `pointer`, as array('f')."""
    import array
    return array.array("f", ctypes.string_at(pointer, count * 4))

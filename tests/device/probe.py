#!/usr/bin/env python3
"""Decides on a real GPU what no simulation can: one process with PyTorch and this library in it.

Both use one libtorch, so that PyTorch's profiler sees the library's kernels by name, and its
allocator's statistics are the library's. Every row is printed, and written to the file of --rows, as
soon as it is known: a run that is cut off has told all that it found out.

    python tests/device/probe.py smoke    # is it right? about 2 minutes of at most 4
    python tests/device/probe.py full     # is it fast? at most 9
    python tests/device/probe.py micro    # where is time left? at most 6

    make probe                            # here: what must travel, into out/probe
    python out/probe/probe.py smoke       # there: builds and fetches nothing

Needs torch 2.11; `full` compares with diffusers where it can be imported: `make probe` packs its
wheel. --device cpu and the simulated device run the same rows at the size of a test.
"""

import argparse
import array
import contextlib
import ctypes
import glob
import json
import math
import os
import random
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
# Packed, everything lies beside this file; in the checkout, where it belongs.
PACKED = os.path.exists(os.path.join(HERE, "libcogvideox.so"))
ROOT = HERE if PACKED else os.path.join(HERE, "..", "..")
sys.dont_write_bytecode = True
sys.path.insert(0, HERE if PACKED else os.path.join(ROOT, "tests", "python"))
MODEL = os.path.join(ROOT, "model") if PACKED else os.path.join(
    ROOT, "examples", "demo-model", "pipeline")
LIBRARY = os.path.join(HERE, "libcogvideox.so") if PACKED else None

MODES = ("dense", "pab", "faster_cache")
SECONDS = {"smoke": 240, "full": 540, "micro": 360}
PROMPT = "a red ball moves right on a navy background"

# Relative L2 error against float32 on the CPU, of latents after 12 steps of the demo model with DDIM from
# the same noise, and of the frames that they decode to. On the simulated device latents are off by 2.4e-6
# in float32, 4.3e-3 in float16 and 3.0e-2 in bfloat16. Frames in float32
# are off by 1.2e-6 there, and by 8.5e-5 with convolutions in TF32, which ours must not take.
LIMITS = {"f32": 1e-4, "f16": 1e-2, "bf16": 6e-2}
FRAMES_LIMITS = {"f32": 5e-5, "f16": 2e-2, "bf16": 1e-1}


class Rows:
    """What is found out, each as soon as it is."""

    def __init__(self, path, seconds):
        self.file = open(path, "a", encoding="utf-8") if path else None
        self.started, self.seconds, self.failed = time.monotonic(), seconds, []

    def left(self):
        return self.seconds - (time.monotonic() - self.started)

    def put(self, name, ok=None, **values):
        row = dict(row=name, at_s=round(time.monotonic() - self.started, 1), **values)
        if ok is not None:
            row["ok"] = bool(ok)
            if not ok:
                self.failed.append(name)
        text = json.dumps(row)
        print(text, flush=True)
        if self.file:
            self.file.write(text + "\n")
            self.file.flush()
            os.fsync(self.file.fileno())

    @contextlib.contextmanager
    def part(self, name, needs=0):
        """A part that may fail without the others; it is left out if time is short."""
        if self.left() < needs:
            self.put(name, left_out=f"{self.left():.0f} s left, {needs} wanted")
            yield False
            return
        try:
            yield True
        except Exception as error:  # whatever it is, the other rows are worth having
            self.put(name, ok=False, error=f"{type(error).__name__}: {error}"[:500])


def round_of(value, digits=3):
    return None if value is None else float(f"{value:.{digits}g}")


# ---- The library in this process ---------------------------------------------------------------


def load_library(path):
    import cvx  # noqa: PLC0415
    return cvx, cvx.Library(path)


class Synchronised:
    """Seconds of work on the device."""

    def __init__(self, torch, device):
        self.torch, self.cuda = torch, device.startswith("cuda")
        self.wait()
        self.started = time.perf_counter()

    def wait(self):
        if self.cuda and self.torch is not None:
            self.torch.cuda.synchronize()

    def seconds(self):
        self.wait()
        return time.perf_counter() - self.started


def with_ddim(folder):
    """The demo model with the scheduler that draws no noise."""
    for name in os.listdir(MODEL):
        if name not in ("model_index.json", "scheduler"):
            os.symlink(os.path.abspath(os.path.join(MODEL, name)), os.path.join(folder, name))
    os.mkdir(os.path.join(folder, "scheduler"))
    for name in ("model_index.json", "scheduler/scheduler_config.json"):
        with open(os.path.join(MODEL, name), encoding="utf-8") as file:
            text = file.read().replace("CogVideoXDPMScheduler", "CogVideoXDDIMScheduler")
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)
    return folder


def enable(pipeline, mode):
    if mode == "dense":
        pipeline.disable_cache()
    else:
        pipeline.enable_cache(mode)


def error_of(found, expected):
    (_, a), (_, b) = found, expected
    square = sum((x - y) ** 2 for x, y in zip(a, b))
    norm = sum(y * y for y in b)
    return math.sqrt(square / norm) if len(a) == len(b) and norm else math.inf


# ---- smoke -------------------------------------------------------------------------------------


def environment_rows(rows, torch, options):
    with rows.part("environment"):
        values = {"python": sys.version.split()[0], "date": time.strftime("%Y-%m-%d")}
        if torch is not None:
            values.update(torch=torch.__version__, cuda=torch.version.cuda)
            if options.device.startswith("cuda"):
                properties = torch.cuda.get_device_properties(options.device)
                values.update(card=properties.name, memory=properties.total_memory,
                              capability=f"{properties.major}.{properties.minor}",
                              cudnn=torch.backends.cudnn.version())
        rows.put("environment", **values)


def results(rows, cvx, library, options, folder):
    """Latents and frames of the device against the CPU's."""
    steps = 2 if options.short else 12
    modes = MODES[:1] if options.short else MODES

    def all_of(device, dtype, start, kernels="libtorch"):
        pipeline = cvx.Pipeline(library, folder, device, dtype, cuda_kernels=kernels)
        found = {}
        for mode in modes:
            enable(pipeline, mode)
            shape, latents = pipeline.generate(PROMPT, steps, latents=True, initial_latents=start)
            found[mode] = (shape, latents), pipeline.decode(shape, latents)
        pipeline.close()
        return found

    first = cvx.Pipeline(library, folder, "cpu", "f32")
    shape, _ = first.generate(PROMPT, 1, latents=True)
    first.close()
    numbers = random.Random(1)
    start = shape, array.array("f", (numbers.gauss(0, 1) for _ in range(math.prod(shape))))
    expected = all_of("cpu", "f32", start)
    # On a device with the library's own kernels, too.
    ways = ("libtorch", "fused") if options.device.startswith("cuda") else ("libtorch",)
    for dtype, way in ((d, w) for d in ("f32", "f16", "bf16") for w in ways):
        name = "results" if way == "libtorch" else "results, fused kernels"
        with rows.part(name.replace("results", f"results {dtype}")):
            found = all_of(options.device, dtype, start, way)
            # The CPU computes in float32 whatever is asked for.
            kind = "f32" if options.device == "cpu" else dtype
            limit = LIMITS[kind]
            for mode in modes:
                latents = error_of(found[mode][0], expected[mode][0])
                frames = error_of(found[mode][1], expected[mode][1])
                ok = latents <= limit and frames <= FRAMES_LIMITS[kind]
                rows.put(name, ok=ok, dtype=dtype, cache=mode,
                         latents_error=round_of(latents), frames_error=round_of(frames),
                         limit=limit)


def behaviour(rows, cvx, library, torch, options):
    """What hosts rely on: the same seed, memory that comes back, cancelling."""
    with rows.part("same seed"):
        pipeline = cvx.Pipeline(library, MODEL, options.device, "f16")
        steps = 2 if options.short else 8
        one, two = (pipeline.generate(PROMPT, steps, latents=True) for _ in range(2))
        rows.put("same seed, same bytes", ok=one == two)
        pipeline.close()
    if torch is not None and options.device.startswith("cuda"):
        with rows.part("memory"):
            before = torch.cuda.memory_allocated()
            pipeline = cvx.Pipeline(library, MODEL, options.device, "f16")
            loaded = torch.cuda.memory_allocated() - before
            pipeline.generate(PROMPT, 2, latents=True)
            pipeline.close()
            after = torch.cuda.memory_allocated()
            rows.put("memory comes back", ok=after == before and loaded > 0, weights=loaded,
                     left=after - before)
        with rows.part("profiler"):
            pipeline = cvx.Pipeline(library, MODEL, options.device, "bf16")
            pipeline.generate(PROMPT, 1, latents=True)
            names = kernels(torch, lambda: pipeline.generate(PROMPT, 1, latents=True))
            pipeline.close()
            rows.put("profiler sees kernels", ok=bool(names), kinds=len(names),
                     most=[name[:60] for name, _ in names[:5]])


def kernels(torch, work, most=25):
    """(name, microseconds) of what ran on the device, the longest first."""
    from torch.profiler import ProfilerActivity, profile  # noqa: PLC0415
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        work()
        torch.cuda.synchronize()
    times = {}
    for event in found.events():
        if "cuda" in str(event.device_type).lower():
            times[event.name] = times.get(event.name, 0) + event.time_range.elapsed_us()
    return sorted(times.items(), key=lambda item: -item[1])[:most]


def smoke(rows, torch, cvx, library, options):
    with tempfile.TemporaryDirectory() as folder:
        with rows.part("results"):
            results(rows, cvx, library, options, with_ddim(folder))
    behaviour(rows, cvx, library, torch, options)


# ---- full --------------------------------------------------------------------------------------

# Transformer, and what `make_model.py` has of the VAE. 2b has absolute positions.
SIZES = {
    "5b": dict(num_attention_heads=48, num_layers=42, use_rotary_positional_embeddings=True),
    "2b": dict(num_attention_heads=30, num_layers=30, use_rotary_positional_embeddings=False),
    "small": dict(num_attention_heads=2, num_layers=2, use_rotary_positional_embeddings=True),
}


def make_folder(torch, diffusers, folder, size, device, dtype):
    """A pipeline folder of this size with random weights, made on the device. The text encoder is
    the demo model's: what is timed gets embeddings."""
    small = size == "small"
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    with torch.device(device):
        transformer = diffusers.CogVideoXTransformer3DModel(
            in_channels=16, out_channels=16, attention_head_dim=64,
            text_embed_dim=1024 if small else 4096, time_embed_dim=512,
            max_text_seq_length=226, sample_width=8 if small else 90,
            sample_height=8 if small else 60, sample_frames=9 if small else 49, **SIZES[size])
        vae = diffusers.AutoencoderKLCogVideoX(
            latent_channels=16, scaling_factor=0.7,
            **(dict(block_out_channels=(16, 32, 32, 64), layers_per_block=1, norm_num_groups=8,
                    sample_height=64, sample_width=64) if small else
               dict(block_out_channels=(128, 256, 256, 512), layers_per_block=3,
                    sample_height=480, sample_width=720)))
    torch.set_default_dtype(torch.float32)
    transformer.save_pretrained(os.path.join(folder, "transformer"))
    vae.save_pretrained(os.path.join(folder, "vae"))
    for name in os.listdir(MODEL):
        if name not in ("transformer", "vae", "text_encoder"):
            os.symlink(os.path.abspath(os.path.join(MODEL, name)), os.path.join(folder, name))
    text_encoder(torch, os.path.join(folder, "text_encoder"), 1024 if small else 4096)
    return transformer, vae


def text_encoder(torch, folder, width):
    """A T5 encoder of one layer, which is as wide as the transformer wants and is never run."""
    from safetensors.torch import save_file  # noqa: PLC0415
    os.makedirs(folder)
    source = os.path.join(MODEL, "text_encoder", "config.json")
    with open(source, encoding="utf-8") as file:
        config = json.load(file)
    config.update(d_model=width, num_layers=1, d_ff=64, num_heads=1, d_kv=64)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)
    block = "encoder.block.0.layer."
    shapes = {"shared.weight": (config["vocab_size"], width),
              "encoder.final_layer_norm.weight": (width,),
              block + "0.layer_norm.weight": (width,), block + "1.layer_norm.weight": (width,),
              block + "0.SelfAttention.o.weight": (width, 64),
              block + "0.SelfAttention.relative_attention_bias.weight":
                  (config["relative_attention_num_buckets"], 1),
              block + "1.DenseReluDense.wi_0.weight": (64, width),
              block + "1.DenseReluDense.wi_1.weight": (64, width),
              block + "1.DenseReluDense.wo.weight": (width, 64)}
    for name in "qkv":
        shapes[f"{block}0.SelfAttention.{name}.weight"] = (64, width)
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()},
              os.path.join(folder, "model.safetensors"))


def ours(cvx, library, pipeline, embeddings, steps, decode=False):
    """A run from embeddings; its video is freed."""
    pointer, video = library.generate_options_new(), cvx.P()
    try:
        for name in ("prompt", "negative_prompt"):
            call = getattr(library._handle, f"cvx_generate_options_set_{name}_embeddings")
            call.restype = cvx.P
            call.argtypes = [cvx.P, cvx.P, ctypes.c_size_t, ctypes.c_size_t]
            rows, width, data = embeddings
            error = call(pointer, data, rows, width)
            if error:
                raise cvx.CvxError(library.error_code(error),
                                   library.error_message(error).decode())
        library.generate_options_set_num_inference_steps(pointer, steps)
        if not decode:
            library.generate_options_set_output(pointer, cvx.OUTPUT_LATENTS)
        library.pipeline_generate(pipeline.pointer, pointer, ctypes.byref(video))
    finally:
        library.generate_options_free(pointer)
    library.video_free(video)


def theirs(torch, transformer, embeddings, latents, steps, timestep=500):
    """The denoising steps of diffusers but for the scheduler, whose time is nothing."""
    rotary = None
    if transformer.config.use_rotary_positional_embeddings:
        from diffusers.models.embeddings import get_3d_rotary_pos_embed  # noqa: PLC0415
        frames, height, width = latents.shape[1], latents.shape[3] // 2, latents.shape[4] // 2
        rotary = get_3d_rotary_pos_embed(
            embed_dim=64, crops_coords=((0, 0), (height, width)), grid_size=(height, width),
            temporal_size=frames, device=latents.device)
    times = torch.full((2,), timestep, device=latents.device)
    with torch.no_grad():
        for _ in range(steps):
            transformer(hidden_states=torch.cat([latents, latents]),
                        encoder_hidden_states=embeddings, timestep=times,
                        image_rotary_emb=rotary, return_dict=False)


def full(rows, torch, cvx, library, options):
    import diffusers  # noqa: PLC0415
    cuda = options.device.startswith("cuda")
    name, dtype = ("bf16", torch.bfloat16) if cuda else ("f32", torch.float32)
    sizes = ("small",) if options.short else ("5b", "2b")
    steps = 1 if options.short else 3
    for size in sizes:
        with rows.part(size, needs=0 if size != "2b" else 150) as wanted, \
                tempfile.TemporaryDirectory() as folder:
            if not wanted:
                continue
            clock = Synchronised(torch, options.device)
            transformer, vae = make_folder(torch, diffusers, folder, size, options.device, dtype)
            rows.put("made", size=size, seconds=round_of(clock.seconds()))
            compare(rows, torch, cvx, library, options, size, name, dtype, folder, steps,
                    transformer, vae)


def compare(rows, torch, cvx, library, options, size, name, dtype, folder, steps, transformer,
            vae):
    cuda = options.device.startswith("cuda")
    width = transformer.config.text_embed_dim
    config = transformer.config
    frames = (config.sample_frames - 1) // 4 + 1
    generator = torch.Generator().manual_seed(1)
    numbers = torch.randn(226, width, generator=generator)
    embeddings = numbers.to(options.device, dtype).expand(2, -1, -1)
    shape = (1, frames, 16, config.sample_height, config.sample_width)
    latents = torch.randn(shape, generator=generator).to(options.device, dtype)
    found = {}

    def put(who, work, cache="dense", warm=1):
        theirs_or_ours = f"{size} {who} {cache}"
        with rows.part(theirs_or_ours, needs=5 if options.short else 25) as wanted:
            if not wanted:
                return
            for _ in range(warm):
                work(1)
            if cuda:
                torch.cuda.reset_peak_memory_stats()
            clock = Synchronised(torch, options.device)
            work(steps)
            each = clock.seconds() / steps
            found[who, cache] = each
            peak = torch.cuda.max_memory_allocated() if cuda else None
            rows.put("step", size=size, who=who, cache=cache, dtype=name,
                     seconds=round_of(each, 4), peak_bytes=peak,
                     speed_up=round_of(found["diffusers", "dense"] / each)
                     if ("diffusers", "dense") in found else None)

    put("diffusers", lambda n: theirs(torch, transformer, embeddings, latents, n))
    with rows.part(f"{size} compiled", needs=120 if cuda else 0) as wanted:
        if wanted and not options.short:
            compiled = torch.compile(transformer)
            put("diffusers compiled", lambda n: theirs(torch, compiled, embeddings, latents, n))
    with rows.part(f"{size} diffusers decode", needs=20 if cuda else 0) as wanted:
        if wanted:
            clock = Synchronised(torch, options.device)
            with torch.no_grad():
                vae.decode(latents.permute(0, 2, 1, 3, 4)).sample
            found["diffusers", "decode"] = clock.seconds()
            rows.put("decode", size=size, who="diffusers",
                     seconds=round_of(found["diffusers", "decode"], 4))
    # Its weights would stand in the way of what our peak is.
    transformer.to("meta")
    vae.to("meta")
    if cuda:
        torch.cuda.empty_cache()

    clock = Synchronised(torch, options.device)
    pipeline = cvx.Pipeline(library, folder, options.device, name)
    rows.put("load", size=size, seconds=round_of(clock.seconds()))
    floats = (ctypes.c_float * numbers.numel()).from_buffer_copy(numbers.numpy().tobytes())
    given = (226, width, floats)
    for mode in MODES:
        enable(pipeline, mode)
        put("libcogvideox", lambda n: ours(cvx, library, pipeline, given, n), cache=mode)
    pipeline.disable_cache()
    with rows.part(f"{size} decode"):
        clock = Synchronised(torch, options.device)
        ours(cvx, library, pipeline, given, 1, decode=True)
        whole = clock.seconds()
        step = found.get(("libcogvideox", "dense"), 0)
        rows.put("decode", size=size, who="libcogvideox", seconds=round_of(whole - step, 4),
                 peak_bytes=torch.cuda.max_memory_allocated() if cuda else None)
    if cuda:
        with rows.part(f"{size} kernels", needs=30) as wanted:
            if wanted:
                work = kernels(torch, lambda: ours(cvx, library, pipeline, given, 1))
                for kernel, microseconds in work:
                    rows.put("kernel", size=size, name=kernel[:120],
                             milliseconds=round_of(microseconds / 1e3))
    pipeline.close()


# ---- micro -------------------------------------------------------------------------------------


def timed(torch, work, device, times=10):
    """Seconds of one."""
    work()
    clock = Synchronised(torch, device)
    for _ in range(times):
        work()
    return clock.seconds() / times


def micro(rows, torch, cvx, library, options):
    del cvx, library
    if options.device.startswith("cuda"):
        with rows.part("fused kernels"):
            import fused  # noqa: PLC0415
            for name, ours_s, theirs_s, error, size in fused.rows(torch, options, timed):
                rows.put(name, ok=error <= fused.LIMIT, seconds=round_of(ours_s),
                         libtorch_seconds=round_of(theirs_s), error=round_of(error),
                         gigabytes_per_s=round_of(size / ours_s / 1e9))
    device, cuda = options.device, options.device.startswith("cuda")
    tokens, heads, width = (64, 2, 128) if options.short else (17776, 48, 3072)
    dtype = torch.bfloat16 if cuda else torch.float32
    times = 1 if options.short else 10
    new = lambda *shape: torch.randn(*shape, device=device, dtype=dtype)  # noqa: E731
    flops = lambda count, seconds: round_of(count / seconds / 1e12)  # noqa: E731

    with rows.part("product"):
        x, weight = new(2 * tokens, width), new(width, width)
        seconds = timed(torch, lambda: x @ weight.T, device, times)
        rows.put("product", shape=[2 * tokens, width, width], seconds=round_of(seconds),
                 tflops=flops(2 * x.shape[0] * width * width, seconds))
    q, k, v = (new(2, heads, tokens, 64) for _ in range(3))
    from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: PLC0415
    backends = ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION") if cuda else ("MATH",)
    for backend in backends:
        with rows.part(f"attention {backend}"), sdpa_kernel(getattr(SDPBackend, backend)):
            attend = torch.nn.functional.scaled_dot_product_attention
            seconds = timed(torch, lambda: attend(q, k, v), device, times)
            rows.put("attention", kernel=backend.lower(), tokens=tokens, heads=heads,
                     seconds=round_of(seconds),
                     tflops=flops(4 * 2 * heads * tokens * tokens * 64, seconds))
    with rows.part("norm of q and k"):
        norm = torch.nn.functional.layer_norm
        seconds = timed(torch, lambda: norm(q, (64,)), device, times)
        rows.put("norm of q", seconds=round_of(seconds), what="libtorch; K1 is to beat it",
                 gigabytes_per_s=round_of(2 * q.numel() * q.element_size() / seconds / 1e9))
    with rows.part("gate, residual, norm, modulation"):
        y, gate = new(2, tokens, width), new(2, 1, width)

        def chain():
            z = y + gate * y
            return norm(z, (width,)) * (1 + gate) + gate
        seconds = timed(torch, chain, device, times)
        rows.put("gate, residual, norm, modulation", seconds=round_of(seconds),
                 what="libtorch; K2 is to beat it",
                 gigabytes_per_s=round_of(3 * y.numel() * y.element_size() / seconds / 1e9))
    with rows.part("fp8"):
        if cuda and torch.cuda.get_device_capability(device) >= (8, 9):
            scale = torch.ones((), device=device)
            a = x.to(torch.float8_e4m3fn)
            b = weight.to(torch.float8_e4m3fn)
            rowwise = (torch.ones(a.shape[0], 1, device=device),
                       torch.ones(1, b.shape[0], device=device))
            for kind, scales in (("tensor", (scale, scale)), ("row", rowwise)):
                seconds = timed(torch, lambda: torch._scaled_mm(
                    a, b.T, *scales, out_dtype=torch.bfloat16), device, times)
                rows.put("fp8 product", scales=kind, seconds=round_of(seconds),
                         tflops=flops(2 * a.shape[0] * width * width, seconds))
        else:
            rows.put("fp8 product", left_out="needs compute capability 8.9")
    channels, frames, height, side = (8, 3, 8, 8) if options.short else (256, 9, 240, 360)
    conv = new(channels, channels, 3, 3, 3)
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        with rows.part(f"convolution {layout}"):
            image = new(1, channels, frames, height, side).to(memory_format=layout)
            kernel = conv.to(memory_format=layout)
            seconds = timed(torch, lambda: torch.nn.functional.conv3d(image, kernel, padding=(
                0, 1, 1)), device, times)
            rows.put("convolution", layout=str(layout), seconds=round_of(seconds),
                     tflops=flops(2 * 27 * channels * channels * (frames - 2) * height * side,
                                  seconds))
    for pinned in (False, True) if cuda else (False,):
        with rows.part(f"copy, pinned {pinned}"):
            host = torch.empty((1 << 20) if options.short else (264 << 20), dtype=torch.uint8,
                               pin_memory=pinned)
            seconds = timed(torch, lambda: host.to(device, non_blocking=pinned), device, times)
            rows.put("copy to the device", pinned=pinned, bytes=host.numel(),
                     gigabytes_per_s=round_of(host.numel() / seconds / 1e9))


# ---- The program -------------------------------------------------------------------------------


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=tuple(SECONDS))
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--library", default=LIBRARY, help="default: the packed or the built one")
    parser.add_argument("--rows", help="a file that rows are added to")
    parser.add_argument("--seconds", type=float, help="default: what the command may take")
    parser.add_argument("--short", action="store_true", help="as small as a test")
    parser.add_argument("--without-torch", action="store_true",
                        help="of smoke what needs no PyTorch: on the simulated device")
    return parser.parse_args()


def main():
    options = parse()
    rows = Rows(options.rows, options.seconds or SECONDS[options.command])
    torch = None
    if not options.without_torch:
        # Wheels that were packed; a wheel of Python alone is imported as it is.
        sys.path.extend(glob.glob(os.path.join(HERE, "wheels", "*.whl")))
        import torch  # noqa: PLC0415
    environment_rows(rows, torch, options)
    cvx, library = load_library(options.library)
    rows.put("library", path=os.path.abspath(library._handle._name),
             bytes=os.path.getsize(library._handle._name))
    with rows.part(options.command):
        {"smoke": smoke, "full": full, "micro": micro}[options.command](
            rows, torch, cvx, library, options)
    failed = list(rows.failed)
    rows.put("end", ok=not failed, failed=failed)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

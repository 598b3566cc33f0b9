#!/usr/bin/env python3
"""A folder with the shapes of CogVideoX-5b and random weights in bfloat16, and what a run of it
takes when its weights are read block by block: memory, and time beside resident weights.

    large_model.py write FOLDER [--layers 42] [--text-layers 24]    20 GB as published
    large_model.py run FOLDER [--streaming file] [--size 64x64] [--frames 5] [--steps 1]
    large_model.py compare FOLDER      steps with resident and with streamed weights in turn

Needs Python and the library alone (CVX_LIBRARY, or target/release), on Linux. Videos of random
weights show nothing.
"""

import argparse
import ctypes
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
sys.path.insert(0, os.path.join(HERE, "..", "python"))
# What it does not say of itself (tokenizer, scheduler) is that of a tiny pipeline.
TINY = os.path.join(ROOT, "tests", "pipelines", "5b")
HEADS, HEAD_DIM, TIME, TEXT = 48, 64, 512, 4096
TEXT_HEADS, TEXT_FF, VOCABULARY = 64, 10240, 32128
LATENT, VAE_CHANNELS, VAE_RESNETS = 16, (128, 256, 256, 512), 3


def transformer_tensors(layers):
    width = HEADS * HEAD_DIM

    def linear(name, outputs, inputs):
        return {f"{name}.weight": [outputs, inputs], f"{name}.bias": [outputs]}

    def norm(name, size):
        return {f"{name}.weight": [size], f"{name}.bias": [size]}
    tensors = {"patch_embed.proj.weight": [width, LATENT, 2, 2], "patch_embed.proj.bias": [width],
               **linear("patch_embed.text_proj", width, TEXT),
               **linear("time_embedding.linear_1", TIME, width),
               **linear("time_embedding.linear_2", TIME, TIME),
               **norm("norm_final", width), **norm("norm_out.norm", width),
               **linear("norm_out.linear", 2 * width, TIME),
               **linear("proj_out", 4 * LATENT, width)}
    for layer in range(layers):
        block = f"transformer_blocks.{layer}"
        for name in ("norm1", "norm2"):
            tensors.update(linear(f"{block}.{name}.linear", 6 * width, TIME))
            tensors.update(norm(f"{block}.{name}.norm", width))
        for name in ("to_q", "to_k", "to_v", "to_out.0"):
            tensors.update(linear(f"{block}.attn1.{name}", width, width))
        for name in ("norm_q", "norm_k"):
            tensors.update(norm(f"{block}.attn1.{name}", HEAD_DIM))
        tensors.update(linear(f"{block}.ff.net.0.proj", 4 * width, width))
        tensors.update(linear(f"{block}.ff.net.2", width, 4 * width))
    return tensors


def text_encoder_tensors(layers):
    tensors = {"shared.weight": [VOCABULARY, TEXT], "encoder.final_layer_norm.weight": [TEXT]}
    for layer in range(layers):
        attention = f"encoder.block.{layer}.layer.0"
        for name in "qkvo":
            tensors[f"{attention}.SelfAttention.{name}.weight"] = [TEXT, TEXT]
        tensors[f"{attention}.layer_norm.weight"] = [TEXT]
        dense = f"encoder.block.{layer}.layer.1"
        tensors[f"{dense}.DenseReluDense.wi_0.weight"] = [TEXT_FF, TEXT]
        tensors[f"{dense}.DenseReluDense.wi_1.weight"] = [TEXT_FF, TEXT]
        tensors[f"{dense}.DenseReluDense.wo.weight"] = [TEXT, TEXT_FF]
        tensors[f"{dense}.layer_norm.weight"] = [TEXT]
    bias = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    tensors[bias] = [32, TEXT_HEADS]
    return tensors


def vae_tensors():
    """Of the decoder."""
    tensors = {}

    def conv(name, outputs, inputs, kernel=(3, 3, 3)):
        tensors[f"{name}.weight"] = [outputs, inputs, *kernel]
        tensors[f"{name}.bias"] = [outputs]

    def norm(name, channels):
        for part in ("conv_y", "conv_b"):
            conv(f"{name}.{part}.conv", channels, LATENT, (1, 1, 1))
        tensors[f"{name}.norm_layer.weight"] = [channels]
        tensors[f"{name}.norm_layer.bias"] = [channels]

    def resnet(name, inputs, outputs):
        norm(f"{name}.norm1", inputs)
        conv(f"{name}.conv1.conv", outputs, inputs)
        norm(f"{name}.norm2", outputs)
        conv(f"{name}.conv2.conv", outputs, outputs)
        if inputs != outputs:
            conv(f"{name}.conv_shortcut", outputs, inputs, (1, 1, 1))
    levels = VAE_CHANNELS[::-1]
    conv("decoder.conv_in.conv", levels[0], LATENT)
    for index in range(2):
        resnet(f"decoder.mid_block.resnets.{index}", levels[0], levels[0])
    before = levels[0]
    for level, channels in enumerate(levels):
        block = f"decoder.up_blocks.{level}"
        for index in range(VAE_RESNETS + 1):
            resnet(f"{block}.resnets.{index}", before if index == 0 else channels, channels)
        if level + 1 < len(levels):
            conv(f"{block}.upsamplers.0.conv", channels, channels, (3, 3))
        before = channels
    norm("decoder.norm_out", levels[-1])
    conv("decoder.conv_out.conv", 3, levels[-1])
    return tensors


def write_tensors(path, tensors):
    """Numbers of about 0.004 to 0.03 of either sign."""
    pool = bytearray(64 << 20)
    chance = random.Random(5)
    exponents = bytes((0x3b, 0x3c, 0xbb, 0xbc))
    pool[0::2] = chance.randbytes(len(pool) // 2)
    pool[1::2] = chance.randbytes(len(pool) // 2).translate(exponents * 64)
    header, end = {}, 0
    for name, shape in tensors.items():
        size = 2
        for side in shape:
            size *= side
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for entry in header.values():
            left = entry["data_offsets"][1] - entry["data_offsets"][0]
            start = 2 * chance.randrange(len(pool) // 4)
            while left > 0:
                part = memoryview(pool)[start:start + left]
                file.write(part)
                left, start = left - len(part), 0
    return end


def write(folder, layers, text_layers):
    shutil.copytree(TINY, folder)
    files = {"transformer": ("diffusion_pytorch_model", transformer_tensors(layers), dict(
                 num_attention_heads=HEADS, attention_head_dim=HEAD_DIM, num_layers=layers,
                 in_channels=LATENT, out_channels=LATENT, text_embed_dim=TEXT, time_embed_dim=TIME,
                 sample_width=90, sample_height=60, sample_frames=49, max_text_seq_length=226)),
             "text_encoder": ("model", text_encoder_tensors(text_layers), dict(
                 d_model=TEXT, d_kv=TEXT // TEXT_HEADS, d_ff=TEXT_FF, num_heads=TEXT_HEADS,
                 num_layers=text_layers, vocab_size=VOCABULARY,
                 relative_attention_num_buckets=32, relative_attention_max_distance=128)),
             "vae": ("diffusion_pytorch_model", vae_tensors(), dict(
                 block_out_channels=VAE_CHANNELS, layers_per_block=VAE_RESNETS,
                 latent_channels=LATENT, norm_num_groups=32, sample_height=480, sample_width=720))}
    for component, (stem, tensors, changes) in files.items():
        path = os.path.join(folder, component, "config.json")
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        with open(path, "w", encoding="utf-8") as file:
            json.dump({**config, **changes}, file, indent=2)
        written = write_tensors(os.path.join(folder, component, stem + ".safetensors"), tensors)
        print(f"{component}: {written / 1e9:.2f} GB", flush=True)


class Progress(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("stage", ctypes.c_int32),
                ("done", ctypes.c_uint64), ("total", ctypes.c_uint64),
                ("timestep", ctypes.c_double)]


def memory(field):
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return 0


def run(folder, streaming, size, frames, steps, latents):
    """One run; prints a line of JSON. Times of steps are from one report to the next."""
    import cvx
    peaks, over = {"anonymous": 0}, threading.Event()

    def watch():
        while not over.wait(0.02):
            peaks["anonymous"] = max(peaks["anonymous"], memory("RssAnon"))
    threading.Thread(target=watch, daemon=True).start()
    library = cvx.Library()
    started = time.perf_counter()
    pipeline = cvx.Pipeline(library, folder, streaming=streaming)
    report = {"streaming": streaming, "load_s": round(time.perf_counter() - started, 2)}
    times = []
    callback_type = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.POINTER(Progress), ctypes.c_void_p)

    def note(info, _):
        times.append((info.contents.stage, time.perf_counter(), time.process_time()))
        return 0
    callback = callback_type(note)
    options, video = library.generate_options_new(), cvx.P()

    def setter(name, *types):
        return cvx.Library._raising(library, getattr_typed(library, name, types))

    def getattr_typed(library, name, types):
        function = getattr(library._handle, "cvx_generate_options_set_" + name)
        function.argtypes, function.restype = [cvx.P, *types], cvx.P
        return function
    library.generate_options_set_prompt(options, b"a red ball")
    setter("size", cvx.I32, cvx.I32)(options, *size)
    library.generate_options_set_num_frames(options, frames)
    library.generate_options_set_num_inference_steps(options, steps)
    library.generate_options_set_output(options, cvx.OUTPUT_LATENTS if latents
                                        else cvx.OUTPUT_FRAMES)
    setter("progress_callback", callback_type, cvx.P, cvx.P)(options, callback, None, None)
    started = time.perf_counter()
    library.pipeline_generate(pipeline.pointer, options, ctypes.byref(video))
    report["run_s"] = round(time.perf_counter() - started, 2)
    # The last report of encoding begins the first step.
    encoded = max(at for at, (stage, *_) in enumerate(times) if stage == 2)
    marks = [times[encoded]] + [mark for mark in times[encoded:] if mark[0] == 3]
    report["encode_s"] = round(marks[0][1] - started, 2)
    pairs = list(zip(marks, marks[1:]))
    report["step_s"] = [round(b[1] - a[1], 2) for a, b in pairs]
    report["step_cpu_s"] = [round(b[2] - a[2], 2) for a, b in pairs]
    over.set()
    report["peak_resident_gb"] = round(memory("VmHWM") / 1e9, 2)
    report["peak_beside_files_gb"] = round(max(peaks["anonymous"], memory("RssAnon")) / 1e9, 2)
    print(json.dumps(report), flush=True)


def compare(folder, arguments):
    """Each mode in processes of its own, in turn, so that a busy machine is busy for both."""
    best = {}
    for _ in range(arguments.rounds):
        for streaming in ("resident", "file", "host"):
            said = subprocess.run(
                [sys.executable, __file__, "run", folder, "--streaming", streaming, "--size",
                 arguments.size, "--frames", str(arguments.frames), "--steps", "3", "--latents"],
                check=True, capture_output=True, text=True).stdout
            print(said, end="", flush=True)
            report = json.loads(said)
            for clock in ("step_s", "step_cpu_s"):
                key = streaming, clock
                best[key] = min(best.get(key, float("inf")), *report[clock][1:])
    for clock in ("step_s", "step_cpu_s"):
        for streaming in ("file", "host"):
            ratio = best[streaming, clock] / best["resident", clock]
            print(f"{clock}, least of all: {streaming} {best[streaming, clock]:.2f}, resident "
                  f"{best['resident', clock]:.2f}: {ratio:.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["write", "run", "compare"])
    parser.add_argument("folder")
    parser.add_argument("--layers", type=int, default=42)
    parser.add_argument("--text-layers", type=int, default=24)
    parser.add_argument("--streaming", default="file")
    parser.add_argument("--size", default="64x64")
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--latents", action="store_true", help="decode nothing")
    arguments = parser.parse_args()
    if arguments.what == "write":
        write(arguments.folder, arguments.layers, arguments.text_layers)
    elif arguments.what == "run":
        size = tuple(int(side) for side in arguments.size.split("x"))
        run(arguments.folder, arguments.streaming, size, arguments.frames, arguments.steps,
            arguments.latents)
    else:
        compare(arguments.folder, arguments)


if __name__ == "__main__":
    main()

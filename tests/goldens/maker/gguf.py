"""GGUF files whose tensors the package `gguf` itself turns into numbers: gguf/blocks.gguf, one tensor
of each format with the numbers beside it, and a test pipeline's transformer and text encoder in a
mixture of formats with those numbers as safetensors.

Run by itself, in an environment with gguf 0.17 or later, numpy and safetensors:

    python3 tests/goldens/maker/gguf.py
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
# This file has the package's name.
sys.path = [path for path in sys.path if os.path.abspath(path or ".") != HERE]

import gguf  # noqa: E402
import numpy as np  # noqa: E402
from gguf import GGMLQuantizationType as Type  # noqa: E402
from gguf import quants  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402

GOLDENS = os.path.join(HERE, "..")
PIPELINE = os.path.join(GOLDENS, "..", "pipelines", "5b")
FORMATS = (Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q4_K,
           Type.Q5_K, Type.Q6_K)
# Where the half-precision scales of a block lie that no Python code writes.
SCALES = {Type.Q4_K: (0, 2), Type.Q5_K: (0, 2), Type.Q6_K: (208,)}


def encoded(numbers, kind, random):
    """Rows of bytes of the format."""
    if kind not in SCALES:
        return quants.quantize(numbers, kind)
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (numbers.size // elements, size), dtype=np.uint8)
    for at in SCALES[kind]:
        scale = (random.standard_normal(len(blocks)) * 0.01).astype(np.float16)
        blocks[:, at:at + 2] = scale.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(numbers.shape[0], -1)


def make_blocks():
    random = np.random.default_rng(7)
    writer = gguf.GGUFWriter(os.path.join(GOLDENS, "gguf", "blocks.gguf"), "test")
    writer.add_string("general.name", "formats")
    writer.add_array("words", ["a", "bc", "def"])
    for kind in FORMATS:
        numbers = (random.standard_normal((3, 512)) * 0.1).astype(np.float32)
        data = encoded(numbers, kind, random)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
        writer.add_tensor(kind.name + ".numbers", quants.dequantize(data, kind).astype(np.float32))
    finish(writer)


T5 = {"SelfAttention.q": "attn_q", "SelfAttention.k": "attn_k", "SelfAttention.v": "attn_v",
      "SelfAttention.o": "attn_o", "SelfAttention.relative_attention_bias": "attn_rel_b",
      "0.layer_norm": "attn_norm", "1.layer_norm": "ffn_norm", "DenseReluDense.wi_0": "ffn_gate",
      "DenseReluDense.wi_1": "ffn_up", "DenseReluDense.wo": "ffn_down"}


def t5_name(name):
    if name == "shared.weight":
        return "token_embd.weight"
    if name == "encoder.final_layer_norm.weight":
        return "enc.output_norm.weight"
    _, _, number, _, rest = name.split(".", 4)
    layer = next(ours for theirs, ours in T5.items() if rest.endswith(theirs + ".weight"))
    return f"enc.blk.{number}.{layer}.weight"


def make_component(folder, file, arch, rename):
    writer = gguf.GGUFWriter(os.path.join(GOLDENS, "gguf", folder + ".gguf"), arch)
    kinds = [Type.Q8_0, Type.Q4_0]
    for index, (name, data) in enumerate(sorted(load_file(os.path.join(PIPELINE, folder, file)).items())):
        data = data.astype(np.float32)
        if name == "encoder.embed_tokens.weight":
            continue
        if data.ndim == 2 and data.shape[1] % 32 == 0 and data.shape[0] * data.shape[1] > 256:
            kind = kinds[index % 2]
        elif data.ndim > 1:
            kind = Type.F16
        else:
            kind = Type.F32
        raw = data if kind == Type.F32 else quants.quantize(data, kind)
        writer.add_tensor(rename(name), raw, raw_dtype=kind)
    finish(writer)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    os.makedirs(os.path.join(GOLDENS, "gguf"), exist_ok=True)
    make_blocks()
    make_component("transformer", "diffusion_pytorch_model.safetensors", "cogvideox", str)
    make_component("text_encoder", "model.safetensors", "t5encoder", t5_name)


if __name__ == "__main__":
    main()

"""GGUF files whose tensors the package `gguf` itself turns into numbers: gguf/blocks.gguf, one tensor
of each format with the numbers beside it, and a test pipeline's transformer and text encoder in a
mixture of formats with those numbers as safetensors; and that transformer with the names of the original
model, gguf/original.gguf, beside the same numbers with diffusers' names, gguf/renamed.gguf.

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


# What the original model calls what diffusers has one for one; {} is the number of a block.
ORIGINAL = {
    "transformer_blocks.{}.attn1.to_out.0": "transformer.layers.{}.attention.dense",
    "transformer_blocks.{}.attn1.norm_q": "mixins.adaln_layer.query_layernorm_list.{}",
    "transformer_blocks.{}.attn1.norm_k": "mixins.adaln_layer.key_layernorm_list.{}",
    "transformer_blocks.{}.ff.net.0.proj": "transformer.layers.{}.mlp.dense_h_to_4h",
    "transformer_blocks.{}.ff.net.2": "transformer.layers.{}.mlp.dense_4h_to_h",
    "transformer_blocks.{}.norm1.norm": "transformer.layers.{}.input_layernorm",
    "transformer_blocks.{}.norm2.norm": "transformer.layers.{}.post_attention_layernorm",
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "patch_embed.proj": "mixins.patch_embed.proj",
    "patch_embed.text_proj": "mixins.patch_embed.text_proj",
    "norm_final": "transformer.final_layernorm",
    "norm_out.linear": "mixins.final_layer.adaLN_modulation.1",
    "norm_out.norm": "mixins.final_layer.norm_final", "proj_out": "mixins.final_layer.linear",
}


def original_tensors(tensors):
    """The tensors under the original's names: queries, keys and values as one, and both modulations."""
    found = {}
    for name, data in tensors.items():
        module, ending = name.rsplit(".", 1)
        parts = module.split(".")
        number = parts[1] if parts[0] == "transformer_blocks" else ""
        if number:
            parts[1] = "{}"
        pattern, block = ".".join(parts), f"transformer_blocks.{number}."
        if pattern.endswith("attn1.to_q"):
            joined = [tensors[f"{block}attn1.to_{part}.{ending}"] for part in "qkv"]
            found[f"transformer.layers.{number}.attention.query_key_value.{ending}"] = (
                np.concatenate(joined))
        elif pattern.endswith("norm1.linear"):
            # Of each module first what is the video's, then the text's.
            halves = [np.split(tensors[f"{block}norm{n}.linear.{ending}"], 2) for n in (1, 2)]
            found[f"mixins.adaln_layer.adaLN_modulations.{number}.1.{ending}"] = np.concatenate(
                [half[side] for side in (0, 1) for half in halves])
        elif pattern in ORIGINAL:
            found[f"{ORIGINAL[pattern].format(number)}.{ending}"] = data
        else:
            assert pattern.endswith(("attn1.to_k", "attn1.to_v", "norm2.linear")), name
    # Of which nothing is read.
    found["mixins.pos_embed.freqs_sin"] = np.zeros((2, 2), np.float32)
    return found


def make_original():
    path = os.path.join(PIPELINE, "transformer", "diffusion_pytorch_model.safetensors")
    tensors = {name: data.astype(np.float32) for name, data in load_file(path).items()}
    for file, named in (("original", original_tensors(tensors)), ("renamed", tensors)):
        writer = gguf.GGUFWriter(os.path.join(GOLDENS, "gguf", file + ".gguf"), "cogvideox")
        for name, data in sorted(named.items()):
            blocks = data.ndim == 2 and data.shape[1] % 32 == 0
            kind = Type.Q8_0 if blocks else Type.F32 if data.ndim == 1 else Type.F16
            raw = data if kind == Type.F32 else quants.quantize(data, kind)
            prefix = "model.diffusion_model." if file == "original" else ""
            writer.add_tensor(prefix + name, raw, raw_dtype=kind)
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
    make_original()


if __name__ == "__main__":
    main()

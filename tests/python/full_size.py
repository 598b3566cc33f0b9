"""Pipeline folders in the sizes of the published models: their configs, and the names and shapes of
their tensors. What they do not say of themselves (tokenizer, scheduler) is that of the tests' tiny
pipelines of the same family.
"""

import json
import os
import shutil

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
# Family, what sets its size, and the width, height and frames that it was made for. A head has 64
# channels; the text encoder is T5 v1.1 xxl in all.
MODELS = {
    "2b": ("2b", dict(num_attention_heads=30, num_layers=30, sample_width=90, sample_height=60,
                      sample_frames=49, max_text_seq_length=226), (720, 480, 49)),
    "5b": ("5b", dict(num_attention_heads=48, num_layers=42, sample_width=90, sample_height=60,
                      sample_frames=49, max_text_seq_length=226), (720, 480, 49)),
    "1.5-5b": ("1.5-5b", dict(num_attention_heads=48, num_layers=42, sample_width=170,
                              sample_height=96, sample_frames=81, max_text_seq_length=224),
               (1360, 768, 81)),
}
TRANSFORMER = dict(attention_head_dim=64, in_channels=16, out_channels=16, text_embed_dim=4096,
                   time_embed_dim=512)
TEXT_ENCODER = dict(d_model=4096, d_kv=64, d_ff=10240, num_heads=64, num_layers=24,
                    vocab_size=32128, relative_attention_num_buckets=32,
                    relative_attention_max_distance=128)
VAE = dict(block_out_channels=[128, 256, 256, 512], layers_per_block=3, latent_channels=16,
           norm_num_groups=32, sample_height=480, sample_width=720)
COMPONENTS = {"transformer": "diffusion_pytorch_model", "text_encoder": "model",
              "vae": "diffusion_pytorch_model"}


def configs(model):
    """What the config of each component says beyond the tiny one's."""
    return {"transformer": {**TRANSFORMER, **MODELS[model][1]}, "text_encoder": dict(TEXT_ENCODER),
            "vae": dict(VAE)}


def folder_of(model, parent, changes=None):
    """A folder of configs, without weights; its path. `changes`: fields by component."""
    source, target = os.path.join(ROOT, "tests", "pipelines", MODELS[model][0]), os.path.join(parent, model)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors"))
    for component, fields in configs(model).items():
        path = os.path.join(target, component, "config.json")
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        config.update(fields, **(changes or {}).get(component, {}))
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file, indent=2)
    return target


def tensors_of(folder):
    """Names and shapes of each component's tensors, by its config; of the VAE the decoder's."""
    made = {"transformer": transformer_tensors, "text_encoder": text_encoder_tensors,
            "vae": vae_tensors}
    tensors = {}
    for component, make in made.items():
        with open(os.path.join(folder, component, "config.json"), encoding="utf-8") as file:
            tensors[component] = make(json.load(file))
    return tensors


def header_of(tensors):
    """The beginning of a safetensors file of bfloat16 tensors, its entries, and the bytes behind it."""
    header, end = {}, 0
    for name, shape in tensors.items():
        size = 2
        for side in shape:
            size *= side
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, header, end


def write_holes(folder):
    """Weights that are zeros, and holes in their files: they take no room on the disk."""
    for component, tensors in tensors_of(folder).items():
        head, _, size = header_of(tensors)
        path = os.path.join(folder, component, COMPONENTS[component] + ".safetensors")
        with open(path, "wb") as file:
            file.write(head)
            file.truncate(len(head) + size)


def transformer_tensors(config):
    width = config["num_attention_heads"] * config["attention_head_dim"]
    time, latent, side = config["time_embed_dim"], config["in_channels"], config["patch_size"]
    patch = side * side * (config.get("patch_size_t") or 1)

    def linear(name, outputs, inputs):
        return {f"{name}.weight": [outputs, inputs], f"{name}.bias": [outputs]}

    def norm(name, size):
        return {f"{name}.weight": [size], f"{name}.bias": [size]}
    # Patches over time are a linear layer's, those of an image a convolution's.
    proj = [latent * patch] if config.get("patch_size_t") else [latent, side, side]
    tensors = {"patch_embed.proj.weight": [width, *proj], "patch_embed.proj.bias": [width],
               **linear("patch_embed.text_proj", width, config["text_embed_dim"]),
               **linear("time_embedding.linear_1", time, width),
               **linear("time_embedding.linear_2", time, time),
               **norm("norm_final", width), **norm("norm_out.norm", width),
               **linear("norm_out.linear", 2 * width, time),
               **linear("proj_out", patch * config["out_channels"], width)}
    for layer in range(config["num_layers"]):
        block = f"transformer_blocks.{layer}"
        for name in ("norm1", "norm2"):
            tensors.update(linear(f"{block}.{name}.linear", 6 * width, time))
            tensors.update(norm(f"{block}.{name}.norm", width))
        for name in ("to_q", "to_k", "to_v", "to_out.0"):
            tensors.update(linear(f"{block}.attn1.{name}", width, width))
        for name in ("norm_q", "norm_k"):
            tensors.update(norm(f"{block}.attn1.{name}", config["attention_head_dim"]))
        tensors.update(linear(f"{block}.ff.net.0.proj", 4 * width, width))
        tensors.update(linear(f"{block}.ff.net.2", width, 4 * width))
    return tensors


def text_encoder_tensors(config):
    width, inner = config["d_model"], config["num_heads"] * config["d_kv"]
    tensors = {"shared.weight": [config["vocab_size"], width],
               "encoder.final_layer_norm.weight": [width]}
    for layer in range(config["num_layers"]):
        attention = f"encoder.block.{layer}.layer.0"
        for name in "qkv":
            tensors[f"{attention}.SelfAttention.{name}.weight"] = [inner, width]
        tensors[f"{attention}.SelfAttention.o.weight"] = [width, inner]
        tensors[f"{attention}.layer_norm.weight"] = [width]
        dense = f"encoder.block.{layer}.layer.1"
        tensors[f"{dense}.DenseReluDense.wi_0.weight"] = [config["d_ff"], width]
        tensors[f"{dense}.DenseReluDense.wi_1.weight"] = [config["d_ff"], width]
        tensors[f"{dense}.DenseReluDense.wo.weight"] = [width, config["d_ff"]]
        tensors[f"{dense}.layer_norm.weight"] = [width]
    bias = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    tensors[bias] = [config["relative_attention_num_buckets"], config["num_heads"]]
    return tensors


def vae_tensors(config):
    """Of the decoder."""
    tensors, latent = {}, config["latent_channels"]

    def conv(name, outputs, inputs, kernel=(3, 3, 3)):
        tensors[f"{name}.weight"] = [outputs, inputs, *kernel]
        tensors[f"{name}.bias"] = [outputs]

    def norm(name, channels):
        for part in ("conv_y", "conv_b"):
            conv(f"{name}.{part}.conv", channels, latent, (1, 1, 1))
        tensors[f"{name}.norm_layer.weight"] = [channels]
        tensors[f"{name}.norm_layer.bias"] = [channels]

    def resnet(name, inputs, outputs):
        norm(f"{name}.norm1", inputs)
        conv(f"{name}.conv1.conv", outputs, inputs)
        norm(f"{name}.norm2", outputs)
        conv(f"{name}.conv2.conv", outputs, outputs)
        if inputs != outputs:
            conv(f"{name}.conv_shortcut", outputs, inputs, (1, 1, 1))
    levels = config["block_out_channels"][::-1]
    conv("decoder.conv_in.conv", levels[0], latent)
    for index in range(2):
        resnet(f"decoder.mid_block.resnets.{index}", levels[0], levels[0])
    before = levels[0]
    for level, channels in enumerate(levels):
        block = f"decoder.up_blocks.{level}"
        for index in range(config["layers_per_block"] + 1):
            resnet(f"{block}.resnets.{index}", before if index == 0 else channels, channels)
        if level + 1 < len(levels):
            conv(f"{block}.upsamplers.0.conv", channels, channels, (3, 3))
        before = channels
    norm("decoder.norm_out", levels[-1])
    conv("decoder.conv_out.conv", 3, levels[-1])
    return tensors

"""A tiny decoder for previews, in the layout of madebyollin's taecvx with fewer channels and random
weights, and what it makes of latents. The computation is written here, after
github.com/madebyollin/taehv, commit 115aaa7, taehv.py; the published file has 256, 128, 64 and 64
channels."""

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

WIDTHS = [8, 6, 4, 5]
LATENT = 4
STAGES = ((3, 1), (9, 2), (15, 2))


def weights(generator):
    tensors = {}

    def conv(name, inputs, outputs, side=3, bias=True):
        scale = (inputs * side * side) ** -0.5
        shape = (outputs, inputs, side, side)
        tensors[f"decoder.{name}.weight"] = 1.4 * scale * torch.randn(shape, generator=generator)
        if bias:
            tensors[f"decoder.{name}.bias"] = 0.1 * torch.randn(outputs, generator=generator)

    conv("1", LATENT, WIDTHS[0])
    for stage, (start, frames) in enumerate(STAGES):
        width = WIDTHS[stage]
        for layer in range(start, start + 3):
            conv(f"{layer}.conv.0", 2 * width, width)
            conv(f"{layer}.conv.2", width, width)
            conv(f"{layer}.conv.4", width, width)
        # The first has rows for two frames, of which the later is used.
        rows = 2 if stage == 0 else frames
        conv(f"{start + 4}.conv", width, rows * width, side=1, bias=False)
        conv(f"{start + 5}", width, WIDTHS[stage + 1], bias=False)
    conv("22", WIDTHS[3], 3)
    tensors["decoder.22.weight"] *= 0.1
    tensors["decoder.22.bias"] += 0.5
    # A published file has an encoder too.
    tensors["encoder.0.weight"] = torch.zeros(2, 3, 3, 3)
    return tensors


def decode(tensors, latents):
    """`(latent frames, channels, height, width)` to frames `(frames, 3, 8 height, 8 width)`."""

    def conv(name, x):
        weight = tensors[f"decoder.{name}.weight"]
        return F.conv2d(x, weight, tensors.get(f"decoder.{name}.bias"), padding=weight.shape[-1] // 2)

    x = F.relu(conv("1", 3 * torch.tanh(latents / 3)))
    for start, frames in STAGES:
        for layer in range(start, start + 3):
            past = torch.cat([torch.zeros_like(x[:1]), x[:-1]])
            made = F.relu(conv(f"{layer}.conv.0", torch.cat([x, past], dim=1)))
            made = conv(f"{layer}.conv.4", F.relu(conv(f"{layer}.conv.2", made)))
            x = F.relu(made + x)
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        channels = x.shape[1]
        x = conv(f"{start + 4}.conv", x)[:, -frames * channels :]
        x = x.reshape(-1, channels, *x.shape[-2:])
        x = conv(f"{start + 5}", x)
    x = conv("22", F.relu(x)).clamp(0, 1)
    return x[3:] if len(latents) % 2 else x


def make(out):
    """Writes `tiny_decoder/weights.safetensors`, and `runs.safetensors` with `odd` and `even`: latents
    `(1, frames, channels, height, width)` and frames in 8 bits."""
    generator = torch.Generator().manual_seed(61)
    tensors = weights(generator)
    folder = out / "tiny_decoder"
    folder.mkdir(exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()},
              folder / "weights.safetensors")
    runs = {}
    for name, frames in (("odd", 3), ("even", 2)):
        latents = torch.randn((frames, LATENT, 4, 6), generator=generator)
        decoded = decode(tensors, latents)
        assert 0.1 < decoded.std() < 0.45, decoded.std()
        runs[name + ".latents"] = latents[None].contiguous()
        rgb8 = (decoded * 255).round().byte().permute(0, 2, 3, 1)
        runs[name + ".frames"] = rgb8[None].contiguous()
    save_file(runs, folder / "runs.safetensors")
    print("tiny_decoder: 2 runs")

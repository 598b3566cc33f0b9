"""Goldens of the cache alone: diffusers' hooks on a toy transformer whose attention modules
answer known numbers, so that what the hooks make of them can be compared value by value,
without a model in between.

`noise` is written in closed form, so the test makes the same inputs by itself."""

import json

import numpy as np
import torch
from diffusers import FasterCacheConfig, PyramidAttentionBroadcastConfig
from diffusers.hooks import apply_faster_cache, apply_pyramid_attention_broadcast
from diffusers.models.attention_processor import Attention
from safetensors.torch import save_file

from .caches import CALLBACKS, DOCS_FASTER, FASTER, PAB, faster, linear, pab

LAYERS, TEXT, VIDEO, WIDTH = 3, 1, 2, 2

# name: (steps, videos, guided, output (frames, channels, height, width), cache)
CASES = {
    "pab defaults": (20, 1, True, (1, 1, 5, 6), pab()),
    "pab skip 3, two videos": (
        17, 2, True, (1, 1, 4, 4),
        pab(spatial_attention_block_skip_range=3,
            spatial_attention_timestep_skip_range=[50, 950]),
    ),
    "pab skip 4 without guidance": (
        13, 1, False, (1, 1, 4, 4),
        pab(spatial_attention_block_skip_range=4,
            spatial_attention_timestep_skip_range=[-1, 1001]),
    ),
    "faster cache defaults": (20, 1, True, (2, 1, 10, 12), faster()),
    "faster cache docs, odd size": (25, 1, True, (1, 2, 11, 15), DOCS_FASTER),
    "faster cache, two videos": (16, 2, True, (2, 2, 5, 6), faster()),
    "faster cache, weights of the timestep": (
        20, 1, True, (1, 1, 10, 11),
        faster(attention_weight_callback=linear(0.9, -0.001),
               low_frequency_weight_callback=linear(1.3, -0.0004),
               high_frequency_weight_callback=linear(0.8, 0.0005),
               spatial_attention_timestep_skip_range=[-1, 901],
               unconditional_batch_timestep_skip_range=[-1, 901]),
    ),
    "faster cache skip 3 and 4, own timesteps": (
        24, 1, True, (1, 1, 6, 10),
        faster(spatial_attention_block_skip_range=3, unconditional_batch_skip_range=4,
               current_timestep_callback=linear(0.0, 0.75), alpha_low_frequency=0.9,
               alpha_high_frequency=1.3),
    ),
    "faster cache, distilled without guidance": (
        20, 1, False, (1, 1, 4, 4), faster(is_guidance_distilled=True),
    ),
    "faster cache, distilled with guidance": (
        20, 1, True, (1, 1, 4, 4), faster(is_guidance_distilled=True),
    ),
    "faster cache, one layer": (
        20, 1, True, (1, 1, 5, 5),
        faster(spatial_attention_block_identifiers=["blocks.1"],
               unconditional_batch_timestep_skip_range=[-1, 781]),
    ),
}


def noise(shape, seed):
    """Values between -1 and 1, a function of `seed` and the position alone."""
    position = np.arange(1, int(np.prod(shape)) + 1, dtype=np.float64)
    x = np.sin(position * 12.9898 + seed * 78.233) * 43758.5453
    values = 2.0 * (x - np.floor(x)) - 1.0
    return torch.from_numpy(values.astype(np.float32)).reshape(shape)


def attention_output(step, layer, batch):
    return noise((batch, TEXT + VIDEO, WIDTH), 1000 * step + layer)


def model_output(step, batch, size):
    return noise((batch, *size), 1000 * step + 900)


class ToyAttention(Attention):
    """Answers the numbers of its step and layer, and notes that it was computed."""

    def __init__(self, toy, layer):
        super().__init__(query_dim=WIDTH, heads=1, dim_head=WIDTH)
        self.toy, self.layer = [toy], layer

    def forward(self, hidden_states, encoder_hidden_states):
        toy = self.toy[0]
        toy.computed[-1][self.layer] = True
        out = attention_output(toy.step, self.layer, toy.batch)[-hidden_states.shape[0] :]
        return out[:, TEXT:], out[:, :TEXT]


class ToyBlock(torch.nn.Module):
    def __init__(self, toy, layer):
        super().__init__()
        self.attn1 = ToyAttention(toy, layer)


class ToyTransformer(torch.nn.Module):
    def __init__(self, batch, size):
        super().__init__()
        self.batch, self.size, self.step = batch, size, 0
        self.computed, self.used, self.ran = [], [], []
        self.transformer_blocks = torch.nn.ModuleList(ToyBlock(self, i) for i in range(LAYERS))

    def forward(self, hidden_states, encoder_hidden_states, timestep):
        batch = hidden_states.shape[0]
        self.computed.append([False] * LAYERS)
        self.ran.append(batch == self.batch)
        for block in self.transformer_blocks:
            video, text = block.attn1(hidden_states=hidden_states,
                                      encoder_hidden_states=encoder_hidden_states)
            self.used.append(torch.cat([text, video], dim=1).clone())
        return (model_output(self.step, self.batch, self.size)[-batch:],)


def config_of(cache, now):
    fields = {name: value for name, value in cache.items() if name != "technique"}

    def answer(callback):
        return callback["base"] + callback["per_timestep"] * now[0]

    for name in CALLBACKS:
        if name in fields:
            fields[name] = lambda _, callback=fields[name]: answer(callback)
    callback = fields.get("current_timestep_callback")
    fields["current_timestep_callback"] = lambda: answer(callback) if callback else now[0]
    for name, value in fields.items():
        if isinstance(value, list):
            fields[name] = tuple(value)
    kind = {PAB: PyramidAttentionBroadcastConfig, FASTER: FasterCacheConfig}
    return kind[cache["technique"]](**fields)


def run(steps, videos, guided, size, cache):
    batch = videos * (2 if guided else 1)
    toy, now = ToyTransformer(batch, size), [None]
    apply = {PAB: apply_pyramid_attention_broadcast, FASTER: apply_faster_cache}
    apply[cache["technique"]](toy, config_of(cache, now))
    outputs = []
    timesteps = [round(1000 - i * 1000 / steps) - 1 for i in range(steps)]
    for step, timestep in enumerate(timesteps):
        toy.step, now[0] = step, timestep
        outputs.append(toy(
            hidden_states=torch.zeros(batch, VIDEO, WIDTH),
            encoder_hidden_states=torch.zeros(batch, TEXT, WIDTH),
            timestep=torch.full((batch,), timestep),
        )[0])
    return timesteps, toy, torch.stack(outputs)


def make(out):
    """Writes `cache_hooks.json` and `cache_hooks.safetensors`: for each case `<key>.used`,
    the attention outputs that the layers went on with, in the order of steps and layers and
    flattened, and `<key>.outputs`, the denoiser's outputs `(steps, batch, ...)`."""
    manifest, tensors = [], {}
    for name, (steps, videos, guided, size, cache) in CASES.items():
        with torch.no_grad():
            timesteps, toy, outputs = run(steps, videos, guided, size, cache)
        key = name.replace(" ", "_").replace(",", "")
        tensors[f"{key}.used"] = torch.cat([used.flatten() for used in toy.used])
        tensors[f"{key}.outputs"] = outputs.contiguous()
        manifest.append(dict(
            name=name, tensors=key, timesteps=timesteps, videos=videos, guided=guided,
            output=list(size), cache=cache,
            computed=["".join("01"[c] for c in step) for step in toy.computed],
            unconditional="".join("01"[ran] for ran in toy.ran),
        ))
    save_file(tensors, out / "cache_hooks.safetensors")
    lines = ",\n".join(json.dumps(case) for case in manifest)
    (out / "cache_hooks.json").write_text("[\n" + lines + "\n]\n")
    print(f"cache_hooks: {len(manifest)} cases")

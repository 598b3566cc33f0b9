"""Goldens of transformers whose configs no published family has: one tiny model each, with one
or two calls."""

import json
import shutil
import types

import torch
from diffusers import CogVideoXPipeline, CogVideoXTransformer3DModel
from safetensors.torch import save_file

from . import folders

TINY = dict(
    num_attention_heads=2,
    attention_head_dim=16,
    in_channels=2,
    out_channels=2,
    text_embed_dim=8,
    time_embed_dim=6,
    num_layers=1,
    sample_height=6,
    sample_width=8,
    sample_frames=9,
    max_text_seq_length=5,
)

# name: (config, calls as (batch, latent frames, latent height, latent width, timestep))
CONFIGS = {
    "plain": (
        dict(
            attention_head_dim=8, norm_elementwise_affine=False, attention_bias=False,
            patch_bias=False, activation_fn="gelu", norm_eps=1e-3,
        ),
        [(1, 3, 6, 8, 700), (2, 1, 2, 4, 3)],
    ),
    "sine-first": (
        dict(
            flip_sin_to_cos=False, freq_shift=1, patch_size=1, spatial_interpolation_scale=1.0,
            temporal_interpolation_scale=2.5, temporal_compression_ratio=8, sample_frames=17,
        ),
        [(1, 3, 6, 8, 999), (1, 2, 3, 5, 42)],
    ),
    "patch-of-one-frame": (
        dict(patch_size_t=1, patch_bias=False, num_layers=2), [(1, 3, 6, 8, 250), (1, 2, 4, 2, 1)],
    ),
    "patches-of-three": (
        dict(
            patch_size=3, patch_size_t=3, in_channels=3, out_channels=5, attention_head_dim=32,
            use_rotary_positional_embeddings=True, sample_height=12, sample_width=9,
        ),
        [(1, 6, 12, 9, 900), (2, 3, 3, 6, 5)],
    ),
    # At the config's length the learned table; at another one sine-cosine positions.
    "learned-positions": (
        dict(
            use_learned_positional_embeddings=True, use_rotary_positional_embeddings=True,
            num_attention_heads=1,
        ),
        [(2, 3, 6, 8, 600), (1, 2, 6, 8, 7)],
    ),
}


def rotary(model, frames, height, width):
    if not model.config.use_rotary_positional_embeddings:
        return None
    pipe = types.SimpleNamespace(transformer=model, vae_scale_factor_spatial=8)
    return CogVideoXPipeline._prepare_rotary_positional_embeddings(
        pipe, height * 8, width * 8, frames, torch.device("cpu")
    )


def make(out):
    """Writes `transformer_configs/<name>/`: the model as diffusers saves it, `calls.json` and
    `calls.safetensors`."""
    root = out / "transformer_configs"
    shutil.rmtree(root, ignore_errors=True)
    for seed, (name, (differences, calls)) in enumerate(CONFIGS.items()):
        generator = torch.Generator().manual_seed(500 + seed)
        model = CogVideoXTransformer3DModel(**{**TINY, **differences}).eval()
        folders.randomise(model, generator)
        if model.config.use_learned_positional_embeddings:
            model.patch_embed.pos_embedding = torch.randn(
                model.patch_embed.pos_embedding.shape, generator=generator
            )
        model.save_pretrained(root / name)
        tensors, cases = {}, []
        for number, (batch, frames, height, width, timestep) in enumerate(calls):
            key = f"call{number}"
            size = (batch, frames, model.config.in_channels, height, width)
            latents = torch.randn(size, generator=generator)
            prompt = torch.randn((batch, 5, 8), generator=generator)
            output = model(
                hidden_states=latents,
                encoder_hidden_states=prompt,
                timestep=torch.tensor(timestep).expand(batch),
                image_rotary_emb=rotary(model, frames, height, width),
                return_dict=False,
            )[0]
            tensors |= {
                f"{key}.latents": latents, f"{key}.prompt": prompt,
                f"{key}.output": output.contiguous(),
            }
            cases.append(dict(name=f"{name} {size}", timestep=timestep, tensors=key))
        save_file(tensors, root / name / "calls.safetensors")
        text = json.dumps(dict(transformer=cases), indent=1)
        (root / name / "calls.json").write_text(text + "\n")
    print(f"transformer_configs: {len(CONFIGS)} models")

"""Goldens of the three networks by themselves: prompt embeddings, one transformer call, VAE
decoding."""

import json

import torch
from safetensors.torch import save_file

from . import folders

PROMPTS = {
    "english": "A panda plays a guitar in the bamboo forest, close shot.",
    "empty": "",
    "cut": "a red robot walks slowly over the golden bridge toward the silver tower at night, "
    "cinematic wide angle, 一只熊猫在竹林里弹吉他",
}

# name: (batch, latent frames, latent height, latent width, text tokens, timestep)
TRANSFORMER = {
    "2b": {
        "default size": (1, 3, 8, 12, 16, 999),
        "guidance batch": (2, 3, 8, 12, 16, 519),
        "other size": (1, 2, 10, 6, 16, 1),
        "one frame": (1, 1, 4, 14, 16, 500),
        "longer": (1, 5, 6, 4, 16, 250),
    },
    "5b": {
        "default size": (1, 4, 6, 10, 20, 999),
        "guidance batch": (2, 3, 6, 10, 20, 519),
        "wider than trained": (1, 2, 4, 14, 20, 1),
        "taller than trained": (1, 2, 14, 6, 20, 700),
        "one frame": (1, 1, 6, 6, 20, 500),
        "default text length": (1, 2, 6, 10, 226, 250),
    },
    "1.5-5b": {
        "default frames": (1, 4, 10, 12, 16, 999),
        "guidance batch": (2, 2, 8, 12, 16, 519),
        "one patch of frames": (1, 2, 6, 4, 16, 1),
        "full grid": (1, 2, 20, 26, 16, 640),
        "other text length": (1, 6, 4, 6, 30, 250),
    },
}

# name: (batch, latent frames, latent height, latent width, tiling or None, slicing)
SMALL_TILES = dict(
    tile_sample_min_height=16, tile_sample_min_width=16,
    tile_overlap_factor_height=0.5, tile_overlap_factor_width=0.5,
)
VAE = {
    "2b": {
        **{f"{n} latent frames": (1, n, 2, 3, None, False) for n in (1, 2, 3, 5, 7, 8)},
        "batch": (2, 3, 2, 3, None, False),
        "sliced batch": (2, 2, 3, 2, None, True),
        "small tiles": (1, 3, 3, 4, SMALL_TILES, False),
        "default tiles": (1, 1, 8, 7, {}, False),
        "tiles, sliced batch": (2, 1, 2, 4, SMALL_TILES, True),
        "smaller than a tile": (1, 2, 2, 2, {}, False),
    },
    "5b": {
        **{f"{n} latent frames": (1, n, 3, 2, None, False) for n in (1, 2, 3)},
        "small tiles": (1, 2, 4, 2, SMALL_TILES, False),
    },
    "1.5-5b": {
        **{f"{n} latent frames": (1, n, 3, 2, None, False) for n in (1, 2, 3)},
        "small tiles": (1, 2, 2, 3, SMALL_TILES, False),
    },
}


def embeddings(pipe, family, tensors, cases):
    own = pipe.transformer.config.max_text_seq_length
    for length in (own, 226) if family != "1.5-5b" else (own,):
        for name, prompt in PROMPTS.items():
            if length == 226 and name != "english":
                continue
            key = f"embeddings.{length}.{name}"
            result, _ = pipe.encode_prompt(
                prompt, do_classifier_free_guidance=False, max_sequence_length=length
            )
            tensors[key] = result
            cases.append(dict(prompt=prompt, max_sequence_length=length, output=key))


def transformer_calls(pipe, family, tensors, cases, generator):
    scale = pipe.vae_scale_factor_spatial
    for name, (batch, frames, height, width, text, timestep) in TRANSFORMER[family].items():
        key = "transformer." + name.replace(" ", "_")
        channels = pipe.transformer.config.in_channels
        latents = torch.randn((batch, frames, channels, height, width), generator=generator)
        prompt = torch.randn((batch, text, 32), generator=generator)
        rotary = None
        if pipe.transformer.config.use_rotary_positional_embeddings:
            rotary = pipe._prepare_rotary_positional_embeddings(
                height * scale, width * scale, frames, torch.device("cpu")
            )
        output = pipe.transformer(
            hidden_states=latents,
            encoder_hidden_states=prompt,
            timestep=torch.tensor(timestep).expand(batch),
            image_rotary_emb=rotary,
            return_dict=False,
        )[0]
        tensors[key + ".latents"] = latents
        tensors[key + ".prompt"] = prompt
        tensors[key + ".output"] = output
        cases.append(dict(name=name, timestep=timestep, tensors=key))


def decodes(pipe, family, tensors, cases, generator):
    for name, (batch, frames, height, width, tiling, slicing) in VAE[family].items():
        key = "vae." + name.replace(" ", "_").replace(",", "")
        channels = pipe.vae.config.latent_channels
        latents = torch.randn((batch, frames, channels, height, width), generator=generator)
        vae = pipe.vae
        defaults = {name: getattr(vae, name) for name in vars(vae) if name.startswith("tile_")}
        if tiling is not None:
            vae.enable_tiling(**tiling)
        if slicing:
            vae.enable_slicing()
        output = pipe.decode_latents(latents)
        vae.disable_tiling()
        vae.disable_slicing()
        for field, value in defaults.items():
            setattr(vae, field, value)
        tile_output = (height * 8, width * 8)
        assert tuple(output.shape[-2:]) == tile_output, (name, output.shape)
        assert 0.2 < output.std() < 1.0, (name, output.std())
        tensors[key + ".latents"] = latents
        tensors[key + ".output"] = output
        cases.append(dict(name=name, tiling=tiling, slicing=slicing, tensors=key))


def make(pipelines, out):
    """Writes `<family>/components.safetensors` and `<family>/components.json`.

    Latents of `vae.*` are as `CogVideoXPipeline.decode_latents` takes them: `(batch, latent
    frames, channels, height, width)`, still multiplied by the scaling factor; its outputs are
    `(batch, 3, frames, height, width)`, before they are clamped to [0, 1].
    """
    for family in folders.FAMILIES:
        pipe = folders.load(pipelines, family)
        generator = torch.Generator().manual_seed(100 + folders.FAMILIES[family]["seed"])
        tensors = {}
        cases = dict(embeddings=[], transformer=[], vae=[])
        embeddings(pipe, family, tensors, cases["embeddings"])
        transformer_calls(pipe, family, tensors, cases["transformer"], generator)
        decodes(pipe, family, tensors, cases["vae"], generator)
        folder = out / family
        folder.mkdir(exist_ok=True)
        tensors = {name: tensor.float().contiguous() for name, tensor in tensors.items()}
        save_file(tensors, folder / "components.safetensors")
        text = json.dumps(cases, indent=1, ensure_ascii=True)
        (folder / "components.json").write_text(text + "\n")
        size = (folder / "components.safetensors").stat().st_size
        print(f"{family}/components.safetensors: {len(tensors)} tensors, {size} bytes")

"""The tiny random pipeline folders: made and saved by diffusers and transformers themselves.

Every parameter is drawn at random, those that the libraries start at zero or one too, so that
a wrong or forgotten tensor changes every result. The scales keep activations near one and
decoded frames spread over [0, 1], so that float32 rounding stays far below the tolerances.
"""

import io
import json
import math
import shutil

import sentencepiece
import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDDIMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
)
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from . import corpus

VOCABULARY = 800
EXTRA_IDS = 100

# What the published scheduler configs say, apart from class and snr_shift_scale.
PUBLISHED_SCHEDULER = dict(
    num_train_timesteps=1000,
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule="scaled_linear",
    clip_sample=False,
    set_alpha_to_one=True,
    steps_offset=0,
    prediction_type="v_prediction",
    timestep_spacing="trailing",
    rescale_betas_zero_snr=True,
)

FAMILIES = {
    # CogVideoX-2b: sine-cosine positions, DDIM.
    "2b": dict(
        seed=2,
        tokenizer="spiece.model",
        text=dict(d_kv=8, num_heads=4, d_ff=48, buckets=32, distance=128),
        transformer=dict(
            num_attention_heads=2, attention_head_dim=24, num_layers=2, time_embed_dim=16,
            sample_height=8, sample_width=12, sample_frames=9, max_text_seq_length=16,
            use_rotary_positional_embeddings=False,
        ),
        vae=dict(block_out_channels=(4, 8, 8, 12), norm_num_groups=2, scaling_factor=1.15258426),
        snr_shift_scale=3.0,
    ),
    # CogVideoX-5b: rotary positions from a resized and cropped grid. All published folders name
    # DDIM; DPM is swapped in.
    "5b": dict(
        seed=5,
        tokenizer="tokenizer.json",
        text=dict(d_kv=12, num_heads=2, d_ff=64, buckets=8, distance=20),
        transformer=dict(
            num_attention_heads=2, attention_head_dim=16, num_layers=3, time_embed_dim=16,
            sample_height=6, sample_width=10, sample_frames=13, max_text_seq_length=20,
            use_rotary_positional_embeddings=True,
        ),
        vae=dict(block_out_channels=(4, 4, 8, 8), norm_num_groups=2, scaling_factor=0.7),
        snr_shift_scale=1.0,
    ),
    # CogVideoX-1.5-5b: patches over time, no patch bias, rotary positions sliced from a grid
    # that is larger than any video, scale inverted.
    "1.5-5b": dict(
        seed=15,
        tokenizer="tokenizer.json",
        text=dict(d_kv=8, num_heads=4, d_ff=48, buckets=32, distance=128),
        transformer=dict(
            num_attention_heads=3, attention_head_dim=16, num_layers=2, time_embed_dim=16,
            sample_height=20, sample_width=26, sample_frames=9, max_text_seq_length=16,
            patch_size_t=2, patch_bias=False, use_rotary_positional_embeddings=True,
        ),
        vae=dict(
            block_out_channels=(8, 8, 8, 8), norm_num_groups=4, scaling_factor=0.7,
            invert_scale_latents=True,
        ),
        snr_shift_scale=1.0,
    ),
}


def randomise(model, generator):
    """Draws every parameter of `model`: matrices with variance 1 / fan-in, norm weights
    around one, biases small."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("shared.weight"):
            value = noise
        elif name.endswith("relative_attention_bias.weight"):
            value = 0.5 * noise
        elif name.endswith("conv_y.conv.bias"):
            # The scale of a spatial norm: around one, as a norm's weight.
            value = 1 + 0.2 * noise
        elif name.endswith(("conv_y.conv.weight", "conv_b.conv.weight")):
            value = 0.2 * noise
        elif parameter.dim() == 1 and name.endswith(".weight"):
            value = 1 + 0.2 * noise
        elif parameter.dim() == 1:
            value = 0.1 * noise
        else:
            value = noise / math.sqrt(parameter[0].numel())
        if name.endswith("SelfAttention.q.weight"):
            # T5 attention has no 1 / sqrt(d_kv) of its own.
            value = value / math.sqrt(model.config.d_kv)
        parameter.data.copy_(value)


def spiece_model():
    """One unigram model with T5's ids and normalisation, as bytes."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=corpus.sentences(),
        model_writer=model,
        model_type="unigram",
        vocab_size=VOCABULARY,
        character_coverage=1.0,
        normalization_rule_name="nmt_nfkc",
        byte_fallback=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        shuffle_input_sentence=False,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def text_encoder(spec, generator):
    text = spec["text"]
    config = T5Config(
        vocab_size=VOCABULARY + EXTRA_IDS,
        d_model=32,
        d_kv=text["d_kv"],
        d_ff=text["d_ff"],
        num_heads=text["num_heads"],
        num_layers=2,
        relative_attention_num_buckets=text["buckets"],
        relative_attention_max_distance=text["distance"],
        feed_forward_proj="gated-gelu",
        is_encoder_decoder=False,
        use_cache=False,
        dropout_rate=0.0,
    )
    model = T5EncoderModel(config).eval()
    randomise(model, generator)
    return model


def transformer(spec, generator):
    model = CogVideoXTransformer3DModel(
        in_channels=4, out_channels=4, text_embed_dim=32, **spec["transformer"]
    ).eval()
    randomise(model, generator)
    return model


def vae(spec, generator):
    # More than one channel to a group: alone in its group, a channel's bias is normalised away.
    # Default tiles are half the sample size: 6 by 5 latents, whose overlaps of 1/6 and 1/5 are
    # whole latents, as they are for the published 480 by 720
    # (autoencoder_kl_cogvideox.py:1076).
    model = AutoencoderKLCogVideoX(
        latent_channels=4,
        layers_per_block=1,
        sample_height=96,
        sample_width=80,
        **spec["vae"],
    ).eval()
    randomise(model, generator)
    model.decoder.conv_out.conv.weight.data.mul_(0.5)
    return model


def pipeline(family, tokenizer):
    """The pipeline of `family` with random weights."""
    spec = FAMILIES[family]
    generator = torch.Generator().manual_seed(spec["seed"])
    return CogVideoXPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder(spec, generator),
        vae=vae(spec, generator),
        transformer=transformer(spec, generator),
        scheduler=CogVideoXDDIMScheduler(
            **PUBLISHED_SCHEDULER, snr_shift_scale=spec["snr_shift_scale"]
        ),
    )


def save_published_tokenizer(folder, spiece):
    """The tokenizer folder as the published CogVideoX folders hold it: `spiece.model`, no
    `tokenizer.json`."""
    for name in ("tokenizer.json", "added_tokens.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)
    (folder / "spiece.model").write_bytes(spiece)
    extra = [f"<extra_id_{i}>" for i in range(EXTRA_IDS)]
    config = dict(
        additional_special_tokens=extra,
        clean_up_tokenization_spaces=True,
        eos_token="</s>",
        extra_ids=EXTRA_IDS,
        legacy=True,
        model_max_length=226,
        pad_token="<pad>",
        sp_model_kwargs={},
        tokenizer_class="T5Tokenizer",
        unk_token="<unk>",
    )
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (folder / "tokenizer_config.json").write_text(text)


def make(root):
    """Writes all pipeline folders below `root`."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    spiece = spiece_model()
    published = root / "2b" / "tokenizer"
    published.mkdir(parents=True)
    save_published_tokenizer(published, spiece)
    for family, spec in FAMILIES.items():
        tokenizer = T5Tokenizer.from_pretrained(published)
        if family == "1.5-5b":
            # A tokenizer that has been used saves its last padding and truncation with it
            # (both must be ignored by a reader).
            tokenizer("once", padding="max_length", max_length=6, truncation=True)
        pipeline(family, tokenizer).save_pretrained(root / family)
        if spec["tokenizer"] == "spiece.model":
            save_published_tokenizer(root / family / "tokenizer", spiece)
        elif (root / family / "tokenizer" / "spiece.model").exists():
            (root / family / "tokenizer" / "spiece.model").unlink()


def make_sharded(root):
    """`5b` once more: its weights in shards, also as float16 under the variant `fp16`, and its
    tokenizer as a `spiece.model`."""
    target = root / "5b-sharded"
    shutil.rmtree(target, ignore_errors=True)
    source = CogVideoXPipeline.from_pretrained(root / "5b")
    source.save_pretrained(target, max_shard_size="96KB")
    half = CogVideoXPipeline.from_pretrained(root / "5b", torch_dtype=torch.float16)
    half.save_pretrained(target, max_shard_size="96KB", variant="fp16")
    save_published_tokenizer(
        target / "tokenizer", (root / "2b" / "tokenizer" / "spiece.model").read_bytes()
    )
    # diffusers notes where it loaded from; this machine's path would differ on the next.
    for config in target.rglob("*.json"):
        text = config.read_text()
        config.write_text(text.replace(str(root / "5b"), "5b"))


def load(root, family):
    """The saved pipeline, ready to run, in float32 on the CPU."""
    pipe = CogVideoXPipeline.from_pretrained(root / family, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe

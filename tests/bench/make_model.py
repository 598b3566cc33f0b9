"""Saves a pipeline that the benchmark runs: random weights, float32.

`middle`: 8 layers of 8 heads × 64 (512 wide), 768 video and 226 text tokens at 256 × 256 × 9
frames; a VAE decoder of 32, 64, 64, 128 channels. `wide`: 2 of the layers of CogVideoX-5b (48 heads
× 64, 3072 wide) and its VAE, 192 video and 226 text tokens at 128 × 128 × 9 frames.

Usage: make_model.py FOLDER [middle|wide]
"""

import os
import shutil
import sys

import torch
from diffusers import (AutoencoderKLCogVideoX, CogVideoXDPMScheduler, CogVideoXPipeline,
                       CogVideoXTransformer3DModel)
from transformers import T5Config, T5EncoderModel, T5Tokenizer

TOKENIZER = os.path.join(os.path.dirname(__file__), "..", "pipelines", "5b", "tokenizer")


# Heads, layers, channels of the VAE and groups of its norms, side of a frame.
SIZES = {"middle": (8, 8, (32, 64, 64, 128), 16, 256),
         "wide": (48, 2, (128, 256, 256, 512), 32, 128)}


def main(folder, size="middle"):
    heads, layers, channels, groups, side = SIZES[size]
    torch.manual_seed(0)
    tokenizer = T5Tokenizer.from_pretrained(TOKENIZER)
    text_encoder = T5EncoderModel(T5Config(
        vocab_size=len(tokenizer), d_model=256, d_kv=32, d_ff=512, num_layers=4, num_heads=8,
        feed_forward_proj="gated-gelu", dropout_rate=0.0))
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=heads, attention_head_dim=64, in_channels=16, out_channels=16,
        time_embed_dim=512, text_embed_dim=256, num_layers=layers, sample_width=side // 8,
        sample_height=side // 8,
        sample_frames=9, max_text_seq_length=226, use_rotary_positional_embeddings=True)
    vae = AutoencoderKLCogVideoX(
        block_out_channels=channels, latent_channels=16, layers_per_block=3,
        norm_num_groups=groups, sample_height=side, sample_width=side)
    scheduler = CogVideoXDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
        prediction_type="v_prediction", rescale_betas_zero_snr=True, snr_shift_scale=1.0,
        timestep_spacing="trailing")
    pipeline = CogVideoXPipeline(tokenizer, text_encoder, vae, transformer, scheduler)
    shutil.rmtree(folder, ignore_errors=True)
    pipeline.save_pretrained(folder + ".part")
    os.replace(folder + ".part", folder)


if __name__ == "__main__":
    main(*sys.argv[1:])

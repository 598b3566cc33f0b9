"""Saves a pipeline folder with random weights, made on the device it will run on.

`5b` has the transformer and the VAE of CogVideoX-5b (42 layers of 48 heads × 64; 10 GB in
bf16) and a text encoder of its width with 2 layers, which is not what is timed. `small` is
the same shape of pipeline at a size that a CPU runs in seconds.

Usage: make_model.py FOLDER SIZE DEVICE DTYPE
"""

import os
import shutil
import sys

import torch
from diffusers import (AutoencoderKLCogVideoX, CogVideoXDPMScheduler, CogVideoXPipeline,
                       CogVideoXTransformer3DModel)
from transformers import T5Config, T5EncoderModel, T5Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
TOKENIZER = os.path.join(HERE, "..", "pipelines", "5b", "tokenizer")
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}

SIZES = {
    "5b": dict(
        t5=dict(d_model=4096, d_kv=64, d_ff=10240, num_heads=64, num_layers=2),
        transformer=dict(
            num_attention_heads=48, attention_head_dim=64, num_layers=42, text_embed_dim=4096,
            time_embed_dim=512, sample_width=90, sample_height=60, sample_frames=49),
        vae=dict(block_out_channels=(128, 256, 256, 512), layers_per_block=3,
                 sample_height=480, sample_width=720, scaling_factor=0.7),
    ),
    "small": dict(
        t5=dict(d_model=64, d_kv=16, d_ff=128, num_heads=4, num_layers=2),
        transformer=dict(
            num_attention_heads=4, attention_head_dim=32, num_layers=4, text_embed_dim=64,
            time_embed_dim=128, sample_width=16, sample_height=16, sample_frames=9),
        vae=dict(block_out_channels=(16, 32, 32, 64), layers_per_block=1, norm_num_groups=8,
                 sample_height=128, sample_width=128),
    ),
}


def main(folder, size, device, dtype):
    sizes = SIZES[size]
    torch.manual_seed(0)
    tokenizer = T5Tokenizer.from_pretrained(TOKENIZER)
    torch.set_default_dtype(DTYPES[dtype])
    with torch.device(device):
        text_encoder = T5EncoderModel(T5Config(
            vocab_size=len(tokenizer), feed_forward_proj="gated-gelu", dropout_rate=0.0,
            **sizes["t5"]))
        transformer = CogVideoXTransformer3DModel(
            in_channels=16, out_channels=16, max_text_seq_length=226,
            use_rotary_positional_embeddings=True, **sizes["transformer"])
        vae = AutoencoderKLCogVideoX(latent_channels=16, **sizes["vae"])
    scheduler = CogVideoXDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
        prediction_type="v_prediction", rescale_betas_zero_snr=True, snr_shift_scale=1.0,
        timestep_spacing="trailing")
    pipeline = CogVideoXPipeline(tokenizer, text_encoder, vae, transformer, scheduler)
    shutil.rmtree(folder, ignore_errors=True)
    pipeline.save_pretrained(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])

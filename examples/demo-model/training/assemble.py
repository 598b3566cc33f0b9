"""Puts the trained VAE into the trained pipeline and saves the folder in float16."""

import argparse

import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXPipeline


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--pipeline", default="trained", help="folder that train_transformer.py saved")
    ap.add_argument("--vae", default="vae", help="folder that train_vae.py saved")
    ap.add_argument("--out", default="pipeline")
    args = ap.parse_args()
    pipe = CogVideoXPipeline.from_pretrained(args.pipeline)
    vae = AutoencoderKLCogVideoX.from_pretrained(args.vae)
    # The transformer was trained on latents of this scale.
    vae.register_to_config(scaling_factor=pipe.vae.config.scaling_factor)
    pipe.register_modules(vae=vae)
    pipe.to(dtype=torch.float16).save_pretrained(args.out)


if __name__ == "__main__":
    main()

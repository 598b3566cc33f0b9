"""Trains the demo model's VAE on random clips of scenes.py. See ../README.md for the commands and what they gave.

The latents are fixed beforehand, those of linear_latents.py: the encoder learns to compute them, the decoder to turn
them into pixels, with some noise added, so that it forgives what the transformer gets wrong. In three stages, each from
where the one before it stopped, as small pictures are cheap and teach most of it: clips of 9 frames (3 latent frames),
cropped to 32x32 around the shape; whole frames of 9-frame clips; and whole clips of 17 frames too, which diffusers
encodes and decodes in two chunks that hand on a cache of past frames, so that the seam is learnt as well. State is
saved every 100 steps and picked up again, so a run may be stopped and continued, or continued with other lengths.
"""

import argparse
import itertools
import math
import os
import random
import time

import torch
from diffusers import AutoencoderKLCogVideoX

from linear_latents import to_latents
from scenes import random_clips

BLOCKS = 4
SPREAD = 0.1  # the encoder's standard deviation
NOISE = 0.4  # greatest standard deviation of the decoder's training noise; that of the latents is 1.4


def make_vae():
    return AutoencoderKLCogVideoX(
        block_out_channels=(16, 32, 32, 64),
        down_block_types=("CogVideoXDownBlock3D",) * BLOCKS,
        up_block_types=("CogVideoXUpBlock3D",) * BLOCKS,
        latent_channels=16,
        layers_per_block=1,
        norm_num_groups=8,
        sample_height=64,
        sample_width=64,
    )


def loss_of(vae, clips, covers, basis):
    """Weighted L1 + L2 of the reconstruction from noisy latents, plus the encoder's distance from the latents.

    Pixels of the shape count 4 times, or the VAE, which scores well with background alone,
    leaves small shapes out for long.
    """
    # Dilated by 2 pixels, so that the outside of an edge counts as its inside does.
    near = torch.nn.functional.max_pool3d((covers > 0).float(), (1, 5, 5), 1, (0, 2, 2))
    weight = 1 + 3 * near
    latents = to_latents(clips, basis)
    posterior = vae.encode(clips).latent_dist
    noise = NOISE * torch.rand(len(latents), 1, 1, 1, 1) * torch.randn_like(latents)
    out = vae.decode(latents + noise).sample.float()
    error = out - clips
    rec = ((error.abs() + error.pow(2)) * weight).mean()
    miss = (posterior.mean.float() - latents).pow(2).mean()
    spread = (posterior.logvar.float() - 2 * math.log(SPREAD)).pow(2).mean()
    psnr = -10 * torch.log10(error.detach().pow(2).mean() / 4)
    return rec + miss + 0.01 * spread, rec.item(), miss.item(), psnr.item()


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--out", default="vae", help="folder of the saved VAE")
    ap.add_argument("--basis", default="work/basis.pt", help="of the latents, from linear_latents.py")
    ap.add_argument("--crops", type=int, default=3500, help="steps on 9 frames, cropped")
    ap.add_argument("--whole", type=int, default=1200, help="steps on whole frames, 9 of them")
    ap.add_argument("--long", type=int, default=800, help="steps on whole frames, 9 and 17 of them in turn")
    ap.add_argument("--decay", type=int, default=1200, help="last steps, in which the learning rate falls to 2%%")
    ap.add_argument("--lr", type=float, default=2e-3)
    ap.add_argument("--muon", type=float, default=1e-3, help="learning rate of the convolutions' kernels")
    ap.add_argument("--bf16", action="store_true", help="convolutions in bfloat16; weights stay float32")
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--threads", type=int, default=2)
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)

    basis = torch.load(args.basis)
    ends = list(itertools.accumulate([args.crops, args.whole, args.long]))
    steps = ends[-1]
    vae = make_vae().train()
    print(f"{sum(p.numel() for p in vae.parameters()) / 1e6:.2f} M parameters")
    # Muon takes matrices: each convolution's weight is seen as (out, in * taps), in the same storage.
    kernels = [p for p in vae.parameters() if p.ndim >= 4]
    if args.muon == 0:
        kernels = []
    matrices = [torch.nn.Parameter(p.data.view(p.shape[0], -1)) for p in kernels]
    others = [p for p in vae.parameters() if p.ndim < 4 or args.muon == 0]
    opts = [(torch.optim.AdamW(others, lr=args.lr, betas=(0.9, 0.98), weight_decay=0), args.lr)]
    if matrices:
        muon = torch.optim.Muon(matrices, lr=args.muon, weight_decay=0, adjust_lr_fn="match_rms_adamw")
        opts.append((muon, args.muon))
    state_path = args.out + ".state.pt"
    step, spent = 0, 0.0
    if os.path.exists(state_path):
        state = torch.load(state_path)
        vae.load_state_dict(state["vae"])
        for (opt, _), saved in zip(opts, state["opts"]):
            opt.load_state_dict(saved)
        step, spent = state["step"], state["spent"]
        torch.manual_seed(args.seed + step)
        rng = random.Random(args.seed + step)

    def save():
        state = dict(vae=vae.state_dict(), opts=[o.state_dict() for o, _ in opts], step=step, spent=spent)
        torch.save(state, state_path + ".part")
        os.replace(state_path + ".part", state_path)
        vae.save_pretrained(args.out)

    began = time.time()
    mean_rec = mean_psnr = None
    while step < steps:
        factor = min(1, (step + 1) / 50) * min(1, max(0.02, (steps - step) / max(1, args.decay)))
        for opt, lr in opts:
            for group in opt.param_groups:
                group["lr"] = lr * factor
        if step < ends[0]:
            count, frames, crop = 4, 9, 32
        elif step < ends[1] or step % 2:
            count, frames, crop = 2, 9, 64
        else:
            count, frames, crop = 1, 17, 64
        some = random_clips(count, frames, rng, crop)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
            loss, rec, aside, psnr = loss_of(vae, *some, basis)
        vae.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        for matrix, kernel in zip(matrices, kernels):
            matrix.grad = kernel.grad.view(matrix.shape)
        for opt, _ in opts:
            opt.step()
        step += 1
        mean_rec = rec if mean_rec is None else 0.95 * mean_rec + 0.05 * rec
        mean_psnr = psnr if mean_psnr is None else 0.95 * mean_psnr + 0.05 * psnr
        if step % 20 == 0:
            now = time.time()
            spent, began = spent + now - began, now
            print(f"{step} rec {mean_rec:.4f} aside {aside:.3f} psnr {mean_psnr:.2f}", end=" ")
            print(f"lr factor {factor:.2f} {spent:.0f} s", flush=True)
        if step % 100 == 0:
            save()
    save()


if __name__ == "__main__":
    main()

"""The demo model's latents: principal components of the pixels, fixed before any network is trained.

Each cell of 8x8 pixels and 4 frames (the first frame stands alone, as if repeated) becomes its first 16 principal
components, each divided by the square root of its standard deviation: a compromise between the pixels' own scale, in
which the last components vanish, and whitening, in which noise fills them. With the latents fixed, the transformer and
the VAE are trained at the same time: the VAE's encoder learns to compute them and its decoder to turn them into pixels.

Writes <work>/basis.pt and <work>/latents.pt.
"""

import argparse
import os
import random

import torch

from scenes import all_scenes, clip, prompt_of


def cells(video):
    """Videos (..., 3, 1 + 4 k, 8 h, 8 w) as cells (..., 1 + k, h, w, 768)."""
    video = torch.cat([video[..., :1, :, :].expand(*[-1] * (video.ndim - 3), 3, -1, -1), video], -3)
    lead, (c, t, h, w) = video.shape[:-4], video.shape[-4:]
    video = video.reshape(*lead, c, t // 4, 4, h // 8, 8, w // 8, 8)
    n = len(lead)
    order = [*range(n), n + 1, n + 3, n + 5, n, n + 2, n + 4, n + 6]
    return video.permute(order).reshape(*lead, t // 4, h // 8, w // 8, -1)


def to_latents(video, basis):
    """Latents (..., 16, 1 + k, h, w) of videos (..., 3, 1 + 4 k, 8 h, 8 w)."""
    return ((cells(video) - basis["mean"]) @ basis["axes"]).movedim(-1, -4)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--work", default="work-linear")
    ap.add_argument("--clips", type=int, default=7776, help="scenes to encode; there are 7,776")
    ap.add_argument("--channels", type=int, default=16)
    ap.add_argument("--seed", type=int, default=1)
    args = ap.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(args.seed)
    os.makedirs(args.work, exist_ok=True)
    scenes = random.Random(args.seed).sample(all_scenes(), args.clips)
    some = torch.cat([cells(clip(*s)).reshape(-1, 768) for s in scenes[:300]])
    mean = some.mean(0)
    spread, axes = torch.linalg.eigh((some - mean).T @ (some - mean) / len(some))
    axes = axes[:, -args.channels :] * spread[-args.channels :].pow(-0.25)
    kept = (spread[-args.channels :].sum() / spread.sum()).item()
    print(f"{args.channels} components keep {100 * kept:.1f}% of the variance")
    basis = {"mean": mean, "axes": axes}
    torch.save(basis, os.path.join(args.work, "basis.pt"))
    latents = torch.stack([to_latents(clip(*s), basis) for s in scenes])
    torch.save((latents, [prompt_of(*s[:4]) for s in scenes]), os.path.join(args.work, "latents.pt"))


if __name__ == "__main__":
    main()

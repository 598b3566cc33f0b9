"""Trains an image-to-video transformer from the demo model's: a drawn first frame moves as the prompt says.

The form is CogVideoX-5b-I2V's: the picture's latents, zeros after the first latent frame, stand beside the noisy ones.
So the patch embedding takes 32 channels; the weights of the new ones start at zero, and all else starts as the demo
model's transformer. Text encoder, tokenizer, VAE and scheduler stay as they are.

A picture does not say where its shape goes: of the scenes here more than half start in a corner, from where two
directions are possible, and each such picture is drawn with both. One picture in eight is held out (`held_out` below),
with every prompt; the judge takes its pictures from those. The loss is train_transformer.py's of the guided velocity.
State is saved every 200 steps and picked up again.
"""

import argparse
import itertools
import os
import time

import torch
from diffusers import CogVideoXTransformer3DModel

from from_base import Base, average_into, learning_rate
from scenes import BACKGROUNDS, COLORS, DIRECTIONS, SHAPES, SIZE, STARTS, all_prompts, prompt_of

LANES = tuple(range(12, 53, 4))  # centre across the motion: as far to the sides as STARTS lie from the back
SPREAD = 0.1  # the standard deviation of the latents that the VAE's encoder draws


def first_place(direction, start, lane):
    """The shape's centre (x, y) in the first frame."""
    sx, sy = DIRECTIONS[direction]
    along = start if sx + sy > 0 else SIZE - start
    return (along, lane) if sx else (lane, along)


def held_out(color, shape, direction, background, start, lane):
    """Whether the scene's first frame is kept from the training: one picture in eight is."""
    words = 12 * list(COLORS).index(color) + 4 * SHAPES.index(shape) + list(BACKGROUNDS).index(background)
    x, y = first_place(direction, start, lane)
    return (words + x // 4 + 3 * (y // 4)) % 8 == 0


def picture_scenes():
    """Every scene: (color, shape, direction, background, start, lane), 9,504 of them."""
    return [(*p, s, l) for p, s, l in itertools.product(all_prompts(), STARTS, LANES)]


def widened(base):
    """The transformer of image to video that computes what `base` does, whatever the picture."""
    config = {**base.config, "in_channels": 2 * base.config.in_channels}
    config = {k: v for k, v in config.items() if not k.startswith("_")}
    net = CogVideoXTransformer3DModel(**config)
    weights = base.state_dict()
    narrow = weights["patch_embed.proj.weight"]
    weights["patch_embed.proj.weight"] = torch.cat([narrow, torch.zeros_like(narrow)], 1)
    net.load_state_dict(weights)
    return net


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--base", default="pipeline", help="the demo model's folder")
    ap.add_argument("--work", default="work", help="folder of basis.pt (linear_latents.py) and of the training's state")
    ap.add_argument("--out", default="trained-image-to-video", help="folder of the saved transformer, in float16")
    ap.add_argument("--steps", type=int, default=4000)
    ap.add_argument("--decay", type=int, default=2000, help="last steps, in which the learning rate falls")
    ap.add_argument("--batch", type=int, default=16, help="scenes a step, each with its prompt and without")
    ap.add_argument("--guidance", type=float, default=3.0)
    ap.add_argument("--lr", type=float, default=5e-4)
    ap.add_argument("--muon", type=float, default=7e-4, help="learning rate of Muon for the blocks' matrices")
    ap.add_argument("--bf16", action="store_true", help="matrix products in bfloat16; weights stay float32")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--threads", type=int, default=1)
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    base = Base(args.base, args.work)
    net = widened(base.pipe.transformer).train()
    scenes = [s for s in picture_scenes() if not held_out(*s)]
    latents = torch.stack([base.latents(s) for s in scenes])
    prompts = [prompt_of(*s[:4]) for s in scenes]
    print(f"{len(scenes)} scenes, {sum(p.numel() for p in net.parameters()) / 1e6:.2f} M parameters", flush=True)

    named = list(net.named_parameters())
    params = [p for _, p in named]
    matrices = [p for n, p in named if p.ndim == 2 and "transformer_blocks" in n]
    rest = [p for n, p in named if not (p.ndim == 2 and "transformer_blocks" in n)]
    opts = [(torch.optim.AdamW(rest, lr=args.lr, betas=(0.9, 0.99), weight_decay=0.01), args.lr)]
    opts.append((torch.optim.Muon(matrices, lr=args.muon, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"), args.muon))
    average = [p.detach().clone() for p in params]
    step, spent, mean_loss = 0, 0.0, None
    state_path = os.path.join(args.work, "image-to-video.pt")
    if os.path.exists(state_path):
        state = torch.load(state_path)
        net.load_state_dict(state["net"])
        for (opt, _), saved in zip(opts, state["opts"]):
            opt.load_state_dict(saved)
        average, step, spent, mean_loss = state["average"], state["step"], state["spent"], state["loss"]
        torch.manual_seed(args.seed + step)

    def save():
        state = dict(net=net.state_dict(), opts=[o.state_dict() for o, _ in opts])
        state |= dict(average=average, step=step, spent=spent, loss=mean_loss)
        torch.save(state, state_path + ".part")
        os.replace(state_path + ".part", state_path)
        kept = widened(base.pipe.transformer)
        with torch.no_grad():
            for p, a in zip(kept.parameters(), average):
                p.copy_(a)
        kept.half().save_pretrained(args.out)

    began = time.time()
    while step < args.steps:
        for opt, lr in opts:
            for group in opt.param_groups:
                group["lr"] = lr * learning_rate(step, args.steps, args.decay)
        pick = torch.randint(0, len(latents), (args.batch,))
        x = latents[pick]
        image = torch.zeros_like(x)
        drawn = SPREAD * base.pipe.vae.config.scaling_factor * torch.randn_like(x[:, :1])
        image[:, :1] = x[:, :1] + drawn
        loss, shown = base.guided_loss(net, x, [prompts[i] for i in pick], args.guidance, image, args.bf16)
        for opt, _ in opts:
            opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        for opt, _ in opts:
            opt.step()
        step += 1
        average_into(average, params, step)
        mean_loss = shown if mean_loss is None else 0.98 * mean_loss + 0.02 * shown
        if step % 50 == 0:
            now = time.time()
            spent, began = spent + now - began, now
            print(f"{step} loss {mean_loss:.4f} {spent:.0f} s", flush=True)
        if step % 200 == 0:
            save()
    save()


if __name__ == "__main__":
    main()

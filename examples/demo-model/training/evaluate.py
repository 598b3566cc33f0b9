"""Samples every color, shape and direction from a pipeline folder by diffusers and has judge.py judge each clip.

The backgrounds come in turn, one a seed, so `--seeds 4` samples all 288 prompts once. Writes the contact sheet of the
first clips: one row a clip, frames 0, 4, 8, 12 and 16.
"""

import argparse
import collections
import os
import random
import sys
import time

import numpy as np
import torch
from diffusers import CogVideoXPipeline
from PIL import Image

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from judge import BACKGROUNDS, judge, parse_prompt
from scenes import all_prompts, prompt_of


def prompts_of(seed):
    """The 72 prompts of one seed, each color, shape and direction once, backgrounds in turn."""
    grounds = list(BACKGROUNDS)
    some = [p[:3] for p in all_prompts()[::4]]
    prompts = [prompt_of(*p, grounds[(i + i // 4 + seed) % 4]) for i, p in enumerate(some)]
    random.Random(seed).shuffle(prompts)  # so that a part of them, by --every, is a fair sample
    return prompts


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("pipeline")
    ap.add_argument("--seeds", type=int, default=4)
    ap.add_argument("--steps", type=int, default=50)
    ap.add_argument("--guidance", type=float, default=6.0)
    ap.add_argument("--batch", type=int, default=12)
    ap.add_argument("--every", type=int, default=1, help="only each so many of a seed's prompts")
    ap.add_argument("--sheet", help="PNG of the first seed's clips")
    ap.add_argument("--sheet-every", type=int, default=5, help="each so many of the clips go into the sheet")
    ap.add_argument("--threads", type=int, default=2)
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    pipe = CogVideoXPipeline.from_pretrained(args.pipeline, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    counts, rows, began = collections.Counter(), [], time.time()
    by_word, word_good = collections.Counter(), collections.Counter()
    for seed in range(args.seeds):
        prompts = prompts_of(seed)[seed % args.every :: args.every]
        for i in range(0, len(prompts), args.batch):
            some = prompts[i : i + args.batch]
            # One generator a clip: a clip does not depend on the batch it is in.
            noise = [torch.Generator().manual_seed(1000 * seed + i + k) for k in range(len(some))]
            clips = pipe(
                some,
                height=64,
                width=64,
                num_frames=17,
                num_inference_steps=args.steps,
                guidance_scale=args.guidance,
                generator=noise,
                output_type="np",
                max_sequence_length=pipe.transformer.config.max_text_seq_length,
            ).frames
            for k, (clip, prompt) in enumerate(zip(clips, some)):
                verdict = judge(clip, prompt)
                counts.update(part for part, good in verdict.items() if good)
                counts["clips"] += 1
                by_word.update(parse_prompt(prompt))
                if verdict["all"]:
                    word_good.update(parse_prompt(prompt))
                else:
                    wrong = ", ".join(part for part, good in verdict.items() if not good and part != "all")
                    print(f"seed {1000 * seed + i + k}: {prompt}: not {wrong}", flush=True)
                if args.sheet and seed == 0 and (i + k) % args.sheet_every == 0:
                    rows.append(np.concatenate([clip[t] for t in (0, 4, 8, 12, 16)], 1))
    total = counts.pop("clips")
    print(f"{total} clips, {(time.time() - began) / total:.2f} s each")
    for part in ("color", "shape", "motion", "background", "clean", "all"):
        print(f"{part:10} {counts[part]:4} {100 * counts[part] / total:5.1f}%")
    print(" ".join(f"{w} {word_good[w]}/{n}" for w, n in by_word.items()))
    if rows:
        half = (len(rows) + 1) // 2
        rows += [np.zeros_like(rows[0])] * (2 * half - len(rows))
        sheet = np.concatenate([np.concatenate(rows[:half]), np.concatenate(rows[half:])], 1)
        Image.fromarray((sheet * 255).round().astype("uint8")).save(args.sheet)


if __name__ == "__main__":
    main()

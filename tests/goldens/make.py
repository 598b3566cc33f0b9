#!/usr/bin/env python3
"""Makes the tests' pipeline folders and goldens with diffusers itself.

    python tests/goldens/make.py              # everything
    python tests/goldens/make.py folders      # only tests/pipelines/
    python tests/goldens/make.py tokens components schedulers transformer_configs runs
    python tests/goldens/make.py caches block_caches cache_hooks loras images image_to_video
    python tests/goldens/make.py step_callbacks video_to_video batches fun demo_model
    python tests/goldens/make.py tiny_decoder original_loras

Run with diffusers 0.42.1, transformers 5.23.0, torch 2.11.0 and sentencepiece 0.2.3 (CPU), and
for the adapters peft 0.21.2.
All is seeded: a second run on the same machine writes the same bytes, another machine the
same numbers within float32 rounding.
"""

import argparse
import pathlib
import sys
import warnings

import torch

HERE = pathlib.Path(__file__).resolve().parent
PIPELINES = HERE.parent / "pipelines"
sys.path.insert(0, str(HERE))

from maker import (  # noqa: E402
    batches, block_caches, cache_hooks, caches, components, demo_model, folders, fun,
    image_to_video, images, loras, original_loras, runs, schedulers, step_callbacks, texts,
    tiny_decoder, transformer_configs, video_to_video,
)

PARTS = [
    "folders", "tokens", "components", "schedulers", "transformer_configs", "runs", "caches",
    "block_caches", "cache_hooks", "loras", "images", "image_to_video", "step_callbacks",
    "video_to_video", "batches", "fun", "demo_model", "tiny_decoder", "original_loras",
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", default=PARTS, help=" ".join(PARTS))
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    if "folders" in arguments.parts:
        folders.make(PIPELINES)
        folders.make_sharded(PIPELINES)
    if "tokens" in arguments.parts:
        texts.make(PIPELINES, HERE)
    if "components" in arguments.parts:
        components.make(PIPELINES, HERE)
    if "schedulers" in arguments.parts:
        schedulers.make(HERE)
    if "transformer_configs" in arguments.parts:
        transformer_configs.make(HERE)
    if "runs" in arguments.parts:
        runs.make(PIPELINES, HERE)
    if "caches" in arguments.parts:
        caches.make(PIPELINES, HERE)
    if "block_caches" in arguments.parts:
        block_caches.make(PIPELINES, HERE)
    if "cache_hooks" in arguments.parts:
        cache_hooks.make(HERE)
    if "loras" in arguments.parts:
        loras.make(PIPELINES, HERE)
    if "images" in arguments.parts:
        images.make(HERE)
    if "image_to_video" in arguments.parts:
        image_to_video.make(PIPELINES, HERE)
    if "step_callbacks" in arguments.parts:
        step_callbacks.make(PIPELINES, HERE)
    if "video_to_video" in arguments.parts:
        video_to_video.make(PIPELINES, HERE)
    if "batches" in arguments.parts:
        batches.make(PIPELINES, HERE)
    if "fun" in arguments.parts:
        fun.make(PIPELINES, HERE)
    if "tiny_decoder" in arguments.parts:
        tiny_decoder.make(HERE)
    if "original_loras" in arguments.parts:
        original_loras.make(PIPELINES, HERE)
    if "demo_model" in arguments.parts:
        demo_model.make(HERE)


if __name__ == "__main__":
    main()

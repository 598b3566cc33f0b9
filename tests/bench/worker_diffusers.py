"""One process of the reference: loads, denoises in each mode, decodes; prints JSON.

Usage: worker_diffusers.py MODEL STEPS MODE,MODE,… [TIMES]
"""

import json
import sys
import time
import warnings

warnings.filterwarnings("ignore")

import torch  # noqa: E402
from diffusers import (CogVideoXPipeline, FasterCacheConfig,  # noqa: E402
                       PyramidAttentionBroadcastConfig)
from diffusers.utils import logging  # noqa: E402
from measured import peak_mib, quickest  # noqa: E402

logging.set_verbosity_error()
PROMPT = "a red ball moves right on a navy background"


def cache_config(mode, pipe):
    if mode == "pab":
        return PyramidAttentionBroadcastConfig(
            spatial_attention_block_skip_range=2, spatial_attention_timestep_skip_range=(100, 800),
            current_timestep_callback=lambda: pipe.current_timestep)
    # The documentation's FasterCache settings.
    return FasterCacheConfig(
        spatial_attention_block_skip_range=2, spatial_attention_timestep_skip_range=(-1, 681),
        current_timestep_callback=lambda: pipe.current_timestep,
        attention_weight_callback=lambda _: 0.3, unconditional_batch_skip_range=5,
        unconditional_batch_timestep_skip_range=(-1, 781), tensor_format="BFCHW")


def decode(pipe, latents):
    with torch.no_grad():
        return pipe.decode_latents(latents)


def main(model, steps, modes, times=1):
    report = {}
    started = time.perf_counter()
    pipe = CogVideoXPipeline.from_pretrained(model, torch_dtype=torch.float32)
    report["load_s"] = time.perf_counter() - started
    pipe.set_progress_bar_config(disable=True)
    report["loaded_mib"] = peak_mib()
    latents = None
    for mode in modes:
        def run(mode=mode):
            if mode != "dense":
                pipe.transformer.enable_cache(cache_config(mode, pipe))
            found = pipe(PROMPT, num_frames=9, num_inference_steps=steps, guidance_scale=6.0,
                         generator=torch.Generator().manual_seed(1), output_type="latent").frames
            if mode != "dense":
                pipe.transformer.disable_cache()
            return found
        latents = quickest(report, f"denoise_{mode}", times, run)
        if mode == "dense":
            report["peak_denoise_mib"] = peak_mib()
            made = latents
            quickest(report, "decode", times, lambda made=made: decode(pipe, made))
            report["peak_mib"] = peak_mib()
    report["peak_cached_mib"] = peak_mib()
    # As CogVideoXVideoToVideoPipeline.prepare_latents does; the first time does not count.
    side = min(pipe.vae.config.sample_height, pipe.vae.config.sample_width) // 16 * 16
    video = torch.rand(1, 3, 9, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        for _ in range(2):
            started, processor = time.perf_counter(), time.process_time()
            pipe.vae.encode(video).latent_dist.sample() * pipe.vae.config.scaling_factor
            report["encode_s"] = time.perf_counter() - started
            report["encode_cpu_s"] = time.process_time() - processor
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3].split(","), *map(int, sys.argv[4:]))

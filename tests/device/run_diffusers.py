"""One process of the reference; see job.py."""

import array
import json
import os
import sys
import warnings

warnings.filterwarnings("ignore")

import torch  # noqa: E402
from diffusers import CogVideoXPipeline  # noqa: E402
from diffusers.utils import logging  # noqa: E402

import job  # noqa: E402

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench"))

from worker_diffusers import cache_config  # noqa: E402

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def floats(tensor):
    flat = tensor.detach().to("cpu", torch.float32).contiguous().flatten()
    values = array.array("f")
    values.frombytes(flat.numpy().tobytes())
    return values


def main(work):
    logging.set_verbosity_error()
    memory = job.DeviceMemory(work["device"])
    clock = job.Clock()
    pipe = CogVideoXPipeline.from_pretrained(work["model"], torch_dtype=DTYPES[work["dtype"]])
    pipe = pipe.to(work["device"])
    report = {"load_s": clock.seconds(), "runs": []}
    pipe.set_progress_bar_config(disable=True)

    def generate(steps, seed, num_frames, latents=None):
        generator = torch.Generator().manual_seed(seed)
        result = pipe(job.PROMPT, num_frames=num_frames, num_inference_steps=steps,
                      guidance_scale=6.0, generator=generator, latents=latents,
                      max_sequence_length=pipe.transformer.config.max_text_seq_length,
                      output_type="latent").frames
        return result, floats(result)

    @torch.no_grad()
    def decode(latents):
        video = pipe.decode_latents(latents)
        return pipe.video_processor.postprocess_video(video, output_type="pt")[0]

    if work["warm_up"]:
        latents, _ = generate(work["warm_up"], 1, work["runs"][0]["num_frames"])
        if any(run["decode"] for run in work["runs"]):
            decode(latents)
    for run in work["runs"]:
        if run["mode"] != "dense":
            pipe.transformer.enable_cache(cache_config(run["mode"], pipe))
        initial = None
        if run["latents"]:
            initial = torch.tensor(job.read_floats(run["latents"])).reshape(run["latents_shape"])
            initial = initial.to(DTYPES[work["dtype"]])
        clock = job.Clock()
        latents, values = generate(run["steps"], run["seed"], run["num_frames"], initial)
        done = {"denoise_s": clock.seconds(), "latents_shape": list(latents.shape)}
        if run["mode"] != "dense":
            pipe.transformer.disable_cache()
        if run["decode"]:
            clock = job.Clock()
            frames = decode(latents).permute(0, 2, 3, 1)
            frame_values = floats(frames)
            done.update(decode_s=clock.seconds(), frames_shape=list(frames.shape))
        if run["save"]:
            job.write_floats(run["save"] + ".latents", values)
            if run["decode"]:
                job.write_floats(run["save"] + ".frames", frame_values)
        done["memory_mib"] = memory.mib()
        report["runs"].append(done)
    print(json.dumps(report))


if __name__ == "__main__":
    main(job.read())

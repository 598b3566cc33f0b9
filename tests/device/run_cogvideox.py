"""One process of libcogvideox through its C functions; see job.py. Needs no package."""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))

import cvx  # noqa: E402
import job  # noqa: E402


def main(work):
    library = cvx.Library()
    memory = job.DeviceMemory(work["device"])
    clock = job.Clock()
    pipeline = cvx.Pipeline(library, work["model"], work["device"], work["dtype"])
    report = {"load_s": clock.seconds(), "runs": []}
    if work["warm_up"]:
        shape, latents = pipeline.generate(
            job.PROMPT, work["warm_up"], num_frames=work["runs"][0]["num_frames"], latents=True)
        if any(run["decode"] for run in work["runs"]):
            pipeline.decode(shape, latents)
    for run in work["runs"]:
        if run["mode"] == "dense":
            pipeline.disable_cache()
        else:
            pipeline.enable_cache(run["mode"])
        initial = None
        if run["latents"]:
            initial = (run["latents_shape"], job.read_floats(run["latents"]))
        clock = job.Clock()
        shape, latents = pipeline.generate(
            job.PROMPT, run["steps"], seed=run["seed"], num_frames=run["num_frames"],
            latents=True, initial_latents=initial)
        done = {"denoise_s": clock.seconds(), "latents_shape": shape}
        if run["decode"]:
            clock = job.Clock()
            frames_shape, frames = pipeline.decode(shape, latents)
            done.update(decode_s=clock.seconds(), frames_shape=frames_shape)
        if run["save"]:
            job.write_floats(run["save"] + ".latents", latents)
            if run["decode"]:
                job.write_floats(run["save"] + ".frames", frames)
        done["memory_mib"] = memory.mib()
        report["runs"].append(done)
    print(json.dumps(report))


if __name__ == "__main__":
    main(job.read())

"""Goldens of the two schedulers by themselves: timesteps, tables and trajectories."""

import json

import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXDPMScheduler
from safetensors.torch import save_file

from . import folders

CLASSES = {"ddim": CogVideoXDDIMScheduler, "dpm": CogVideoXDPMScheduler}

# What a scheduler_config.json may say, as differences from the published one.
VARIANTS = {
    "published-2b": dict(snr_shift_scale=3.0),
    "published-5b": dict(snr_shift_scale=1.0),
    "linspace": dict(timestep_spacing="linspace", snr_shift_scale=3.0),
    "leading": dict(timestep_spacing="leading", steps_offset=1, set_alpha_to_one=False),
    "epsilon": dict(prediction_type="epsilon", rescale_betas_zero_snr=False, snr_shift_scale=3.0),
    "sample": dict(prediction_type="sample", snr_shift_scale=1.0),
    "linear": dict(beta_schedule="linear", beta_start=0.0001, beta_end=0.02, snr_shift_scale=1.0),
    "squaredcos": dict(beta_schedule="squaredcos_cap_v2", snr_shift_scale=2.0),
    # Clipping is in the config, but neither class's step() clips.
    "clip": dict(clip_sample=True, clip_sample_range=0.5, snr_shift_scale=1.0),
    "trained-betas": dict(
        trained_betas=[0.001 + 0.0004 * i for i in range(100)], num_train_timesteps=100,
        snr_shift_scale=1.5,
    ),
    "short-training": dict(num_train_timesteps=300, snr_shift_scale=3.0),
}

STEP_COUNTS = (1, 2, 3, 4, 7, 12, 20, 27, 30, 50, 64, 99)
TRAJECTORIES = ((20, 0.0), (6, 0.0), (6, 0.5), (1, 0.0))


def config_name(kind, variant):
    return f"{kind}-{variant}"


def build(kind, variant):
    return CLASSES[kind](**{**folders.PUBLISHED_SCHEDULER, **VARIANTS[variant]})


def trajectory(scheduler, kind, steps, eta, generator_seed):
    """`step()` through a whole run on random model outputs; returns inputs and all samples."""
    inputs = torch.Generator().manual_seed(7)
    noise = torch.Generator().manual_seed(generator_seed)
    scheduler.set_timesteps(steps)
    shape = (1, 2, 2, 2, 3)
    sample = torch.randn(shape, generator=inputs)
    outputs = torch.randn((steps, *shape), generator=inputs)
    start, samples, old = sample, [], None
    for i, t in enumerate(scheduler.timesteps):
        if kind == "ddim":
            sample = scheduler.step(
                outputs[i], t, sample, eta=eta, generator=noise, return_dict=False
            )[0]
        else:
            back = scheduler.timesteps[i - 1] if i > 0 else None
            sample, old = scheduler.step(
                outputs[i], old, t, back, sample, eta=eta, generator=noise, return_dict=False
            )
        # As the pipeline does (pipeline_cogvideox.py:763).
        sample = sample.to(torch.float32)
        samples.append(sample)
    return start, outputs, torch.stack(samples)


def make(out):
    """Writes `schedulers/<class>-<variant>.json` (scheduler configs), `schedulers.json` and
    `schedulers.safetensors`."""
    folder = out / "schedulers"
    folder.mkdir(exist_ok=True)
    cases, tensors = [], {}
    for kind in CLASSES:
        for variant in VARIANTS:
            name = config_name(kind, variant)
            scheduler = build(kind, variant)
            (folder / f"{name}.json").write_text(scheduler.to_json_string())
            train = scheduler.config.num_train_timesteps
            timesteps = {}
            for count in STEP_COUNTS:
                scheduler.set_timesteps(count)
                steps = scheduler.timesteps.tolist()
                if len(steps) != count:
                    # Rounding in np.arange gives trailing spacing one timestep too many, -1,
                    # for some counts (61 of 1000, 7 of 300): a fault, not a golden
                    # (scheduling_ddim_cogvideox.py:319).
                    assert steps[-1] == -1, (name, count)
                    continue
                assert train > max(steps) and min(steps) >= 0, (name, count)
                timesteps[str(count)] = steps
            trajectories = []
            for steps, eta in TRAJECTORIES:
                key = f"{name}.{steps}.{eta}"
                start, outputs, samples = trajectory(scheduler, kind, steps, eta, 11)
                assert torch.isfinite(samples).all(), key
                tensors[key + ".samples"] = samples
                tensors[f"inputs.{steps}.sample"] = start
                tensors[f"inputs.{steps}.outputs"] = outputs
                trajectories.append(
                    dict(steps=steps, eta=eta, seed=11, samples=key + ".samples",
                         sample=f"inputs.{steps}.sample", outputs=f"inputs.{steps}.outputs")
                )
            # Every so many of the table, in the dtype that the class keeps it in.
            stride = max(train // 20, 1)
            tensors[name + ".alphas_cumprod"] = scheduler.alphas_cumprod[::stride]
            cases.append(
                dict(name=name, config=f"schedulers/{name}.json", alphas_cumprod_stride=stride,
                     alphas_cumprod=name + ".alphas_cumprod", timesteps=timesteps,
                     trajectories=trajectories)
            )
    save_file({k: v.contiguous() for k, v in tensors.items()}, out / "schedulers.safetensors")
    lines = ",\n".join(json.dumps(case) for case in cases)
    (out / "schedulers.json").write_text("[\n" + lines + "\n]\n")
    print(f"schedulers.safetensors: {len(cases)} configs, {len(tensors)} tensors")

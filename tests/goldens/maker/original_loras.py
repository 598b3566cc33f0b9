"""LoRA adapters in the original model's layout, and goldens of runs with them.

diffusers does not read these. What is expected follows from what they mean: B A is added to the
matrices of the original model, which diffusers' scripts/convert_cogvideox_to_diffusers.py then parts
among its own modules; the runs are diffusers' with the weights that this gives."""

import torch
from safetensors.torch import save_file

from . import folders, loras, runs

PREFIX = "model.diffusion_model."
CASE = {**loras.CASE, "num_inference_steps": 3}


def thirds(matrix):
    """query_key_value to to_q, to_k and to_v."""
    return torch.chunk(matrix, 3, dim=0)


def norms(matrix):
    """adaLN_modulations to norm1.linear and norm2.linear: twelve parts, six of the text last."""
    parts = torch.chunk(matrix, 12, dim=0)
    return torch.cat(parts[0:3] + parts[6:9]), torch.cat(parts[3:6] + parts[9:12])


def whole(matrix):
    return (matrix,)


def layers(transformer):
    """The layers of the original model: name, modules of diffusers', and how its matrix is parted."""
    for n in range(len(transformer.transformer_blocks)):
        block, old = f"transformer_blocks.{n}.", f"transformer.layers.{n}."
        yield (old + "attention.query_key_value", [block + f"attn1.to_{x}" for x in "qkv"], thirds)
        yield old + "attention.dense", [block + "attn1.to_out.0"], whole
        yield old + "mlp.dense_h_to_4h", [block + "ff.net.0.proj"], whole
        yield old + "mlp.dense_4h_to_h", [block + "ff.net.2"], whole
        yield (f"mixins.adaln_layer.adaLN_modulations.{n}.1",
               [block + "norm1.linear", block + "norm2.linear"], norms)
    yield "time_embed.0", ["time_embedding.linear_1"], whole
    yield "time_embed.2", ["time_embedding.linear_2"], whole
    yield "mixins.patch_embed.proj", ["patch_embed.proj"], whole
    yield "mixins.patch_embed.text_proj", ["patch_embed.text_proj"], whole
    yield "mixins.final_layer.adaLN_modulation.1", ["norm_out.linear"], whole
    yield "mixins.final_layer.linear", ["proj_out"], whole


def pair(generator, outputs, inputs, rank):
    """lora_A and lora_B."""
    count = torch.Size(inputs).numel()
    tail = [1] * (len(inputs) - 1)
    return (torch.randn(rank, *inputs, generator=generator) * count ** -0.5,
            torch.randn(outputs, rank, *tail, generator=generator) * 0.25)


def product(down, up):
    return up.flatten(1) @ down.flatten(1)


def packed(transformer):
    """An adapter for every layer, query, key and value in one: its tensors, and what it adds."""
    generator = torch.Generator().manual_seed(21)
    tensors, added = {}, {}
    for name, modules, part in layers(transformer):
        shapes = [transformer.get_submodule(module).weight.shape for module in modules]
        down, up = pair(generator, sum(shape[0] for shape in shapes), shapes[0][1:], 2)
        tensors[f"{PREFIX}{name}.lora_A.weight"] = down
        tensors[f"{PREFIX}{name}.lora_B.weight"] = up
        scale = 1.0
        if name.endswith("query_key_value"):
            # Of alpha 3 and rank 2.
            tensors[f"{PREFIX}{name}.alpha"] = torch.tensor(3.0)
            scale = 1.5
        for module, delta in zip(modules, part(scale * product(down, up))):
            added[module] = delta
    return tensors, added


def sat(transformer):
    """SAT's own: factors for each of query, key and value (tools/export_sat_lora_weight.py of the
    authors' repository says which is which), and for the layer after attention."""
    generator = torch.Generator().manual_seed(22)
    tensors, added = {}, {}
    for name, modules, _ in layers(transformer):
        if ".attention." not in name:
            continue
        for number, module in enumerate(modules):
            shape = transformer.get_submodule(module).weight.shape
            down, up = pair(generator, shape[0], shape[1:], 2)
            tensors[f"{PREFIX}{name}.matrix_A.{number}"] = down
            tensors[f"{PREFIX}{name}.matrix_B.{number}"] = up
            added[module] = product(down, up)
    return tensors, added


def make(pipelines, out):
    """Writes `lora/<family>/original-<kind>.safetensors` (adapters) and
    `lora/<family>/original-runs.safetensors` (`plain`, `packed` and `sat`: latents)."""
    for family in folders.FAMILIES:
        folder = out / "lora" / family
        results = {"plain": runs.call(folders.load(pipelines, family), CASE)}
        for kind, of in (("packed", packed), ("sat", sat)):
            pipe = folders.load(pipelines, family)
            tensors, added = of(pipe.transformer)
            tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
            save_file(tensors, folder / f"original-{kind}.safetensors", metadata={"format": "pt"})
            for module, delta in added.items():
                weight = pipe.transformer.get_submodule(module).weight
                weight.data += delta.reshape(weight.shape)
            latents = runs.call(pipe, CASE).contiguous()
            moved = (latents - results["plain"]).abs().max().item()
            assert torch.isfinite(latents).all() and latents.abs().max() < 50 and moved > 0.1, moved
            results[kind] = latents
        path = folder / "original-runs.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in results.items()}, path)
        print(f"lora/{family}/original-runs.safetensors: {path.stat().st_size} bytes")

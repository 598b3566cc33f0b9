"""What the trainings that start from the finished demo model share: its parts, latents, and the loss."""

import os

import torch
from diffusers import CogVideoXPipeline

from linear_latents import to_latents
from scenes import FRAMES, SIZE, clip
from train_transformer import TEXT_LENGTH, draw_timesteps, plain_attention


class Base:
    """The demo model in float32, nothing of it to be trained, and what its transformer is called with."""

    def __init__(self, folder, work):
        torch.nn.functional.scaled_dot_product_attention = plain_attention
        self.pipe = CogVideoXPipeline.from_pretrained(folder, torch_dtype=torch.float32)
        for part in (self.pipe.transformer, self.pipe.text_encoder, self.pipe.vae):
            part.requires_grad_(False)
        self.alphas = self.pipe.scheduler.alphas_cumprod.float()
        self.rotary = self.pipe._prepare_rotary_positional_embeddings(SIZE, SIZE, (FRAMES - 1) // 4 + 1, "cpu")
        self.basis = aligned(torch.load(os.path.join(work, "basis.pt")), self.pipe.vae)
        self.embeddings = {}

    def latents(self, scene):
        """A scene's latents as the transformer takes them, (latent frames, 16, 8, 8)."""
        return to_latents(clip(*scene), self.basis).transpose(0, 1) * self.pipe.vae.config.scaling_factor

    def embed(self, prompt):
        """A prompt's embeddings, (16, 96). They are kept: the text encoder is not trained."""
        if prompt not in self.embeddings:
            ids = self.pipe.tokenizer(prompt, padding="max_length", max_length=TEXT_LENGTH, return_tensors="pt").input_ids
            if ids.shape[1] > TEXT_LENGTH:
                raise ValueError(f"prompt: expected at most {TEXT_LENGTH} pieces, found {ids.shape[1]}: {prompt!r}")
            with torch.no_grad():
                self.embeddings[prompt] = self.pipe.text_encoder(ids)[0][0]
        return self.embeddings[prompt]

    def guided_loss(self, net, latents, prompts, guidance, image=None, bf16=False):
        """The loss of train_transformer.py's guided steps, and the part of it that is shown.

        `image`, latents of the same shape, goes in beside the noisy ones, with the prompt and without.
        """
        count = len(latents)
        t = draw_timesteps(count)
        a = self.alphas[t].view(-1, 1, 1, 1, 1)
        noise = torch.randn_like(latents)
        noisy = a.sqrt() * latents + (1 - a).sqrt() * noise
        velocity = a.sqrt() * noise - (1 - a).sqrt() * latents
        if image is not None:
            noisy = torch.cat([noisy, image], 2)
        words = torch.stack([*map(self.embed, prompts), *[self.embed("")] * count])
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            out = net(
                hidden_states=torch.cat([noisy, noisy]),
                encoder_hidden_states=words,
                timestep=torch.cat([t, t]),
                image_rotary_emb=self.rotary,
                return_dict=False,
            )[0]
        given, empties = out.float().chunk(2)
        miss = empties.detach() + guidance * (given - empties.detach()) - velocity
        guided = miss.pow(2).mean()
        return guided / guidance + (empties - velocity).pow(2).mean(), guided.item()


def aligned(basis, vae):
    """The basis with each component to the side that the VAE has learnt: which side it comes out at is chance."""
    scenes = [("red", "ball", "right", "gray", 12, 20), ("green", "square", "up", "black", 16, 40)]
    scenes += [("white", "triangle", "left", "navy", 20, 32), ("purple", "ball", "down", "brown", 12, 48)]
    clips = torch.stack([clip(*s) for s in scenes])
    with torch.no_grad():
        learnt = vae.encode(clips).latent_dist.mean
    drawn = to_latents(clips, basis)
    axes = basis["axes"] * (learnt * drawn).sum((0, 2, 3, 4)).sign()
    off = (to_latents(clips, {**basis, "axes": axes}) - learnt).pow(2).mean().sqrt().item()
    if off > 0.1:
        raise ValueError(f"basis: expected the VAE's own latents to within 0.1, found {off:.2f}; see linear_latents.py")
    return {**basis, "axes": axes}


def average_into(average, params, step):
    """Moves the running average on by one step."""
    keep = min(0.995, step / (step + 20))
    with torch.no_grad():
        torch._foreach_mul_(average, keep)
        torch._foreach_add_(average, [p.detach() for p in params], alpha=1 - keep)


def learning_rate(step, steps, decay, warm=100):
    """The factor of the learning rate: it rises over `warm` steps and falls to 2% over the last `decay`."""
    return min(1, (step + 1) / warm) * min(1, max(0.02, (steps - step) / max(1, decay)))

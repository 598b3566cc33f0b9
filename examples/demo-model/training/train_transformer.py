"""Trains the demo model's transformer and T5 encoder together and saves the whole pipeline folder.

The latents are those of linear_latents.py, <work>/latents.pt: the VAE is trained at the same time, on the same ones.
The target is the velocity v = sqrt(a) n - sqrt(1 - a) x of Salimans and Ho (2022) at the alphas_cumprod of the very
scheduler that samples later (zero terminal SNR included), 10% of the prompts are empty for classifier-free guidance,
and the saved weights are a running average.

In the last steps the loss is that of the guided velocity u + s (c - u) instead, with c and u the predictions with and
without the prompt and s = 3, beside that of u. Trained the usual way, c and u each err a little, guidance of 6 multiplies
their difference by 6, and shapes come out distorted; trained so, the error of the combination is what is made small, and
sampling at guidance 6 steers as guidance 2 would by a model trained the usual way. State is saved every 200 steps and
picked up again.
"""

import argparse
import os
import time

import sentencepiece
import torch
from diffusers import CogVideoXDPMScheduler, CogVideoXPipeline, CogVideoXTransformer3DModel
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from scenes import BACKGROUNDS, COLORS, DIRECTIONS, FRAMES, SHAPES, SIZE, all_prompts, prompt_of
from train_vae import make_vae

TEXT_LENGTH = 16  # the longest prompt has 10 pieces
WORDS = [*COLORS, *BACKGROUNDS, *SHAPES, *DIRECTIONS, "a", "moves", "on", "background"]


def make_tokenizer(folder):
    """A unigram tokenizer that holds the prompts' words whole and falls back to letters for any others."""
    os.makedirs(folder, exist_ok=True)
    corpus = os.path.join(folder, "corpus.txt")
    with open(corpus, "w") as f:
        for p in all_prompts():
            f.write(prompt_of(*p) + "\n")
        for first in "abcdefghijklmnopqrstuvwxyz":
            f.write(" ".join(first + second for second in "abcdefghijklmnopqrstuvwxyz") + "\n")
        f.write("0 1 2 3 4 5 6 7 8 9 . , ; : ! ? ' - ( )\n")
    sentencepiece.SentencePieceTrainer.train(
        input=corpus,
        model_prefix=os.path.join(folder, "spiece"),
        vocab_size=128,
        hard_vocab_limit=False,
        model_type="unigram",
        character_coverage=1.0,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        pad_piece="<pad>",
        eos_piece="</s>",
        unk_piece="<unk>",
        user_defined_symbols=["\u2581" + w for w in WORDS],
        minloglevel=2,
    )
    os.remove(corpus)
    return T5Tokenizer.from_pretrained(folder, extra_ids=0)


def make_pipeline(vae, tokenizer, scaling_factor):
    channels = vae.config.latent_channels
    vae.register_to_config(scaling_factor=scaling_factor)
    text_encoder = T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=96,
            d_kv=24,
            d_ff=192,
            num_layers=2,
            num_heads=4,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
        )
    )
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=6,
        attention_head_dim=32,
        in_channels=channels,
        out_channels=channels,
        time_embed_dim=96,
        text_embed_dim=96,
        num_layers=6,
        sample_width=SIZE // 8,
        sample_height=SIZE // 8,
        sample_frames=FRAMES,
        patch_size=2,
        temporal_compression_ratio=4,
        max_text_seq_length=TEXT_LENGTH,
        use_rotary_positional_embeddings=True,
    )
    scheduler = CogVideoXDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
        clip_sample=False,
        snr_shift_scale=1.0,
    )
    return CogVideoXPipeline(
        tokenizer=tokenizer, text_encoder=text_encoder, vae=vae, transformer=transformer, scheduler=scheduler
    )


def plain_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None):
    """Attention as two products. At 96 tokens its backward pass on a CPU is far quicker than the fused kernel's."""
    score = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if attn_mask is not None:  # T5's relative position bias
        score = score + attn_mask
    return torch.softmax(score, -1) @ value.to(score.dtype)


def draw_timesteps(count):
    """Half uniform, half from a sigmoid of a normal around 650: where shape, place and motion are decided."""
    uniform = torch.rand(count)
    middle = torch.sigmoid(torch.randn(count) + 0.6)
    return (torch.where(torch.rand(count) < 0.5, uniform, middle) * 1000).long().clamp(0, 999)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--work", default="work", help="folder of latents, tokenizer and training state")
    ap.add_argument("--init", help="training state of another run whose weights are the first ones")
    ap.add_argument("--out", default="trained", help="folder of the saved pipeline, in float32")
    ap.add_argument("--steps", type=int, default=11500)
    ap.add_argument("--guided", type=int, default=7300, help="last steps, in which the guided velocity is trained")
    ap.add_argument("--guidance", type=float, default=3.0, help="the guided steps' s")
    ap.add_argument("--decay", type=int, default=3500, help="last steps, in which the learning rate falls")
    ap.add_argument("--batch", type=int, default=32)
    ap.add_argument("--lr", type=float, default=1e-3)
    ap.add_argument("--muon", type=float, default=1.5e-3, help="learning rate of Muon for the blocks' matrices; 0: AdamW")
    ap.add_argument("--bf16", action="store_true", help="matrix products in bfloat16; weights stay float32")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--threads", type=int, default=2)
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    torch.nn.functional.scaled_dot_product_attention = plain_attention
    os.makedirs(args.work, exist_ok=True)

    latents, prompts = torch.load(os.path.join(args.work, "latents.pt"))
    std = latents.std().item()
    print(f"latents {tuple(latents.shape)} mean {latents.mean().item():.3f} std {std:.3f}", flush=True)
    tokenizer = make_tokenizer(os.path.join(args.work, "tokenizer"))
    # The VAE is trained meanwhile; here only its configuration counts.
    pipe = make_pipeline(make_vae(), tokenizer, round(1 / std, 5))
    vae = pipe.vae
    latents = (latents * vae.config.scaling_factor).permute(0, 2, 1, 3, 4).contiguous()
    ids = tokenizer(prompts, padding="max_length", max_length=TEXT_LENGTH, return_tensors="pt").input_ids
    empty = tokenizer([""], padding="max_length", max_length=TEXT_LENGTH, return_tensors="pt").input_ids[0]
    alphas = pipe.scheduler.alphas_cumprod.float()  # float64 in the scheduler
    rotary = pipe._prepare_rotary_positional_embeddings(SIZE, SIZE, latents.shape[1], "cpu")
    net, text = pipe.transformer, pipe.text_encoder

    params = [*net.parameters(), *text.parameters()]
    print(f"transformer {sum(p.numel() for p in net.parameters()) / 1e6:.2f} M,", end=" ")
    print(f"text encoder {sum(p.numel() for p in text.parameters()) / 1e6:.2f} M parameters", flush=True)
    matrices = [p for n, p in net.named_parameters() if p.ndim == 2 and "transformer_blocks" in n] if args.muon else []
    chosen = {id(p) for p in matrices}
    rest = [p for p in params if id(p) not in chosen]
    opts = [(torch.optim.AdamW(rest, lr=args.lr, betas=(0.9, 0.99), weight_decay=0.01), args.lr)]
    if matrices:
        opts.append((torch.optim.Muon(matrices, lr=args.muon, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"), args.muon))
    if args.init:
        state = torch.load(args.init)
        net.load_state_dict(state["net"])
        text.load_state_dict(state["text"])
    average = [p.detach().clone() for p in params]
    step, spent, mean_loss = 0, 0.0, None
    state_path = os.path.join(args.work, "state.pt")
    if os.path.exists(state_path):
        state = torch.load(state_path)
        net.load_state_dict(state["net"])
        text.load_state_dict(state["text"])
        for (opt, _), saved in zip(opts, state["opts"]):
            opt.load_state_dict(saved)
        average, step, spent, mean_loss = state["average"], state["step"], state["spent"], state["loss"]
        torch.manual_seed(args.seed + step)

    def save():
        state = dict(net=net.state_dict(), text=text.state_dict(), opts=[o.state_dict() for o, _ in opts])
        state |= dict(average=average, step=step, spent=spent, loss=mean_loss)
        torch.save(state, state_path + ".part")
        os.replace(state_path + ".part", state_path)
        kept = [p.detach().clone() for p in params]
        for p, a in zip(params, average):
            p.data.copy_(a)
        pipe.save_pretrained(args.out)
        for p, k in zip(params, kept):
            p.data.copy_(k)

    began = time.time()
    while step < args.steps:
        factor = min(1, (step + 1) / 100) * min(1, max(0.02, (args.steps - step) / max(1, args.decay)))
        for opt, lr in opts:
            for group in opt.param_groups:
                group["lr"] = lr * factor
        guided = step >= args.steps - args.guided
        count = args.batch // 2 if guided else args.batch
        pick = torch.randint(0, len(latents), (count,))
        x, tokens = latents[pick], ids[pick].clone()
        t = draw_timesteps(count)
        a = alphas[t].view(-1, 1, 1, 1, 1)
        noise = torch.randn_like(x)
        noisy = a.sqrt() * x + (1 - a).sqrt() * noise
        velocity = a.sqrt() * noise - (1 - a).sqrt() * x
        if guided:  # each clip with its prompt and with the empty one
            noisy, t, tokens = torch.cat([noisy, noisy]), torch.cat([t, t]), torch.cat([tokens, empty.expand_as(tokens)])
        else:
            tokens[torch.rand(count) < 0.1] = empty
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
            out = net(
                hidden_states=noisy,
                encoder_hidden_states=text(tokens)[0],
                timestep=t,
                image_rotary_emb=rotary,
                return_dict=False,
            )[0]
        if guided:
            given, empties = out.float().chunk(2)
            miss = empties.detach() + args.guidance * (given - empties.detach()) - velocity
            # The scale multiplies the gradient of the first term: dividing by it keeps the two terms' balance.
            guided_loss = miss.pow(2).mean()
            loss = guided_loss / args.guidance + (empties - velocity).pow(2).mean()
            shown = guided_loss.item()
        else:
            loss = (out.float() - velocity).pow(2).mean()
            shown = loss.item()
        for opt, _ in opts:
            opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        for opt, _ in opts:
            opt.step()
        step += 1
        keep = min(0.995, step / (step + 20))
        with torch.no_grad():
            torch._foreach_mul_(average, keep)
            torch._foreach_add_(average, [p.detach() for p in params], alpha=1 - keep)
        mean_loss = shown if mean_loss is None else 0.98 * mean_loss + 0.02 * shown
        if step % 50 == 0:
            now = time.time()
            spent, began = spent + now - began, now
            print(f"{step} loss {mean_loss:.4f} lr factor {factor:.2f} {spent:.0f} s", flush=True)
        if step % 200 == 0:
            save()
    save()


if __name__ == "__main__":
    main()

"""Makes the goldens of the report's tests: clips, what the Python judge measures of them, and PSNR and SSIM of pairs.

    python examples/report/goldens/make.py [--generated FOLDER]

Needs numpy, Pillow, torch and scikit-image. A clip is kept as one PNG, its frames below each other. The drawn clips are
those of examples/demo-model/training/scenes.py. FOLDER holds clips that the demo model generated, each a folder of
pictures named like "a-red-ball-moves-right-on-a-navy-background" (examples/c/generate.c, --output FOLDER/NAME/f.png);
without it, the generated clips that are here already are measured again.
"""

import argparse
import json
import pathlib
import sys

import numpy as np
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

HERE = pathlib.Path(__file__).resolve().parent
DEMO = HERE.parents[1] / "demo-model"
sys.path[:0] = [str(DEMO), str(DEMO / "training")]
import judge  # noqa: E402
import scenes  # noqa: E402


def draw(*scene):
    clip = (scenes.clip(*scene).permute(1, 2, 3, 0).numpy() + 1) / 2
    return np.round(clip * 255).astype(np.uint8)


def drawn_clips():
    """Name, clip, prompt: right ones, and each kind of wrong one."""
    red = ("red", "ball", "right", "navy")
    clip, prompt = draw(*red, 16, 24), scenes.prompt_of(*red)
    yield "right-ball", clip, prompt
    for shape, scene in (
        ("square", ("green", "square", "up", "brown", 12, 40)),
        ("triangle", ("purple", "triangle", "left", "black", 20, 32)),
    ):
        yield f"right-{shape}", draw(*scene), scenes.prompt_of(*scene[:4])
    scenes.COLORS |= judge.ADAPTED
    pink = ("pink", "ball", "down", "gray")
    yield "right-pink", draw(*pink, 12, 36), scenes.prompt_of(*pink)
    yield "pink-for-red", draw(*pink, 12, 36), scenes.prompt_of("red", *pink[1:])
    yield "noisy", spoilt(clip, 8), prompt
    yield "wrong-color", clip, scenes.prompt_of("yellow", *red[1:])
    yield "wrong-shape", clip, scenes.prompt_of("red", "triangle", *red[2:])
    yield "wrong-motion", clip, scenes.prompt_of("red", "ball", "down", "navy")
    yield "wrong-background", clip, scenes.prompt_of(*red[:3], "gray")
    yield "backwards", clip[::-1], prompt
    jump = np.concatenate([clip[:1].repeat(8, 0), clip[-1:].repeat(9, 0)])
    yield "jump", jump, prompt
    gone = clip.copy()
    gone[9] = clip[9, 0, 0]
    yield "gone", gone, prompt
    yield "still", clip[:1].repeat(len(clip), 0), prompt
    both = np.maximum(clip, draw(*red, 16, 52))
    yield "two-balls", both, prompt
    yield "half-speed", clip[np.arange(len(clip)) // 2], prompt
    noise = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    yield "noise", noise, prompt


def spoilt(clip, deviation, seed=0):
    noise = np.random.default_rng(seed).normal(0, deviation, clip.shape)
    return np.clip(np.round(clip + noise), 0, 255).astype(np.uint8)


def keep(name, clip):
    Image.fromarray(np.ascontiguousarray(clip).reshape(-1, clip.shape[2], 3)).save(HERE / name, optimize=True)


def kept(name):
    rows = np.array(Image.open(HERE / name).convert("RGB"))
    return rows.reshape(-1, rows.shape[1], rows.shape[1], 3)


def judged(name, clip, prompt):
    color = judge.parse_prompt(prompt)[0]
    seen = judge.measure(clip, judge.COLORS | {color: (judge.COLORS | judge.ADAPTED)[color]})
    centres = seen["centres"]
    return {
        "file": name,
        "prompt": prompt,
        "verdict": {part: bool(good) for part, good in judge.judge(clip, prompt).items()},
        "background": seen["background"],
        "color": seen["color"],
        "color_distance": seen["color_distance"],
        "areas": seen["areas"],
        "rest": seen["rest"],
        "centres": None if centres is None else centres.tolist(),
        "overlaps": [list(shapes.values()) for shapes in seen["shapes"]],
        # From the picture of the first of these clips, the red ball's.
        "difference": judge.difference(clip[0], kept("drawn-right-ball.png")[0]),
    }


def compared(a, b):
    x, y = kept(a) / 255.0, kept(b) / 255.0
    weights = np.array([0.299, 0.587, 0.114])
    # The settings with which scikit-image documents that it matches Wang et al.
    ssim = [
        structural_similarity(
            p @ weights, q @ weights, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0
        )
        for p, q in zip(x, y)
    ]
    return {"a": a, "b": b, "psnr": float(peak_signal_noise_ratio(x, y, data_range=1.0)), "ssim": float(np.mean(ssim))}


def write(name, **values):
    # One clip or pair a line: changes can be read.
    (key, entries), *rest = values.items()
    assert not rest
    lines = ",\n".join("  " + json.dumps(entry) for entry in entries)
    (HERE / name).write_text(f'{{"{key}": [\n{lines}\n]}}\n')


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--generated", type=pathlib.Path)
    args = ap.parse_args()
    clips, files = [], {}
    for name, clip, prompt in drawn_clips():
        data = np.ascontiguousarray(clip).tobytes()
        if data not in files:  # the same clip may be judged for several prompts
            files[data] = f"drawn-{name}.png"
            keep(files[data], clip)
        clips.append(judged(files[data], clip, prompt))
    if args.generated:
        for path in sorted(args.generated.iterdir()):
            keep(f"generated-{path.stem}.png", judge.load_clip(str(path)))
    generated = sorted(path.name for path in HERE.glob("generated-*.png"))
    for name in generated:
        prompt = name.removeprefix("generated-").removesuffix(".png").replace("-", " ")
        clips.append(judged(name, kept(name), prompt))
    write("judge.json", clips=clips)
    pairs = [("drawn-right-ball.png", f"drawn-{other}.png") for other in ("noisy", "backwards", "gone", "two-balls")]
    pairs += list(zip(generated, generated[1:]))
    write("quality.json", pairs=[compared(*pair) for pair in pairs])
    print(f"{len(clips)} clips judged, {len(pairs)} pairs compared")


if __name__ == "__main__":
    main()

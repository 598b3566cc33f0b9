"""Judges whether a clip shows what its prompt says.

Measured, nothing learnt. The background is the median colour of the picture's border over all frames. In each frame the
moving region is the largest connected patch of pixels whose colour is further than REGION from it. Then:

background  the nearest of the four named background colours is the prompt's
color       the nearest of the six named colours to the region's median colour is the prompt's, and no further than COLOR
shape       in at least SHARE of the frames the region is like the prompt's shape drawn into its bounding box
            (intersection over union at least OVERLAP) and more so than like the two others
motion      the region's centre moves at least TRAVEL of the picture along the prompt's axis, to the prompt's side,
            strays across it by no more than STRAY of that, and goes steadily: a straight line through time fits the
            centre to STEADY of the picture
clean       the region is there in every frame, its area stays within AREA of its median, and other patches are below REST
            of its area

Where a clip was made from a picture, there is a part more:

kept        the first frame is the picture: their mean squared difference is at most KEPT of that of the picture and a plain
            one of its border's median colour. So it does not matter how much a colour stands out from its background; a shape
            that is off by 2 pixels, larger, of another kind or another colour is too far.

Besides the demo model's six colours the judge knows those of its adapters, ADAPTED: where a prompt asks for one of them,
the colours that are compared are the six and that.

A clip is an array (frames, height, width, 3) of bytes, or of floats in [0, 1].

    python judge.py --prompt "a red ball moves right on a navy background" clip.gif    (or .npy, or a folder of pictures)
    python judge.py --prompt "a red ball moves right on a navy background" --image first.png clip.gif
    python judge.py --self-test
"""

import argparse
import os
import sys

import numpy as np

COLORS = {
    "red": (1.0, 0.1, 0.1),
    "green": (0.1, 0.8, 0.2),
    "blue": (0.15, 0.3, 1.0),
    "yellow": (1.0, 0.9, 0.1),
    "white": (1.0, 1.0, 1.0),
    "purple": (0.65, 0.15, 0.85),
}
ADAPTED = {"pink": (1.0, 0.45, 0.7)}  # drawn with lora-pink
BACKGROUNDS = {
    "black": (0.02, 0.02, 0.02),
    "gray": (0.4, 0.4, 0.4),
    "navy": (0.04, 0.06, 0.3),
    "brown": (0.35, 0.2, 0.1),
}
SHAPES = ("ball", "square", "triangle")
DIRECTIONS = {"right": (1, 0), "left": (-1, 0), "up": (0, -1), "down": (0, 1)}  # (x, y), y grows downwards

REGION = 0.25  # Euclidean distance of colours, each channel in [0, 1]
COLOR = 0.3
OVERLAP = 0.8
SHARE = 0.8
TRAVEL = 0.3
STRAY = 0.2
STEADY = 0.03
AREA = 0.35
REST = 0.15
KEPT = 0.11


def parse_prompt(prompt):
    """(color, shape, direction, background) of a prompt of the demo model's form."""
    words = prompt.split()
    form = "a {color} {shape} moves {direction} on a {background} background"
    if len(words) != 9 or [words[i] for i in (0, 3, 5, 6, 8)] != ["a", "moves", "on", "a", "background"]:
        raise ValueError(f"prompt: expected {form!r}, found {prompt!r}")
    asked = words[1], words[2], words[4], words[7]
    for word, known in zip(asked, (COLORS | ADAPTED, SHAPES, DIRECTIONS, BACKGROUNDS)):
        if word not in known:
            raise ValueError(f"prompt: expected one of {', '.join(known)}, found {word!r}")
    return asked


def nearest(color, named):
    """Name and distance of the named colour nearest to `color`."""
    name = min(named, key=lambda n: np.linalg.norm(color - np.array(named[n])))
    return name, float(np.linalg.norm(color - np.array(named[name])))


def largest_patch(mask):
    """The largest 4-connected patch of a boolean picture, and how many pixels lie outside it."""
    left = mask.copy()
    best = np.zeros_like(mask)
    while left.any():
        patch = np.zeros_like(mask)
        patch[tuple(np.argwhere(left)[0])] = True
        while True:
            grown = patch.copy()
            grown[1:] |= patch[:-1]
            grown[:-1] |= patch[1:]
            grown[:, 1:] |= patch[:, :-1]
            grown[:, :-1] |= patch[:, 1:]
            grown &= left
            if (grown == patch).all():
                break
            patch = grown
        if patch.sum() > best.sum():
            best = patch
        left &= ~patch
    return best, int(mask.sum() - best.sum())


def overlaps(patch):
    """Intersection over union of a patch with each shape drawn into its bounding box."""
    ys, xs = np.nonzero(patch)
    box = patch[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    h, w = box.shape
    y = (np.arange(h)[:, None] + 0.5) / h  # 0 at the top, 1 at the bottom
    x = (np.arange(w)[None, :] + 0.5) / w
    drawn = {
        "ball": (2 * x - 1) ** 2 + (2 * y - 1) ** 2 <= 1,
        "square": np.ones_like(box),
        "triangle": np.abs(2 * x - 1) <= y + 0 * x,
    }
    # A box much longer than wide is no square or ball, however well it is filled.
    squash = min(h, w) / max(h, w)
    return {n: float((box & d).sum() / (box | d).sum()) * min(1.0, squash / 0.75) for n, d in drawn.items()}


def border(clip):
    """The median colour of the two outermost rows and columns of all frames."""
    rows = np.concatenate([clip[:, :2], clip[:, -2:]], 1).reshape(-1, 3)
    sides = np.concatenate([clip[:, :, :2], clip[:, :, -2:]], 2).reshape(-1, 3)
    return np.median(np.concatenate([rows, sides]), 0)


def numbers(pictures):
    """Pictures of bytes, or of floats in [0, 1], as floats in [0, 1]."""
    pictures = np.asarray(pictures)
    return pictures / 255.0 if pictures.dtype == np.uint8 else pictures.astype(np.float64)


def measure(clip, colors=COLORS):
    """What is seen in a clip, as a dict; `None` in place of the values that need a region where there is none."""
    clip = np.asarray(clip)
    if clip.ndim != 4 or clip.shape[-1] != 3 or clip.shape[0] < 3:
        raise ValueError(f"clip: expected (frames >= 3, height, width, 3), found {clip.shape}")
    clip = numbers(clip)
    frames, height, width, _ = clip.shape
    ground = border(clip)
    seen = {"background": nearest(ground, BACKGROUNDS)[0], "color": None, "color_distance": None}
    seen |= {"shapes": [], "centres": None, "areas": [], "rest": []}
    away = np.linalg.norm(clip - ground, axis=-1) > REGION
    centres, medians = [], []
    for frame, mask in zip(clip, away):
        patch, rest = largest_patch(mask)
        area = int(patch.sum())
        seen["areas"].append(area)
        seen["rest"].append(rest)
        if area < 0.005 * height * width:
            continue
        ys, xs = np.nonzero(patch)
        centres.append((xs.mean() / width, ys.mean() / height))
        medians.append(np.median(frame[patch], 0))
        seen["shapes"].append(overlaps(patch))
    if len(centres) == frames:
        seen["color"], seen["color_distance"] = nearest(np.median(medians, 0), colors)
        seen["centres"] = np.array(centres)
    return seen


def difference(first, image):
    """How far a frame is from a picture of its size, as a share of how far a plain picture would be."""
    first, image = numbers(first), numbers(image)
    if first.shape != image.shape:
        raise ValueError(f"image: expected the frames' {first.shape}, found {image.shape}")
    plain = border(image[None])
    return float(((first - image) ** 2).mean() / max(((plain - image) ** 2).mean(), 1e-12))


def judge(clip, prompt, image=None):
    """Whether each part of the prompt is fulfilled, the picture kept if there is one, and `all`: a dict of bools."""
    color, shape, direction, background = parse_prompt(prompt)
    seen = measure(clip, COLORS | {color: (COLORS | ADAPTED)[color]})
    verdict = {"background": seen["background"] == background}
    if image is not None:
        verdict["kept"] = difference(clip[0], image) <= KEPT
    centres = seen["centres"]
    if centres is None:
        verdict |= {"color": False, "shape": False, "motion": False, "clean": False, "all": False}
        return verdict
    verdict["color"] = seen["color"] == color and seen["color_distance"] <= COLOR
    alike = [s[shape] >= OVERLAP and s[shape] == max(s.values()) for s in seen["shapes"]]
    verdict["shape"] = bool(np.mean(alike) >= SHARE)

    toward = np.array(DIRECTIONS[direction])
    travel = centres[-1] - centres[0]
    along, across = travel @ toward, abs(travel @ toward[::-1])
    time = np.arange(len(centres))
    line = np.stack([np.polyval(np.polyfit(time, c, 1), time) for c in centres.T], 1)
    unsteady = np.abs(centres - line).max()
    verdict["motion"] = bool(along >= TRAVEL and across <= STRAY * along and unsteady <= STEADY)
    areas, rest = np.array(seen["areas"]), np.array(seen["rest"])
    usual = np.median(areas)
    verdict["clean"] = bool((np.abs(areas / usual - 1) <= AREA).all() and (rest <= REST * areas).all())
    verdict["all"] = all(verdict.values())
    return verdict


def load_clip(path):
    """A clip from an array file (.npy), an animated picture, or a folder of pictures in the order of their names."""
    from PIL import Image, ImageSequence

    if os.path.isdir(path):
        names = sorted(n for n in os.listdir(path) if n.lower().endswith((".png", ".ppm", ".jpg")))
        return np.stack([np.array(Image.open(os.path.join(path, n)).convert("RGB")) for n in names])
    if path.endswith(".npy"):
        return np.load(path)
    with Image.open(path) as picture:
        return np.stack([np.array(f.convert("RGB")) for f in ImageSequence.Iterator(picture)])


def load_image(path):
    from PIL import Image

    with Image.open(path) as picture:
        return np.array(picture.convert("RGB"))


def self_test():
    """Clips of the data generator are accepted with their own prompt, and each wrong clip is refused for its reason."""
    import random

    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "training"))
    import scenes

    assert scenes.COLORS == COLORS and scenes.BACKGROUNDS == BACKGROUNDS and scenes.DIRECTIONS == DIRECTIONS
    rng = random.Random(0)
    checks = 0

    def expect(clip, prompt, wrong, why, image=None):
        nonlocal checks
        verdict = judge(clip, prompt, image)
        assert verdict["all"] == (not wrong), f"{why}: {prompt}: {verdict}"
        for part in wrong:
            assert not verdict[part], f"{why}: {prompt}: {part} passed: {verdict}"
        checks += 1

    def draw(*scene):
        return (scenes.clip(*scene).permute(1, 2, 3, 0).numpy() + 1) / 2

    for asked in scenes.all_prompts()[:: 7]:  # 7 shares no factor with the counts, so every word comes up
        start, lane = rng.choice(scenes.STARTS), rng.choice(scenes.LANES)
        clip = draw(*asked, start, lane)
        prompt = scenes.prompt_of(*asked)
        expect(clip, prompt, [], "right clip")
        noise = np.random.default_rng(checks).normal(0, 0.03, clip.shape)
        expect(np.clip(clip + noise, 0, 1), prompt, [], "right clip, some noise")
        parts = [scenes.COLORS, scenes.SHAPES, scenes.DIRECTIONS, scenes.BACKGROUNDS]
        for i, part in enumerate(("color", "shape", "motion", "background")):
            other = list(asked)
            other[i] = rng.choice([w for w in parts[i] if w != asked[i]])
            expect(clip, scenes.prompt_of(*other), [part], f"wrong {part}")
        expect(clip[::-1], prompt, ["motion"], "played backwards")
        expect(np.repeat(clip[:1], len(clip), 0), prompt, ["motion"], "standing still")
        order = np.array(rng.sample(range(len(clip)), len(clip)))
        expect(clip[order], prompt, ["motion"], "frames shuffled")
        jump = np.concatenate([clip[:1].repeat(8, 0), clip[-1:].repeat(9, 0)])
        expect(jump, prompt, ["motion"], "one jump")
        ground = np.broadcast_to(np.array(BACKGROUNDS[asked[3]]), clip.shape)
        gone = clip.copy()
        gone[9] = ground[9]
        expect(gone, prompt, ["clean"], "gone in one frame")
        expect(ground, prompt, ["color", "shape", "motion", "clean"], "background alone")
        hole = clip.copy()  # a bar of the background through the shape of every frame
        for frame in hole:
            ys, xs = np.nonzero(np.abs(frame - ground[0]).sum(-1) > 0.2)
            frame[int(ys.mean()) - 2 : int(ys.mean()) + 3, xs.min() : xs.max()] = ground[0, 0, 0]
        expect(hole, prompt, ["shape"], "shape cut in two")
        lane_b = 48 if lane <= 28 else 16
        other = draw(*asked, start, lane_b)
        both = np.where(np.abs(clip - ground) > np.abs(other - ground), clip, other)
        if abs(lane - lane_b) > 25:  # apart, with a gap between them
            expect(both, prompt, ["clean"], "two shapes")
        picture = clip[0]
        expect(clip, prompt, [], "its own picture", picture)
        noisy = np.clip(picture + np.random.default_rng(checks).normal(0, 0.02, picture.shape), 0, 1)
        expect(clip, prompt, [], "its own picture, some noise", noisy)
        expect(clip, prompt, ["kept"], "a picture from later", clip[1])
        expect(clip, prompt, ["kept"], "a picture from the side", np.roll(picture, 2, rng.randrange(2)))
        expect(clip[::-1], prompt, ["kept", "motion"], "played backwards, the picture last", picture)
        for i, part in enumerate(("color", "shape", "background")):
            other = list(asked)
            place = (0, 1, 3)[i]
            other[place] = rng.choice([w for w in parts[place] if w != asked[place]])
            expect(clip, prompt, ["kept"], f"a picture of another {part}", draw(*other, start, lane)[0])
    scenes.COLORS |= ADAPTED
    for asked in [p for p in scenes.all_prompts() if p[0] in ADAPTED][::5]:
        prompt = scenes.prompt_of(*asked)
        expect(draw(*asked, 16, 32), prompt, [], "an adapter's colour")
        for color in COLORS:
            expect(draw(color, *asked[1:], 16, 32), prompt, ["color"], f"{color} for an adapter's colour")
            expect(draw(*asked, 16, 32), scenes.prompt_of(color, *asked[1:]), ["color"], f"an adapter's colour for {color}")
    noise = np.random.default_rng(0).random((17, 64, 64, 3))
    expect(noise, "a red ball moves right on a gray background", ["shape", "motion"], "noise")
    for bad in ("a red ball", "a teal ball moves right on a navy background"):
        try:
            parse_prompt(bad)
        except ValueError:
            checks += 1
        else:
            raise AssertionError(f"prompt accepted: {bad}")
    print(f"{checks} checks passed")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("clip", nargs="?", help=".npy, .gif or folder of pictures")
    ap.add_argument("--prompt")
    ap.add_argument("--image", help="the picture that the clip was made from")
    ap.add_argument("--self-test", action="store_true")
    args = ap.parse_args()
    if args.self_test:
        return self_test()
    if not args.clip or not args.prompt:
        ap.error("a clip and its --prompt are needed")
    verdict = judge(load_clip(args.clip), args.prompt, load_image(args.image) if args.image else None)
    print(" ".join(f"{k}={'yes' if v else 'no'}" for k, v in verdict.items()))
    return 0 if verdict["all"] else 1


if __name__ == "__main__":
    sys.exit(main())

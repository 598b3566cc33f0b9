"""Clips of one flat shape moving over a plain background, each with the prompt that describes it.

The family of scenes is small on purpose, so that a small network learns it whole: one size, one speed,
start positions on a grid. A shape moves by exactly 2 pixels a frame, so by 8 pixels, which is one cell of
the VAE's latents, from one latent frame to the next.

Pixels are in [-1, 1], as the VAE takes them; a clip is a tensor (3, frames, 64, 64).
"""

import itertools

import torch

SIZE = 64
FRAMES = 17
SPEED = 2  # pixels a frame
STARTS = (12, 16, 20)  # centre along the motion at the first frame, from the side it comes from
LANES = tuple(range(16, 49, 4))  # centre across the motion

COLORS = {
    "red": (1.0, 0.1, 0.1),
    "green": (0.1, 0.8, 0.2),
    "blue": (0.15, 0.3, 1.0),
    "yellow": (1.0, 0.9, 0.1),
    "white": (1.0, 1.0, 1.0),
    "purple": (0.65, 0.15, 0.85),
}
BACKGROUNDS = {
    "black": (0.02, 0.02, 0.02),
    "gray": (0.4, 0.4, 0.4),
    "navy": (0.04, 0.06, 0.3),
    "brown": (0.35, 0.2, 0.1),
}
SHAPES = ("ball", "square", "triangle")
DIRECTIONS = {"right": (1, 0), "left": (-1, 0), "up": (0, -1), "down": (0, 1)}  # (x, y), y grows downwards


def prompt_of(color, shape, direction, background):
    return f"a {color} {shape} moves {direction} on a {background} background"


def all_prompts():
    """The 288 descriptions (color, shape, direction, background)."""
    return list(itertools.product(COLORS, SHAPES, DIRECTIONS, BACKGROUNDS))


def coverage(shape, dx, dy):
    """Share of a pixel at offset (dx, dy) from the shape's centre that the shape covers, edges one pixel soft."""
    if shape == "ball":
        distance = torch.sqrt(dx * dx + dy * dy) - 12.0
    elif shape == "square":
        distance = torch.maximum(dx.abs(), dy.abs()) - 11.0
    elif shape == "triangle":  # 24 wide at its base, 22 high, point upwards
        slope = 12.0 / 22.0
        distance = torch.maximum(dy - 11.0, (dx.abs() - slope * (dy + 11.0)) / (1 + slope * slope) ** 0.5)
    else:
        raise ValueError(f"shape: expected one of {SHAPES}, found {shape!r}")
    return (0.5 - distance).clamp(0, 1)


def clip_and_cover(color, shape, direction, background, start, lane, first=0, frames=FRAMES):
    """Frames `first` to `first + frames` of a scene, (3, frames, 64, 64), and the shape's cover, (1, frames, 64, 64)."""
    sx, sy = DIRECTIONS[direction]
    along = start + SPEED * torch.arange(first, first + frames).float()
    if sx + sy < 0:
        along = SIZE - along
    across = torch.full_like(along, float(lane))
    cx, cy = (along, across) if sx else (across, along)
    grid = torch.arange(SIZE).float()
    dx = grid.view(1, 1, SIZE) - cx.view(-1, 1, 1)
    dy = grid.view(1, SIZE, 1) - cy.view(-1, 1, 1)
    dx, dy = torch.broadcast_tensors(dx, dy)
    alpha = coverage(shape, dx, dy)[None]
    fg = torch.tensor(COLORS[color]).view(3, 1, 1, 1)
    bg = torch.tensor(BACKGROUNDS[background]).view(3, 1, 1, 1)
    return (bg * (1 - alpha) + fg * alpha) * 2 - 1, alpha


def clip(*scene):
    """One whole scene, a tensor (3, 17, 64, 64)."""
    return clip_and_cover(*scene)[0]


def random_clips(count, frames, rng, crop=SIZE):
    """`count` random scenes from random points of their course: clips (count, 3, frames, crop, crop) and covers.

    A crop smaller than the picture is laid around the shape, on the grid of 8 pixels of the VAE's latents.
    """
    clips, covers = [], []
    for _ in range(count):
        c, s, d, b = (rng.choice(list(x)) for x in (COLORS, SHAPES, DIRECTIONS, BACKGROUNDS))
        first = rng.randrange(0, FRAMES - frames + 1, 4)
        start, lane = rng.choice(STARTS), rng.choice(LANES)
        pixels, cover = clip_and_cover(c, s, d, b, start, lane, first, frames)
        if crop < SIZE:
            sx, sy = DIRECTIONS[d]
            along = start + SPEED * (first + frames // 2)
            along = SIZE - along if sx + sy < 0 else along
            corner = []
            for centre in ((lane, along) if sx == 0 else (along, lane)):
                at = 8 * (round((centre - crop / 2) / 8) + rng.choice((-1, 0, 1)))
                corner.append(min(max(at, 0), SIZE - crop))
            x, y = corner
            pixels, cover = (v[:, :, y : y + crop, x : x + crop] for v in (pixels, cover))
        clips.append(pixels)
        covers.append(cover)
    return torch.stack(clips), torch.stack(covers)


def all_scenes():
    """Every scene of the family: (color, shape, direction, background, start, lane), 7,776 of them."""
    return [(*p, s, l) for p in all_prompts() for s in STARTS for l in LANES]

"""The pictures that image to video starts from, and what Pillow makes of pictures."""

import json
import shutil

import numpy
import PIL.Image
import PIL.ImageOps
import torch
from safetensors.torch import save_file


def array(width, height, channels=3, seed=0):
    """A picture with smooth parts, edges and noise: `(height, width, channels)`, 8 bits."""
    random = numpy.random.default_rng(1000 * width + height + seed)
    y, x = numpy.mgrid[0:height, 0:width]
    planes = []
    for channel in range(channels):
        wave = numpy.sin((x * (channel + 1) + y * (3 - channel)) * 0.11 + seed)
        edge = ((x // 7 + y // (5 + channel)) % 2) * 70.0
        planes.append(90 + 60 * wave + edge + random.normal(0, 12, (height, width)))
    return numpy.clip(numpy.stack(planes, axis=-1), 0, 255).astype("uint8")


def ball():
    """What the demo draws and sets in motion (examples/c/compare.c): yellow on navy, 64x64."""
    y, x = numpy.mgrid[0:64, 0:64]
    cover = numpy.clip(0.5 - (numpy.hypot(x - 12, y - 20) - 12), 0, 1)[..., None]
    pixels = cover * numpy.array([1.0, 0.9, 0.1]) + (1 - cover) * numpy.array([0.04, 0.06, 0.3])
    return (255 * pixels).round().astype("uint8")


# What runs are given, by name: as the host has it.
RUNS = {
    "larger": lambda: array(91, 70),
    "drawn ball": ball,
    "smaller": lambda: array(23, 31, seed=1),
    "transparent": lambda: array(60, 44, channels=4, seed=2),
    "exact 80 48": lambda: array(80, 48, seed=3),
    "exact 48 32": lambda: array(48, 32, seed=4),
    "floats 80 48": lambda: (array(80, 48, seed=5) / 255.0).astype("float32"),
    "floats 48 32": lambda: (array(48, 32, seed=6) / 255.0).astype("float32"),
}


def argument(name):
    """The picture of `RUNS` as `CogVideoXImageToVideoPipeline` takes it. Alpha is dropped, as
    diffusers' `load_image` does."""
    pixels = RUNS[name]()
    if pixels.dtype == numpy.float32:
        return torch.from_numpy(pixels).permute(2, 0, 1)
    return PIL.Image.fromarray(pixels).convert("RGB")


def moving(count, width, height, channels=3, seed=0):
    """Pictures over which a pattern moves: `(count, height, width, channels)`, 8 bits."""
    wide = array(width + 3 * count, height, channels, seed)
    return numpy.stack([wide[:, 3 * i : 3 * i + width] for i in range(count)])


# The videos of runs, by name: as the host has them.
CLIPS = {
    "9 larger": lambda: moving(9, 60, 44, seed=10),
    "9 exact": lambda: moving(9, 48, 32, seed=11),
    "9 smaller": lambda: moving(9, 23, 31, seed=12),
    "9 transparent": lambda: moving(9, 50, 38, channels=4, seed=13),
    "9 floats": lambda: (moving(9, 48, 32, seed=14) / 255.0).astype("float32"),
    "1 larger": lambda: moving(1, 60, 44, seed=15),
    "5 exact": lambda: moving(5, 48, 32, seed=16),
    "8 exact": lambda: moving(8, 48, 32, seed=17),
    "11 exact": lambda: moving(11, 48, 32, seed=18),
    "13 exact": lambda: moving(13, 48, 32, seed=19),
    "16 exact": lambda: moving(16, 48, 32, seed=20),
    "17 exact": lambda: moving(17, 48, 32, seed=21),
}


def mask(count, width, height, made):
    """255 where `made` says so of frame, row and column: `(count, height, width)`."""
    f, y, x = numpy.mgrid[0:count, 0:height, 0:width]
    return (255 * made(f, y, x)).astype("uint8")


# What of a video is made anew, by name.
MASKS = {
    "right half": lambda: mask(1, 48, 32, lambda f, y, x: x >= 21),
    "small": lambda: mask(1, 7, 5, lambda f, y, x: (x + y) % 3 == 0),
    "later of 9": lambda: mask(9, 48, 32, lambda f, y, x: f > 3),
    "later of 13": lambda: mask(13, 48, 32, lambda f, y, x: (f > 5) | (y < 10)),
    "everything": lambda: mask(1, 48, 32, lambda f, y, x: x >= 0),
}


def frames(name):
    """The video of `CLIPS` as pipelines take it; alpha is dropped."""
    pixels = CLIPS[name]()
    if pixels.dtype == numpy.float32:
        return list(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    return [PIL.Image.fromarray(frame).convert("RGB") for frame in pixels]


# (width, height) of pictures and of what they are resized to.
SIZES = [
    ((64, 48), (64, 48)),
    ((64, 48), (16, 8)),
    ((32, 24), (120, 72)),
    ((64, 48), (64, 24)),
    ((64, 48), (32, 48)),
    ((31, 57), (48, 16)),
    ((7, 5), (80, 48)),
    ((1, 1), (16, 16)),
    ((1, 40), (24, 16)),
    ((257, 3), (16, 16)),
    ((100, 100), (99, 101)),
    ((160, 90), (16, 16)),
    # Both sides shrink: along columns first, along rows first, on the border between them.
    ((91, 70), (80, 32)),
    ((91, 70), (48, 32)),
    ((60, 70), (50, 50)),
    ((60, 70), (50, 49)),
    ((5, 600), (12, 24)),
]


def sixteen_bits(path):
    """A grey PNG of 16 bits and what its high bytes are."""
    high = array(9, 7, seed=40)[..., 0].astype("uint16")
    PIL.Image.fromarray(high * 256 + 200).save(path)
    return PIL.Image.fromarray(high.astype("uint8"))


def files(folder):
    """Writes `images/`; gives what Pillow reads of each file, the right way up and in RGB, as
    diffusers' `load_image` has it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    rgb = PIL.Image.fromarray(array(37, 26, seed=30))
    smooth = rgb.resize((45, 34), PIL.Image.Resampling.BICUBIC)
    rgba = PIL.Image.fromarray(array(20, 11, channels=4, seed=31))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    for name, image, options in [
        ("rgb.png", rgb, {}),
        ("rgba.png", rgba, {}),
        ("grey.png", rgb.convert("L"), {}),
        ("grey-alpha.png", rgba.convert("LA"), {}),
        ("one-bit.png", rgb.convert("1"), {}),
        ("palette.png", rgb.convert("P", palette=PIL.Image.Palette.ADAPTIVE, colors=30), {}),
        ("palette-transparent.png", rgb.quantize(17), dict(transparency=3)),
        ("turned.png", rgb, dict(exif=exif)),
        ("rgb.jpg", smooth, dict(quality=95, subsampling=0)),
        ("subsampled.jpg", smooth, dict(quality=90, subsampling=2)),
        ("progressive.jpeg", smooth, dict(quality=90, progressive=True)),
        ("grey.jpg", smooth.convert("L"), dict(quality=90)),
        ("turned.jpg", smooth, dict(quality=95, subsampling=0, exif=exif)),
        ("cmyk.jpg", smooth.convert("CMYK"), dict(quality=95)),
    ]:
        image.save(folder / name, **options)
        yield name, PIL.ImageOps.exif_transpose(PIL.Image.open(folder / name)).convert("RGB")
    yield "sixteen-bits.png", sixteen_bits(folder / "sixteen-bits.png").convert("RGB")


def make(out):
    """Writes `images/` and in `images.safetensors` what is read of its files, `file.<name>`;
    writes `images.safetensors` and `images.json`: pictures and what Pillow's Lanczos filter
    resizes them to, in 8 bits and, of floating-point planes ("F"), in float32."""
    tensors, cases = {}, []
    for number, (size, target) in enumerate(SIZES):
        pixels = array(*size, seed=number)
        if number % 3 == 1:
            # Hard black and white, over which the filter shoots.
            pixels = (pixels > 120).astype("uint8") * 255
        key = f"{size[0]}x{size[1]}_to_{target[0]}x{target[1]}"
        resized = PIL.Image.fromarray(pixels).resize(target, PIL.Image.Resampling.LANCZOS)
        tensors[key + ".pixels"] = torch.from_numpy(pixels)
        tensors[key + ".resized"] = torch.from_numpy(numpy.array(resized))
        floats = (pixels / 255.0).astype("float32")
        planes = [
            numpy.array(PIL.Image.fromarray(floats[..., channel]).resize(
                target, PIL.Image.Resampling.LANCZOS))
            for channel in range(3)
        ]
        if size[0] * size[1] < 10_000:
            tensors[key + ".floats"] = torch.from_numpy(numpy.stack(planes, axis=-1))
        cases.append(dict(tensors=key, width=target[0], height=target[1]))
    for name, image in files(out / "images"):
        tensors["file." + name] = torch.from_numpy(numpy.array(image))
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, out / "images.safetensors")
    lines = ",\n".join(json.dumps(case) for case in cases)
    (out / "images.json").write_text("[\n" + lines + "\n]\n")
    size = (out / "images.safetensors").stat().st_size
    print(f"images.safetensors: {len(cases)} cases, {size} bytes")

"""The kernels K1 to K3 (src/backend/cuda) by themselves on a card, on PyTorch's tensors and stream,
beside the composition of libtorch's operators that they stand for: for probe.py."""

import ctypes
import os

HERE = os.path.dirname(os.path.abspath(__file__))
# Beside this file in a packed probe, else in the sources.
PTX = [os.path.join(HERE, "kernels.ptx"),
       os.path.join(HERE, "..", "..", "src", "backend", "cuda", "kernels", "kernels.ptx")]
# Relative L2 error against libtorch's operators in bfloat16, which round more often.
LIMIT = 2e-2
I32, U32, I64, F32 = ctypes.c_int32, ctypes.c_uint32, ctypes.c_int64, ctypes.c_float


class Module:
    """kernels.ptx in the context that is current. `stream()` is the handle that PyTorch uses."""

    def __init__(self, stream):
        self.driver, self.stream, self.module = ctypes.CDLL("libcuda.so.1"), stream, ctypes.c_void_p()
        with open(next(path for path in PTX if os.path.exists(path)), "rb") as file:
            self._check(self.driver.cuModuleLoadData(ctypes.byref(self.module), file.read() + b"\0"))

    def _check(self, status):
        if status:
            text = ctypes.c_char_p()
            self.driver.cuGetErrorString(status, ctypes.byref(text))
            raise RuntimeError(f"CUDA's driver: {status} {(text.value or b'').decode()}")

    def launch(self, name, grid, threads, *arguments):
        """`arguments`: tensors, None, pairs of tensors, or ctypes."""
        function = ctypes.c_void_p()
        self._check(self.driver.cuModuleGetFunction(ctypes.byref(function), self.module,
                                                    name.encode()))
        cells = []
        for value in arguments:
            pointers = value if isinstance(value, tuple) else (value,)
            if isinstance(value, (ctypes._SimpleCData, ctypes.Array)):
                cells.append(value)
            else:
                cells.append((ctypes.c_void_p * len(pointers))(
                    *(None if p is None else p.data_ptr() for p in pointers)))
        addresses = (ctypes.c_void_p * len(cells))(*(ctypes.addressof(cell) for cell in cells))
        self._check(self.driver.cuLaunchKernel(function, *grid, 1, threads, 1, 1, 0,
                                               ctypes.c_void_p(self.stream()), addresses, None))

    def close(self):
        self._check(self.driver.cuModuleUnload(self.module))


def cases(torch, device, dtype, short):
    """Of each kernel: name, launch(module), the same of libtorch's operators, what both wrote, bytes."""
    kind = {torch.bfloat16: "bf16", torch.float16: "f16", torch.float32: "float"}[dtype]
    batch, text, video, heads = (2, 3, 10, 2) if short else (2, 226, 17550, 48)
    tokens, width = text + video, 64 * heads
    norm = torch.nn.functional.layer_norm
    new = lambda *shape: torch.randn(*shape, device=device, dtype=dtype)  # noqa: E731

    packed = new(batch, tokens, 3, heads, 64)
    weights = [new(64) for _ in range(4)]
    angles = torch.randn(video, 32, device=device)
    turns = torch.polar(torch.ones_like(angles), angles)
    units = batch * tokens * 2 * heads

    def heads_by_libtorch():
        parts = []
        for which in range(2):
            x = norm(packed[:, :, which].transpose(1, 2), (64,), *weights[2 * which:2 * which + 2], 1e-6)
            wide = torch.view_as_complex(x[:, :, text:].float().unflatten(-1, (-1, 2)).contiguous())
            x[:, :, text:] = torch.view_as_real(wide * turns).flatten(-2).to(dtype)
            parts.append(x)
        return parts
    before = packed.clone()
    expected = torch.stack([x.transpose(1, 2) for x in heads_by_libtorch()], 2)
    yield ("K1 norm of q and k, rotary", lambda module: module.launch(
        f"cvx_norm_heads_{kind}", ((units + 31) // 32, 1), 256, packed, *weights,
        torch.view_as_real(turns), I32(tokens), I32(text), I32(heads), I32(64), U32(units),
        F32(1e-6)), heads_by_libtorch, lambda: (packed[:, :, :2], expected),
        lambda: packed.copy_(before), 2 * 2 * units // 2 * 64 * packed.element_size())

    x, branch, out = new(batch, tokens, width), new(batch, tokens, width), new(batch, tokens, width)
    weight, bias = new(width), new(width)
    gate, scale, shift = ((new(width), new(width)) for _ in range(3))
    kept, parts = x.clone(), (width + 1023) // 1024

    def rows_by_libtorch():
        y = kept.clone()
        y[:, :text].addcmul_(branch[:, :text], gate[1])
        y[:, text:].addcmul_(branch[:, text:], gate[0])
        z = norm(y, (width,), weight * (1 + scale[0]), bias * (1 + scale[0]) + shift[0], 1e-5)
        z[:, :text] = norm(y[:, :text], (width,), weight * (1 + scale[1]),
                           bias * (1 + scale[1]) + shift[1], 1e-5)
        return z
    normed = rows_by_libtorch()
    yield ("K2 gate, residual, norm, modulation", lambda module: module.launch(
        f"cvx_gate_norm_modulate_{parts}_{kind}", (batch * tokens, 1), 128, x, branch, gate, out,
        weight, bias, scale, shift, I32(width), I32(tokens), I32(text), F32(1e-5)),
        rows_by_libtorch, lambda: (out, normed), lambda: x.copy_(kept),
        4 * x.numel() * x.element_size())

    frames, side, channels, groups = (3, 16, 64, 8) if short else (8, 480, 128, 32)
    wide = side * 3 // 2
    image, made = new(frames, side, wide, channels), new(frames, side, wide, channels)
    pixels = frames * side * wide
    chunk = max(pixels // 1024 + 1, 256)
    blocks = (pixels + chunk - 1) // chunk
    partial = torch.empty(blocks, channels, 2, device=device)
    moments = torch.empty(2, groups, device=device)

    def moments_by_libtorch():
        parts = image.view(pixels, groups, -1)
        mean = parts.mean((0, 2), dtype=torch.float32)
        square = torch.linalg.vector_norm(parts, dim=(0, 2), dtype=torch.float32).square()
        return torch.stack([mean, square / (pixels * (channels // groups)) - mean.square()])
    statistics = moments_by_libtorch()

    def both_moments(module):
        module.launch(f"cvx_moments_{kind}", (blocks, 1), 256, image, partial, I64(pixels),
                      I32(channels), I64(chunk))
        module.launch("cvx_moments_of_groups", (groups, 1), 256, partial, moments, I64(pixels),
                      I32(channels), I64(chunk), I32(blocks))
    yield ("K3 moments", both_moments, moments_by_libtorch,
           lambda: (moments[1], statistics[1]), lambda: None,
           image.numel() * image.element_size())

    lines, columns = side // 8, wide // 8
    table = torch.randn(2, lines, columns, 2 * channels, device=device)
    of = (I32 * 64)(*(frame % 2 for frame in range(frames)), *[0] * (64 - frames))

    def silu_by_libtorch():
        y = torch.empty_like(image)
        for frame in range(frames):
            spread = table[frame % 2].repeat_interleave(8, 0).repeat_interleave(8, 1)
            y[frame] = torch.nn.functional.silu(
                (image[frame] * spread[..., :channels] + spread[..., channels:]).to(dtype))
        return y
    modulated = silu_by_libtorch()
    yield ("K3 modulation, SiLU", lambda module: module.launch(
        f"cvx_modulate_silu_{kind}", ((side * wide * channels // 8 + 255) // 256, frames), 256, image,
        made, table, of, I32(side), I32(wide), I32(channels), I32(lines), I32(columns)),
        silu_by_libtorch, lambda: (made, modulated), lambda: None,
        2 * image.numel() * image.element_size())


def rows(torch, options, timed):
    """Of each kernel: name, its seconds, those of libtorch's operators, error, bytes that it must move."""
    times = 1 if options.short else 10
    torch.zeros(1, device=options.device)  # the context is there, and current
    module = Module(lambda: torch.cuda.current_stream().cuda_stream)
    for name, launch, theirs, results, again, size in cases(torch, options.device, torch.bfloat16,
                                                            options.short):
        launch(module)
        found, expected = (part.float() for part in results())
        error = float((found - expected).norm() / expected.norm())
        again()
        yield (name, timed(torch, lambda: launch(module), options.device, times),
               timed(torch, theirs, options.device, times), error, size)
    torch.cuda.synchronize()
    module.close()

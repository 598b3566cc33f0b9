#!/usr/bin/env python3
"""What hosts with memory, streams and contexts of their own do on the device."""

import array
import ctypes
import struct
import unittest

import cvx_sim as sim
from cases import INVALID_ARGUMENT, OnTheDevice, alone, load
from cvx_sim import cvx

library = cvx.Library()
RGB8, RGBA8, F32, BGRA8, RGBA16F = 1, 2, 3, 4, 5
PIXEL = {RGB8: 3, RGBA8: 4, F32: 12, BGRA8: 4, RGBA16F: 8}
SHORT = dict(steps=2, frames=9)


def pixels_of(floats, pixels):
    """The bytes of frames in these pixels. Python rounds ties to even, as the library does."""
    if pixels == F32:
        return floats.tobytes()
    if pixels == RGBA16F:
        half = struct.Struct("<e").pack
        parts = [half(value) for value in floats]
        return b"".join(b"".join(parts[i:i + 3]) + half(1.0) for i in range(0, len(parts), 3))
    as_float32 = array.array("f", (value * 255.0 for value in floats))
    data = bytearray(round(value) for value in as_float32)
    if pixels == RGB8:
        return bytes(data)
    order = slice(None, None, -1) if pixels == BGRA8 else slice(None)
    return b"".join(bytes(data[i:i + 3][order]) + b"\xff" for i in range(0, len(data), 3))


class Frames(OnTheDevice):
    """Frames in the host's memory on the device, and handed out there."""

    def setUp(self):
        super().setUp()
        (count, self.height, self.width, _), self.floats = sim.frames(self.pipeline, **SHORT)
        self.count = count
        self.device.reset()

    def generated(self, set_up, **wanted):
        with sim.options(library, **{**SHORT, **wanted}) as options:
            set_up(options)
            video = cvx.P()
            library.pipeline_generate(self.pipeline.pointer, options, ctypes.byref(video))
        return video

    def refused(self, set_up, *words):
        with self.assertRaises(cvx.CvxError) as caught:
            self.generated(set_up)
        self.assertEqual(caught.exception.code, INVALID_ARGUMENT)
        for word in words:
            self.assertIn(word, str(caught.exception))

    def test_every_format_is_written_where_the_strides_say(self):
        for pixels, size in PIXEL.items():
            row, gap = self.width * size, 16
            stride, frame = row + gap, (row + gap) * self.height + 48
            needed = (self.count - 1) * frame + (self.height - 1) * stride + row
            address = self.device.alloc(needed)
            video = self.generated(lambda options: sim.set_buffer(
                library, options, pixels, address, needed, stride, frame))
            expected = bytearray(b"\x5a" * needed)
            data = pixels_of(self.floats, pixels)
            for index in range(self.count * self.height):
                start = index // self.height * frame + index % self.height * stride
                expected[start:start + row] = data[index * row:(index + 1) * row]
            self.assertEqual(self.device.read(address, needed), bytes(expected), pixels)
            self.assertEqual(sim.frames_of(self.pipeline, video)[1], self.floats)
            self.device.free(address)

    def test_a_callback_finds_the_frames_on_the_device(self):
        for pixels in PIXEL:
            found, keep = [], []

            def call(info):
                size = info.num_frames * info.frame_stride
                found.append((info.first_frame, info.num_frames, info.device, info.stream,
                              info.data >> 62, self.device.read(info.data, size)))
            video = self.generated(
                lambda options: sim.set_device_frames(library, options, pixels, call, keep))
            library.video_free(video)
            self.assertEqual([told[:5] for told in found], [(0, self.count, b"cuda:0", None, 1)])
            self.assertEqual(b"".join(told[5] for told in found),
                             pixels_of(self.floats, pixels), pixels)

    def test_memory_of_the_wrong_kind_is_refused_before_anything_is_computed(self):
        sim.Driver()
        size = self.count * self.height * self.width * 4
        on_device = self.device.alloc(size)
        host = ctypes.create_string_buffer(size)
        give = lambda address, device, size=size: lambda options: sim.set_buffer(
            library, options, RGBA8, address, size, device=device)
        self.refused(give(on_device, False), "frames buffer: expected host memory", "cuda:0")
        self.refused(give(on_device + 4, True), "ends", "bytes behind the address")
        self.refused(give(on_device, True, size - 1), f"at least {size} bytes")
        self.assertEqual(self.device.count("kernels"), 0)
        cpu = cvx.Pipeline(library, sim.MODEL, "cpu", "f32")
        mine, self.pipeline = self.pipeline, cpu
        try:
            self.refused(give(on_device, True), "expected host memory", "cuda:0")
            self.refused(give(on_device, False), "expected host memory", "cuda:0")
            library.video_free(self.generated(give(ctypes.addressof(host), True)))
        finally:
            self.pipeline = mine
            cpu.close()
        self.device.free(on_device)

    def test_another_device_is_refused(self):
        said = alone(load("cuda:1") + "d = sim.Device(); v = sim.Driver(); a = d.alloc(1 << 20, 0)\n"
                     "with sim.options(library, steps=1, frames=1) as o:\n"
                     "    sim.set_buffer(library, o, 2, a, 1 << 20)\n"
                     "    try: library.pipeline_generate(p.pointer, o, sim.ctypes.byref(cvx.P()))\n"
                     "    except cvx.CvxError as e: print(e)", SIMCUDA_DEVICES="2")
        self.assertIn("expected memory of cuda:1", said)
        self.assertIn("found an address on cuda:0", said)

    def test_with_a_stream_of_the_hosts_nobody_waits_from_the_first_step_on(self):
        size = self.count * self.height * self.width * 8
        address, driver, keep, groups = self.device.alloc(size), sim.Driver(), [], []
        # A stream of a context that is not the library's.
        stream = driver.stream(7)
        driver.orders()

        def call(info):
            groups.append((info.stream, info.data - address, list(driver.orders())))
        stopped = lambda stage, done, total: (
            self.device.forbid_waits() if (stage, done) == ("encode", total) else None)
        with sim.options(library, on_progress=stopped, frames_on_device=1, **SHORT) as options:
            sim.set_buffer(library, options, RGBA16F, address, size)
            sim.set_stream(library, options, stream)
            sim.set_device_frames(library, options, RGBA16F, call, keep)
            video = cvx.P()
            library.pipeline_generate(self.pipeline.pointer, options, ctypes.byref(video))
        self.assertEqual(groups, [(stream, 0, ["host > library", "library > host"])])
        # The callback's work comes before what is written next, the video before the host's next.
        self.assertEqual(driver.orders(), ["host > library", "library > host"])
        self.assertEqual(self.device.count("synchronize"), 0)
        self.assertEqual(self.device.read(address, size), pixels_of(self.floats, RGBA16F))
        # An export waits for nothing that is done, and never for the device.
        tensor = cvx.P()
        sim.function(library, "cvx_video_frames_dlpack", cvx.P, cvx.I32, cvx.I32, cvx.OUT)(
            video, 0, F32, ctypes.byref(tensor))
        self.assertEqual(self.device.report()["waits_by_reason"].get("device", 0), 0)
        self.device.forbid_waits(False)
        ctypes.CFUNCTYPE(None, cvx.P)(ctypes.cast(tensor.value + 56, ctypes.POINTER(cvx.P))[0])(
            tensor)
        library.video_free(video)
        self.device.free(address)

    def test_with_events_of_the_hosts_nobody_waits_either(self):
        size = self.count * self.height * self.width * 4
        address, driver, keep, groups = self.device.alloc(size), sim.Driver(), [], []
        # The host's stream and the event that is waited for are of a context of its own; what the
        # library records is of its context, as it must be.
        stream, wait, record = driver.stream(7), driver.event(7), driver.event(0)
        driver.record(wait, stream)
        driver.orders()

        def call(info):
            groups.append((info.stream, driver.orders()))
            driver.record(wait, stream)
        stopped = lambda stage, done, total: (
            self.device.forbid_waits() if (stage, done) == ("encode", total) else None)
        with sim.options(library, on_progress=stopped, frames_on_device=1, **SHORT) as options:
            sim.set_buffer(library, options, RGBA8, address, size)
            sim.set_event(library, options, "wait", wait)
            sim.set_event(library, options, "record", record)
            sim.set_device_frames(library, options, RGBA8, call, keep)
            video = cvx.P()
            library.pipeline_generate(self.pipeline.pointer, options, ctypes.byref(video))
        self.device.forbid_waits(False)
        # Writing behind the host's work; the group behind its event before it is handed out.
        self.assertEqual(groups, [(None, ["host > event > library", "library > event"])])
        # The callback's work comes before what is written next, the event behind the whole video.
        self.assertEqual(driver.orders(), ["host > event", "host > event > library",
                                           "library > event"])
        self.assertEqual(self.device.count("synchronize"), 0)
        self.assertEqual(self.device.read(address, size), pixels_of(self.floats, RGBA8))
        library.video_free(video)
        self.device.free(address)

    def test_events_without_frames_on_the_device(self):
        driver = sim.Driver()
        wait, record = driver.event(0), driver.event(0)
        driver.orders()
        with sim.options(library, **SHORT) as options:
            sim.set_event(library, options, "wait", wait)
            sim.set_event(library, options, "record", record)
            video = cvx.P()
            library.pipeline_generate(self.pipeline.pointer, options, ctypes.byref(video))
            # Nobody has recorded the one, so nothing waits for it; the other is behind the video.
            self.assertEqual(driver.orders(), ["library > event"])
            self.assertEqual(sim.frames_of(self.pipeline, video)[1], self.floats)
            # Taken away again.
            sim.set_event(library, options, "record", None)
            library.pipeline_generate(self.pipeline.pointer, options, ctypes.byref(video))
            library.video_free(video)
        self.assertEqual(driver.orders(), [])

    def test_what_is_no_event_or_of_the_wrong_context_is_refused(self):
        driver = sim.Driver()
        foreign = driver.event(7)
        self.refused(lambda o: sim.set_event(library, o, "wait", 0x1230), "wait event",
                     "cuStreamWaitEvent returns 400")
        self.refused(lambda o: sim.set_event(library, o, "record", 0x1230), "record event",
                     "cuEventRecord returns 400")
        self.refused(lambda o: sim.set_event(library, o, "record", foreign), "record event",
                     "primary context")
        self.assertEqual(sim.frames(self.pipeline, **SHORT)[1], self.floats)

    def test_exports_wait_for_the_frames_alone(self):
        video = self.generated(lambda _: None, frames_on_device=1)
        before = self.device.count("synchronize")
        tensor = cvx.P()
        sim.function(library, "cvx_video_latents_dlpack", cvx.P, cvx.OUT)(
            video, ctypes.byref(tensor))
        self.assertEqual(self.device.count("synchronize"), before)
        ctypes.CFUNCTYPE(None, cvx.P)(ctypes.cast(tensor.value + 56, ctypes.POINTER(cvx.P))[0])(
            tensor)
        library.video_free(video)


if __name__ == "__main__":
    unittest.main()

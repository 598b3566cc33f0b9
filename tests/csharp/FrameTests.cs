using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;
using CogVideoX;
using static Support;

internal static class FrameTests
{
    internal static void List(List<KeyValuePair<string, Action>> tests)
    {
        tests.Add("frames: pointers, copies and formats agree", Formats);
        tests.Add("frames: chunk by chunk, the same bytes, before the last is decoded", Chunks);
        tests.Add("frames: into the host's arrays and memory", Buffers);
        tests.Add("frames: on the device that decodes them", OnTheDevice);
        tests.Add("frames: DLPack tensors and device pointers", Dlpack);
        tests.Add("frames: saved to files", Saved);
    }

    private static void Formats()
    {
        using (Pipeline pipeline = Load())
        using (Video video = pipeline.Generate(Options()))
        {
            VideoFrames rgb = video.Frames();
            Equal(video.Width, rgb.Width, "width");
            Equal(video.Height, rgb.Height, "height");
            Equal(video.NumFrames, rgb.Count, "frames");
            Equal(video.Width * 3L, rgb.Stride, "stride");
            Equal(rgb.Stride * video.Height * video.NumFrames, rgb.Length, "length");
            byte[] all = rgb.ToArray();
            byte[] rgba = video.CopyFrames(PixelFormat.Rgba8);
            float[] numbers = video.Frames(PixelFormat.F32).ToFloatArray();
            Equal(all.Length / 3 * 4, rgba.Length, "rgba");
            Equal(all.Length, numbers.Length, "numbers");
            True(all.Distinct().Count() > 10, "a picture");
            for (int i = 0; i < all.Length; i++)
            {
                Equal(all[i], rgba[i / 3 * 4 + i % 3], "rgba");
                True(Math.Abs(all[i] - numbers[i] * 255) <= 0.501, "number " + numbers[i] + " of " + all[i]);
            }
            for (int i = 3; i < rgba.Length; i += 4) Equal((byte)255, rgba[i], "alpha");

            var frame = new byte[rgb.FrameSize + 2];
            rgb.CopyFrame(4, frame, 1);
            Equal((byte)0, frame[0], "before");
            Same(all.Skip((int)(4 * rgb.FrameSize)).Take((int)rgb.FrameSize).ToArray(),
                frame.Skip(1).Take((int)rgb.FrameSize).ToArray(), "frame 4");
            Equal(all[2 * rgb.FrameSize], Marshal.ReadByte(rgb.Frame(2)), "pointer");
            Throws<ArgumentOutOfRangeException>(() => rgb.Frame(9));
            Throws<ArgumentException>(() => rgb.CopyFrame(0, new byte[5]));
            Throws<ArgumentException>(() => rgb.CopyTo(all, 1));
            Throws<InvalidOperationException>(() => rgb.ToFloatArray());
            Throws<InvalidOperationException>(() => default(VideoFrames).CopyTo(new byte[0]));
            Throws<ArgumentOutOfRangeException>(() => video.Frames((PixelFormat)9));
            video.Dispose();
            Throws<ObjectDisposedException>(() => rgb.ToArray());
        }
    }

    private static void OnTheDevice()
    {
        using (Pipeline pipeline = Load())
        {
            GenerateOptions options = Options();
            int size;
            byte[] expected;
            using (Video video = pipeline.Generate(options))
            {
                expected = video.CopyFrames(PixelFormat.Rgba8);
                size = expected.Length;
            }
            IntPtr memory = Marshal.AllocHGlobal(size);
            try
            {
                int chunks = 0;
                options.FramesFormat = PixelFormat.Rgba16F;
                options.OnDeviceFrames = chunk =>
                {
                    chunks++;
                    Equal("cpu", chunk.Device, "device");
                    Equal(IntPtr.Zero, chunk.Stream, "stream");
                    Equal(PixelFormat.Bgra8, chunk.Format, "the buffer's format wins");
                    Equal(memory, chunk.Pointer, "address");
                    Equal(9, chunk.NumFrames, "frames");
                    Equal(chunk.Width * 4L, chunk.RowStride, "row");
                    Equal(chunk.Height * chunk.RowStride, chunk.FrameStride, "frame");
                    return true;
                };
                options.DeviceFrameBuffer = new FrameBuffer(PixelFormat.Bgra8, memory, size);
                pipeline.Generate(options).Dispose();
                Equal(1, chunks, "chunks");
                var found = new byte[size];
                Marshal.Copy(memory, found, 0, size);
                for (int i = 0; i < size; i += 4)
                {
                    Equal(expected[i], found[i + 2], "red");
                    Equal(expected[i + 1], found[i + 1], "green");
                    Equal(expected[i + 2], found[i], "blue");
                    Equal((byte)255, found[i + 3], "alpha");
                }
                options.OnDeviceFrames = chunk => { throw new InvalidOperationException("stop"); };
                Throws<CogVideoXException>(() => pipeline.Generate(options));
                options.OnDeviceFrames = null;
                options.DeviceFrameBuffer = new FrameBuffer(PixelFormat.Rgba16F, memory, size);
                Throws<CogVideoXException>(() => pipeline.Generate(options));
                options.DeviceFrameBuffer = new FrameBuffer(PixelFormat.Rgb8, new byte[size]);
                Throws<ArgumentException>(() => pipeline.Generate(options));
                options.DeviceFrameBuffer = null;
                options.Stream = new IntPtr(2);
                Throws<CogVideoXException>(() => pipeline.Generate(options));
                // On the CPU events are not looked at.
                options.Stream = IntPtr.Zero;
                options.WaitEvent = new IntPtr(0x1000);
                options.RecordEvent = new IntPtr(0x2000);
                pipeline.Generate(options).Dispose();
            }
            finally
            {
                Marshal.FreeHGlobal(memory);
            }
        }
    }

    private static void Chunks()
    {
        using (Pipeline pipeline = Load())
        {
            foreach (PixelFormat format in new[] { PixelFormat.Rgb8, PixelFormat.Rgba8, PixelFormat.F32 })
            {
                GenerateOptions options = Options();
                options.NumFrames = 17;
                options.NumVideos = 2;
                options.VaeSlicing = true;
                options.FramesFormat = format;
                var joined = new[] { new MemoryStream(), new MemoryStream() };
                var next = new int[2];
                int chunks = 0;
                FrameChunk kept = null;
                options.OnFrames = chunk =>
                {
                    chunks++;
                    kept = chunk;
                    Equal(next[chunk.Video], chunk.FirstFrame, "first frame");
                    next[chunk.Video] += chunk.NumFrames;
                    Equal(17, chunk.TotalFrames, "total");
                    Equal(format, chunk.Format, "format");
                    byte[] bytes = chunk.ToArray();
                    var frame = new byte[chunk.FrameStride];
                    chunk.CopyFrame(chunk.NumFrames - 1, frame);
                    Same(bytes.Skip(bytes.Length - frame.Length).ToArray(), frame, "last frame");
                    Throws<ArgumentOutOfRangeException>(() => chunk.CopyFrame(chunk.NumFrames, frame));
                    joined[chunk.Video].Write(bytes, 0, bytes.Length);
                    return true;
                };
                using (Video video = pipeline.Generate(options))
                {
                    True(chunks >= 4, "chunks: " + chunks);
                    for (int i = 0; i < 2; i++)
                    {
                        Same(video.CopyFrames(format, i), joined[i].ToArray(), format + " of video " + i);
                    }
                }
                Throws<ObjectDisposedException>(() => kept.ToArray());
                Throws<ObjectDisposedException>(() => kept.Pointer.ToString());
            }

            // The first frames come before the last are decoded.
            GenerateOptions stopped = Options();
            stopped.NumFrames = 17;
            int seen = 0;
            stopped.OnFrames = chunk => { seen += chunk.NumFrames; return false; };
            Throws<OperationCanceledException>(() => pipeline.Generate(stopped));
            True(seen > 0 && seen < 17, "frames: " + seen);

            // And on the worker of a job.
            seen = 0;
            stopped.OnFrames = chunk => { seen += chunk.NumFrames; return true; };
            pipeline.GenerateAsync(stopped).Result.Dispose();
            Equal(17, seen, "frames of a job");
        }
    }

    private static void Buffers()
    {
        using (Pipeline pipeline = Load())
        {
            GenerateOptions options = Options();
            byte[] rgba;
            float[] numbers;
            int width, height, count;
            using (Video video = pipeline.Generate(options))
            {
                rgba = video.CopyFrames(PixelFormat.Rgba8);
                numbers = video.Frames(PixelFormat.F32).ToFloatArray();
                width = video.Width;
                height = video.Height;
                count = video.NumFrames;
            }
            var bytes = new byte[rgba.Length];
            options.FrameBuffer = new FrameBuffer(PixelFormat.Rgba8, bytes);
            pipeline.Generate(options).Dispose();
            Same(rgba, bytes, "array");

            Array.Clear(bytes, 0, bytes.Length);
            using (Job job = pipeline.Submit(options))
            {
                Collect(); // the array must not move under the job
                job.Wait();
            }
            Same(rgba, bytes, "array of a job");

            var floats = new float[numbers.Length];
            options.FrameBuffer = new FrameBuffer(floats);
            pipeline.Generate(options).Dispose();
            Same(numbers, floats, "floats");

            // Rows and frames apart from each other, in memory that is not the collector's.
            long row = width * 4 + 12, frame = row * height + 100, size = frame * count;
            IntPtr memory = Marshal.AllocHGlobal((int)size);
            try
            {
                for (int i = 0; i < size; i++) Marshal.WriteByte(memory, i, 0x5a);
                options.FrameBuffer = new FrameBuffer(PixelFormat.Rgba8, memory, size, row, frame);
                pipeline.Generate(options).Dispose();
                for (int f = 0; f < count; f++)
                {
                    for (int y = 0; y < height; y += 7)
                    {
                        var line = new byte[row];
                        Marshal.Copy(new IntPtr(memory.ToInt64() + f * frame + y * row), line, 0, line.Length);
                        Same(rgba.Skip((f * height + y) * width * 4).Take(width * 4).ToArray(),
                            line.Take(width * 4).ToArray(), "row");
                        True(line.Skip(width * 4).All(b => b == 0x5a), "the gap was written");
                    }
                }
            }
            finally
            {
                Marshal.FreeHGlobal(memory);
            }

            options.FrameBuffer = new FrameBuffer(PixelFormat.Rgba8, new byte[10]);
            Fails(ErrorCode.InvalidArgument, () => pipeline.Generate(options), rgba.Length.ToString());
            Fails(ErrorCode.InvalidArgument, () => pipeline.Submit(options), rgba.Length.ToString());
            Throws<ArgumentNullException>(() => new FrameBuffer(PixelFormat.Rgb8, null));
            Throws<ArgumentNullException>(() => new FrameBuffer(PixelFormat.Rgb8, IntPtr.Zero, 5));
            Throws<ArgumentOutOfRangeException>(() => new FrameBuffer(PixelFormat.Rgb8, new byte[5], -1));
        }
    }

    private static void Dlpack()
    {
        using (Pipeline pipeline = Load())
        {
            Video video = pipeline.Generate(Options());
            Equal("cpu", video.FramesDevice, "device");
            float[] numbers = video.Frames(PixelFormat.F32).ToFloatArray();
            byte[] rgba = video.CopyFrames(PixelFormat.Rgba8);
            Latents latents = video.CopyLatents();

            DeviceFrames device = video.DeviceFrames();
            Equal(numbers.Length * 4L, device.Size, "bytes");
            Equal(IntPtr.Zero, device.Stream, "stream");
            Same(numbers, Floats(device.Data, numbers.Length), "device pointer");

            DlpackTensor floats = video.FramesDlpack();
            DlpackTensor bytes = video.FramesDlpack(PixelFormat.Rgba8);
            DlpackTensor ofLatents = video.LatentsDlpack();
            Fails(ErrorCode.InvalidArgument, () => video.FramesDlpack(PixelFormat.F32, 1));
            Fails(ErrorCode.InvalidArgument, () => video.FramesDlpack((PixelFormat)9));
            long frames = video.NumFrames, height = video.Height, width = video.Width;
            video.Dispose(); // the tensors keep the memory
            Collect();
            Same(new[] { frames, height, width, 3L }, floats.Shape, "shape");
            Same(new[] { frames, height, width, 4L }, bytes.Shape, "shape");
            Same(latents.Shape, ofLatents.Shape, "shape");
            Equal(1, floats.DeviceType, "device");
            Equal(0, floats.DeviceId, "device");
            Equal(2, floats.TypeCode, "type");
            Equal(32, floats.TypeBits, "type");
            Equal(1, bytes.TypeCode, "type");
            Equal(8, bytes.TypeBits, "type");
            Same(numbers, Floats(Dense(floats), numbers.Length), "floats");
            Same(latents.Data, Floats(Dense(ofLatents), latents.Data.Length), "latents");
            var copy = new byte[rgba.Length];
            Marshal.Copy(Dense(bytes), copy, 0, copy.Length);
            Same(rgba, copy, "bytes");

            floats.Dispose();
            floats.Dispose();
            Throws<ObjectDisposedException>(() => floats.Data.ToString());
            IntPtr given = bytes.HandOver();
            Throws<ObjectDisposedException>(() => bytes.Shape.ToString());
            bytes.Dispose(); // not ours any more: a second deleter call would crash
            IntPtr deleter = Marshal.ReadIntPtr(given, 56);
            ((Deleter)Marshal.GetDelegateForFunctionPointer(deleter, typeof(Deleter)))(given);
            // ofLatents is left to the finalizer
        }
    }

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    private delegate void Deleter(IntPtr tensor);

    private static IntPtr Dense(DlpackTensor tensor)
    {
        long[] shape = tensor.Shape, strides = tensor.Strides;
        long expected = 1;
        for (int i = shape.Length - 1; strides != null && i >= 0; i--)
        {
            if (shape[i] != 1) Equal(expected, strides[i], "stride");
            expected *= shape[i];
        }
        return tensor.Data;
    }

    private static float[] Floats(IntPtr from, int count)
    {
        var numbers = new float[count];
        Marshal.Copy(from, numbers, 0, count);
        return numbers;
    }

    private static void Saved()
    {
        using (Pipeline pipeline = Load())
        using (Video video = pipeline.Generate(Options()))
        {
            InTemporary(folder =>
            {
                string mp4 = Path.Combine(folder, "фильм.mp4");
                Video.CheckPath(mp4);
                video.Save(mp4);
                True(new FileInfo(mp4).Length > 500, "mp4");
                video.Save(Path.Combine(folder, "a.gif"), 10);
                video.Save(Path.Combine(folder, "f-%02d.png"));
                Equal(9, Directory.GetFiles(folder, "f-*.png").Length, "pictures");
                Fails(ErrorCode.InvalidArgument, () => video.Save(Path.Combine(folder, "a.doc")), ".doc");
                Fails(ErrorCode.InvalidArgument, () => video.Save(mp4, 0));
                Fails(ErrorCode.InvalidArgument, () => video.Save(mp4, 8, 1));
                Fails(ErrorCode.NotFound, () => video.Save(Path.Combine(folder, "no", "a.mp4")));
                Fails(ErrorCode.NotFound, () => Video.CheckPath(Path.Combine(folder, "no", "a.mp4")));
                string sheet = Path.Combine(folder, "sheet.png");
                Video.SaveContactSheet(new[] { video, video }, 3, sheet);
                True(new FileInfo(sheet).Length > 200, "sheet");
                Fails(ErrorCode.InvalidArgument, () => Video.SaveContactSheet(new Video[0], 3, sheet));
                Throws<ArgumentNullException>(() => Video.SaveContactSheet(new Video[] { null }, 3, sheet));
            });
        }
    }
}

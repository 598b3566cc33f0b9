using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.IO;
using System.Threading;
using CogVideoX.Native;

namespace CogVideoX
{
    /// <summary>
    /// What a run made: one or several videos of one size, as frames or as latents. It does not
    /// depend on its pipeline. Everything but Dispose may be done from many threads at once. The
    /// videos of a run with several are numbered from 0.
    /// </summary>
    public sealed partial class Video : IDisposable
    {
        private readonly VideoHandle handle;
        private readonly double fps;

        internal Video(VideoHandle handle, double fps)
        {
            this.handle = handle;
            this.fps = fps;
        }

        internal VideoHandle Handle
        {
            get { return NativeHandle.Open(handle, "Video"); }
        }

        /// <summary>How many videos the run made.</summary>
        public int Count
        {
            get { return NativeMethods.cvx_video_count(Handle); }
        }

        /// <summary>Frames of each video; 0 if the run ended with latents.</summary>
        public int NumFrames
        {
            get { return NativeMethods.cvx_video_num_frames(Handle); }
        }

        /// <summary>Width in pixels; 0 if the run ended with latents.</summary>
        public int Width
        {
            get { return NativeMethods.cvx_video_width(Handle); }
        }

        /// <summary>Height in pixels; 0 if the run ended with latents.</summary>
        public int Height
        {
            get { return NativeMethods.cvx_video_height(Handle); }
        }

        /// <summary>
        /// What computed it, such as "libtorch 2.11.0 on the CPU for AVX512, with oneDNN, 2
        /// threads": where it is the same, the same options give the same bytes on the CPU.
        /// </summary>
        public string Kernels
        {
            get
            {
                using (new Lease(Handle)) return Utf8.Read(NativeMethods.cvx_video_kernels(handle));
            }
        }

        /// <summary>
        /// The frames per second that the model was trained at, which <see cref="Save"/> uses
        /// unless it is told otherwise.
        /// </summary>
        public double DefaultFps
        {
            get { return fps; }
        }

        /// <summary>
        /// Writes a video to a file; what it becomes follows from the ending: .mp4 (H.264), .gif
        /// (endless), .png (a file for each frame: "name.png" becomes name_0000.png, ..., and a
        /// pattern such as "name-%04d.png" says where the number goes). A file that is there is
        /// replaced, and a failure leaves no half-written one.
        /// </summary>
        /// <param name="path">The file.</param>
        /// <param name="fps">Frames per second, above 0 and up to 240; null: the model's own.</param>
        /// <param name="index">Which video of several.</param>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument (ending, fps, index, no frames), NotFound (the parent folder), Io.
        /// </exception>
        public void Save(string path, double? fps = null, int index = 0)
        {
            using (new Lease(Handle))
            {
                Errors.Check(NativeMethods.cvx_video_save(
                    Handle, index, Utf8.Required(path, "path"), fps ?? this.fps));
            }
        }

        /// <summary>The bytes of the file that <see cref="Save"/> would write.</summary>
        /// <param name="format">"mp4" or "gif".</param>
        /// <param name="fps">Frames per second, above 0 and up to 240; null: the model's own.</param>
        /// <param name="index">Which video of several.</param>
        /// <returns>A copy.</returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument (format, fps, index, no frames).
        /// </exception>
        public byte[] Encode(string format, double? fps = null, int index = 0)
        {
            IntPtr made;
            using (new Lease(Handle))
            {
                Errors.Check(NativeMethods.cvx_video_encode_buffer(
                    Handle, index, Utf8.Required(format, "format"), fps ?? this.fps, out made));
            }
            using (var buffer = new BufferHandle(made))
            {
                var bytes = new byte[checked((int)NativeMethods.cvx_buffer_size(buffer))];
                Marshal.Copy(NativeMethods.cvx_buffer_data(buffer), bytes, 0, bytes.Length);
                return bytes;
            }
        }

        /// <summary>Writes the same bytes to a stream as they come.</summary>
        /// <param name="stream">The stream; only its Write is called.</param>
        /// <param name="format">"mp4" or "gif".</param>
        /// <param name="fps">Frames per second, above 0 and up to 240; null: the model's own.</param>
        /// <param name="index">Which video of several.</param>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument (format, fps, index, no frames); CallbackFailed (the stream threw, and what
        /// it threw is the inner exception).
        /// </exception>
        public void Encode(Stream stream, string format, double? fps = null, int index = 0)
        {
            VideoHandle video = Handle;
            if (stream == null) throw new ArgumentNullException("stream");
            var target = new WriteCallback(stream);
            IntPtr error = IntPtr.Zero;
            byte[] name = Utf8.Required(format, "format");
            UserData.Give(target, data =>
            {
                using (new Lease(video))
                {
                    error = NativeMethods.cvx_video_encode(
                        video, index, name, fps ?? this.fps, Thunks.Write, data, Thunks.Free);
                }
                return IntPtr.Zero;
            });
            Exception failure = Errors.Outcome(error, target.Errors.Take(), CancellationToken.None);
            if (failure != null) throw failure;
        }

        /// <summary>
        /// Whether <see cref="Save"/> could write to a path, as far as that can be told before
        /// there is a video. Worth asking before a long run.
        /// </summary>
        /// <param name="path">The file.</param>
        /// <param name="fps">Frames per second.</param>
        /// <exception cref="CogVideoXException">InvalidArgument, NotFound.</exception>
        public static void CheckPath(string path, double fps = 8)
        {
            if (path == null) throw new ArgumentNullException("path");
            Loader.Ensure();
            CheckPathNow(path, fps);
        }

        // Apart from its caller; Loader says why.
        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void CheckPathNow(string path, double fps)
        {
            Errors.Check(NativeMethods.cvx_video_check_path(Utf8.Bytes(path, "path"), fps));
        }

        /// <summary>
        /// Writes one .png picture to compare videos by eye: a row for each (the first of each),
        /// with frames evenly spaced from first to last.
        /// </summary>
        /// <param name="videos">The videos, of one size.</param>
        /// <param name="columns">Frames in a row.</param>
        /// <param name="path">The file, ending in .png.</param>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument (no videos, sizes that differ, no frames), NotFound, Io.
        /// </exception>
        public static void SaveContactSheet(IReadOnlyList<Video> videos, int columns, string path)
        {
            if (videos == null) throw new ArgumentNullException("videos");
            if (path == null) throw new ArgumentNullException("path");
            Loader.Ensure();
            var leases = new Lease[videos.Count];
            try
            {
                var pointers = new IntPtr[videos.Count];
                for (int i = 0; i < pointers.Length; i++)
                {
                    if (videos[i] == null) throw new ArgumentNullException("videos[" + i + "]");
                    leases[i] = new Lease(videos[i].Handle);
                    pointers[i] = videos[i].handle.DangerousGetHandle();
                }
                SaveSheetNow(pointers, columns, path);
            }
            finally
            {
                for (int i = 0; i < leases.Length; i++) leases[i].Dispose();
            }
        }

        // Apart from its caller; Loader says why.
        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void SaveSheetNow(IntPtr[] videos, int columns, string path)
        {
            Errors.Check(NativeMethods.cvx_video_save_contact_sheet(
                videos, (UIntPtr)videos.Length, columns, Utf8.Bytes(path, "path")));
        }

        /// <summary>Frees it, and every pointer into it.</summary>
        public void Dispose()
        {
            handle.Dispose();
        }
    }
}

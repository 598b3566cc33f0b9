using System;
using System.Runtime.InteropServices;
using CogVideoX.Native;

namespace CogVideoX
{
    /// <summary>
    /// A denoising step that has just finished, and the run's latents after it. Valid during the
    /// callback only: every member that reaches the run throws ObjectDisposedException afterwards.
    /// </summary>
    public sealed class StepEnd
    {
        private readonly IntPtr handle;
        private bool ended;

        internal StepEnd(ref cvx_step_end_info info)
        {
            handle = info.handle;
            Step = info.step;
            NumSteps = info.num_steps;
            Timestep = info.timestep;
            GuidanceScale = info.guidance_scale;
        }

        /// <summary>The step, from 0.</summary>
        public int Step { get; private set; }

        /// <summary>How many steps the run has.</summary>
        public int NumSteps { get; private set; }

        /// <summary>The training timestep that the step began at.</summary>
        public double Timestep { get; private set; }

        /// <summary>What the step was guided with.</summary>
        public double GuidanceScale { get; private set; }

        private IntPtr Handle
        {
            get
            {
                if (ended) throw new ObjectDisposedException("StepEnd", "its callback has returned");
                return handle;
            }
        }

        /// <summary>A copy of the latents that the next step starts from.</summary>
        /// <returns>The latents.</returns>
        public Latents CopyLatents()
        {
            IntPtr data;
            var shape = new long[5];
            Errors.Check(NativeMethods.cvx_step_latents(Handle, out data, shape));
            var numbers = new float[Count(shape)];
            Marshal.Copy(data, numbers, 0, numbers.Length);
            return new Latents(numbers, shape);
        }

        /// <summary>
        /// The latents where they lie, as a DLPack tensor that shares their memory and keeps it alive;
        /// read only.
        /// </summary>
        /// <returns>The tensor, to be disposed of or handed on.</returns>
        public DlpackTensor LatentsDlpack()
        {
            IntPtr tensor;
            Errors.Check(NativeMethods.cvx_step_latents_dlpack(Handle, out tensor));
            return new DlpackTensor(tensor);
        }

        /// <summary>Goes on with these latents.</summary>
        /// <param name="latents">Latents of the run's shape, which are copied.</param>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument (another shape, a number that is not finite).
        /// </exception>
        public void SetLatents(Latents latents)
        {
            if (latents == null) throw new ArgumentNullException("latents");
            Errors.Check(NativeMethods.cvx_step_set_latents(
                Handle, latents.Data, latents.Shape, (UIntPtr)latents.Shape.Length));
        }

        /// <summary>Guides with another scale from the next step on.</summary>
        /// <param name="guidanceScale">The scale, from -1e6 to 1e6.</param>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument (also in a run that began without guidance).
        /// </exception>
        public void SetGuidanceScale(double guidanceScale)
        {
            Errors.Check(NativeMethods.cvx_step_set_guidance_scale(Handle, guidanceScale));
        }

        /// <summary>
        /// A small picture of each latent frame at latent resolution, by a linear map of the latents
        /// that takes far less time than a step.
        /// </summary>
        /// <returns>Bytes R, G, B and their size.</returns>
        public StepPreview Preview()
        {
            IntPtr data;
            var shape = new long[5];
            Errors.Check(NativeMethods.cvx_step_preview_rgb8(Handle, out data, shape));
            var bytes = new byte[Count(shape)];
            Marshal.Copy(data, bytes, 0, bytes.Length);
            return new StepPreview(bytes, shape);
        }

        /// <summary>
        /// Writes to a file what <see cref="GenerateOptions.Resume"/> goes on from.
        /// </summary>
        /// <param name="path">The file.</param>
        /// <exception cref="CogVideoXException">NotFound (the parent folder), Io.</exception>
        public void Save(string path)
        {
            Errors.Check(NativeMethods.cvx_step_save(Handle, Utf8.Required(path, "path")));
        }

        internal void End()
        {
            ended = true;
        }

        private static long Count(long[] shape)
        {
            long count = 1;
            foreach (long side in shape) count = checked(count * side);
            return count;
        }
    }

    /// <summary>Pictures of latents.</summary>
    public sealed class StepPreview
    {
        internal StepPreview(byte[] pixels, long[] shape)
        {
            Pixels = pixels;
            Videos = (int)shape[0];
            Frames = (int)shape[1];
            Height = (int)shape[2];
            Width = (int)shape[3];
        }

        /// <summary>Bytes R, G, B: video by video, frame by frame, rows from top to bottom.</summary>
        public byte[] Pixels { get; private set; }

        /// <summary>Videos of the run.</summary>
        public int Videos { get; private set; }

        /// <summary>Latent frames of each.</summary>
        public int Frames { get; private set; }

        /// <summary>Height in latent pixels.</summary>
        public int Height { get; private set; }

        /// <summary>Width in latent pixels.</summary>
        public int Width { get; private set; }
    }
}

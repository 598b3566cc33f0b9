using System;
using System.Threading;
using System.Threading.Tasks;
using CogVideoX.Native;

namespace CogVideoX
{
    public sealed partial class Pipeline
    {
        /// <summary>Generates a video with every default but the prompt.</summary>
        /// <param name="prompt">What the video shows.</param>
        /// <returns>The video, to be disposed of.</returns>
        /// <exception cref="CogVideoXException">As for the other overload.</exception>
        public Video Generate(string prompt)
        {
            return Generate(new GenerateOptions(prompt));
        }

        /// <summary>
        /// Generates what the options ask for, on this thread, and returns when it is done. The
        /// callbacks are called on this thread. However it ends, the pipeline is as usable as
        /// before.
        /// </summary>
        /// <param name="options">What to generate.</param>
        /// <param name="progress">Told of progress besides the options' own callback; or null.</param>
        /// <param name="cancellation">
        /// Stops the run, within one layer of a model or one chunk of the VAE decoder.
        /// </param>
        /// <returns>The video, to be disposed of.</returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument (an option), Busy, OutOfMemory, CallbackFailed (a callback threw, and
        /// what it threw is the inner exception; or a cache callback answered NaN).
        /// </exception>
        /// <exception cref="OperationCanceledException">
        /// It was stopped; the inner exception is the library's own.
        /// </exception>
        public Video Generate(
            GenerateOptions options,
            IProgress<ProgressInfo> progress = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            if (options == null) throw new ArgumentNullException("options");
            PipelineHandle pipeline = Handle;
            cancellation.ThrowIfCancellationRequested();
            using (var run = new Run(options, progress, log, cacheErrors, cancellation))
            {
                double fps = DefaultFps;
                IntPtr video;
                using (new Lease(pipeline))
                using (new Lease(run.Options))
                {
                    IntPtr error = NativeMethods.cvx_pipeline_generate(pipeline, run.Options, out video);
                    return run.End(error, video, fps);
                }
            }
        }

        /// <summary>
        /// The same without waiting: a job of <see cref="Submit"/> and the wait for it. The
        /// callbacks, and those of progress, are called on the pipeline's worker thread; no thread
        /// of the pool waits meanwhile. Runs of one pipeline are queued, where
        /// <see cref="Generate(GenerateOptions, IProgress{ProgressInfo}, CancellationToken)"/>
        /// returns Busy.
        /// </summary>
        /// <param name="options">What to generate.</param>
        /// <param name="progress">Told of progress; or null.</param>
        /// <param name="cancellation">Stops the run, or takes it out of the queue.</param>
        /// <returns>The video, to be disposed of; or the exceptions of Generate.</returns>
        public Task<Video> GenerateAsync(
            GenerateOptions options,
            IProgress<ProgressInfo> progress = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            if (options == null) throw new ArgumentNullException("options");
            NativeHandle.Open(handle, "Pipeline");
            return SubmitAndTake(options, progress, cancellation);
        }

        private async Task<Video> SubmitAndTake(
            GenerateOptions options, IProgress<ProgressInfo> progress, CancellationToken cancellation)
        {
            cancellation.ThrowIfCancellationRequested();
            using (Job job = Submit(options, progress, cancellation))
            {
                await job.Completion.ConfigureAwait(false);
                return job.TakeVideo();
            }
        }

        /// <summary>
        /// Queues a run and returns at once. One worker thread per pipeline runs its jobs in the
        /// order of submission, and calls their callbacks; the cache is the one enabled when a job
        /// begins. While a job runs, Generate and EnableCache answer Busy. Jobs hold what they need:
        /// the pipeline may be disposed of.
        /// </summary>
        /// <param name="options">What to generate, checked and copied now.</param>
        /// <param name="progress">Told of progress, on the worker thread; or null.</param>
        /// <param name="cancellation">Cancels the job.</param>
        /// <returns>The job, to be disposed of.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument (an option), OutOfMemory.</exception>
        public Job Submit(
            GenerateOptions options,
            IProgress<ProgressInfo> progress = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            if (options == null) throw new ArgumentNullException("options");
            PipelineHandle pipeline = Handle;
            double fps = DefaultFps;
            var run = new Run(options, progress, log, cacheErrors, cancellation);
            try
            {
                var state = new JobRun(run);
                Shutdown.Watch(pipeline);
                IntPtr native = IntPtr.Zero;
                UserData.Give(state, data => NativeMethods.cvx_pipeline_submit(
                    pipeline, run.Options, Thunks.Job, data, Thunks.Free, out native));
                var job = new JobHandle(native);
                state.Submitted(job, cancellation);
                return new Job(job, state, fps);
            }
            catch
            {
                run.Dispose();
                throw;
            }
        }

        /// <summary>
        /// Decodes latents as runs end with them, without the padding frames that the 1.5 family
        /// has in front. Of the options, tiling, slicing and callbacks matter.
        /// </summary>
        /// <param name="latents">The latents.</param>
        /// <param name="options">How to decode; null for every default.</param>
        /// <param name="progress">Told of progress; or null.</param>
        /// <param name="cancellation">Stops it.</param>
        /// <returns>The video, to be disposed of.</returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument (the shape), Busy, OutOfMemory, CallbackFailed.
        /// </exception>
        /// <exception cref="OperationCanceledException">It was stopped.</exception>
        public Video DecodeLatents(
            Latents latents,
            GenerateOptions options = null,
            IProgress<ProgressInfo> progress = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            if (latents == null) throw new ArgumentNullException("latents");
            PipelineHandle pipeline = Handle;
            cancellation.ThrowIfCancellationRequested();
            using (var run = new Run(
                options ?? new GenerateOptions(), progress, log, cacheErrors, cancellation))
            {
                double fps = DefaultFps;
                IntPtr video;
                using (new Lease(pipeline))
                using (new Lease(run.Options))
                {
                    IntPtr error = NativeMethods.cvx_pipeline_decode_latents(
                        pipeline, latents.Data, latents.Shape, (UIntPtr)latents.Shape.Length, run.Options, out video);
                    return run.End(error, video, fps);
                }
            }
        }

        /// <summary>
        /// The token ids of a text, cut or padded to a length and ended by the end-of-sequence id.
        /// Allowed also while the pipeline generates.
        /// </summary>
        /// <param name="text">The text.</param>
        /// <param name="length">How many ids, from 1 to 8192; 0 for the model's own number.</param>
        /// <returns>The ids.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public long[] Tokenize(string text, int length = 0)
        {
            var ids = new long[Length(length)];
            Check(NativeMethods.cvx_pipeline_tokenize(
                Handle, Utf8.Required(text, "text"), ids, (UIntPtr)ids.Length));
            return ids;
        }

        /// <summary>
        /// The text encoder's output for a text: <see cref="TextEmbedDim"/> numbers for each of
        /// length tokens, token by token.
        /// </summary>
        /// <param name="text">The text.</param>
        /// <param name="length">How many tokens, from 1 to 8192; 0 for the model's own number.</param>
        /// <returns>length times TextEmbedDim numbers.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument, Busy, OutOfMemory.</exception>
        public float[] EncodePrompt(string text, int length = 0)
        {
            length = Length(length);
            var embeddings = new float[length * TextEmbedDim];
            using (new Lease(Handle))
            {
                Check(NativeMethods.cvx_pipeline_encode_prompt(
                    Handle, Utf8.Required(text, "text"), (UIntPtr)length, embeddings, (UIntPtr)embeddings.Length));
            }
            return embeddings;
        }

        /// <summary>
        /// As <see cref="EncodePrompt(string, int)"/>, and may be stopped: on the CPU within about
        /// a quarter of a second.
        /// </summary>
        /// <param name="text">The text.</param>
        /// <param name="length">How many tokens, from 1 to 8192; 0 for the model's own number.</param>
        /// <param name="cancellation">Stops it.</param>
        /// <returns>length times TextEmbedDim numbers.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument, Busy, OutOfMemory.</exception>
        /// <exception cref="OperationCanceledException">It was stopped.</exception>
        public float[] EncodePrompt(string text, int length, CancellationToken cancellation)
        {
            length = Length(length);
            byte[] bytes = Utf8.Required(text, "text");
            PipelineHandle pipeline = Handle;
            cancellation.ThrowIfCancellationRequested();
            using (var run = new Run(new GenerateOptions(), null, log, cacheErrors, cancellation))
            {
                var embeddings = new float[length * TextEmbedDim];
                using (new Lease(pipeline))
                using (new Lease(run.Options))
                {
                    IntPtr error = NativeMethods.cvx_pipeline_encode_prompt_with(
                        pipeline, bytes, (UIntPtr)length, embeddings, (UIntPtr)embeddings.Length, run.Options);
                    run.End(error);
                }
                return embeddings;
            }
        }

        private int Length(int length)
        {
            if (length == 0) return DefaultMaxSequenceLength;
            if (length < 0 || length > Limits.MaxSequenceLength)
            {
                throw new ArgumentOutOfRangeException(
                    "length", length, "expected a length from 1 to " + Limits.MaxSequenceLength);
            }
            return length;
        }
    }
}

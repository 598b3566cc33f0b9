using System;
using System.Runtime.CompilerServices;
using System.Threading;
using System.Threading.Tasks;
using CogVideoX.Native;

namespace CogVideoX
{
    /// <summary>
    /// A loaded pipeline: tokenizer, text encoder, transformer, VAE decoder, scheduler settings.
    ///
    /// It belongs to no thread. It does one piece of work at a time: a second caller, or a
    /// callback that calls back into its own pipeline, gets <see cref="ErrorCode.Busy"/>, and may
    /// use a clone or submit a job. Its properties may be read at any time. Every member throws
    /// ObjectDisposedException after Dispose; to dispose of it while a run is under way is
    /// allowed, and its memory is freed when the run has ended.
    /// </summary>
    public sealed partial class Pipeline : IDisposable
    {
        private readonly PipelineHandle handle;
        private readonly Action<LogMessage> log;
        private readonly CallbackErrors logErrors;
        private readonly CallbackErrors cacheErrors = new CallbackErrors();

        private Pipeline(IntPtr native, Action<LogMessage> log, CallbackErrors logErrors)
        {
            handle = new PipelineHandle(native);
            this.log = log;
            this.logErrors = logErrors;
        }

        private PipelineHandle Handle
        {
            get { return NativeHandle.Open(handle, "Pipeline"); }
        }

        /// <summary>
        /// Loads a pipeline folder as diffusers saves it, and returns when it is loaded.
        /// </summary>
        /// <param name="folder">
        /// The folder: model_index.json, transformer, vae, text_encoder, tokenizer, scheduler.
        /// </param>
        /// <param name="options">How to load it; null for every default.</param>
        /// <param name="progress">Told of progress, on this thread; or null.</param>
        /// <param name="cancellation">Stops the load.</param>
        /// <returns>The pipeline, to be disposed of.</returns>
        /// <exception cref="CogVideoXException">
        /// NotFound, InvalidCheckpoint, UnsupportedModel, DeviceUnavailable, OutOfMemory, Io,
        /// InvalidArgument (an option), CallbackFailed (a callback threw).
        /// </exception>
        /// <exception cref="OperationCanceledException">It was stopped.</exception>
        /// <exception cref="CogVideoXLoadException">The native library is not there.</exception>
        public static Pipeline Load(
            string folder,
            LoadOptions options = null,
            IProgress<ProgressInfo> progress = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            if (folder == null) throw new ArgumentNullException("folder");
            cancellation.ThrowIfCancellationRequested();
            Loader.Ensure();
            return LoadNow(folder, options ?? new LoadOptions(), progress, cancellation);
        }

        /// <summary>
        /// The same without waiting: loads on a thread of its own, which is none of the pool's.
        /// </summary>
        /// <param name="folder">The folder.</param>
        /// <param name="options">How to load it; null for every default.</param>
        /// <param name="progress">Told of progress, on that thread; or null.</param>
        /// <param name="cancellation">Stops the load.</param>
        /// <returns>The pipeline, or the exceptions of <see cref="Load"/>.</returns>
        public static Task<Pipeline> LoadAsync(
            string folder,
            LoadOptions options = null,
            IProgress<ProgressInfo> progress = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            if (folder == null) throw new ArgumentNullException("folder");
            return Task.Factory.StartNew(
                () => Load(folder, options, progress, cancellation),
                cancellation,
                TaskCreationOptions.LongRunning | TaskCreationOptions.DenyChildAttach,
                TaskScheduler.Default);
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static Pipeline LoadNow(
            string folder, LoadOptions options, IProgress<ProgressInfo> progress, CancellationToken cancellation)
        {
            var errors = new CallbackErrors();
            CancellationTokenRegistration registration;
            CancelTokenHandle token = Run.NewToken(cancellation, out registration);
            try
            {
                using (LoadOptionsHandle native = options.ToNative(errors, progress, token))
                {
                    IntPtr loaded;
                    IntPtr error = NativeMethods.cvx_pipeline_load(Utf8.Bytes(folder, "folder"), native, out loaded);
                    // The log callback goes on to live in the pipeline, and keeps errors.
                    Pipeline pipeline = error == IntPtr.Zero
                        ? new Pipeline(loaded, options.OnLog, errors)
                        : null;
                    Exception failure = Errors.Outcome(error, errors.Take(), cancellation);
                    if (failure == null) return pipeline;
                    if (pipeline != null) pipeline.Dispose();
                    throw failure;
                }
            }
            finally
            {
                registration.Dispose();
                if (token != null) token.Dispose();
            }
        }

        /// <summary>
        /// Another pipeline over the same weights, with runs and a cache of its own: clones
        /// generate at the same time, each on its thread. No cache is enabled in it; the LoRA
        /// adapters are those that are loaded here now. Allowed also
        /// while this one generates.
        /// </summary>
        /// <returns>The clone, to be disposed of; the order of disposal does not matter.</returns>
        public Pipeline Clone()
        {
            IntPtr clone;
            using (new Lease(Handle)) Errors.Check(NativeMethods.cvx_pipeline_clone(Handle, out clone));
            return new Pipeline(clone, log, logErrors);
        }

        /// <summary>
        /// Frees it, or lets a run that is under way free it when it ends. Jobs go on. Videos are
        /// not affected.
        /// </summary>
        public void Dispose()
        {
            handle.Dispose();
        }

        /// <summary>Throws what a call answered, or what the load's log callback threw in it.</summary>
        private void Check(IntPtr error)
        {
            Exception failure = Errors.Outcome(error, logErrors.Take(), CancellationToken.None);
            if (failure != null) throw failure;
        }
    }
}

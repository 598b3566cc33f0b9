using System;
using System.Runtime.CompilerServices;
using CogVideoX.Native;

namespace CogVideoX
{
    /// <summary>
    /// What a run takes in each way of keeping the weights, told from a folder's configs alone: nothing
    /// is loaded. <see cref="LoadOptions.Plan"/> loads in the fastest way that fits. Any thread may
    /// read it.
    /// </summary>
    public sealed class Plan : IDisposable
    {
        private readonly PlanHandle handle;

        private Plan(IntPtr native)
        {
            handle = new PlanHandle(native);
        }

        internal PlanHandle Handle
        {
            get { return NativeHandle.Open(handle, "Plan"); }
        }

        /// <summary>Plans a run of the pipeline in a folder.</summary>
        /// <param name="folder">The folder; weight files need not be there.</param>
        /// <param name="budgetBytes">What the device has; 0: no bound.</param>
        /// <param name="load">Its device and dtype count; null for every default.</param>
        /// <param name="run">The run; null for every default.</param>
        /// <param name="cache">What the run is cached with, or null.</param>
        /// <returns>The plan, to be disposed of.</returns>
        /// <exception cref="CogVideoXException">As of loading the configs; InvalidArgument.</exception>
        public static Plan Make(
            string folder,
            ulong budgetBytes,
            LoadOptions load = null,
            GenerateOptions run = null,
            CacheConfig cache = null)
        {
            if (folder == null) throw new ArgumentNullException("folder");
            Loader.Ensure();
            return MakeNow(folder, budgetBytes, load ?? new LoadOptions(), run ?? new GenerateOptions(), cache);
        }

        /// <summary>A table, a line for each way.</summary>
        /// <returns>Lines of text.</returns>
        public override string ToString()
        {
            using (new Lease(Handle)) return Utf8.Read(NativeMethods.cvx_plan_text(handle));
        }

        /// <summary>
        /// The plan as a JSON object: "choices" with "mode", "peak_bytes", "fits", "relative_time" and
        /// more, and "best", the place among them of the fastest that fits, or null.
        /// </summary>
        public string Json
        {
            get
            {
                using (new Lease(Handle)) return Utf8.Read(NativeMethods.cvx_plan_json(handle));
            }
        }

        // Apart from its caller; Loader says why.
        [MethodImpl(MethodImplOptions.NoInlining)]
        private static Plan MakeNow(
            string folder, ulong budgetBytes, LoadOptions load, GenerateOptions run, CacheConfig cache)
        {
            using (LoadOptionsHandle places = load.ToPlaces())
            using (GenerateOptionsHandle options = run.ToNative(null, null, null))
            using (CacheConfigHandle none = new CacheConfigHandle(IntPtr.Zero))
            {
                IntPtr plan;
                Errors.Check(NativeMethods.cvx_plan_new(
                    Utf8.Bytes(folder, "folder"),
                    places,
                    options,
                    cache != null ? cache.Handle : none,
                    budgetBytes,
                    out plan));
                return new Plan(plan);
            }
        }

        /// <summary>Frees the plan.</summary>
        public void Dispose()
        {
            handle.Dispose();
        }
    }
}

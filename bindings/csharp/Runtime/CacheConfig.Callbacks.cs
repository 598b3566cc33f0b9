using System;
using CogVideoX.Native;

namespace CogVideoX
{
    // A callback's exception has to come out of the run that asked. So each pipeline is given
    // callbacks of its own, which keep exceptions for that pipeline: enabling sets them anew.
    public sealed partial class CacheConfig
    {
        private readonly object gate = new object();
        private Func<StepInfo, double> currentTimestep;
        private Func<LayerInfo, double> attentionWeight;
        private Func<StepInfo, double> lowFrequencyWeight;
        private Func<StepInfo, double> highFrequencyWeight;

        /// <summary>
        /// Asks the host for the current timestep instead of taking the pipeline's own, once a
        /// step: what lambda: pipe.current_timestep returns in Python. It must lie in [0, number
        /// of training timesteps). Called on the thread that runs; by several at once if several
        /// pipelines have it.
        /// </summary>
        /// <param name="callback">The callback; null (default) takes the pipeline's own.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheConfig SetCurrentTimestepCallback(Func<StepInfo, double> callback)
        {
            lock (gate)
            {
                GiveCurrentTimestep(callback, new CallbackErrors());
                currentTimestep = callback;
            }
            return this;
        }

        /// <summary>
        /// Asks the host for the weight of attention's extrapolation, newer + (newer - older) *
        /// weight, once for each layer that is extrapolated. Any number that is finite in
        /// float32. Field of faster_cache; threads as for the current timestep.
        /// </summary>
        /// <param name="callback">The callback; null (default) takes the weight that is set.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheConfig SetAttentionWeightCallback(Func<LayerInfo, double> callback)
        {
            lock (gate)
            {
                GiveAttentionWeight(callback, new CallbackErrors());
                attentionWeight = callback;
            }
            return this;
        }

        /// <summary>
        /// Asks the host for the gain of low frequencies, once for each step whose unconditional
        /// half is rebuilt. Any number that is finite in float32; gains multiply from one full
        /// step to the next. Field of faster_cache; threads as for the current timestep.
        /// </summary>
        /// <param name="callback">The callback; null (default) takes alpha in its window.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheConfig SetLowFrequencyWeightCallback(Func<StepInfo, double> callback)
        {
            lock (gate)
            {
                GiveLowFrequencyWeight(callback, new CallbackErrors());
                lowFrequencyWeight = callback;
            }
            return this;
        }

        /// <summary>The same for high frequencies.</summary>
        /// <param name="callback">The callback; null (default) takes alpha in its window.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheConfig SetHighFrequencyWeightCallback(Func<StepInfo, double> callback)
        {
            lock (gate)
            {
                GiveHighFrequencyWeight(callback, new CallbackErrors());
                highFrequencyWeight = callback;
            }
            return this;
        }

        /// <summary>
        /// Enables it for a pipeline, whose callbacks keep their exceptions in errors. Answers
        /// what the library returns.
        /// </summary>
        internal IntPtr Enable(PipelineHandle pipeline, CallbackErrors errors)
        {
            lock (gate)
            {
                if (currentTimestep != null) GiveCurrentTimestep(currentTimestep, errors);
                if (attentionWeight != null) GiveAttentionWeight(attentionWeight, errors);
                if (lowFrequencyWeight != null) GiveLowFrequencyWeight(lowFrequencyWeight, errors);
                if (highFrequencyWeight != null) GiveHighFrequencyWeight(highFrequencyWeight, errors);
                return NativeMethods.cvx_pipeline_enable_cache(pipeline, Handle);
            }
        }

        private void GiveCurrentTimestep(Func<StepInfo, double> callback, CallbackErrors errors)
        {
            CacheConfigHandle config = Handle;
            if (callback == null)
            {
                Errors.Check(NativeMethods.cvx_cache_config_set_current_timestep_callback(
                    config, null, IntPtr.Zero, null));
                return;
            }
            UserData.Give(new StepCallback(errors, callback), data =>
                NativeMethods.cvx_cache_config_set_current_timestep_callback(
                    config, Thunks.Timestep, data, Thunks.Free));
        }

        private void GiveAttentionWeight(Func<LayerInfo, double> callback, CallbackErrors errors)
        {
            CacheConfigHandle config = Handle;
            if (callback == null)
            {
                Errors.Check(NativeMethods.cvx_cache_config_set_attention_weight_callback(
                    config, null, IntPtr.Zero, null));
                return;
            }
            UserData.Give(new LayerCallback(errors, callback), data =>
                NativeMethods.cvx_cache_config_set_attention_weight_callback(
                    config, Thunks.AttentionWeight, data, Thunks.Free));
        }

        private void GiveLowFrequencyWeight(Func<StepInfo, double> callback, CallbackErrors errors)
        {
            CacheConfigHandle config = Handle;
            if (callback == null)
            {
                Errors.Check(NativeMethods.cvx_cache_config_set_low_frequency_weight_callback(
                    config, null, IntPtr.Zero, null));
                return;
            }
            UserData.Give(new StepCallback(errors, callback), data =>
                NativeMethods.cvx_cache_config_set_low_frequency_weight_callback(
                    config, Thunks.FrequencyWeight, data, Thunks.Free));
        }

        private void GiveHighFrequencyWeight(Func<StepInfo, double> callback, CallbackErrors errors)
        {
            CacheConfigHandle config = Handle;
            if (callback == null)
            {
                Errors.Check(NativeMethods.cvx_cache_config_set_high_frequency_weight_callback(
                    config, null, IntPtr.Zero, null));
                return;
            }
            UserData.Give(new StepCallback(errors, callback), data =>
                NativeMethods.cvx_cache_config_set_high_frequency_weight_callback(
                    config, Thunks.FrequencyWeight, data, Thunks.Free));
        }
    }
}

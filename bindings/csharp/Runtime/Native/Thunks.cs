using System;

namespace CogVideoX.Native
{
    /// <summary>
    /// What native code calls: static methods, as ahead-of-time compilers need them. Each finds
    /// the host's delegate through user_data, and none lets an exception into native code. The
    /// delegates live as long as the program, so that their native side does too.
    /// </summary>
    internal static class Thunks
    {
        internal static readonly cvx_free_callback Free = FreeThunk;
        internal static readonly cvx_progress_callback Progress = ProgressThunk;
        internal static readonly cvx_log_callback Log = LogThunk;
        internal static readonly cvx_frames_callback Frames = FramesThunk;
        internal static readonly cvx_step_callback StepEnd = StepEndThunk;
        internal static readonly cvx_write_callback Write = WriteThunk;
        internal static readonly cvx_exchange_callback Exchanges = ExchangeThunk;
        internal static readonly cvx_abort_callback Aborts = AbortThunk;
        internal static readonly cvx_job_callback Job = JobThunk;
        internal static readonly cvx_timestep_callback Timestep = TimestepThunk;
        internal static readonly cvx_attention_weight_callback AttentionWeight = AttentionWeightThunk;
        internal static readonly cvx_frequency_weight_callback FrequencyWeight = FrequencyWeightThunk;

        private const int GoOn = 0;
        private const int Stop = 1;

        [MonoPInvokeCallback(typeof(cvx_free_callback))]
        private static void FreeThunk(IntPtr user_data)
        {
            try
            {
                var released = UserData.Get<object>(user_data) as IReleased;
                UserData.Free(user_data);
                if (released != null) released.Released();
            }
            catch (Exception)
            {
                // There is nobody left to tell.
            }
        }

        [MonoPInvokeCallback(typeof(cvx_progress_callback))]
        private static int ProgressThunk(ref cvx_progress_info info, IntPtr user_data)
        {
            ProgressCallback state = null;
            try
            {
                state = UserData.Get<ProgressCallback>(user_data);
                if (state.Errors.Any) return Stop;
                return state.Report(ref info) ? GoOn : Stop;
            }
            catch (Exception e)
            {
                if (state != null) state.Errors.Add(e);
                return Stop;
            }
        }

        [MonoPInvokeCallback(typeof(cvx_log_callback))]
        private static void LogThunk(ref cvx_log_info info, IntPtr user_data)
        {
            LogCallback state = null;
            try
            {
                state = UserData.Get<LogCallback>(user_data);
                state.Handler(new LogMessage((LogLevel)info.level, Utf8.Read(info.message)));
            }
            catch (Exception e)
            {
                // A log callback cannot stop the run itself: the next progress callback does.
                if (state != null) state.Errors.Add(e);
            }
        }

        [MonoPInvokeCallback(typeof(cvx_frames_callback))]
        private static int FramesThunk(ref cvx_frames_info info, IntPtr user_data)
        {
            FramesCallback state = null;
            FrameChunk chunk = null;
            try
            {
                state = UserData.Get<FramesCallback>(user_data);
                if (state.Errors.Any) return Stop;
                chunk = new FrameChunk(ref info);
                return state.Handler(chunk) ? GoOn : Stop;
            }
            catch (Exception e)
            {
                if (state != null) state.Errors.Add(e);
                return Stop;
            }
            finally
            {
                if (chunk != null) chunk.End();
            }
        }

        [MonoPInvokeCallback(typeof(cvx_step_callback))]
        private static int StepEndThunk(ref cvx_step_end_info info, IntPtr user_data)
        {
            StepEndCallback state = null;
            StepEnd step = null;
            try
            {
                state = UserData.Get<StepEndCallback>(user_data);
                if (state.Errors.Any) return Stop;
                step = new StepEnd(ref info);
                return state.Handler(step) ? GoOn : Stop;
            }
            catch (Exception e)
            {
                if (state != null) state.Errors.Add(e);
                return Stop;
            }
            finally
            {
                if (step != null) step.End();
            }
        }

        [MonoPInvokeCallback(typeof(cvx_write_callback))]
        private static int WriteThunk(ref cvx_write_info info, IntPtr user_data)
        {
            WriteCallback state = null;
            try
            {
                state = UserData.Get<WriteCallback>(user_data);
                state.Write(ref info);
                return GoOn;
            }
            catch (Exception e)
            {
                if (state != null) state.Errors.Add(e);
                return Stop;
            }
        }

        [MonoPInvokeCallback(typeof(cvx_exchange_callback))]
        private static int ExchangeThunk(ref cvx_exchange_info info, IntPtr user_data)
        {
            Exchange exchange = null;
            try
            {
                exchange = new Exchange(ref info);
                UserData.Get<ExchangeCallback>(user_data).Handler(exchange);
                return GoOn;
            }
            catch (Exception)
            {
                // The run ends with CALLBACK_FAILED.
                return Stop;
            }
            finally
            {
                if (exchange != null) exchange.End();
            }
        }

        [MonoPInvokeCallback(typeof(cvx_abort_callback))]
        private static void AbortThunk(ref cvx_abort_info info, IntPtr user_data)
        {
            try
            {
                UserData.Get<AbortCallback>(user_data).Handler((ErrorCode)info.code, Utf8.Read(info.message));
            }
            catch (Exception)
            {
                // The run has failed already.
            }
        }

        [MonoPInvokeCallback(typeof(cvx_job_callback))]
        private static void JobThunk(ref cvx_job_status status, IntPtr user_data)
        {
            try
            {
                UserData.Get<JobRun>(user_data).Ended(ref status);
            }
            catch (Exception)
            {
                // Ended has no host code in it; and an exception must not go on from here.
            }
        }

        // The answer of a callback that threw is NaN, which ends the run with CALLBACK_FAILED.

        [MonoPInvokeCallback(typeof(cvx_timestep_callback))]
        private static double TimestepThunk(ref cvx_step_info info, IntPtr user_data)
        {
            return AskStep(ref info, user_data);
        }

        [MonoPInvokeCallback(typeof(cvx_frequency_weight_callback))]
        private static double FrequencyWeightThunk(ref cvx_step_info info, IntPtr user_data)
        {
            return AskStep(ref info, user_data);
        }

        private static double AskStep(ref cvx_step_info info, IntPtr user_data)
        {
            StepCallback state = null;
            try
            {
                state = UserData.Get<StepCallback>(user_data);
                if (state.Errors.Any) return double.NaN;
                return state.Handler(new StepInfo(info.step, info.num_steps, info.timestep));
            }
            catch (Exception e)
            {
                if (state != null) state.Errors.Add(e);
                return double.NaN;
            }
        }

        [MonoPInvokeCallback(typeof(cvx_attention_weight_callback))]
        private static double AttentionWeightThunk(ref cvx_layer_info info, IntPtr user_data)
        {
            LayerCallback state = null;
            try
            {
                state = UserData.Get<LayerCallback>(user_data);
                if (state.Errors.Any) return double.NaN;
                return state.Handler(new LayerInfo(
                    info.step, info.num_steps, info.layer, info.timestep, Utf8.Read(info.layer_name)));
            }
            catch (Exception e)
            {
                if (state != null) state.Errors.Add(e);
                return double.NaN;
            }
        }
    }
}

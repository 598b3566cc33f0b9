using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using CogVideoX;
using static Support;

internal static class CacheTests
{
    internal static void List(List<KeyValuePair<string, Action>> tests)
    {
        tests.Add("cache: PAB with a timestep callback decides what is computed", TimestepCallback);
        tests.Add("cache: FasterCache with all four callbacks", AllCallbacks);
        tests.Add("cache: one config, several pipelines, one callback", Shared);
        tests.Add("cache: presets and every field", Fields);
        tests.Add("cache: mistakes", Mistakes);
        tests.Add("cache: previews", Previews);
        tests.Add("cache: calibration and tuning", CalibrationAndTuning);
        tests.Add("cache: statistics", Statistics);
    }

    private static void TimestepCallback()
    {
        using (Pipeline pipeline = Load())
        using (CacheConfig config = CacheConfig.Pab())
        {
            byte[] uncached;
            using (Video video = pipeline.Generate(Options(6))) uncached = video.CopyFrames();

            // Inside PAB's window on all steps; so every second step reuses attention.
            var steps = new List<StepInfo>();
            config.SetCurrentTimestepCallback(step => { steps.Add(step); return 400; });
            pipeline.EnableCache(config);
            byte[] cached;
            using (Video video = pipeline.Generate(Options(6))) cached = video.CopyFrames();
            Same(new[] { 0, 1, 2, 3, 4, 5 }, steps.Select(step => step.Step).ToArray(), "steps asked");
            True(steps.All(step => step.NumSteps == 6), "number of steps");
            True(steps[0].Timestep > steps[5].Timestep, "timesteps fall");
            True(!uncached.SequenceEqual(cached), "the cache changed nothing");
            using (CacheStatistics statistics = pipeline.CacheStatistics())
            {
                int layers = pipeline.NumAttentionLayers;
                Equal(3 * layers, statistics.LayerCount(-1, LayerState.Reused), "reused");
            }

            // Outside on all steps: nothing is reused.
            config.SetCurrentTimestepCallback(step => 999);
            pipeline.EnableCache(config);
            using (Video video = pipeline.Generate(Options(6))) Same(uncached, video.CopyFrames(), "outside");

            // Without a callback, and without a cache.
            config.SetCurrentTimestepCallback(null);
            pipeline.EnableCache(config);
            steps.Clear();
            pipeline.Generate(Options(6)).Dispose();
            Equal(0, steps.Count, "a callback that was taken away");
            pipeline.DisableCache();
            using (Video video = pipeline.Generate(Options(6))) Same(uncached, video.CopyFrames(), "disabled");
        }
    }

    private static void AllCallbacks()
    {
        using (Pipeline pipeline = Load("5b"))
        using (CacheConfig config = CacheConfig.FasterCache())
        {
            int timesteps = 0, weights = 0, lows = 0, highs = 0;
            var layers = new HashSet<string>();
            config.SetUnconditionalBatchTimestepSkipRange(-1, 1000)
                .SetSpatialAttentionTimestepSkipRange(-1, 1000)
                .SetCurrentTimestepCallback(step => { timesteps++; return step.Timestep; })
                .SetAttentionWeightCallback(layer =>
                {
                    weights++;
                    layers.Add(layer.LayerName);
                    Equal(pipeline.AttentionLayerName(layer.Layer), layer.LayerName, "layer");
                    return 0.3;
                })
                .SetLowFrequencyWeightCallback(step => { lows++; return 1.1; })
                .SetHighFrequencyWeightCallback(step => { highs++; return 0.9; });
            pipeline.EnableCache(config);
            config.Dispose(); // the pipeline has its own
            Collect();
            pipeline.Generate(Options(12)).Dispose();
            Equal(12, timesteps, "timesteps asked");
            using (CacheStatistics statistics = pipeline.CacheStatistics())
            {
                Equal("FasterCache", statistics.Technique, "technique");
                int rebuilt = Enumerable.Range(0, 12)
                    .Count(step => statistics.Unconditional(step) == UnconditionalState.Rebuilt);
                True(rebuilt > 0, "nothing was rebuilt");
                Equal(rebuilt, lows, "low frequencies asked");
                Equal(rebuilt, highs, "high frequencies asked");
                Equal(statistics.LayerCount(-1, LayerState.Approximated), weights, "weights asked");
                True(weights > 0, "no weights");
                Equal(pipeline.NumAttentionLayers, layers.Count, "layers asked");
            }
        }
    }

    private static void Shared()
    {
        using (Pipeline pipeline = Load())
        using (Pipeline clone = pipeline.Clone())
        using (CacheConfig config = CacheConfig.Pab())
        {
            int asked = 0;
            config.SetCurrentTimestepCallback(step => { Interlocked.Increment(ref asked); return 400; });
            pipeline.EnableCache(config);
            clone.EnableCache(config);
            byte[] one = null, other = null;
            var thread = new Thread(() =>
            {
                using (Video video = clone.Generate(Options(6))) other = video.CopyFrames();
            });
            thread.Start();
            using (Video video = pipeline.Generate(Options(6))) one = video.CopyFrames();
            thread.Join();
            Equal(12, asked, "steps asked");
            Same(one, other, "frames");
        }
    }

    private static void Fields()
    {
        foreach (string preset in new[] { null, "diffusers", "diffusers-docs", "videosys" })
        {
            using (CacheConfig.Create("pab", preset)) { }
        }
        foreach (string preset in new[] { "diffusers", "diffusers-docs", "official", "aggressive" })
        {
            using (CacheConfig.Create("faster_cache", preset)) { }
        }
        using (CacheConfig config = CacheConfig.Pab())
        {
            config.SetSpatialAttentionBlockSkipRange(3)
                .SetTemporalAttentionBlockSkipRange(2)
                .SetCrossAttentionBlockSkipRange(2)
                .SetSpatialAttentionTimestepSkipRange(10, 990)
                .SetTemporalAttentionTimestepSkipRange(10, 990)
                .SetCrossAttentionTimestepSkipRange(10, 990)
                .SetSpatialAttentionBlockIdentifiers("transformer_blocks")
                .SetTemporalAttentionBlockIdentifiers("attn1", "temporal")
                .SetCrossAttentionBlockIdentifiers("blocks", "layers")
                .SetMaxCacheBytes(1 << 30)
                .SetCacheDtype("bf16");
            using (CacheStatistics preview = config.Preview(2, 12))
            {
                // Every third step is computed inside the window.
                True(preview.LayerCount(-1, LayerState.Reused) > preview.LayerCount(-1, LayerState.Computed),
                    preview.Text);
            }
        }
        using (CacheConfig config = CacheConfig.FasterCache())
        {
            config.SetUnconditionalBatchSkipRange(2)
                .SetUnconditionalBatchTimestepSkipRange(-1, 900)
                .SetLowFrequencyWeightUpdateTimestepRange(99, 901)
                .SetHighFrequencyWeightUpdateTimestepRange(-1, 301)
                .SetAlphaLowFrequency(1.2)
                .SetAlphaHighFrequency(1.3)
                .SetTensorFormat("BFCHW")
                .SetIsGuidanceDistilled(true)
                .SetAttentionWeight(0.25)
                .SetReuseAttentionOnFullGuidanceSteps(true);
            using (CacheStatistics preview = config.Preview(2, 12))
            {
                Equal(UnconditionalState.Ran, preview.Unconditional(11), "distilled: no half is skipped");
            }
        }
    }

    private static void Mistakes()
    {
        Fails(ErrorCode.InvalidArgument, () => CacheConfig.Create("magic"), "magic", "faster_cache");
        Fails(ErrorCode.InvalidArgument, () => CacheConfig.Create("pab", "slow"), "slow");
        Throws<ArgumentNullException>(() => CacheConfig.Create(null));
        using (Pipeline pipeline = Load())
        using (CacheConfig pab = CacheConfig.Pab())
        {
            Fails(ErrorCode.InvalidArgument, () => pab.SetSpatialAttentionBlockSkipRange(0));
            Fails(ErrorCode.InvalidArgument, () => pab.SetAlphaLowFrequency(1.1), "alpha_low_frequency");
            Fails(ErrorCode.InvalidArgument, () => pab.SetAttentionWeightCallback(layer => 0.5));
            Fails(ErrorCode.InvalidArgument, () => pab.SetSpatialAttentionBlockIdentifiers("("));
            Throws<ArgumentNullException>(() => pab.SetSpatialAttentionBlockIdentifiers("a", null));
            Throws<ArgumentNullException>(() => pab.SetCacheDtype(null));
            Fails(ErrorCode.InvalidArgument, () => pab.SetCacheDtype("f8"), "f8");
            pab.SetSpatialAttentionBlockIdentifiers("no_such_layer");
            Fails(ErrorCode.InvalidArgument, () => pipeline.EnableCache(pab), "no_such_layer");
            Throws<ArgumentNullException>(() => pipeline.EnableCache(null));
            StillWorks(pipeline);
        }
    }

    private static void CalibrationAndTuning()
    {
        using (Pipeline pipeline = Load())
        {
            GenerateOptions[] runs = { Options(6), Options(6) };
            runs[1].Prompt = "waves at night";
            string json;
            using (Calibration made = pipeline.Calibrate(runs)) json = made.Json;
            using (Calibration calibration = Calibration.FromJson(json))
            using (CacheConfig pab = CacheConfig.Pab())
            {
                using (CacheStatistics estimate = pipeline.EstimateCache(pab, calibration, Options(6)))
                {
                    True(estimate.EstimatedSeconds > 0, "seconds");
                    True(estimate.EstimatedPsnr > 0, "PSNR");
                }
                Fails(
                    ErrorCode.InvalidArgument,
                    () => pipeline.EstimateCache(pab, calibration, Options(7)),
                    "steps 7, found 6");
                Throws<ArgumentNullException>(() => pipeline.EstimateCache(pab, null));
                pipeline.TuneCache(calibration, runs, 20).Dispose();
                Throws<ArgumentNullException>(() => pipeline.TuneCache(null, runs, 20));
            }
            Fails(ErrorCode.InvalidArgument, () => Calibration.FromJson("{}"), "calibration");
            Throws<ArgumentNullException>(() => pipeline.Calibrate(null));
            using (CacheConfig tuned = pipeline.TuneCache(runs, 20))
            {
                True(tuned.ToJson().Contains("\"schedule\""), "a schedule");
            }
            StillWorks(pipeline);
        }
    }

    private static void Previews()
    {
        using (Pipeline pipeline = Load())
        using (CacheConfig config = CacheConfig.Pab())
        using (CacheStatistics preview = pipeline.PreviewCache(config, Options(6)))
        {
            Equal(6, preview.TotalSteps, "steps");
            True(preview.BytesPeak > 0, "bytes");
            pipeline.EnableCache(config);
            pipeline.Generate(Options(6)).Dispose();
            using (CacheStatistics run = pipeline.CacheStatistics())
            {
                for (int step = 0; step < 6; step++)
                {
                    for (int layer = 0; layer < preview.NumLayers; layer++)
                    {
                        Equal(preview.LayerState(step, layer), run.LayerState(step, layer), "step " + step);
                    }
                }
                Equal(preview.BytesPeak, run.BytesPeak, "bytes");
                Equal(0UL, run.HostBytesPeak, "bytes on the host");
            }
            pipeline.EnableCache(config.SetCacheLocation("host").SetCacheDtype("fp8"));
            pipeline.Generate(Options(6)).Dispose();
            using (CacheStatistics spilled = pipeline.CacheStatistics())
            {
                True(spilled.BytesPeak < preview.BytesPeak, "fewer bytes");
                Equal(spilled.BytesPeak, spilled.HostBytesPeak, "bytes on the host");
                Equal(0UL, spilled.HostBytesNow, "bytes on the host now");
            }
            Fails(ErrorCode.InvalidArgument, () => config.SetCacheLocation("disk"));
            config.SetCacheLocation("device").SetCacheDtype("auto");
            using (CacheStatistics defaults = pipeline.PreviewCache(config)) Equal(50, defaults.TotalSteps, "steps");
            Fails(ErrorCode.InvalidArgument, () => config.Preview(0, 10));
            using (CacheStatistics unguided = config.Preview(2, 10, false))
            {
                Equal(UnconditionalState.Absent, unguided.Unconditional(0), "no guidance");
            }
        }
    }

    private static void Statistics()
    {
        using (Pipeline pipeline = Load())
        {
            pipeline.Generate(Options(5)).Dispose();
            CacheStatistics statistics = pipeline.CacheStatistics();
            pipeline.Dispose();
            Equal("", statistics.Technique, "technique");
            Equal(5, statistics.TotalSteps, "total");
            Equal(5, statistics.NumSteps, "begun");
            Equal("transformer_blocks.0.attn1", statistics.LayerName(0), "layer");
            Equal(null, statistics.LayerName(-1), "no layer");
            Equal(LayerState.Computed, statistics.LayerState(0, 0), "state");
            Equal(LayerState.NotReached, statistics.LayerState(99, 0), "no step");
            Equal(5, statistics.LayerCount(0, LayerState.Computed), "count");
            Equal(UnconditionalState.Ran, statistics.Unconditional(0), "unconditional");
            True(statistics.Timestep(0) > statistics.Timestep(4), "timesteps");
            Equal(-1L, statistics.Timestep(5), "no timestep");
            True(!statistics.IsLayerOverBudget(0), "budget");
            Equal(0UL, statistics.BytesNow, "bytes now");
            Equal(0UL, statistics.BytesPeak, "bytes");
            Equal(10.0, statistics.TotalUnits, "units");
            Equal(10.0, statistics.AttentionUnits, "attention");
            Equal(10.0, statistics.RestUnits, "rest");
            True(statistics.AttentionShare > 0 && statistics.AttentionShare < 1, "share");
            True(statistics.AttentionShareIsMeasured, "measured");
            True(Math.Abs(statistics.PredictedSpeedUp - 1) < 1e-9, "speed-up");
            True(statistics.Text.Contains("\n") && statistics.Json.StartsWith("{"), "text");
            statistics.Dispose();
        }
    }
}

package cogvideox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
)

// callbackCache is FasterCache with every callback written here; each counts its calls.
func callbackCache(t testing.TB, calls *[4]int) *CacheConfig {
	t.Helper()
	c := NewFasterCache()
	t.Cleanup(func() { c.Close() })
	if err := first(
		func() error {
			return c.SetCurrentTimestepCallback(func(info StepInfo) float64 { calls[0]++; return info.Timestep })
		},
		func() error {
			return c.SetAttentionWeightCallback(func(info LayerInfo) float64 {
				calls[1]++
				if !strings.HasPrefix(info.LayerName, "transformer_blocks.") || info.NumSteps == 0 {
					return math.NaN()
				}
				return 0.5
			})
		},
		func() error {
			return c.SetLowFrequencyWeightCallback(func(info StepInfo) float64 {
				calls[2]++
				if info.Timestep > 99 && info.Timestep < 901 {
					return 1.1
				}
				return 1
			})
		},
		func() error {
			return c.SetHighFrequencyWeightCallback(func(info StepInfo) float64 {
				calls[3]++
				if info.Timestep < 301 {
					return 1.1
				}
				return 1
			})
		},
	); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCachedGenerationWithCallbacks(t *testing.T) {
	p := load(t, "2b")
	plain := bytesOf(t, generate(t, p, small(20)))

	builtin := NewFasterCache()
	defer builtin.Close()
	if err := p.EnableCache(builtin); err != nil {
		t.Fatal(err)
	}
	want := bytesOf(t, generate(t, p, small(20)))
	if bytes.Equal(plain, want) {
		t.Error("the cache had no effect")
	}

	var calls [4]int
	if err := p.EnableCache(callbackCache(t, &calls)); err != nil {
		t.Fatal(err)
	}
	v := generate(t, p, small(20))
	for i, n := range calls {
		if n == 0 {
			t.Errorf("callback %d was not called", i)
		}
	}
	if !bytes.Equal(want, bytesOf(t, v)) {
		t.Error("callbacks that answer the defaults gave another video than the defaults")
	}

	stats, err := p.CacheStats()
	if err != nil {
		t.Fatal(err)
	}
	defer stats.Close()
	if stats.Technique() != "FasterCache" || stats.NumSteps() != 20 || stats.TotalSteps() != 20 ||
		stats.NumLayers() != p.NumAttentionLayers() {
		t.Errorf("found %s, %d of %d steps, %d layers", stats.Technique(), stats.NumSteps(), stats.TotalSteps(), stats.NumLayers())
	}
	approximated := stats.LayerCount(-1, LayerApproximated)
	if approximated == 0 || approximated != calls[1] {
		t.Errorf("%d layers were approximated, the weight was asked %d times", approximated, calls[1])
	}
	counted, rebuilt := 0, 0
	for step := range stats.NumSteps() {
		if stats.Unconditional(step) == UnconditionalRebuilt {
			rebuilt++
		}
		for layer := range stats.NumLayers() {
			if stats.LayerState(step, layer) == LayerApproximated {
				counted++
			}
		}
	}
	if counted != approximated || rebuilt != calls[2] || rebuilt != calls[3] {
		t.Errorf("%d approximated, %d rebuilt, calls %v", counted, rebuilt, calls)
	}
	if stats.Timestep(0) <= stats.Timestep(19) || stats.Timestep(20) != -1 || stats.LayerName(0) != p.AttentionLayerName(0) {
		t.Error("timesteps or names are wrong")
	}
	share, measured := stats.AttentionShare()
	if share <= 0 || share >= 1 || !measured || stats.PredictedSpeedUp() <= 1 {
		t.Errorf("share %v (measured %v), speed-up %v", share, measured, stats.PredictedSpeedUp())
	}
	if stats.BytesPeak() == 0 || stats.BytesNow() != 0 || stats.TotalUnits() != 40 ||
		stats.AttentionUnits() >= 40 || stats.RestUnits() >= 40 {
		t.Errorf("bytes %d, %d; units %v, %v of %v", stats.BytesNow(), stats.BytesPeak(),
			stats.AttentionUnits(), stats.RestUnits(), stats.TotalUnits())
	}
	if stats.HostBytesNow() != 0 || stats.HostBytesPeak() != 0 {
		t.Errorf("bytes on the host %d, %d", stats.HostBytesNow(), stats.HostBytesPeak())
	}
	var object map[string]any
	if err := json.Unmarshal([]byte(stats.JSON()), &object); err != nil || object["technique"] == nil {
		t.Errorf("JSON: %v in %s", err, stats.JSON())
	}
	if !strings.Contains(stats.Text(), "\n") {
		t.Error("expected a table")
	}

	if err := p.DisableCache(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(plain, bytesOf(t, generate(t, p, small(20)))) {
		t.Error("without the cache the video is not the uncached one")
	}
}

func TestEveryCacheField(t *testing.T) {
	c := NewFasterCache()
	defer c.Close()
	if err := first(
		func() error { return c.SetMaxCacheBytes(1 << 20) },
		func() error { return c.SetCacheDtype("bf16") },
		func() error { return c.SetSpatialAttentionBlockSkipRange(3) },
		func() error { return c.SetTemporalAttentionBlockSkipRange(3) },
		func() error { return c.SetSpatialAttentionTimestepSkipRange(-1, 900) },
		func() error { return c.SetTemporalAttentionTimestepSkipRange(-1, 900) },
		func() error { return c.SetSpatialAttentionBlockIdentifiers("transformer_blocks.0", "blocks.*attn") },
		func() error { return c.SetTemporalAttentionBlockIdentifiers("attn1") },
		func() error { return c.SetUnconditionalBatchSkipRange(4) },
		func() error { return c.SetUnconditionalBatchTimestepSkipRange(-1, 900) },
		func() error { return c.SetLowFrequencyWeightUpdateTimestepRange(99, 950) },
		func() error { return c.SetHighFrequencyWeightUpdateTimestepRange(-1, 400) },
		func() error { return c.SetAlphaLowFrequency(1.2) },
		func() error { return c.SetAlphaHighFrequency(1.3) },
		func() error { return c.SetTensorFormat("BFCHW") },
		func() error { return c.SetIsGuidanceDistilled(false) },
		func() error { return c.SetAttentionWeight(0.4) },
		func() error { return c.SetReuseAttentionOnFullGuidanceSteps(true) },
	); err != nil {
		t.Fatal(err)
	}
	stats, err := c.Preview(4, 20, true)
	if err != nil {
		t.Fatal(err)
	}
	defer stats.Close()
	for _, part := range []string{"1.2", "1.3", "0.4", "BFCHW", "950", "attn1", "transformer_blocks.0"} {
		if !strings.Contains(stats.JSON(), part) {
			t.Errorf("%s is not in the settings: %s", part, stats.JSON())
		}
	}

	pab := NewPAB()
	defer pab.Close()
	if err := first(
		func() error { return pab.SetCrossAttentionBlockSkipRange(3) },
		func() error { return pab.SetCrossAttentionTimestepSkipRange(0, 500) },
		func() error { return pab.SetCrossAttentionBlockIdentifiers("blocks") },
	); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"field":      pab.SetAlphaLowFrequency(1),
		"callback":   pab.SetAttentionWeightCallback(func(LayerInfo) float64 { return 0 }),
		"low":        pab.SetLowFrequencyWeightCallback(func(StepInfo) float64 { return 0 }),
		"high":       pab.SetHighFrequencyWeightCallback(func(StepInfo) float64 { return 0 }),
		"range":      pab.SetSpatialAttentionBlockSkipRange(0),
		"33 bits":    pab.SetSpatialAttentionBlockSkipRange(1 << 33),
		"window":     pab.SetSpatialAttentionTimestepSkipRange(5, 5),
		"dtype":      pab.SetCacheDtype("int4"),
		"identifier": pab.SetSpatialAttentionBlockIdentifiers("("),
		"NUL":        pab.SetSpatialAttentionBlockIdentifiers("ok", "a\x00"),
	} {
		t.Run(name, func(t *testing.T) { wants(t, err, ErrInvalidArgument) })
	}
	wants(t, pab.SetSpatialAttentionBlockIdentifiers("\xff"), ErrInvalidUTF8)
	if err := pab.SetCurrentTimestepCallback(nil); err != nil {
		t.Error(err)
	}
}

func TestPreviewAndBudget(t *testing.T) {
	p := load(t, "2b")
	pab, err := NewCacheConfig("pab", "videosys")
	if err != nil {
		t.Fatal(err)
	}
	defer pab.Close()
	options := small(20)
	full, err := p.PreviewCache(pab, &options)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	if err := p.EnableCache(pab); err != nil {
		t.Fatal(err)
	}
	generate(t, p, options)
	ran, err := p.CacheStats()
	if err != nil {
		t.Fatal(err)
	}
	defer ran.Close()
	if full.BytesPeak() == 0 || full.BytesPeak() != ran.BytesPeak() ||
		full.LayerCount(-1, LayerReused) == 0 || full.LayerCount(-1, LayerReused) != ran.LayerCount(-1, LayerReused) {
		t.Errorf("the preview says %d bytes, %d reused; the run had %d and %d", full.BytesPeak(),
			full.LayerCount(-1, LayerReused), ran.BytesPeak(), ran.LayerCount(-1, LayerReused))
	}
	for _, err := range []error{pab.SetCacheLocation("host"), pab.SetCacheDtype("fp8"), p.EnableCache(pab)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	generate(t, p, options)
	spilled, err := p.CacheStats()
	if err != nil {
		t.Fatal(err)
	}
	defer spilled.Close()
	if spilled.BytesPeak() >= full.BytesPeak() || spilled.HostBytesPeak() != spilled.BytesPeak() ||
		spilled.HostBytesNow() != 0 {
		t.Errorf("bytes %d of %d, on the host %d, now %d", spilled.BytesPeak(), full.BytesPeak(),
			spilled.HostBytesPeak(), spilled.HostBytesNow())
	}
	if err := pab.SetCacheLocation("disk"); err == nil {
		t.Error("a cache on a disk")
	}
	if err := pab.SetMaxCacheBytes(1); err != nil {
		t.Fatal(err)
	}
	none, err := p.PreviewCache(pab, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer none.Close()
	if !none.LayerOverBudget(0) || full.LayerOverBudget(0) {
		t.Error("expected the layer to be over the budget of one byte only")
	}
	bad := small(20)
	bad.Width = 24
	_, err = p.PreviewCache(pab, &bad)
	wants(t, err, ErrInvalidArgument)
	if err := pab.SetSpatialAttentionBlockIdentifiers("nothing_is_called_so"); err != nil {
		t.Fatal(err)
	}
	wants(t, p.EnableCache(pab), ErrInvalidArgument, "nothing_is_called_so", "transformer_blocks")
}

func TestCalibrationEstimatesAndSchedulesAreTuned(t *testing.T) {
	p := load(t, "2b")
	runs := []GenerateOptions{small(6), small(6)}
	runs[1].Prompt = "waves at night"
	made, err := p.Calibrate(context.Background(), runs)
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	calibration, err := CalibrationFromJSON(made.JSON())
	if err != nil {
		t.Fatal(err)
	}
	defer calibration.Close()
	pab := NewPAB()
	defer pab.Close()
	estimate, err := p.EstimateCache(pab, &runs[0], calibration)
	if err != nil {
		t.Fatal(err)
	}
	defer estimate.Close()
	if estimate.EstimatedSeconds() <= 0 || estimate.EstimatedPSNR() <= 0 {
		t.Errorf("expected %v s and %v dB to be positive", estimate.EstimatedSeconds(), estimate.EstimatedPSNR())
	}
	other := small(7)
	_, err = p.EstimateCache(pab, &other, calibration)
	wants(t, err, ErrInvalidArgument, "steps 7, found 6")
	_, err = CalibrationFromJSON("{}")
	wants(t, err, ErrInvalidArgument, "calibration")
	_, err = p.Calibrate(context.Background(), nil)
	wants(t, err, ErrInvalidArgument, "runs")
	tuned, err := p.TuneCache(context.Background(), runs, 20)
	if err != nil {
		t.Fatal(err)
	}
	defer tuned.Close()
	if json, err := tuned.ToJSON(); err != nil || !strings.Contains(json, `"schedule"`) {
		t.Errorf("expected a schedule, found %q, %v", json, err)
	}
	again, err := p.TuneCacheWith(context.Background(), calibration, runs, 20)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	_, err = p.TuneCacheWith(context.Background(), calibration, []GenerateOptions{small(7)}, 20)
	wants(t, err, ErrInvalidArgument, "steps 7, found 6")
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := p.Calibrate(ended, runs); !errors.Is(err, context.Canceled) {
		t.Errorf("expected context.Canceled, found %v", err)
	}
}

func TestCallbackAnswersNonsense(t *testing.T) {
	p := load(t, "2b")
	c := NewPAB()
	defer c.Close()
	for _, answer := range []float64{math.NaN(), math.Inf(1), -1, 1000} {
		if err := c.SetCurrentTimestepCallback(func(StepInfo) float64 { return answer }); err != nil {
			t.Fatal(err)
		}
		if err := p.EnableCache(c); err != nil {
			t.Fatal(err)
		}
		_, err := p.Generate(context.Background(), small(3))
		wants(t, err, ErrCallbackFailed)
	}
}

package cogvideox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	want := fmt.Sprintf("%d.%d.%d", HeaderVersionMajor, HeaderVersionMinor, HeaderVersionPatch)
	if Version() != want {
		t.Errorf("expected version %s, found %s", want, Version())
	}
	if ABIVersion() != HeaderABIVersion {
		t.Errorf("expected ABI %d, found %d", HeaderABIVersion, ABIVersion())
	}
	if err := CheckABI(); err != nil {
		t.Error(err)
	}
}

func TestLoadTellsWhatItLoaded(t *testing.T) {
	for family, want := range map[string]string{"2b": "DDIM", "5b": "rotary", "1.5-5b": "1.5"} {
		p := load(t, family)
		if !strings.Contains(p.Family(), want) {
			t.Errorf("%s: expected a family with %q, found %q", family, want, p.Family())
		}
		if p.Device() != "cpu" || p.Dtype() != "f32" {
			t.Errorf("%s: expected f32 on cpu, found %s on %s", family, p.Dtype(), p.Device())
		}
		if p.WeightBytes() == 0 || p.TextEmbedDim() == 0 || p.DefaultWidth() == 0 || p.DefaultHeight() == 0 ||
			p.DefaultNumFrames() == 0 || p.DefaultMaxSequenceLength() == 0 {
			t.Errorf("%s: a number is missing", family)
		}
		if p.DefaultNumInferenceSteps() != 50 || p.DefaultGuidanceScale() != 6 {
			t.Errorf("%s: expected 50 steps and guidance 6", family)
		}
		if fps := p.DefaultFPS(); fps != map[bool]float64{false: 8, true: 16}[family == "1.5-5b"] {
			t.Errorf("%s: found %v frames per second", family, fps)
		}
		if name := p.AttentionLayerName(0); name != "transformer_blocks.0.attn1" {
			t.Errorf("%s: found a first layer %q", family, name)
		}
		for _, none := range []int{-1, p.NumAttentionLayers(), 1 << 40} {
			if name := p.AttentionLayerName(none); name != "" {
				t.Errorf("%s: expected no layer %d, found %q", family, none, name)
			}
		}
	}
}

func TestCapabilitiesAndMemory(t *testing.T) {
	names := Capabilities()
	if !slices.Contains(names, "save.mp4") || !slices.IsSorted(names) || HasCapability("save.webm") {
		t.Errorf("found %v", names)
	}
	for _, name := range names {
		if !HasCapability(name) {
			t.Errorf("%s: listed, and not there", name)
		}
	}
	p := load(t, "2b")
	memory, err := p.Memory()
	if err != nil {
		t.Fatal(err)
	}
	if memory.Weights != p.WeightBytes() || memory.Process <= memory.Weights || memory.Working ||
		memory.ProcessPeak < memory.Process {
		t.Errorf("found %+v", memory)
	}
	if memory.Cache != 0 || memory.CachePeak != 0 || memory.Prompts != 0 || memory.Device != 0 || memory.DevicePeak != 0 {
		t.Errorf("expected nothing more before a run on the CPU, found %+v", memory)
	}
}

func TestLoadProgressAndLog(t *testing.T) {
	var seen []Progress
	p, err := Load(context.Background(), folder("2b"), &LoadOptions{
		Device: "cpu",
		Dtype:  "f32",
		Progress: func(info Progress) error {
			seen = append(seen, info)
			return nil
		},
		Log:                 func(LogLevel, string) {},
		TextEncoderOnDemand: false,
		MaxDeviceMemory:     1 << 40,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	last := Progress{}
	for _, info := range seen {
		if info.Stage != StageLoad || info.Done < last.Done || info.Timestep != -1 {
			t.Fatalf("%+v after %+v", info, last)
		}
		last = info
	}
	if len(seen) < 2 || last.Done != last.Total || last.Total == 0 {
		t.Errorf("%d calls, the last %+v", len(seen), last)
	}
}

func TestTextEncoderOnDemand(t *testing.T) {
	p, err := Load(context.Background(), folder("2b"), &LoadOptions{Device: "cpu", TextEncoderOnDemand: true})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if p.WeightBytes() != 0 {
		t.Errorf("expected no weights yet, found %d bytes", p.WeightBytes())
	}
	stages := map[Stage]bool{}
	options := small(2)
	options.Progress = func(info Progress) error {
		stages[info.Stage] = true
		return nil
	}
	lazy := bytesOf(t, generate(t, p, options))
	if !stages[StageLoad] {
		t.Error("expected the load to be a stage of the run")
	}
	if string(lazy) != string(bytesOf(t, generate(t, load(t, "2b"), small(2)))) {
		t.Error("expected the video of a pipeline that was loaded at once")
	}
}

func TestWeightStreaming(t *testing.T) {
	whole := load(t, "2b")
	for _, mode := range []string{"file", "host"} {
		streaming := map[string]string{"text_encoder": mode, "transformer": mode}
		p, err := Load(context.Background(), folder("2b"), &LoadOptions{Device: "cpu", WeightStreaming: streaming})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if mode == "file" && p.WeightBytes() >= whole.WeightBytes() {
			t.Errorf("%d bytes of %d in memory", p.WeightBytes(), whole.WeightBytes())
		}
		if string(bytesOf(t, generate(t, p, small(2)))) != string(bytesOf(t, generate(t, whole, small(2)))) {
			t.Errorf("%s: expected the video of resident weights", mode)
		}
	}
	_, err := Load(context.Background(), folder("2b"), &LoadOptions{WeightStreaming: map[string]string{"vae": "file"}})
	if !errors.Is(err, ErrInvalidArgument) {
		t.Errorf("expected an invalid argument, found %v", err)
	}
}

func TestKernelsOfCUDADevicesChangeNothingOnTheCPU(t *testing.T) {
	p, err := Load(context.Background(), folder("2b"), &LoadOptions{Device: "cpu", CUDAKernels: "fused"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	video := generate(t, p, small(2))
	if strings.Contains(video.Kernels(), "fused") {
		t.Errorf("found %q", video.Kernels())
	}
	_, err = Load(context.Background(), folder("2b"), &LoadOptions{CUDAKernels: "triton"})
	if !errors.Is(err, ErrInvalidArgument) {
		t.Errorf("expected an invalid argument, found %v", err)
	}
}

func TestPlansAndBudgets(t *testing.T) {
	whole := bytesOf(t, generate(t, load(t, "2b"), small(2)))
	run := small(2)
	plan, err := NewPlan(folder("2b"), &LoadOptions{Device: "cpu"}, &run, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer plan.Close()
	if plan.Device != "cpu" || plan.Best != 0 || len(plan.Choices) != 12 || plan.Choices[0].Mode != "resident" {
		t.Fatalf("%+v", plan)
	}
	if lines := strings.Count(plan.String(), "\n"); lines != 13 {
		t.Errorf("%d lines: %s", lines, plan)
	}
	least := plan.Choices[0].PeakBytes
	for _, choice := range plan.Choices {
		least = min(least, choice.PeakBytes)
	}
	lean, err := NewPlan(folder("2b"), nil, &run, nil, least)
	if err != nil {
		t.Fatal(err)
	}
	defer lean.Close()
	for _, options := range []*LoadOptions{{Plan: lean}, {MemoryBudget: 1 << 40}, {Offload: true}} {
		options.Device = "cpu"
		p, err := Load(context.Background(), folder("2b"), options)
		if err != nil {
			t.Fatal(err)
		}
		if string(bytesOf(t, generate(t, p, small(2)))) != string(whole) {
			t.Errorf("%+v: expected the video of resident weights", options)
		}
		p.Close()
	}
	none, err := NewPlan(folder("2b"), nil, &run, nil, 1)
	if err != nil || none.Best != -1 {
		t.Fatal(none, err)
	}
	defer none.Close()
	if _, err := Load(context.Background(), folder("2b"), &LoadOptions{Plan: none}); !errors.Is(err, ErrOutOfMemory) {
		t.Errorf("expected out of memory, found %v", err)
	}
	if _, err := NewPlan("nowhere", nil, nil, nil, 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("expected not found, found %v", err)
	}
}

func TestLoadErrors(t *testing.T) {
	ctx := context.Background()
	damaged := t.TempDir()
	if err := os.WriteFile(filepath.Join(damaged, "model_index.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		folder  string
		options *LoadOptions
		code    Code
		word    string
	}{
		"no folder":  {"/no/such/folder", nil, ErrNotFound, "/no/such/folder"},
		"NUL":        {"a\x00b", nil, ErrInvalidArgument, "NUL"},
		"not UTF-8":  {"caf\xe9", nil, ErrInvalidUTF8, "UTF-8"},
		"damaged":    {damaged, nil, ErrInvalidCheckpoint, "model_index.json"},
		"device":     {folder("2b"), &LoadOptions{Device: "tpu"}, ErrInvalidArgument, "tpu"},
		"no such":    {folder("2b"), &LoadOptions{Device: "cuda:99"}, ErrDeviceUnavailable, "cuda"},
		"dtype":      {folder("2b"), &LoadOptions{Dtype: "f8"}, ErrInvalidArgument, "f8"},
		"variant":    {folder("2b"), &LoadOptions{Variant: "../x"}, ErrInvalidArgument, "variant"},
		"scheduler":  {folder("2b"), &LoadOptions{Scheduler: "euler"}, ErrInvalidArgument, "euler"},
		"spacing":    {folder("2b"), &LoadOptions{TimestepSpacing: "x"}, ErrInvalidArgument, "trailing"},
		"shift":      {folder("2b"), &LoadOptions{SNRShiftScale: -1}, ErrInvalidArgument, "snr_shift_scale"},
		"no decoder": {folder("2b"), &LoadOptions{PreviewDecoder: "no/decoder"}, ErrNotFound, "no/decoder"},
		"no variant": {folder("2b"), &LoadOptions{Variant: "nope"}, ErrNotFound, "nope"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Load(ctx, c.folder, c.options)
			if p != nil {
				t.Error("expected no pipeline")
			}
			wants(t, err, c.code, c.word)
		})
	}
}

func TestSchedulerIsChosenAtLoadOrByTheRun(t *testing.T) {
	no := false
	atLoad, err := Load(context.Background(), folder("2b"), &LoadOptions{
		Device: "cpu", Scheduler: "dpm", TimestepSpacing: "linspace", SNRShiftScale: 2, RescaleBetasZeroSNR: &no,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer atLoad.Close()
	if !strings.Contains(atLoad.Family(), "DPM") {
		t.Errorf("expected DPM in %q", atLoad.Family())
	}
	p := load(t, "2b")
	options := small(3)
	own := bytesOf(t, generate(t, p, options))
	expected := bytesOf(t, generate(t, atLoad, options))
	if bytes.Equal(own, expected) {
		t.Error("the scheduler had no effect")
	}
	options.Scheduler, options.TimestepSpacing = "dpm", "linspace"
	options.SNRShiftScale, options.RescaleBetasZeroSNR = 2, &no
	if !bytes.Equal(bytesOf(t, generate(t, p, options)), expected) {
		t.Error("a choice at load and the run's give different videos")
	}
	options.Scheduler = "euler"
	_, err = p.Generate(context.Background(), options)
	wants(t, err, ErrInvalidArgument, "euler")
}

func TestLoadCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := Load(ctx, folder("2b"), nil)
	wants(t, err, ErrCancelled)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("expected context.Canceled in %v", err)
	}

	ctx, cancel = context.WithCancel(context.Background())
	defer cancel()
	_, err = Load(ctx, folder("2b"), &LoadOptions{Progress: func(Progress) error {
		cancel()
		<-ctx.Done()
		return nil
	}})
	// The token is cancelled by another goroutine, which the load of a tiny folder may outrun.
	if err != nil {
		wants(t, err, ErrCancelled)
	}

	full := errors.New("the disk is for others")
	_, err = Load(context.Background(), folder("2b"), &LoadOptions{Progress: func(Progress) error { return full }})
	wants(t, err, ErrCancelled)
	if !errors.Is(err, full) {
		t.Errorf("expected the callback's error in %v", err)
	}
}

func TestProductsInBfloat16(t *testing.T) {
	p, err := Load(context.Background(), folder("5b"), &LoadOptions{Device: "cpu", CPUMatmulPrecision: "bfloat16"})
	if err == nil {
		p.Close()
	} else if !errors.Is(err, ErrInvalidArgument) || !strings.Contains(err.Error(), "AVX512_BF16") {
		t.Errorf("expected what the processor lacks, found %v", err)
	}
	_, err = Load(context.Background(), folder("5b"), &LoadOptions{CPUMatmulPrecision: "bf16"})
	if !errors.Is(err, ErrInvalidArgument) {
		t.Errorf("expected ErrInvalidArgument for another precision, found %v", err)
	}
}

func TestQuantizedWeightsTakeLess(t *testing.T) {
	whole := load(t, "5b")
	kinds := map[string]string{"transformer": "int4", "text_encoder": "int8"}
	options := &LoadOptions{Device: "cpu", ComponentQuantizations: kinds}
	p, err := Load(context.Background(), folder("5b"), options)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if p.WeightBytes() >= whole.WeightBytes() {
		t.Errorf("expected less than %d bytes, found %d", whole.WeightBytes(), p.WeightBytes())
	}
	saved := filepath.Join(t.TempDir(), "saved")
	if err := p.Save(saved); err != nil {
		t.Fatal(err)
	}
	again, err := Load(context.Background(), saved, &LoadOptions{Device: "cpu"})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if again.WeightBytes() != p.WeightBytes() {
		t.Errorf("expected %d bytes, found %d", p.WeightBytes(), again.WeightBytes())
	}
	if err := p.Save(saved); !errors.Is(err, ErrInvalidArgument) {
		t.Errorf("expected ErrInvalidArgument for a folder that is there, found %v", err)
	}
	options.ComponentQuantizations = map[string]string{"vae": "int8"}
	if _, err := Load(context.Background(), folder("5b"), options); !errors.Is(err, ErrInvalidArgument) {
		t.Errorf("expected ErrInvalidArgument for the vae, found %v", err)
	}
}

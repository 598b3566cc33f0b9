package cogvideox

import (
	"context"
	"errors"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestCodesHaveTheHeadersNames(t *testing.T) {
	for code, name := range map[Code]string{
		OK: "OK", ErrNullArgument: "NULL_ARGUMENT", ErrInvalidArgument: "INVALID_ARGUMENT",
		ErrInvalidUTF8: "INVALID_UTF8", ErrNotFound: "NOT_FOUND",
		ErrInvalidCheckpoint: "INVALID_CHECKPOINT", ErrUnsupportedModel: "UNSUPPORTED_MODEL",
		ErrDeviceUnavailable: "DEVICE_UNAVAILABLE", ErrOutOfMemory: "OUT_OF_MEMORY",
		ErrBusy: "BUSY", ErrCancelled: "CANCELLED", ErrCallbackFailed: "CALLBACK_FAILED",
		ErrIO: "IO", ErrInternal: "INTERNAL", ErrDeviceLost: "DEVICE_LOST",
		Code(99): "UNKNOWN",
	} {
		if code.Name() != name {
			t.Errorf("%d: expected %s, found %s", code, name, code.Name())
		}
	}
	if ErrBusy.Error() != "cogvideox: busy" {
		t.Errorf("found %q", ErrBusy.Error())
	}
}

// Every function and constant of the header is used by this package.
func TestWholeHeader(t *testing.T) {
	header, err := os.ReadFile("../../include/cogvideox.h")
	if err != nil {
		t.Fatal(err)
	}
	comments := regexp.MustCompile(`(?s)/\*.*?\*/`)
	declarations := comments.ReplaceAllString(string(header), "")
	var source strings.Builder
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if name := entry.Name(); strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			source.Write(text)
		}
	}
	names := regexp.MustCompile(`\b(cvx_\w+)\(|#define (CVX_\w+) +[0-9]`).FindAllStringSubmatch(declarations, -1)
	if len(names) < 150 {
		t.Fatalf("expected functions and constants in the header, found %d", len(names))
	}
	for _, match := range names {
		name := match[1] + match[2]
		if !regexp.MustCompile(`\bC\.` + name + `\b`).MatchString(source.String()) {
			t.Errorf("C.%s is missing", name)
		}
	}
}

func TestOptionErrors(t *testing.T) {
	p := load(t, "2b")
	long := strings.Repeat("a", 1<<20+1)
	for name, c := range map[string]struct {
		change func(*GenerateOptions)
		code   Code
		word   string
	}{
		"prompt NUL":       {func(o *GenerateOptions) { o.Prompt = "a\x00b" }, ErrInvalidArgument, "byte 1"},
		"prompt not UTF-8": {func(o *GenerateOptions) { o.Prompt = "caf\xe9" }, ErrInvalidUTF8, "prompt"},
		"prompt long":      {func(o *GenerateOptions) { o.Prompt = long }, ErrInvalidArgument, "prompt"},
		"negative":         {func(o *GenerateOptions) { o.NegativePrompt = "\xff" }, ErrInvalidUTF8, "negative"},
		"size":             {func(o *GenerateOptions) { o.Width = 33 }, ErrInvalidArgument, "33"},
		"size 33 bits":     {func(o *GenerateOptions) { o.Width = 1<<32 + 32 }, ErrInvalidArgument, "32 bits"},
		"frames":           {func(o *GenerateOptions) { o.NumFrames = -1 }, ErrInvalidArgument, "num_frames"},
		"steps":            {func(o *GenerateOptions) { o.NumInferenceSteps = 100001 }, ErrInvalidArgument, "100001"},
		"guidance":         {func(o *GenerateOptions) { o.GuidanceScale = math.NaN() }, ErrInvalidArgument, "guidance"},
		"eta":              {func(o *GenerateOptions) { o.Eta = 2 }, ErrInvalidArgument, "eta"},
		"side":             {func(o *GenerateOptions) { o.Width, o.Height = MaxSide+8, 32 }, ErrInvalidArgument, "16392"},
		"frames bound":     {func(o *GenerateOptions) { o.NumFrames = MaxFrames + 1 }, ErrInvalidArgument, "4097"},
		"sequence":         {func(o *GenerateOptions) { o.MaxSequenceLength = MaxSequenceLength + 1 }, ErrInvalidArgument, "8193"},
		"videos":           {func(o *GenerateOptions) { o.NumVideos = MaxVideos + 1 }, ErrInvalidArgument, "257"},
		"output":           {func(o *GenerateOptions) { o.Output = 7 }, ErrInvalidArgument, "output"},
		"tile":             {func(o *GenerateOptions) { o.VAETile = &VAETile{OverlapHeight: 1} }, ErrInvalidArgument, "overlap"},
		"timesteps":        {func(o *GenerateOptions) { o.Timesteps = []int64{5, 9} }, ErrInvalidArgument, "timesteps"},
		"latents count":    {func(o *GenerateOptions) { o.Latents = &Latents{Shape: [5]int64{1, 1, 1, 2, 2}} }, ErrInvalidArgument, "4 numbers"},
		"latents shape": {func(o *GenerateOptions) {
			o.Latents = &Latents{Data: make([]float32, 4), Shape: [5]int64{1, 1, 1, 2, 2}}
		}, ErrInvalidArgument, "latents"},
		"latents overflow": {func(o *GenerateOptions) {
			o.Latents = &Latents{Shape: [5]int64{1 << 31, 1 << 31, 1 << 31, 1, 1}}
		}, ErrInvalidArgument, "2^31"},
	} {
		t.Run(name, func(t *testing.T) {
			options := small(2)
			c.change(&options)
			v, err := p.Generate(context.Background(), options)
			if v != nil {
				t.Error("expected no video")
			}
			wants(t, err, c.code, c.word)
		})
	}
	generate(t, p, small(1)) // and is usable after all that
}

func TestErrorsOfOtherMethods(t *testing.T) {
	p := load(t, "2b")
	_, _, err := p.LatentShape(1, 33, 32, 9)
	wants(t, err, ErrInvalidArgument, "33")
	_, _, err = p.LatentShape(1<<40, 32, 32, 9)
	wants(t, err, ErrInvalidArgument, "numVideos")
	_, err = p.Tokenize("x", 0)
	wants(t, err, ErrInvalidArgument, "8192")
	_, err = p.EncodePrompt("x", 1<<50)
	wants(t, err, ErrInvalidArgument, "8192")
	_, err = p.Tokenize("\xff", 4)
	wants(t, err, ErrInvalidUTF8)
	_, err = p.CacheStats()
	wants(t, err, ErrInvalidArgument)
	_, err = p.DecodeLatents(context.Background(), nil, nil)
	wants(t, err, ErrInvalidArgument)
	_, err = NewCacheConfig("teacache", "")
	wants(t, err, ErrInvalidArgument, "teacache", "pab")
	_, err = NewCacheConfig("pab", "nope")
	wants(t, err, ErrInvalidArgument, "nope")
	wants(t, CheckPath("x.avi", 8), ErrInvalidArgument)
	wants(t, CheckPath("/no/such/folder/x.mp4", 8), ErrNotFound, "/no/such/folder")
	wants(t, SaveContactSheet(nil, 3, "x.png"), ErrInvalidArgument)

	var code Code
	if !errors.As(err, &code) || code != ErrInvalidArgument {
		t.Errorf("errors.As found code %v", code)
	}
}

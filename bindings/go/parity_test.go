package cogvideox

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unsafe"
)

// buildC compiles testdata/frames.c as pkg-config says.
func buildC(t *testing.T) string {
	t.Helper()
	flags, err := exec.Command("pkg-config", "--cflags", "--libs", "cogvideox").Output()
	if err != nil {
		t.Fatalf("pkg-config finds no cogvideox: %v", err)
	}
	compiler := os.Getenv("CC")
	if compiler == "" {
		compiler = "cc"
	}
	program := filepath.Join(t.TempDir(), "frames")
	args := append([]string{"-O1", "-Wall", "-Wextra", "-Werror", "testdata/frames.c", "-o", program}, strings.Fields(string(flags))...)
	if output, err := exec.Command(compiler, args...).CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, output)
	}
	return program
}

func TestFramesAreThoseOfTheCPath(t *testing.T) {
	program := buildC(t)
	for _, c := range []struct {
		family, technique string
		seed              uint64
	}{{"2b", "none", 0}, {"2b", "pab", 7}, {"5b", "faster_cache", 1 << 40}, {"1.5-5b", "none", 3}} {
		file := filepath.Join(t.TempDir(), "frames.bin")
		output, err := exec.Command(program, folder(c.family), c.technique, "10",
			strconv.FormatUint(c.seed, 10), file).CombinedOutput()
		if err != nil {
			t.Fatalf("%v:\n%s", err, output)
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		p := load(t, c.family)
		if c.technique != "none" {
			config, err := NewCacheConfig(c.technique, "")
			if err != nil {
				t.Fatal(err)
			}
			if err := p.EnableCache(config); err != nil {
				t.Fatal(err)
			}
			config.Close()
		}
		options := small(10)
		options.Seed = c.seed
		v := generate(t, p, options)
		rgb, _, err := v.RGB8(0)
		if err != nil {
			t.Fatal(err)
		}
		rgba, _, err := v.RGBA8(0)
		if err != nil {
			t.Fatal(err)
		}
		numbers, _, err := v.F32(0)
		if err != nil {
			t.Fatal(err)
		}
		latents, err := v.Latents()
		if err != nil {
			t.Fatal(err)
		}
		found := bytes.Join([][]byte{rgb, rgba, raw(numbers), raw(latents.Data)}, nil)
		if !bytes.Equal(want, found) {
			t.Errorf("%s with %s: %d bytes of C, %d of Go, and not the same", c.family, c.technique, len(want), len(found))
		}
	}
}

func raw(numbers []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(numbers))), 4*len(numbers))
}

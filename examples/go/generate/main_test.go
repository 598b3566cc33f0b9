package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"cogvideox"
)

func TestGenerate(t *testing.T) {
	output := filepath.Join(t.TempDir(), "ball.mp4")
	folder := "../../../tests/pipelines/2b"
	if err := generate(context.Background(), folder, "a red ball", output); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(output); err != nil || !bytes.Contains(data[:16], []byte("ftyp")) {
		t.Errorf("no video: %v", err)
	}
	err := generate(context.Background(), "/no/such/folder", "a red ball", output)
	if !errors.Is(err, cogvideox.ErrNotFound) {
		t.Errorf("found %v", err)
	}
}

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

const (
	model   = "../../../tests/pipelines/5b-i2v"
	picture = "../../../tests/goldens/images/rgb.jpg"
)

func TestAVideoIsMadeOfAPicture(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.mp4")
	if err := run(context.Background(), model, picture, "a red ball", path); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data[4:8], []byte("ftyp")) {
		t.Errorf("no MP4 file: %v", err)
	}
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	ctx, path := context.Background(), filepath.Join(t.TempDir(), "a.mp4")
	if err := run(ctx, model, "no/such/picture.png", "", path); !errors.Is(err, cogvideox.ErrNotFound) {
		t.Errorf("expected %v, found %v", cogvideox.ErrNotFound, err)
	}
	textModel := "../../../tests/pipelines/5b"
	if err := run(ctx, textModel, picture, "", path); !errors.Is(err, cogvideox.ErrInvalidArgument) {
		t.Errorf("expected %v, found %v", cogvideox.ErrInvalidArgument, err)
	}
}

package cogvideox

import (
	"bytes"
	"context"
	"errors"
	"image"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"unsafe"
)

func TestFramesArriveWhileTheyAreDecoded(t *testing.T) {
	p := load(t, "2b")
	base := small(2)
	base.NumFrames = 17
	base.NumVideos = 2
	video := generate(t, p, base)
	for _, pixels := range []PixelFormat{0, PixelsRGB8, PixelsRGBA8, PixelsF32, PixelsBGRA8} {
		options := base
		options.FramesPixels = pixels
		decoded := uint64(0)
		total := uint64(0)
		firstAt := uint64(1 << 62)
		options.Progress = func(info Progress) error {
			if info.Stage == StageDecode {
				decoded, total = info.Done, info.Total
			}
			return nil
		}
		found := map[int][]byte{}
		images := map[int][]*image.RGBA{}
		var kept *FrameChunk
		options.Frames = func(chunk *FrameChunk) error {
			firstAt = min(firstAt, decoded)
			kept = chunk
			if chunk.Width != 32 || chunk.Height != 32 || chunk.TotalFrames != 17 || chunk.NumFrames < 1 ||
				chunk.RowStride != 32*chunk.Pixels.BytesPerPixel() || chunk.FrameStride != 32*chunk.RowStride {
				t.Errorf("found %+v", chunk)
			}
			if chunk.FirstFrame != len(images[chunk.Video]) {
				t.Errorf("expected frame %d, found %d", len(images[chunk.Video]), chunk.FirstFrame)
			}
			if (chunk.Floats() != nil) != (pixels == PixelsF32) {
				t.Error("numbers are for F32 only")
			}
			found[chunk.Video] = append(found[chunk.Video], chunk.Data...)
			for i := range chunk.NumFrames {
				img, err := chunk.Image(i)
				if err != nil {
					t.Error(err)
					return err
				}
				images[chunk.Video] = append(images[chunk.Video], img)
			}
			_, err := chunk.Image(chunk.NumFrames)
			if !errors.Is(err, ErrInvalidArgument) {
				t.Errorf("found %v", err)
			}
			return nil
		}
		v := generate(t, p, options)
		if total < 2 || firstAt >= total {
			t.Errorf("the first frames came after chunk %d of %d", firstAt, total)
		}
		for index := range v.Count() {
			want, _, err := video.RGB8(index)
			switch pixels {
			case 0, PixelsRGBA8:
				want, _, err = video.RGBA8(index)
			case PixelsBGRA8:
				want, _, err = video.RGBA8(index)
				want = bytes.Clone(want)
				for i := 0; i < len(want); i += 4 {
					want[i], want[i+2] = want[i+2], want[i]
				}
			case PixelsF32:
				var numbers []float32
				numbers, _, err = video.F32(index)
				want = raw(numbers)
			}
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(want, found[index]) {
				t.Errorf("format %d, video %d: other bytes than the finished video's", pixels, index)
			}
			frames, err := video.Frames(index)
			if err != nil {
				t.Fatal(err)
			}
			for i, frame := range frames {
				if !bytes.Equal(frame.Pix, images[index][i].Pix) {
					t.Fatalf("format %d: image %d is not the finished video's", pixels, i)
				}
			}
		}
		if kept.Data != nil {
			t.Error("a chunk holds memory that is gone")
		}
		if _, err := kept.Image(0); !errors.Is(err, ErrInvalidArgument) {
			t.Errorf("found %v", err)
		}
	}
}

func TestFramesCallbackStops(t *testing.T) {
	p := load(t, "2b")
	options := small(1)
	options.NumFrames = 17
	seen := errors.New("seen enough")
	calls := 0
	options.Frames = func(*FrameChunk) error { calls++; return seen }
	_, err := p.Generate(context.Background(), options)
	wants(t, err, ErrCancelled, "seen enough")
	if !errors.Is(err, seen) || calls != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
	options.FramesPixels = 77
	_, err = p.Generate(context.Background(), options)
	wants(t, err, ErrInvalidArgument)
}

func TestFramesInALoop(t *testing.T) {
	p := load(t, "2b")
	want, err := generate(t, p, small(2)).Frames(0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for frame, err := range p.Frames(context.Background(), small(2)) {
		if err != nil {
			t.Fatal(err)
		}
		if frame.Index != n || frame.Total != len(want) || !bytes.Equal(frame.Image.Pix, want[n].Pix) {
			t.Fatalf("frame %d of %d is not the %dth of the finished video", frame.Index, frame.Total, n)
		}
		n++
	}
	if n != len(want) {
		t.Errorf("expected %d frames, found %d", len(want), n)
	}

	for range p.Frames(context.Background(), small(2)) {
		break // stops the run
	}
	generate(t, p, small(1)) // which has ended: not busy

	value := panics(t, func() {
		for range p.Frames(context.Background(), small(2)) {
			panic("in the loop")
		}
	})
	if value != "in the loop" {
		t.Errorf("panicked with %v", value)
	}
	generate(t, p, small(1))

	exploding := small(2)
	exploding.Progress = func(Progress) error { panic("in a callback") }
	value = panics(t, func() {
		for range p.Frames(context.Background(), exploding) {
		}
	})
	if panicked, ok := value.(*CallbackPanic); !ok || panicked.Value != "in a callback" {
		t.Errorf("panicked with %v", value)
	}

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var last error
	for _, err := range p.Frames(ctx, small(2)) {
		cancel()
		last = err
	}
	if last != nil && !errors.Is(last, context.Canceled) {
		t.Errorf("found %v", last)
	}

	taken := small(1)
	taken.Frames = func(*FrameChunk) error { return nil }
	for _, err := range p.Frames(context.Background(), taken) {
		wants(t, err, ErrInvalidArgument, "Frames")
	}
	bad := small(1)
	bad.Width = 33
	errs := 0
	for _, err := range p.Frames(context.Background(), bad) {
		wants(t, err, ErrInvalidArgument, "33")
		errs++
	}
	if errs != 1 {
		t.Errorf("expected one error, found %d", errs)
	}
}

func TestFrameBuffer(t *testing.T) {
	p := load(t, "2b")
	want := bytesOf(t, generate(t, p, small(2)))
	packed := FrameBuffer{Data: make([]byte, 9*32*32*4)}
	options := small(2)
	options.FrameBuffer = &packed
	generate(t, p, options)
	if !bytes.Equal(want, packed.Data) {
		t.Error("the buffer does not hold the video's frames")
	}

	// Rows and frames with room between them, through a job.
	const row, frame = 32*4 + 16, (32*4+16)*32 + 100
	padded := FrameBuffer{Data: bytes.Repeat([]byte{0xab}, 9*frame), RowStride: row, FrameStride: frame, Pixels: PixelsRGBA8}
	options.FrameBuffer = &padded
	j := submit(t, p, context.Background(), options)
	ended(t, j, JobSucceeded)
	for f := range 9 {
		for y := range 32 {
			line := padded.Data[f*frame+y*row:]
			if !bytes.Equal(line[:32*4], want[(f*32+y)*32*4:][:32*4]) {
				t.Fatalf("frame %d, row %d is wrong", f, y)
			}
			if y < 31 && line[32*4] != 0xab {
				t.Fatalf("frame %d, row %d: the room between rows was written to", f, y)
			}
		}
	}

	// Memory that is not Go's.
	other, err := generate(t, p, small(1)).LatentsDLPack()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	foreign := FrameBuffer{Pixels: PixelsRGB8, Pointer: other.Info().Data, Size: 8}
	options.FrameBuffer = &foreign
	_, err = p.Generate(context.Background(), options)
	wants(t, err, ErrInvalidArgument)

	for _, bad := range []*FrameBuffer{
		{},
		{Data: []byte{}},
		{Data: make([]byte, 100)},
		{Data: make([]byte, 1<<20), RowStride: -1},
		{Data: make([]byte, 1<<20), RowStride: 3},
		{Data: make([]byte, 1<<20), Pixels: 9},
	} {
		options.FrameBuffer = bad
		_, err := p.Generate(context.Background(), options)
		wants(t, err, ErrInvalidArgument)
	}
}

func TestFramesOfAVideo(t *testing.T) {
	p := load(t, "2b")
	v := generate(t, p, small(2))
	rgba := bytesOf(t, v)
	frame, err := v.Frame(0, 4)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(frame.Pix, rgba[4*32*32*4:5*32*32*4]) {
		t.Error("frame 4 is not where it should be")
	}
	numbers, stride, err := v.F32(0)
	if err != nil || stride != 32*3 || len(numbers) != 9*32*32*3 {
		t.Fatal(len(numbers), stride, err)
	}
	rgb, _, err := v.RGB8(0)
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range numbers {
		if toByte(x) != rgb[i] || rgba[i/3*4+i%3] != rgb[i] {
			t.Fatalf("number %d: %v is not the byte %d", i, x, rgb[i])
		}
	}
	for _, wrong := range []int{-1, 9, 1 << 40} {
		if _, err := v.Frame(0, wrong); !errors.Is(err, ErrInvalidArgument) {
			t.Errorf("frame %d: %v", wrong, err)
		}
		if _, err := v.Frame(wrong, 0); !errors.Is(err, ErrInvalidArgument) {
			t.Errorf("video %d: %v", wrong, err)
		}
	}
}

func TestSave(t *testing.T) {
	p := load(t, "2b")
	v := generate(t, p, small(1))
	folder := t.TempDir()
	for name, magic := range map[string]string{"a.mp4": "ftyp", "a.gif": "GIF89a"} {
		path := filepath.Join(folder, name)
		if err := CheckPath(path, 8); err != nil {
			t.Error(err)
		}
		if err := v.Save(0, path, 8); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(data[:16], []byte(magic)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := SaveContactSheet([]*Video{v, v}, 3, filepath.Join(folder, "sheet.png")); err != nil {
		t.Error(err)
	}
	wants(t, v.Save(0, filepath.Join(folder, "a.avi"), 8), ErrInvalidArgument)
	wants(t, v.Save(5, filepath.Join(folder, "a.mp4"), 8), ErrInvalidArgument)
	wants(t, v.Save(0, filepath.Join(folder, "no", "a.mp4"), 8), ErrNotFound)
}

func TestDLPack(t *testing.T) {
	p := load(t, "2b")
	v, err := p.Generate(context.Background(), small(2))
	if err != nil {
		t.Fatal(err)
	}
	numbers, _, err := v.F32(0)
	if err != nil {
		t.Fatal(err)
	}
	frames := append([]float32(nil), numbers...)
	rgb, _, err := v.RGB8(0)
	if err != nil {
		t.Fatal(err)
	}
	rgb = bytes.Clone(rgb)
	l, err := v.Latents()
	if err != nil {
		t.Fatal(err)
	}
	latents := append([]float32(nil), l.Data...)

	f32, err := v.FramesDLPack(0, PixelsF32)
	if err != nil {
		t.Fatal(err)
	}
	u8, err := v.FramesDLPack(0, PixelsRGB8)
	if err != nil {
		t.Fatal(err)
	}
	lat, err := v.LatentsDLPack()
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.FramesDLPack(0, 9)
	wants(t, err, ErrInvalidArgument)
	_, err = v.FramesDLPack(1, PixelsF32)
	wants(t, err, ErrInvalidArgument)
	if v.FramesDevice() != "cpu" {
		t.Errorf("frames on %q", v.FramesDevice())
	}
	device, err := v.DeviceFrames(0)
	if err != nil || device.Stream != nil || device.Size != uintptr(4*len(frames)) {
		t.Fatal(device, err)
	}
	if !bytes.Equal(unsafe.Slice((*byte)(device.Data), device.Size), raw(frames)) {
		t.Error("other frames at the device pointer")
	}
	v.Close() // the tensors keep their memory

	for _, c := range []struct {
		tensor *DLPack
		dtype  string
		shape  []int64
		want   []byte
	}{
		{f32, "float32", []int64{9, 32, 32, 3}, raw(frames)},
		{u8, "uint8", []int64{9, 32, 32, 3}, rgb},
		{lat, "float32", l.Shape[:], raw(latents)},
	} {
		info := c.tensor.Info()
		if info.Device != "cpu" || info.Dtype != c.dtype || len(info.Shape) != len(c.shape) {
			t.Fatalf("found %+v", info)
		}
		// Read as the strides say.
		dense := int64(1)
		for i := len(info.Shape) - 1; i >= 0; i-- {
			if info.Shape[i] != c.shape[i] {
				t.Fatalf("found shape %v", info.Shape)
			}
			if info.Strides != nil && info.Shape[i] > 1 && info.Strides[i] != dense {
				t.Logf("%s: strides %v of %v", c.dtype, info.Strides, info.Shape)
			}
			dense *= info.Shape[i]
		}
		if !bytes.Equal(gather(info, len(c.want)/int(dense)), c.want) {
			t.Errorf("%s %v: other numbers", c.dtype, c.shape)
		}
	}
	if f32.Pointer() == nil {
		t.Error("no tensor")
	}
	f32.Close()
	panics(t, func() { f32.Pointer() })
	taken := u8.Take()
	panics(t, func() { u8.Pointer() })
	newDLPack((*dlManaged)(taken)).Close() // as a consumer frees it
	lat.Close()
}

// gather reads a tensor of the CPU in the order of its sides.
func gather(info TensorInfo, size int) []byte {
	var out []byte
	var walk func(side int, at int64)
	walk = func(side int, at int64) {
		if side == len(info.Shape) {
			out = append(out, unsafe.Slice((*byte)(unsafe.Add(info.Data, at*int64(size))), size)...)
			return
		}
		stride := int64(1)
		if info.Strides != nil {
			stride = info.Strides[side]
		} else {
			for _, n := range info.Shape[side+1:] {
				stride *= n
			}
		}
		for i := range info.Shape[side] {
			walk(side+1, at+i*stride)
		}
	}
	walk(0, 0)
	return out
}

func TestFramesOnTheDeviceThatDecodesThem(t *testing.T) {
	p := load(t, "2b")
	options := small(1)
	video := generate(t, p, options)
	want, _, err := video.RGBA8(0)
	if err != nil {
		t.Fatal(err)
	}
	memory, pin := make([]byte, len(want)), new(runtime.Pinner)
	pin.Pin(&memory[0])
	defer pin.Unpin()
	address := uintptr(unsafe.Pointer(&memory[0]))
	chunks := 0
	options.DeviceFrames = func(chunk DeviceFrameChunk) error {
		chunks++
		if chunk.Device != "cpu" || chunk.Stream != 0 || chunk.Pixels != PixelsBGRA8 ||
			chunk.Address != address || chunk.NumFrames != 9 || chunk.RowStride != 4*chunk.Width {
			t.Errorf("found %+v", chunk)
		}
		return nil
	}
	options.DeviceFrameBuffer = &DeviceFrameBuffer{Pixels: PixelsBGRA8, Address: address, Size: uintptr(len(want))}
	generate(t, p, options)
	if chunks != 1 {
		t.Errorf("expected 1 chunk, found %d", chunks)
	}
	found := memory
	for i := 0; i < len(want); i += 4 {
		if found[i] != want[i+2] || found[i+1] != want[i+1] || found[i+2] != want[i] || found[i+3] != 255 {
			t.Fatalf("byte %d: expected %v as B, G, R, found %v", i, want[i:i+4], found[i:i+4])
		}
	}
	stop := errors.New("stop")
	options.DeviceFrames = func(DeviceFrameChunk) error { return stop }
	if _, err := p.Generate(context.Background(), options); !errors.Is(err, stop) {
		t.Errorf("found %v", err)
	}
	options.DeviceFrames = nil
	options.DeviceFrameBuffer.Pixels = PixelsRGBA16F
	if _, err := p.Generate(context.Background(), options); !errors.Is(err, ErrInvalidArgument) {
		t.Errorf("found %v", err)
	}
	options.DeviceFrameBuffer = nil
	options.Stream = 2
	if _, err := p.Generate(context.Background(), options); !errors.Is(err, ErrInvalidArgument) {
		t.Errorf("found %v", err)
	}
	// On the CPU events are not looked at.
	options.Stream, options.WaitEvent, options.RecordEvent = 0, 0x1000, 0x2000
	if _, err := p.Generate(context.Background(), options); err != nil {
		t.Errorf("found %v", err)
	}
}

func TestHalfPrecisionBecomesBytes(t *testing.T) {
	for bits, want := range map[uint16]float32{
		0: 0, 0x3c00: 1, 0x3800: 0.5, 0x3266: 0.199951171875, 0x0001: 5.9604644775390625e-08, 0xbc00: -1} {
		if found := fromHalf(bits); found != want {
			t.Errorf("%#x: expected %v, found %v", bits, want, found)
		}
	}
}

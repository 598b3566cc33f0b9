package cogvideox

import (
	"errors"
	"strings"
	"testing"
)

func TestDevices(t *testing.T) {
	devices, err := Devices()
	if err != nil {
		t.Fatal(err)
	}
	cpu := devices[0]
	if cpu.Device != "cpu" || !cpu.Usable || cpu.UnusableReason != "" || cpu.UUID != "" ||
		cpu.HasLUID || cpu.LUID != 0 || cpu.LUIDNodeMask != 0 {
		t.Errorf("found %+v", cpu)
	}
	if cpu.MemoryTotal < cpu.MemoryFree || cpu.MemoryFree == 0 {
		t.Errorf("expected memory, found %+v", cpu)
	}
	for _, gpu := range devices[1:] {
		if !strings.HasPrefix(gpu.Device, "cuda:") || gpu.Usable != (gpu.UnusableReason == "") {
			t.Errorf("found %+v", gpu)
		}
	}
}

func TestTrimDevice(t *testing.T) {
	for _, device := range []string{"cpu", "cuda"} {
		// Nothing of these tests runs on CUDA, so there is nothing to give back.
		if err := TrimDevice(device); err != nil {
			t.Errorf("%s: %v", device, err)
		}
	}
	for _, device := range []string{"", "auto", "gpu", "c\x00pu"} {
		if err := TrimDevice(device); !errors.Is(err, ErrInvalidArgument) {
			t.Errorf("%q: expected an invalid argument, found %v", device, err)
		}
	}
}

package cogvideox

// #include <cogvideox.h>
import "C"

// Device is a device of the machine, as it was when it was listed.
type Device struct {
	// Usable says whether pipelines can be loaded on it.
	Usable bool
	// Device is what [LoadOptions] takes: "cpu", "cuda:0", …
	Device string
	// Name is what its maker calls it, for people; "" where that is not known.
	Name string
	// UUID is as NVIDIA's tools write it, such as "GPU-" and 32 digits in groups; "" for the CPU.
	UUID string
	// UnusableReason is why it cannot be used, in one line; "" if it can be.
	UnusableReason string
	// MemoryTotal counts the bytes of its memory, for the CPU of the machine; 0 where that is not
	// known.
	MemoryTotal uint64
	// MemoryFree counts those of them that nobody used; 0 where that is not known.
	MemoryFree uint64
	// ComputeCapability is CUDA's, such as 9 and 0; 0 and 0 for the CPU.
	ComputeCapability [2]int
	// HasLUID says whether LUID and LUIDNodeMask are known, which is on Windows.
	HasLUID bool
	// LUIDNodeMask is the adapter's node, as a mask with one bit.
	LUIDNodeMask uint32
	// LUID is Windows' name of the adapter: its 8 bytes, read as one number.
	LUID uint64
}

// Devices lists the devices: "cpu" first, then the GPUs that NVIDIA's driver knows, also those that
// cannot be used. It loads the CUDA library if there is one.
//
// Errors: [ErrDeviceUnavailable] in a process that was forked from one that has worked.
func Devices() ([]Device, error) {
	if err := abiCheck(); err != nil {
		return nil, err
	}
	var list *C.cvx_device_list
	if err := takeError(C.cvx_device_list_new(&list)); err != nil {
		return nil, err
	}
	defer C.cvx_device_list_free(list)
	devices := make([]Device, 0, int(C.cvx_device_list_count(list)))
	for index := range cap(devices) {
		var info C.cvx_device_info
		info.struct_size = C.sizeof_cvx_device_info
		if err := takeError(C.cvx_device_list_get(list, C.int32_t(index), &info)); err != nil {
			return nil, err
		}
		devices = append(devices, Device{
			Usable:         info.usable != 0,
			Device:         C.GoString(info.device),
			Name:           C.GoString(info.name),
			UUID:           C.GoString(info.uuid),
			UnusableReason: C.GoString(info.unusable_reason),
			MemoryTotal:    uint64(info.memory_total),
			MemoryFree:     uint64(info.memory_free),
			ComputeCapability: [2]int{
				int(info.compute_capability_major), int(info.compute_capability_minor)},
			HasLUID:      info.has_luid != 0,
			LUIDNodeMask: uint32(info.luid_node_mask),
			LUID:         uint64(info.luid),
		})
	}
	return devices, nil
}

// TrimDevice gives back memory that is kept to be used again: of "cuda" and "cuda:N" what libtorch's
// allocator keeps, on all CUDA devices of the process; of "cpu" what malloc keeps. It may be called
// while pipelines generate.
//
// Errors: [ErrInvalidArgument] for another text, [ErrDeviceUnavailable] for an index that does not
// exist.
func TrimDevice(device string) error {
	return withText("device", device, func(text *C.char) error {
		return takeError(C.cvx_device_trim(text))
	})
}

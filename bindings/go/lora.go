package cogvideox

// #include <cogvideox.h>
import "C"

import "unsafe"

// Adapter is a LoRA adapter of a pipeline at one moment.
type Adapter struct {
	// Name is what it is called.
	Name string
	// Weight is its weight if it is active, 0 if it is not.
	Weight float64
}

// LoadLoRA loads a LoRA adapter for the transformer, as diffusers' load_lora_weights does: path
// is a safetensors file, or a folder that holds pytorch_lora_weights.safetensors. Afterwards it
// is the one active adapter, with the weight 1; those that were loaded before stay loaded.
// adapterName "" takes the first of "default_0", "default_1", … that is free.
//
// Runs take the adapters as they are when they start or are submitted, so that this may be
// called while the pipeline generates. Clones take over those that are there, and have their own
// from then on.
//
// Errors, and nothing has changed: [ErrNotFound]; [ErrInvalidCheckpoint], also for an adapter of
// another model; [ErrUnsupportedModel] for another layout or kind of adapter;
// [ErrInvalidArgument] for a name that is taken, and while adapters are fused.
func (p *Pipeline) LoadLoRA(path, adapterName string) error {
	ptr := p.h.acquire("LoadLoRA")
	defer p.h.release()
	err := withText("path", path, func(path *C.char) error {
		if adapterName == "" {
			return takeError(C.cvx_pipeline_load_lora(ptr, path, nil))
		}
		return withText("adapterName", adapterName, func(name *C.char) error {
			return takeError(C.cvx_pipeline_load_lora(ptr, path, name))
		})
	})
	p.repanic()
	return err
}

// SetAdapters makes the adapters of these names the active ones, in place of those that were,
// each with its weight, from -1e6 to 1e6; nil weights are all 1.
//
// Errors, and nothing has changed: [ErrInvalidArgument] for no name, one that is not loaded, one
// twice, another number of weights than of names, and while adapters are fused.
func (p *Pipeline) SetAdapters(names []string, weights []float64) error {
	ptr := p.h.acquire("SetAdapters")
	defer p.h.release()
	if weights != nil && len(weights) != len(names) {
		return invalid("weights: expected one for each of %d adapters, found %d", len(names), len(weights))
	}
	return withTexts("names", names, func(texts **C.char, count C.size_t) error {
		return takeError(C.cvx_pipeline_set_adapters(
			ptr, texts, (*C.double)(unsafe.Pointer(unsafe.SliceData(weights))), count))
	})
}

// EnableLoRA says whether the active adapters are in force. Disabling unfuses them. It has no
// effect where none is loaded.
func (p *Pipeline) EnableLoRA(enabled bool) error {
	ptr := p.h.acquire("EnableLoRA")
	defer p.h.release()
	return takeError(C.cvx_pipeline_enable_lora(ptr, toBool(enabled)))
}

// FuseLoRA adds the active adapters, scale times their weights, to the weights of this pipeline,
// so that runs cost what they cost without; clones don't see it. As in diffusers, the weights of
// the active adapters are multiplied by scale, and stay so.
//
// Errors, and nothing has changed: [ErrInvalidArgument] if no adapter is active, or they are
// disabled or fused already; [ErrOutOfMemory]; [ErrBusy] if another goroutine changed the
// adapters meanwhile.
func (p *Pipeline) FuseLoRA(scale float64) error {
	ptr := p.h.acquire("FuseLoRA")
	defer p.h.release()
	err := takeError(C.cvx_pipeline_fuse_lora(ptr, C.double(scale)))
	p.repanic()
	return err
}

// UnfuseLoRA takes back what FuseLoRA did, to the byte. It has no effect where nothing is fused.
func (p *Pipeline) UnfuseLoRA() error {
	ptr := p.h.acquire("UnfuseLoRA")
	defer p.h.release()
	return takeError(C.cvx_pipeline_unfuse_lora(ptr))
}

// UnloadLoRA unloads every adapter. What is fused stays, as in diffusers.
func (p *Pipeline) UnloadLoRA() error {
	ptr := p.h.acquire("UnloadLoRA")
	defer p.h.release()
	return takeError(C.cvx_pipeline_unload_lora(ptr))
}

// Adapters are the loaded adapters, active or not, in the order of loading.
func (p *Pipeline) Adapters() []Adapter {
	ptr := p.h.acquire("Adapters")
	defer p.h.release()
	var adapters []Adapter
	for i := C.int32_t(0); i < C.cvx_pipeline_num_adapters(ptr); i++ {
		name := C.cvx_pipeline_adapter_name(ptr, i)
		if name == nil {
			break // unloaded just now by another goroutine
		}
		adapters = append(adapters, Adapter{C.GoString(name), float64(C.cvx_pipeline_adapter_weight(ptr, i))})
	}
	return adapters
}

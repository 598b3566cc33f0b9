package cogvideox

// #include "trampolines.h"
import "C"

// Save writes the pipeline's folder to a path where nothing is, with quantized matrices as the
// pipeline has them: it loads again, as quantized as it is. It is there whole or not at all.
//
// Errors: [ErrInvalidArgument] if something is there, or adapters are fused; [ErrNotFound] if the
// folder above it, or a file of the pipeline's own, is missing; [ErrInvalidCheckpoint], [ErrIO].
func (p *Pipeline) Save(folder string) error {
	ptr := p.h.acquire("Save")
	defer p.h.release()
	return withText("folder", folder, func(path *C.char) error {
		return takeError(C.cvx_pipeline_save(ptr, path))
	})
}

package cogvideox

// #include "trampolines.h"
import "C"

import (
	"context"
	"runtime"
	"unsafe"
)

// newRun is what a run's callbacks share. Every run has a log callback of its own where there
// is one at all, so that a panic in it comes out of that run.
func (p *Pipeline) newRun(options *GenerateOptions) *run {
	r := &run{progress: options.Progress, log: options.Log, frames: options.Frames, device: options.DeviceFrames, step: options.Step}
	if r.log == nil {
		r.log = p.loaded.log
	}
	return r
}

// work is one call of the library that runs the model: it makes the options, lets the context
// cancel, and turns what callbacks did into what the method returns.
func (p *Pipeline) work(ctx context.Context, options *GenerateOptions,
	call func(*C.cvx_generate_options, **C.cvx_video) *C.cvx_error) (*Video, error) {
	var out *C.cvx_video
	err := p.watched(ctx, options, func(c *C.cvx_generate_options) *C.cvx_error {
		return call(c, &out)
	}, func() { C.cvx_video_free(out) })
	if err != nil {
		return nil, err
	}
	return newVideo(out), nil
}

// watched is a call of the library with the callbacks of options, whatever it makes: discard
// frees that where a callback panicked.
func (p *Pipeline) watched(ctx context.Context, options *GenerateOptions,
	call func(*C.cvx_generate_options) *C.cvx_error, discard func()) error {
	w := newWatch(ctx)
	defer w.end()
	var pin runtime.Pinner
	defer pin.Unpin()
	r := p.newRun(options)
	c := C.cvx_generate_options_new()
	defer C.cvx_generate_options_free(c)
	if err := options.set(c); err != nil {
		return err
	}
	if err := options.setHost(c, r, w, &pin); err != nil {
		return err
	}
	err := takeError(call(c))
	panicked := r.take()
	if panicked == nil && isCode(err, ErrCallbackFailed) {
		// Only then is a panic in the slot this run's: it became the NaN that failed it.
		panicked = p.cachePanics.take()
	}
	if panicked != nil {
		discard()
		panic(panicked)
	}
	if err != nil {
		return explain(err, r.stopCause(), ctx, w.cancelled())
	}
	return nil
}

func isCode(err error, code Code) bool {
	e, ok := err.(*Error)
	return ok && e.Code == code
}

// Generate makes what options ask for, and returns when it is done or ctx has ended. However
// the run ends, the pipeline is as usable as before. The video depends neither on the pipeline
// nor on the options.
//
// Errors: [ErrInvalidArgument] (an option the model cannot honour), [ErrInvalidUTF8], [ErrBusy],
// [ErrCancelled], [ErrCallbackFailed], [ErrOutOfMemory].
func (p *Pipeline) Generate(ctx context.Context, options GenerateOptions) (*Video, error) {
	return p.generate(ctx, &options)
}

// generate is apart from Generate, which has the options on its stack: while a panic passes a
// function that defers, Go's collector takes all such parameters for live, also those that it
// has freed what they pointed to (seen with Go 1.26 and the tag cvxgcdebug).
func (p *Pipeline) generate(ctx context.Context, options *GenerateOptions) (*Video, error) {
	ptr := p.h.acquire("Generate")
	defer p.h.release()
	return p.work(ctx, options, func(c *C.cvx_generate_options, out **C.cvx_video) *C.cvx_error {
		return C.cvx_pipeline_generate(ptr, c, out)
	})
}

// DecodeLatents decodes latents as runs end with them, without the padding frames that the 1.5
// family has in front (see [Pipeline.LatentShape]). Of the options, tiling, slicing, callbacks
// and frame memory matter; nil means every default.
//
// Errors: [ErrInvalidArgument] (shape), [ErrBusy], [ErrCancelled], [ErrOutOfMemory].
func (p *Pipeline) DecodeLatents(ctx context.Context, latents *Latents, options *GenerateOptions) (*Video, error) {
	ptr := p.h.acquire("DecodeLatents")
	defer p.h.release()
	if latents == nil {
		return nil, invalid("latents: expected latents, found nil")
	}
	if err := latents.check("latents"); err != nil {
		return nil, err
	}
	if options == nil {
		options = &GenerateOptions{}
	}
	return p.work(ctx, options, func(c *C.cvx_generate_options, out **C.cvx_video) *C.cvx_error {
		return C.cvx_pipeline_decode_latents(ptr, floats(latents.Data), sides(&latents.Shape), 5, c, out)
	})
}

// Tokenize returns the token ids of a text, cut to length, ended by the end-of-sequence id and
// padded to exactly length, which is from 1 to 8192. It may be called while the pipeline
// generates.
//
// Errors: [ErrInvalidUTF8], [ErrInvalidArgument].
func (p *Pipeline) Tokenize(text string, length int) ([]int64, error) {
	ptr := p.h.acquire("Tokenize")
	defer p.h.release()
	if err := checkLength(length); err != nil {
		return nil, err
	}
	ids := make([]int64, length)
	err := withText("text", text, func(text *C.char) error {
		return takeError(C.cvx_pipeline_tokenize(ptr, text, (*C.int64_t)(unsafe.Pointer(&ids[0])), C.size_t(length)))
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

// EncodePrompt returns the text encoder's output for a text of maxSequenceLength tokens (from 1
// to 8192): maxSequenceLength × [Pipeline.TextEmbedDim] numbers, token by token, whatever the
// pipeline's dtype is.
//
// Errors: [ErrInvalidUTF8], [ErrInvalidArgument], [ErrBusy], [ErrOutOfMemory].
func (p *Pipeline) EncodePrompt(text string, maxSequenceLength int) ([]float32, error) {
	ptr := p.h.acquire("EncodePrompt")
	defer p.h.release()
	if err := checkLength(maxSequenceLength); err != nil {
		return nil, err
	}
	numbers := make([]float32, maxSequenceLength*int(C.cvx_pipeline_text_embed_dim(ptr)))
	err := withText("text", text, func(text *C.char) error {
		return takeError(C.cvx_pipeline_encode_prompt(
			ptr, text, C.size_t(maxSequenceLength), floats(numbers), C.size_t(len(numbers))))
	})
	p.repanic()
	if err != nil {
		return nil, err
	}
	return numbers, nil
}

// EncodePromptContext is [Pipeline.EncodePrompt] that ends when ctx does: on the CPU within about a
// quarter of a second.
//
// Errors: as [Pipeline.EncodePrompt], and [ErrCancelled].
func (p *Pipeline) EncodePromptContext(ctx context.Context, text string, maxSequenceLength int) ([]float32, error) {
	ptr := p.h.acquire("EncodePromptContext")
	defer p.h.release()
	if err := checkLength(maxSequenceLength); err != nil {
		return nil, err
	}
	numbers := make([]float32, maxSequenceLength*int(C.cvx_pipeline_text_embed_dim(ptr)))
	err := withText("text", text, func(text *C.char) error {
		return p.watched(ctx, &GenerateOptions{}, func(c *C.cvx_generate_options) *C.cvx_error {
			return C.cvx_pipeline_encode_prompt_with(ptr, text, C.size_t(maxSequenceLength),
				floats(numbers), C.size_t(len(numbers)), c)
		}, func() {})
	})
	if err != nil {
		return nil, err
	}
	return numbers, nil
}

// checkLength keeps a length that the library would refuse from becoming an allocation.
func checkLength(length int) error {
	if length < 1 || length > MaxSequenceLength {
		return invalid("length: expected a number of tokens from 1 to %d, found %d",
			MaxSequenceLength, length)
	}
	return nil
}

package cogvideox

// #include <cogvideox.h>
import "C"

// Pipeline is a loaded pipeline: tokenizer, text encoder, transformer, VAE decoder and
// scheduler settings. Made by [Load] or [Pipeline.Clone].
//
// It does one piece of work at a time: a second caller, or a callback that calls back into its
// own pipeline, is answered [ErrBusy] and may use a clone. What it was loaded as may be asked
// at any time.
type Pipeline struct {
	closer[*C.cvx_pipeline]

	// loaded has the log callback of the load, which clones share.
	loaded *run
	// cachePanics keeps panics of callbacks of this pipeline's cache. One slot is enough,
	// because a pipeline does one run at a time.
	cachePanics *panicSlot
}

func newPipeline(ptr *C.cvx_pipeline, loaded *run) *Pipeline {
	p := &Pipeline{loaded: loaded, cachePanics: new(panicSlot)}
	open(&p.closer, p, "Pipeline", ptr, func(ptr *C.cvx_pipeline) { C.cvx_pipeline_free(ptr) })
	return p
}

// Close frees the pipeline; its weights go with the last clone. Runs that are under way go on
// to their end, and so do jobs. It never fails.
func (p *Pipeline) Close() error {
	p.close()
	return nil
}

// Clone makes another pipeline over the same weights, with a cache and runs of its own: clones
// generate at the same time. It starts with no cache enabled, and with
// the LoRA adapters that the pipeline has now. It may be called while the
// pipeline generates.
func (p *Pipeline) Clone() (*Pipeline, error) {
	ptr := p.h.acquire("Clone")
	defer p.h.release()
	var out *C.cvx_pipeline
	if err := takeError(C.cvx_pipeline_clone(ptr, &out)); err != nil {
		return nil, err
	}
	return newPipeline(out, p.loaded), nil
}

// EnableCache caches the next runs of this pipeline with config, instead of what was enabled
// before. The config is copied: it may be changed or closed afterwards, and may serve many
// pipelines.
//
// Errors: [ErrInvalidArgument] for identifiers that match no layer, naming what layers are
// called; [ErrBusy] while the pipeline generates.
func (p *Pipeline) EnableCache(config *CacheConfig) error {
	ptr := p.h.acquire("EnableCache")
	defer p.h.release()
	c := config.h.acquire("EnableCache (of a Pipeline)")
	defer config.h.release()
	config.mu.Lock()
	defer config.mu.Unlock()
	if err := config.bind(c, p.cachePanics); err != nil {
		return err
	}
	err := takeError(C.cvx_pipeline_enable_cache(ptr, c))
	p.repanic()
	return err
}

// DisableCache computes everything from the next run on. It is allowed where no cache is.
//
// Errors: [ErrBusy] while the pipeline generates.
func (p *Pipeline) DisableCache() error {
	ptr := p.h.acquire("DisableCache")
	defer p.h.release()
	return takeError(C.cvx_pipeline_disable_cache(ptr))
}

// CacheStats returns the statistics of this pipeline's last run, however it ended, or of the
// run under way. Runs without a cache have them too.
//
// Errors: [ErrInvalidArgument] before the first run.
func (p *Pipeline) CacheStats() (*CacheStats, error) {
	ptr := p.h.acquire("CacheStats")
	defer p.h.release()
	var out *C.cvx_cache_stats
	if err := takeError(C.cvx_pipeline_cache_stats(ptr, &out)); err != nil {
		return nil, err
	}
	return newCacheStats(out), nil
}

// PreviewCache returns what a run of this pipeline with options would compute and reuse with
// config, without running it; nil options mean every default. It tells the bytes too. It may be
// called while the pipeline generates. Callbacks are not called.
//
// Errors: [ErrInvalidArgument] as for [Pipeline.EnableCache], and for options that the pipeline
// cannot run.
func (p *Pipeline) PreviewCache(config *CacheConfig, options *GenerateOptions) (*CacheStats, error) {
	return p.foretell("PreviewCache", config, options,
		func(ptr *C.cvx_pipeline, c *C.cvx_cache_config, opts *C.cvx_generate_options, out **C.cvx_cache_stats) *C.cvx_error {
			return C.cvx_pipeline_preview_cache(ptr, c, opts, out)
		})
}

// foretell makes statistics of a run that is not run.
func (p *Pipeline) foretell(what string, config *CacheConfig, options *GenerateOptions,
	call func(*C.cvx_pipeline, *C.cvx_cache_config, *C.cvx_generate_options, **C.cvx_cache_stats) *C.cvx_error) (*CacheStats, error) {
	ptr := p.h.acquire(what)
	defer p.h.release()
	c := config.h.acquire(what + " (of a Pipeline)")
	defer config.h.release()
	config.mu.Lock()
	defer config.mu.Unlock()
	var opts *C.cvx_generate_options
	if options != nil {
		opts = C.cvx_generate_options_new()
		defer C.cvx_generate_options_free(opts)
		if err := options.set(opts); err != nil {
			return nil, err
		}
	}
	var out *C.cvx_cache_stats
	if err := takeError(call(ptr, c, opts, &out)); err != nil {
		return nil, err
	}
	return newCacheStats(out), nil
}

// repanic goes on with a panic of the log callback that the pipeline was loaded with, outside
// of runs, which take care of themselves.
func (p *Pipeline) repanic() {
	if panicked := p.loaded.take(); panicked != nil {
		panic(panicked)
	}
}

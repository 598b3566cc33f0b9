package cogvideox

// #include "trampolines.h"
import "C"

import (
	"context"
	"strings"
)

// LoadOptions say how a pipeline is loaded. The zero value, and a nil pointer, mean every
// default.
type LoadOptions struct {
	// Device is where the pipeline computes: "cpu", "cuda", "cuda:N" with N from 0, or "auto"
	// (default), which is "cuda" where it works and else "cpu".
	Device string
	// Devices share each run, in place of Device: {"cuda:0", "cuda:1"}. They compute the video of one
	// device, within rounding. Default: Device alone.
	Devices []string
	// Communicator reaches the other processes that share each run, in place of Devices. Default, nil:
	// there are none.
	Communicator *Communicator
	// GuidanceDegree is how many of the devices, or processes, the halves of the guidance are shared
	// among: 1 or 2. Default: 0, chosen for each run.
	GuidanceDegree int
	// SequenceDegree is how many of them share a sequence: a divisor of the model's attention heads,
	// which times GuidanceDegree is their number. Default: 0, chosen for each run.
	SequenceDegree int
	// Dtype is the floating-point type of the computation: "f32", "f16", "bf16", or "auto"
	// (default): f32 on the CPU, on CUDA the type of the transformer's file.
	Dtype string
	// CUDAKernels is what computes on CUDA devices between matrix products: "libtorch" (default) or
	// "fused", the library's own kernels, where a device takes them; [Video.Kernels] tells.
	CUDAKernels string
	// ComponentDevices is where components compute that are not where the pipeline is, by their names:
	// "text_encoder", "transformer", "vae".
	ComponentDevices map[string]string
	// ComponentDtypes is what components compute in that don't in the pipeline's Dtype.
	ComponentDtypes map[string]string
	// ComponentQuantizations is how the matrices of components' blocks are kept in memory: "int8",
	// "fp8" or "int4", for "text_encoder" and "transformer". Default: in their dtypes.
	ComponentQuantizations map[string]string
	// WeightStreaming is how the blocks of components are kept, by their names, "text_encoder" and
	// "transformer": "resident" (default), or "file" or "host", from where each block is read while
	// the one before computes: far less memory, the same video.
	WeightStreaming map[string]string
	// ComponentWeights are files that the weights of components are read from in place of the folder's
	// own, safetensors or GGUF, for "text_encoder", "transformer" and "vae".
	ComponentWeights map[string]string
	// Variant chooses weight files: "fp16" reads model.fp16.safetensors. 1 to 64 letters,
	// digits, '-' or '_'. Default: the files without a variant.
	Variant string
	// NumThreads is how many threads the pipeline and its clones compute with on the CPU, from 1 to
	// 1024; the process's own setting stays as it is. Default, 0: as many as libtorch has it.
	NumThreads int
	// Scheduler is the one that runs step with: "ddim" or "dpm" in place of the folder's; all else
	// stays as the folder says. Published folders name DDIM; 5b and the 1.5 family are recommended
	// with DPM. Default: the folder's own.
	Scheduler string
	// TimestepSpacing says which training timesteps are visited: "leading", "linspace" or
	// "trailing". Default: the folder's own.
	TimestepSpacing string
	// SNRShiftScale divides the schedule's signal-to-noise ratio, from 1e-6 to 1e6. Default:
	// the folder's own.
	SNRShiftScale float64
	// RescaleBetasZeroSNR leaves nothing of the sample at the last training timestep. Default,
	// nil: the folder's own.
	RescaleBetasZeroSNR *bool
	// TextEncoderOnDemand reads the text encoder when a prompt is encoded and releases it
	// right after, so that it is not in memory together with the transformer.
	TextEncoderOnDemand bool
	// Offload keeps each component in memory only while it does its part of a run, and reads it each
	// time; frames are decoded in tiles where whole ones do not fit.
	Offload bool
	// MemoryBudget is what memory there is, in bytes: weights are kept in the fastest way that fits
	// (see [Plan]), in place of Offload and WeightStreaming. Default: 0, no budget.
	MemoryBudget uint64
	// CPUMatmulPrecision is in which numbers the matrix products of the blocks are made on the CPU:
	// "float32", or "bfloat16" or "int8" on processors that multiply it: less time and memory, another
	// video, and with "int8" more so. Default: "", which is "float32".
	CPUMatmulPrecision string
	// Plan keeps the weights in the plan's fastest way that fits, in place of Offload,
	// WeightStreaming and MemoryBudget; [ErrOutOfMemory] where none fits. Default: nil.
	Plan *Plan
	// PromptCacheSize is how many prompts' embeddings are kept for later runs, from 0 to 1024, in
	// 64 MiB at most. Default, nil: 8.
	PromptCacheSize *int
	// PreviewDecoder is the safetensors file of a tiny decoder (taecvx) that [StepEnd.Preview] makes
	// whole frames with. Default: "", the folder's taecvx.safetensors, or small
	// pictures by a linear map where it has none.
	PreviewDecoder string
	// MaxDeviceMemory is the most bytes that libtorch's allocator takes of the device from this
	// load on, in the whole process; what would be more is [ErrOutOfMemory]. Default: 0, which
	// leaves the limit as it is. Without effect on the CPU.
	MaxDeviceMemory uint64
	// Progress follows the load: [StageLoad], in bytes. An error stops it; errors.Is finds it
	// in what Load returns.
	Progress func(Progress) error
	// Log receives the messages of the load, and of runs of the pipeline and its clones whose
	// options have no Log of their own. Clones may call it at the same time. Default: silence.
	Log func(level LogLevel, message string)
}

// Load loads a pipeline folder as diffusers saves it (model_index.json, transformer/, vae/,
// text_encoder/, tokenizer/, scheduler/). What it is follows from its configs, never from its
// name.
//
// Errors: [ErrNotFound], [ErrInvalidCheckpoint], [ErrUnsupportedModel], [ErrDeviceUnavailable],
// [ErrOutOfMemory], [ErrIO], [ErrCancelled], [ErrInvalidArgument] for an option, [ErrInvalidUTF8].
func Load(ctx context.Context, folder string, options *LoadOptions) (*Pipeline, error) {
	collectGarbage()
	if err := abiCheck(); err != nil {
		return nil, err
	}
	if options == nil {
		options = &LoadOptions{}
	}
	w := newWatch(ctx)
	defer w.end()
	r := &run{progress: options.Progress, log: options.Log}
	c := C.cvx_load_options_new()
	defer C.cvx_load_options_free(c)
	if err := options.set(c, r, w); err != nil {
		return nil, err
	}
	var out *C.cvx_pipeline
	err := withText("folder", folder, func(folder *C.char) error {
		return takeError(C.cvx_pipeline_load(folder, c, &out))
	})
	if panicked := r.take(); panicked != nil {
		C.cvx_pipeline_free(out)
		panic(panicked)
	}
	if err != nil {
		return nil, explain(err, r.stopCause(), ctx, w.cancelled())
	}
	return newPipeline(out, r), nil
}

// setEach calls with each key and its value.
func setEach(name string, values map[string]string, call func(key, value *C.char) *C.cvx_error) error {
	for key, value := range values {
		if err := withText(name, key, func(k *C.char) error {
			return withText(name, value, func(v *C.char) error { return takeError(call(k, v)) })
		}); err != nil {
			return err
		}
	}
	return nil
}

// setPlaces gives device, dtype and variant to the library's.
func (o *LoadOptions) setPlaces(c *C.cvx_load_options) error {
	set := func(name, value string, call func(*C.char) *C.cvx_error) error {
		if value == "" {
			return nil
		}
		return withText(name, value, func(text *C.char) error { return takeError(call(text)) })
	}
	return first(
		func() error {
			return set("Device", o.Device, func(text *C.char) *C.cvx_error {
				return C.cvx_load_options_set_device(c, text)
			})
		},
		func() error {
			return set("Devices", strings.Join(o.Devices, ","), func(text *C.char) *C.cvx_error {
				return C.cvx_load_options_set_devices(c, text)
			})
		},
		func() error {
			if o.Communicator == nil {
				return nil
			}
			ptr := o.Communicator.h.acquire("Load (as LoadOptions.Communicator)")
			defer o.Communicator.h.release()
			return takeError(C.cvx_load_options_set_communicator(c, ptr))
		},
		func() error {
			guidance, err := toInt32("GuidanceDegree", o.GuidanceDegree)
			if err != nil {
				return err
			}
			sequence, err := toInt32("SequenceDegree", o.SequenceDegree)
			if err != nil {
				return err
			}
			return takeError(C.cvx_load_options_set_parallel(c, guidance, sequence))
		},
		func() error {
			return set("Dtype", o.Dtype, func(text *C.char) *C.cvx_error {
				return C.cvx_load_options_set_dtype(c, text)
			})
		},
		func() error {
			return set("CUDAKernels", o.CUDAKernels, func(text *C.char) *C.cvx_error {
				return C.cvx_load_options_set_cuda_kernels(c, text)
			})
		},
		func() error {
			return set("Variant", o.Variant, func(text *C.char) *C.cvx_error {
				return C.cvx_load_options_set_variant(c, text)
			})
		},
	)
}

// set gives the options to the library's.
func (o *LoadOptions) set(c *C.cvx_load_options, r *run, w *watch) error {
	set := func(name, value string, call func(*C.char) *C.cvx_error) error {
		if value == "" {
			return nil
		}
		return withText(name, value, func(text *C.char) error { return takeError(call(text)) })
	}
	return first(
		func() error { return o.setPlaces(c) },
		func() error {
			return setEach("ComponentDevices", o.ComponentDevices, func(component, device *C.char) *C.cvx_error {
				return C.cvx_load_options_set_component_device(c, component, device)
			})
		},
		func() error {
			return setEach("ComponentDtypes", o.ComponentDtypes, func(component, dtype *C.char) *C.cvx_error {
				return C.cvx_load_options_set_component_dtype(c, component, dtype)
			})
		},
		func() error {
			const name = "ComponentQuantizations"
			return setEach(name, o.ComponentQuantizations, func(component, kind *C.char) *C.cvx_error {
				return C.cvx_load_options_set_component_quantization(c, component, kind)
			})
		},
		func() error {
			return setEach("WeightStreaming", o.WeightStreaming, func(component, mode *C.char) *C.cvx_error {
				return C.cvx_load_options_set_weight_streaming(c, component, mode)
			})
		},
		func() error {
			return setEach("ComponentWeights", o.ComponentWeights, func(component, path *C.char) *C.cvx_error {
				return C.cvx_load_options_set_component_weights(c, component, path)
			})
		},
		func() error {
			threads, err := toInt32("NumThreads", o.NumThreads)
			if err != nil {
				return err
			}
			return takeError(C.cvx_load_options_set_num_threads(c, threads))
		},
		func() error {
			return set("Scheduler", o.Scheduler, func(text *C.char) *C.cvx_error {
				return C.cvx_load_options_set_scheduler(c, text)
			})
		},
		func() error {
			return set("TimestepSpacing", o.TimestepSpacing, func(text *C.char) *C.cvx_error {
				return C.cvx_load_options_set_timestep_spacing(c, text)
			})
		},
		func() error {
			return takeError(C.cvx_load_options_set_snr_shift_scale(c, C.double(o.SNRShiftScale)))
		},
		func() error {
			return takeError(C.cvx_load_options_set_rescale_betas_zero_snr(c, optionalBool(o.RescaleBetasZeroSNR)))
		},
		func() error {
			return takeError(C.cvx_load_options_set_text_encoder_on_demand(c, toBool(o.TextEncoderOnDemand)))
		},
		func() error {
			return takeError(C.cvx_load_options_set_offload(c, toBool(o.Offload)))
		},
		func() error {
			return takeError(C.cvx_load_options_set_memory_budget(c, C.uint64_t(o.MemoryBudget)))
		},
		func() error {
			return set("CPUMatmulPrecision", o.CPUMatmulPrecision, func(text *C.char) *C.cvx_error {
				return C.cvx_load_options_set_cpu_matmul_precision(c, text)
			})
		},
		func() error {
			if o.Plan == nil {
				return nil
			}
			return o.Plan.apply(c)
		},
		func() error {
			if o.PromptCacheSize == nil {
				return nil
			}
			prompts, err := toInt32("PromptCacheSize", *o.PromptCacheSize)
			if err != nil {
				return err
			}
			return takeError(C.cvx_load_options_set_prompt_cache_size(c, prompts))
		},
		func() error {
			if o.PreviewDecoder == "" {
				return nil
			}
			return withText("PreviewDecoder", o.PreviewDecoder, func(path *C.char) error {
				return takeError(C.cvx_load_options_set_preview_decoder(c, path))
			})
		},
		func() error {
			return takeError(C.cvx_load_options_set_max_device_memory(c, C.uint64_t(o.MaxDeviceMemory)))
		},
		func() error {
			if o.Progress == nil {
				return nil
			}
			return takeError(C.cvx_load_options_set_progress_callback(
				c, C.cogvideox_go_progress, newUserData(r), C.cogvideox_go_free))
		},
		func() error {
			if o.Log == nil {
				return nil
			}
			return takeError(C.cvx_load_options_set_log_callback(
				c, C.cogvideox_go_log, newUserData(r), C.cogvideox_go_free))
		},
		func() error { return takeError(C.cvx_load_options_set_cancel_token(c, w.token)) },
	)
}

// optionalBool is -1 for nil.
func optionalBool(b *bool) C.int32_t {
	if b == nil {
		return -1
	}
	return toBool(*b)
}

func toBool(b bool) C.int32_t {
	if b {
		return 1
	}
	return 0
}

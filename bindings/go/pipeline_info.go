package cogvideox

// #include <cogvideox.h>
import "C"

// Task is what a pipeline makes videos from.
type Task int32

// The tasks.
const (
	// TaskTextToVideo: a prompt, or a prompt and a video; see [GenerateOptions.Video].
	TaskTextToVideo = Task(C.CVX_TASK_TEXT_TO_VIDEO)
	// TaskImageToVideo: a prompt and an image, which is the first frame; see
	// [GenerateOptions.Image].
	TaskImageToVideo = Task(C.CVX_TASK_IMAGE_TO_VIDEO)
	// TaskVideoToVideo: a prompt and a video; see [GenerateOptions.Video].
	TaskVideoToVideo = Task(C.CVX_TASK_VIDEO_TO_VIDEO)
	// TaskControl: a prompt and a video that the result follows; see [GenerateOptions.ControlVideo].
	TaskControl = Task(C.CVX_TASK_CONTROL)
	// TaskInpainting: a prompt, and a first or last frame or what a mask leaves of a video; see
	// [GenerateOptions.Mask].
	TaskInpainting = Task(C.CVX_TASK_INPAINTING)
)

// Task is what the pipeline makes videos from.
func (p *Pipeline) Task() Task {
	ptr := p.h.acquire("Task")
	defer p.h.release()
	return Task(C.cvx_pipeline_task(ptr))
}

// Family is what the configs describe, for people: such as "CogVideoX 1.0, rotary positions,
// 42 layers, DPM scheduler".
func (p *Pipeline) Family() string {
	ptr := p.h.acquire("Family")
	defer p.h.release()
	return C.GoString(C.cvx_pipeline_family(ptr))
}

// Device is where the pipeline computes: "cpu" or "cuda:N".
func (p *Pipeline) Device() string {
	ptr := p.h.acquire("Device")
	defer p.h.release()
	return C.GoString(C.cvx_pipeline_device(ptr))
}

// Dtype is the floating-point type of the computation: "f32", "f16" or "bf16".
func (p *Pipeline) Dtype() string {
	ptr := p.h.acquire("Dtype")
	defer p.h.release()
	return C.GoString(C.cvx_pipeline_dtype(ptr))
}

// DefaultWidth is the width in pixels of a run that sets no size.
func (p *Pipeline) DefaultWidth() int {
	ptr := p.h.acquire("DefaultWidth")
	defer p.h.release()
	return int(C.cvx_pipeline_default_width(ptr))
}

// DefaultHeight is the height in pixels of a run that sets no size.
func (p *Pipeline) DefaultHeight() int {
	ptr := p.h.acquire("DefaultHeight")
	defer p.h.release()
	return int(C.cvx_pipeline_default_height(ptr))
}

// DefaultNumFrames is the number of frames of a run that sets none.
func (p *Pipeline) DefaultNumFrames() int {
	ptr := p.h.acquire("DefaultNumFrames")
	defer p.h.release()
	return int(C.cvx_pipeline_default_num_frames(ptr))
}

// DefaultFPS is the frames per second that the family was trained at, for [Video.Save]: 8, or
// 16 for the 1.5 family.
func (p *Pipeline) DefaultFPS() float64 {
	ptr := p.h.acquire("DefaultFPS")
	defer p.h.release()
	return float64(C.cvx_pipeline_default_fps(ptr))
}

// DefaultNumInferenceSteps is the number of denoising steps of a run that sets none.
func (p *Pipeline) DefaultNumInferenceSteps() int {
	ptr := p.h.acquire("DefaultNumInferenceSteps")
	defer p.h.release()
	return int(C.cvx_pipeline_default_num_inference_steps(ptr))
}

// DefaultGuidanceScale is the guidance scale of a run that sets none.
func (p *Pipeline) DefaultGuidanceScale() float64 {
	ptr := p.h.acquire("DefaultGuidanceScale")
	defer p.h.release()
	return float64(C.cvx_pipeline_default_guidance_scale(ptr))
}

// DefaultMaxSequenceLength is the number of tokens that a prompt is cut or padded to in a run
// that sets none.
func (p *Pipeline) DefaultMaxSequenceLength() int {
	ptr := p.h.acquire("DefaultMaxSequenceLength")
	defer p.h.release()
	return int(C.cvx_pipeline_default_max_sequence_length(ptr))
}

// TextEmbedDim is the width of the text encoder's output, for [Pipeline.EncodePrompt].
func (p *Pipeline) TextEmbedDim() int {
	ptr := p.h.acquire("TextEmbedDim")
	defer p.h.release()
	return int(C.cvx_pipeline_text_embed_dim(ptr))
}

// NumAttentionLayers is how many layers a cache decides about.
func (p *Pipeline) NumAttentionLayers() int {
	ptr := p.h.acquire("NumAttentionLayers")
	defer p.h.release()
	return int(C.cvx_pipeline_num_attention_layers(ptr))
}

// WeightBytes is how many bytes the weights take that are in memory now, on the device or the
// host. Clones share them: each returns the same bytes.
func (p *Pipeline) WeightBytes() uint64 {
	ptr := p.h.acquire("WeightBytes")
	defer p.h.release()
	return uint64(C.cvx_pipeline_weight_bytes(ptr))
}

// MemoryInfo is what a pipeline has in memory, in bytes.
type MemoryInfo struct {
	// Working says whether a run, or other work that another call would be busy for, is under way.
	Working bool
	// Weights are those that are in memory, shared with clones.
	Weights uint64
	// Prompts are embeddings of the last prompts, shared with clones.
	Prompts uint64
	// Cache is what the cache of the run under way keeps now; 0 between runs.
	Cache uint64
	// CachePeak is the most that the cache of the last run, or of the one under way, kept.
	CachePeak uint64
	// Device and DevicePeak are what libtorch has handed out on the pipeline's device to this process,
	// now and at most; 0 on the CPU.
	Device, DevicePeak uint64
	// Process and ProcessPeak are what of this process lies in the machine's memory, now and at most.
	Process, ProcessPeak uint64
}

// Memory tells what the pipeline has in memory now. It may be called while the pipeline generates.
func (p *Pipeline) Memory() (MemoryInfo, error) {
	ptr := p.h.acquire("Memory")
	defer p.h.release()
	var info C.cvx_memory_info
	info.struct_size = C.sizeof_cvx_memory_info
	if err := takeError(C.cvx_pipeline_memory(ptr, &info)); err != nil {
		return MemoryInfo{}, err
	}
	return MemoryInfo{
		Working:     info.working != 0,
		Weights:     uint64(info.weight_bytes),
		Prompts:     uint64(info.prompt_bytes),
		Cache:       uint64(info.cache_bytes),
		CachePeak:   uint64(info.cache_bytes_peak),
		Device:      uint64(info.device_bytes),
		DevicePeak:  uint64(info.device_bytes_peak),
		Process:     uint64(info.process_bytes),
		ProcessPeak: uint64(info.process_bytes_peak),
	}, nil
}

// EstimateMemory is about how many bytes a run with options takes at its peak, beside the weights,
// with the cache that is enabled now; nil options mean every default.
//
// Errors: [ErrInvalidArgument] for options that the model cannot honour.
func (p *Pipeline) EstimateMemory(options *GenerateOptions) (uint64, error) {
	ptr := p.h.acquire("EstimateMemory")
	defer p.h.release()
	var opts *C.cvx_generate_options
	if options != nil {
		opts = C.cvx_generate_options_new()
		defer C.cvx_generate_options_free(opts)
		if err := options.set(opts); err != nil {
			return 0, err
		}
	}
	var bytes C.uint64_t
	if err := takeError(C.cvx_pipeline_estimate_memory(ptr, opts, &bytes)); err != nil {
		return 0, err
	}
	return uint64(bytes), nil
}

// AttentionLayerName is the name of an attention layer in the checkpoint, such as
// "transformer_blocks.0.attn1", which a cache's identifiers are matched against. layer counts
// from 0; "" if there is no such layer.
func (p *Pipeline) AttentionLayerName(layer int) string {
	ptr := p.h.acquire("AttentionLayerName")
	defer p.h.release()
	index, err := toInt32("layer", layer)
	if err != nil {
		return ""
	}
	return C.GoString(C.cvx_pipeline_attention_layer_name(ptr, index))
}

// LatentShape is the shape of the latents of a run: (videos, latent frames, channels, latent
// height, latent width). A width and height of 0, or 0 frames, mean the model's own. In the 1.5
// family, latent frames count the padding frames at the front that a run drops before it
// decodes; the second answer is how many those are.
//
// Errors: [ErrInvalidArgument] for a size that the model cannot make.
func (p *Pipeline) LatentShape(numVideos, width, height, numFrames int) (shape [5]int64, paddingFrames int, err error) {
	ptr := p.h.acquire("LatentShape")
	defer p.h.release()
	var numbers [4]C.int32_t
	for i, side := range []struct {
		name  string
		value int
	}{{"numVideos", numVideos}, {"width", width}, {"height", height}, {"numFrames", numFrames}} {
		if numbers[i], err = toInt32(side.name, side.value); err != nil {
			return shape, 0, err
		}
	}
	var out [5]C.int64_t
	var padding C.int32_t
	err = takeError(C.cvx_pipeline_latent_shape(ptr, numbers[0], numbers[1], numbers[2], numbers[3], &out[0], &padding))
	if err != nil {
		return shape, 0, err
	}
	for i := range out {
		shape[i] = int64(out[i])
	}
	return shape, int(padding), nil
}

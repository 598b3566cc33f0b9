package cogvideox

// #include "trampolines.h"
import "C"

import (
	"image"
	"runtime"
	"unsafe"
)

// Output says what a run ends with.
type Output int32

// What a run can end with.
const (
	// OutputFrames: the video is decoded to frames.
	OutputFrames = Output(C.CVX_OUTPUT_FRAMES)
	// OutputLatents: the VAE does not run, and the video has latents and no frames.
	OutputLatents = Output(C.CVX_OUTPUT_LATENTS)
)

// GenerateOptions are what a run is asked to do. The zero value of each field is its default.
// A run copies what it needs when it starts, except a FrameBuffer.
type GenerateOptions struct {
	// Prompt is what the video shows, 256 KiB at most. Tokens beyond MaxSequenceLength are cut
	// off, and the log says so.
	Prompt string
	// NegativePrompt is what guidance leads away from, 256 KiB at most. It has no effect without
	// guidance.
	NegativePrompt string
	// PromptEmbeddings are the prompt's embeddings, such as [Pipeline.EncodePrompt] gives them,
	// instead of Prompt, which must be "" then. With both sides' embeddings the run needs no text
	// encoder.
	PromptEmbeddings *Embeddings
	// NegativePromptEmbeddings are those of the negative prompt instead of NegativePrompt, as many
	// tokens as those of the prompt.
	NegativePromptEmbeddings *Embeddings
	// Width and Height of the video in pixels, each from 8 to 16384 and a multiple of 8.
	// Default: the model's own size, see [Pipeline.DefaultWidth].
	Width, Height int
	// NumFrames is how many frames the video has, from 1 to 4096. Numbers of the form 8n+1 are
	// made as they are, some others are rounded, and the log says so. Default: the model's own.
	NumFrames int
	// NumInferenceSteps is how many denoising steps are made, up to the model's training
	// timesteps. Default: 50.
	NumInferenceSteps int
	// GuidanceScale is how strongly the video follows the prompt, from -1e6 to 1e6. 1 or less
	// (0 apart) means no guidance, which halves the work of a step. Default: 6.
	GuidanceScale float64
	// UseDynamicCFG lets guidance grow from 1 to GuidanceScale over the run, along a cosine.
	UseDynamicCFG bool
	// Eta is how much noise each step of the DDIM scheduler adds, from 0 to 1.
	Eta float64
	// Seed is what the run's random numbers start from. The same seed, options, device and
	// dtype give the same video.
	Seed uint64
	// Scheduler is the one that the run steps with: "ddim" or "dpm". Default: what the pipeline
	// was loaded with.
	Scheduler string
	// TimestepSpacing says which training timesteps are visited: "leading", "linspace" or
	// "trailing". Default: what the pipeline was loaded with.
	TimestepSpacing string
	// SNRShiftScale divides the schedule's signal-to-noise ratio, from 1e-6 to 1e6. Default:
	// what the pipeline was loaded with.
	SNRShiftScale float64
	// RescaleBetasZeroSNR leaves nothing of the sample at the last training timestep. Default,
	// nil: what the pipeline was loaded with.
	RescaleBetasZeroSNR *bool
	// LoRAScale multiplies the weights of the active LoRA adapters in this run, from -1e6 to 1e6;
	// 0 runs as without them. Default, nil: 1.
	LoRAScale *float64
	// MaxSequenceLength is how many tokens a prompt is cut or padded to, from 1 to 8192.
	// Default: the model's own number.
	MaxSequenceLength int
	// NumVideos is how many videos of the prompt one run makes, from 1 to 256. Default: 1.
	NumVideos int
	// Output is what the run ends with. Default: [OutputFrames].
	Output Output
	// VAETiling decodes tiles that overlap and are blended: less memory, more time, and a
	// slightly different picture.
	VAETiling bool
	// VAETile turns tiling on with tiles of another size than the model's.
	VAETile *VAETile
	// VAESlicing decodes several videos one after another: less memory, the same picture.
	VAESlicing bool
	// Timesteps replace the scheduler's: strictly descending, from 0 to the number of training
	// timesteps less 1. They win over NumInferenceSteps.
	Timesteps []int64
	// Latents are what the run starts from instead of noise of the seed, of the shape that
	// [Pipeline.LatentShape] tells.
	Latents *Latents
	// Image is what an image-to-video pipeline (see [Pipeline.Task]) starts from; it must be nil for
	// others. It is resized to the size of the run, without keeping its proportions. Alpha is
	// dropped: put a transparent picture on a background first. Any image will do, of up to
	// 16384×16384 pixels, such as image/png decodes; a [FrameView] too; [LoadImage] reads files.
	Image image.Image
	// Video is what the run begins with, frame by frame, for pipelines for video to video and for text
	// to video: it is made noisy and then made anew as the prompt says. The run makes as many frames;
	// they are pictures as Image takes, all of one size. In the 1.5 family their latent frames must be
	// even in number: 13 to 16, 45 to 48 or 77 to 80 frames will do.
	Video []image.Image
	// Strength is how much of Video is made anew, up to 1; 0 stands for the default: 0.8, and 1 of
	// pipelines for inpainting. Smaller numbers keep more of it and take fewer steps.
	Strength float64
	// ControlVideo is what a control model's video follows, frame by frame; it must be nil for others.
	ControlVideo []image.Image
	// Mask says what of Video an inpainting model makes anew: frames of the video's number, or one for
	// all, all of one size; pixels whose grey is 128 or more are made anew.
	Mask []image.Image
	// LastImage is the last frame for an inpainting model, whose first is Image.
	LastImage image.Image
	// Prompts are the prompts of several videos in one run, in place of Prompt, which is "" then.
	Prompts []string
	// NegativePrompts has one for each video, in place of NegativePrompt.
	NegativePrompts []string
	// Seeds has one for each video, in place of Seed, from which all draw as one batch: each video is
	// then that of a run of its own, within rounding.
	Seeds []uint64

	// Progress follows the run. An error stops it; errors.Is finds it in what the run returns.
	Progress func(Progress) error
	// Log receives the run's messages. Default: the Log that the pipeline was loaded with.
	Log func(level LogLevel, message string)
	// Frames is given frames as they are decoded, chunk by chunk, the first before the last is
	// decoded; in order within a video. An error stops the run, as for Progress.
	Frames func(*FrameChunk) error
	// FramesPixels is the format of the pixels that Frames is given. Default: [PixelsRGBA8].
	FramesPixels PixelFormat
	// DeviceFrames is given frames on the device that decodes them, as soon as their work is
	// launched, in FramesPixels or as DeviceFrameBuffer has them. An error stops the run.
	DeviceFrames func(DeviceFrameChunk) error
	// DeviceFrameBuffer is memory of the caller's on the device that frames are written to.
	DeviceFrameBuffer *DeviceFrameBuffer
	// Stream is a CUDA stream of the caller's (cudaStream_t) that the library's writing of frames on
	// the device is ordered against; 0: none.
	Stream uintptr
	// WaitEvent is a CUDA event of the caller's (cudaEvent_t) that the library's writing of frames on
	// the device waits for, when decoding begins and after each DeviceFrames callback. 0: none.
	WaitEvent uintptr
	// RecordEvent is a CUDA event of the caller's, of the device's primary context, that a run records
	// behind each group of frames on the device and behind the video. 0: none.
	RecordEvent uintptr
	// Step is called after each denoising step: it may read and replace latents, change guidance,
	// show previews and save the run. An error stops the run, as for Progress.
	Step func(*StepEnd) error
	// Resume is a file that [StepEnd.Save] wrote in a run with the same options: this one goes on
	// from there and gives the bytes of the unbroken run; a cache starts anew. Default: it starts
	// from noise.
	Resume string
	// FrameBuffer is memory of the caller's that frames are written to as they are decoded. It
	// must not be touched, and must serve no other run, until the run has ended.
	FrameBuffer *FrameBuffer
	// NoMemoryCheck begins a run also where [Pipeline.EstimateMemory] says that it can't fit into
	// memory, instead of refusing it with [ErrOutOfMemory].
	NoMemoryCheck bool
	// FramesOnDevice leaves the decoded frames on the pipeline's device, for
	// [Video.FramesDLPack] and [Video.DeviceFrames].
	FramesOnDevice bool
}

// VAETile is the size of the tiles that a VAE decodes.
type VAETile struct {
	// MinHeight and MinWidth in pixels, from 8 to 16384; 0 is the model's own, half of its
	// sample size.
	MinHeight, MinWidth int
	// OverlapHeight and OverlapWidth are the fractions of a tile that it shares with its
	// neighbours, from 0 to below 1; a negative number is the model's own, 1/6 and 1/5.
	OverlapHeight, OverlapWidth float64
}

// Latents are numbers between the transformer and the VAE.
type Latents struct {
	// Data holds the numbers, densely packed.
	Data []float32
	// Shape is (videos, latent frames, channels, latent height, latent width).
	Shape [5]int64
}

// check says whether there are as many numbers as the shape asks for; the library cannot see
// the length of Data.
func (l *Latents) check(name string) error {
	count := int64(1)
	for _, side := range l.Shape {
		if side <= 0 || count > (1<<31)/side {
			return invalid("%s: expected a shape of positive sides and at most 2^31 numbers, found %v", name, l.Shape)
		}
		count *= side
	}
	if int64(len(l.Data)) != count {
		return invalid("%s: expected %d numbers for the shape %v, found %d", name, count, l.Shape, len(l.Data))
	}
	return nil
}

// floats is the address of numbers for one call; not nil, which would mean none.
func floats(data []float32) *C.float { return (*C.float)(unsafe.Pointer(unsafe.SliceData(data))) }

func sides(shape *[5]int64) *C.int64_t { return (*C.int64_t)(unsafe.Pointer(&shape[0])) }

// set gives everything but callbacks and memory to the library's options.
func (o *GenerateOptions) set(c *C.cvx_generate_options) error {
	type number struct {
		name  string
		value int
		call  func(C.int32_t) *C.cvx_error
	}
	if err := withText("Prompt", o.Prompt, func(text *C.char) error {
		return takeError(C.cvx_generate_options_set_prompt(c, text))
	}); err != nil {
		return err
	}
	if o.NegativePrompt != "" {
		if err := withText("NegativePrompt", o.NegativePrompt, func(text *C.char) error {
			return takeError(C.cvx_generate_options_set_negative_prompt(c, text))
		}); err != nil {
			return err
		}
	}
	if o.Scheduler != "" {
		if err := withText("Scheduler", o.Scheduler, func(text *C.char) error {
			return takeError(C.cvx_generate_options_set_scheduler(c, text))
		}); err != nil {
			return err
		}
	}
	if o.TimestepSpacing != "" {
		if err := withText("TimestepSpacing", o.TimestepSpacing, func(text *C.char) error {
			return takeError(C.cvx_generate_options_set_timestep_spacing(c, text))
		}); err != nil {
			return err
		}
	}
	for _, n := range []number{
		{"NumFrames", o.NumFrames, func(n C.int32_t) *C.cvx_error {
			return C.cvx_generate_options_set_num_frames(c, n)
		}},
		{"NumInferenceSteps", o.NumInferenceSteps, func(n C.int32_t) *C.cvx_error {
			return C.cvx_generate_options_set_num_inference_steps(c, n)
		}},
		{"MaxSequenceLength", o.MaxSequenceLength, func(n C.int32_t) *C.cvx_error {
			return C.cvx_generate_options_set_max_sequence_length(c, n)
		}},
		{"NumVideos", o.NumVideos, func(n C.int32_t) *C.cvx_error {
			return C.cvx_generate_options_set_num_videos(c, n)
		}},
		{"Output", int(o.Output), func(n C.int32_t) *C.cvx_error {
			return C.cvx_generate_options_set_output(c, n)
		}},
		{"UseDynamicCFG", int(toBool(o.UseDynamicCFG)), func(n C.int32_t) *C.cvx_error {
			return C.cvx_generate_options_set_use_dynamic_cfg(c, n)
		}},
		{"VAETiling", int(toBool(o.VAETiling)), func(n C.int32_t) *C.cvx_error {
			return C.cvx_generate_options_set_vae_tiling(c, n)
		}},
		{"VAESlicing", int(toBool(o.VAESlicing)), func(n C.int32_t) *C.cvx_error {
			return C.cvx_generate_options_set_vae_slicing(c, n)
		}},
		{"FramesOnDevice", int(toBool(o.FramesOnDevice)), func(n C.int32_t) *C.cvx_error {
			return C.cvx_generate_options_set_frames_on_device(c, n)
		}},
	} {
		if n.value == 0 {
			continue // the default
		}
		value, err := toInt32(n.name, n.value)
		if err != nil {
			return err
		}
		if err := takeError(n.call(value)); err != nil {
			return err
		}
	}
	if o.GuidanceScale != 0 {
		if err := takeError(C.cvx_generate_options_set_guidance_scale(c, C.double(o.GuidanceScale))); err != nil {
			return err
		}
	}
	if o.LoRAScale != nil {
		if err := takeError(C.cvx_generate_options_set_lora_scale(c, C.double(*o.LoRAScale))); err != nil {
			return err
		}
	}
	return first(
		func() error { return o.setSize(c) },
		func() error { return takeError(C.cvx_generate_options_set_eta(c, C.double(o.Eta))) },
		func() error { return takeError(C.cvx_generate_options_set_seed(c, C.uint64_t(o.Seed))) },
		func() error {
			return takeError(C.cvx_generate_options_set_snr_shift_scale(c, C.double(o.SNRShiftScale)))
		},
		func() error {
			return takeError(C.cvx_generate_options_set_rescale_betas_zero_snr(c, optionalBool(o.RescaleBetasZeroSNR)))
		},
		func() error {
			return takeError(C.cvx_generate_options_set_memory_check(c, toBool(!o.NoMemoryCheck)))
		},
		func() error { return o.setTile(c) },
		func() error { return o.setTimesteps(c) },
		func() error { return o.setLatents(c) },
		func() error { return o.setImage(c) },
		func() error { return o.setVideo(c) },
		func() error { return o.setControlVideo(c) },
		func() error { return o.setMask(c) },
		func() error { return o.setLastImage(c) },
		func() error { return o.setBatch(c) },
		func() error { return o.setEmbeddings(c) },
		func() error { return o.setResume(c) },
	)
}

func (o *GenerateOptions) setSize(c *C.cvx_generate_options) error {
	width, err := toInt32("Width", o.Width)
	if err != nil {
		return err
	}
	height, err := toInt32("Height", o.Height)
	if err != nil || (width == 0 && height == 0) {
		return err
	}
	return takeError(C.cvx_generate_options_set_size(c, width, height))
}

func (o *GenerateOptions) setTile(c *C.cvx_generate_options) error {
	tile := o.VAETile
	if tile == nil {
		return nil
	}
	height, err := toInt32("VAETile.MinHeight", tile.MinHeight)
	if err != nil {
		return err
	}
	width, err := toInt32("VAETile.MinWidth", tile.MinWidth)
	if err != nil {
		return err
	}
	return takeError(C.cvx_generate_options_set_vae_tile(
		c, height, width, C.double(tile.OverlapHeight), C.double(tile.OverlapWidth)))
}

func (o *GenerateOptions) setTimesteps(c *C.cvx_generate_options) error {
	if len(o.Timesteps) == 0 {
		return nil
	}
	return takeError(C.cvx_generate_options_set_timesteps(
		c, (*C.int64_t)(unsafe.Pointer(&o.Timesteps[0])), C.size_t(len(o.Timesteps))))
}

func (o *GenerateOptions) setLatents(c *C.cvx_generate_options) error {
	if o.Latents == nil {
		return nil
	}
	if err := o.Latents.check("Latents"); err != nil {
		return err
	}
	return takeError(C.cvx_generate_options_set_latents(
		c, floats(o.Latents.Data), sides(&o.Latents.Shape), 5))
}

// setHost gives callbacks, the frame buffer and the token to the library's options. The buffer
// is pinned, because the library keeps its address until the run has ended.
func (o *GenerateOptions) setHost(c *C.cvx_generate_options, r *run, w *watch, pin *runtime.Pinner) error {
	if r.progress != nil {
		if err := takeError(C.cvx_generate_options_set_progress_callback(
			c, C.cogvideox_go_progress, newUserData(r), C.cogvideox_go_free)); err != nil {
			return err
		}
	}
	if r.log != nil {
		if err := takeError(C.cvx_generate_options_set_log_callback(
			c, C.cogvideox_go_log, newUserData(r), C.cogvideox_go_free)); err != nil {
			return err
		}
	}
	if r.frames != nil {
		pixels := o.FramesPixels
		if pixels == 0 {
			pixels = PixelsRGBA8
		}
		if err := takeError(C.cvx_generate_options_set_frames_callback(
			c, C.int32_t(pixels), C.cogvideox_go_frames, newUserData(r), C.cogvideox_go_free)); err != nil {
			return err
		}
	}
	if r.step != nil {
		if err := takeError(C.cvx_generate_options_set_step_callback(
			c, C.cogvideox_go_step_end, newUserData(r), C.cogvideox_go_free)); err != nil {
			return err
		}
	}
	if r.device != nil {
		pixels := o.FramesPixels
		if pixels == 0 {
			pixels = PixelsRGBA8
		}
		if err := takeError(C.cvx_generate_options_set_device_frames_callback(
			c, C.int32_t(pixels), C.cogvideox_go_device_frames, newUserData(r), C.cogvideox_go_free)); err != nil {
			return err
		}
	}
	if o.FrameBuffer != nil {
		if err := o.FrameBuffer.set(c, pin); err != nil {
			return err
		}
	}
	if o.DeviceFrameBuffer != nil {
		if err := o.DeviceFrameBuffer.set(c); err != nil {
			return err
		}
	}
	if o.Stream != 0 {
		if err := takeError(C.cvx_generate_options_set_stream(c, pointerTo(o.Stream))); err != nil {
			return err
		}
	}
	if o.WaitEvent != 0 {
		if err := takeError(C.cvx_generate_options_set_wait_event(c, pointerTo(o.WaitEvent))); err != nil {
			return err
		}
	}
	if o.RecordEvent != 0 {
		if err := takeError(C.cvx_generate_options_set_record_event(c, pointerTo(o.RecordEvent))); err != nil {
			return err
		}
	}
	return takeError(C.cvx_generate_options_set_cancel_token(c, w.token))
}

package cogvideox

// #include "trampolines.h"
import "C"

import (
	"image"
	"unsafe"
)

// StepEnd is a denoising step that has just finished, and the run's latents after it. Its numbers
// may be kept; its methods work until the callback returns, on its goroutine, and answer
// [ErrInvalidArgument] from then on.
type StepEnd struct {
	// Step is the step, from 0.
	Step int
	// NumSteps is how many steps the run has.
	NumSteps int
	// Timestep is the training timestep that the step began at.
	Timestep float64
	// GuidanceScale is what the step was guided with.
	GuidanceScale float64

	handle *C.cvx_step
}

func (s *StepEnd) live() error {
	if s.handle == nil {
		return invalid("step: expected to be asked before the callback returned")
	}
	return nil
}

// Latents is a copy of the latents that the next step starts from.
//
// Errors: [ErrOutOfMemory].
func (s *StepEnd) Latents() (*Latents, error) {
	if err := s.live(); err != nil {
		return nil, err
	}
	latents := &Latents{}
	var data *C.float
	if err := takeError(C.cvx_step_latents(s.handle, &data, sides(&latents.Shape))); err != nil {
		return nil, err
	}
	latents.Data = append(latents.Data, unsafe.Slice((*float32)(unsafe.Pointer(data)), product(latents.Shape))...)
	return latents, nil
}

func product(shape [5]int64) int {
	count := 1
	for _, side := range shape {
		count *= int(side)
	}
	return count
}

// LatentsDLPack is the latents where they lie, as a DLPack tensor that shares their memory and keeps
// it alive; read only.
func (s *StepEnd) LatentsDLPack() (*DLPack, error) {
	if err := s.live(); err != nil {
		return nil, err
	}
	var out *C.struct_DLManagedTensor
	if err := takeError(C.cvx_step_latents_dlpack(s.handle, &out)); err != nil {
		return nil, err
	}
	return newDLPack(out), nil
}

// SetLatents goes on with these latents, of the shape that Latents tells. They are copied.
//
// Errors: [ErrInvalidArgument] (another shape, a number that is not finite).
func (s *StepEnd) SetLatents(latents *Latents) error {
	if err := s.live(); err != nil {
		return err
	}
	if latents == nil {
		return invalid("latents: expected latents, found nil")
	}
	if err := latents.check("latents"); err != nil {
		return err
	}
	return takeError(C.cvx_step_set_latents(s.handle, floats(latents.Data), sides(&latents.Shape), 5))
}

// SetGuidanceScale guides with another scale from the next step on, from -1e6 to 1e6.
//
// Errors: [ErrInvalidArgument], also in a run that began without guidance.
func (s *StepEnd) SetGuidanceScale(scale float64) error {
	if err := s.live(); err != nil {
		return err
	}
	return takeError(C.cvx_step_set_guidance_scale(s.handle, C.double(scale)))
}

// Preview is a small picture of each latent frame, at latent resolution, by video and frame: a
// linear map of the latents that takes far less time than a step.
func (s *StepEnd) Preview() ([][]*image.RGBA, error) {
	if err := s.live(); err != nil {
		return nil, err
	}
	var shape [5]int64
	var data *C.uint8_t
	if err := takeError(C.cvx_step_preview_rgb8(s.handle, &data, sides(&shape))); err != nil {
		return nil, err
	}
	pixels := unsafe.Slice((*byte)(data), product(shape))
	videos := make([][]*image.RGBA, shape[0])
	for v := range videos {
		for range shape[1] {
			picture := image.NewRGBA(image.Rect(0, 0, int(shape[3]), int(shape[2])))
			for i := 0; i < len(picture.Pix); i += 4 {
				copy(picture.Pix[i:], pixels[:3])
				picture.Pix[i+3], pixels = 255, pixels[3:]
			}
			videos[v] = append(videos[v], picture)
		}
	}
	return videos, nil
}

// Save writes to a file what [GenerateOptions.Resume] goes on from. A file that is there already is
// replaced, whole or not at all.
//
// Errors: [ErrInvalidUTF8], [ErrNotFound] (the parent folder), [ErrIO].
func (s *StepEnd) Save(path string) error {
	if err := s.live(); err != nil {
		return err
	}
	return withText("path", path, func(path *C.char) error {
		return takeError(C.cvx_step_save(s.handle, path))
	})
}

//export cogvideoxGoStepEnd
func cogvideoxGoStepEnd(info *C.cvx_step_end_info, userData unsafe.Pointer) C.int32_t {
	r := userDataValue(userData).(*run)
	return r.answer(func() error {
		step := &StepEnd{
			Step:          int(info.step),
			NumSteps:      int(info.num_steps),
			Timestep:      float64(info.timestep),
			GuidanceScale: float64(info.guidance_scale),
			handle:        info.handle,
		}
		defer func() { step.handle = nil }()
		return r.step(step)
	})
}

func (o *GenerateOptions) setResume(c *C.cvx_generate_options) error {
	if o.Resume == "" {
		return nil
	}
	return withText("Resume", o.Resume, func(path *C.char) error {
		return takeError(C.cvx_generate_options_set_resume(c, path))
	})
}

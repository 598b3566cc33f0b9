package cogvideox

// #include <cogvideox.h>
import "C"

import (
	"fmt"
	"io"
	"math"
	"runtime/debug"
	"sync"
	"unsafe"
)

// CallbackPanic is a panic of a callback on its way out: the run was stopped, and the method
// that started it panics with this value. [Job.Video] returns it as an error.
type CallbackPanic struct {
	// Value is what the callback panicked with.
	Value any
	// Stack is the callback's goroutine when it panicked.
	Stack []byte
}

// Error tells the value and where it came from.
func (p *CallbackPanic) Error() string {
	return fmt.Sprintf("cogvideox: a callback panicked: %v\n\n%s", p.Value, p.Stack)
}

// Unwrap returns the value where it is an error, such as a runtime.Error.
func (p *CallbackPanic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// panicSlot keeps the first panic of callbacks until the run that they belong to has ended.
type panicSlot struct {
	mu    sync.Mutex
	first *CallbackPanic
}

func (s *panicSlot) put(p *CallbackPanic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first == nil {
		s.first = p
	}
}

func (s *panicSlot) take() *CallbackPanic {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.first
	s.first = nil
	return p
}

// call runs a callback such that no panic reaches the C code below it, and returns whether it
// returned.
func (s *panicSlot) call(callback func()) (returned bool) {
	collectGarbage()
	defer func() {
		if returned {
			return
		}
		value := recover()
		if value == nil {
			// runtime.Goexit: nothing can hold it up, and it would drop the C frames of a run
			// that is still going on.
			panic("cogvideox: a callback called runtime.Goexit (does testing.T.FailNow?), which cannot pass C code")
		}
		s.put(&CallbackPanic{Value: value, Stack: debug.Stack()})
	}()
	callback()
	returned = true
	return
}

// run is what the callbacks of one load, run or decoding share.
type run struct {
	panicSlot
	progress func(Progress) error
	log      func(LogLevel, string)
	frames   func(*FrameChunk) error
	device   func(DeviceFrameChunk) error
	step     func(*StepEnd) error
	write    io.Writer

	stopMu  sync.Mutex
	stopped error // what a callback answered that stopped the run
}

// answer runs a callback that may stop the run: 0 to go on.
func (r *run) answer(callback func() error) C.int32_t {
	var err error
	if !r.call(func() { err = callback() }) {
		return 1
	}
	if err == nil {
		return 0
	}
	r.stopMu.Lock()
	defer r.stopMu.Unlock()
	if r.stopped == nil {
		r.stopped = err
	}
	return 1
}

func (r *run) stopCause() error {
	r.stopMu.Lock()
	defer r.stopMu.Unlock()
	return r.stopped
}

// Structs handed to callbacks only grow, and everything read below is there since 0.1, so
// struct_size need not be looked at.

//export cogvideoxGoProgress
func cogvideoxGoProgress(info *C.cvx_progress_info, userData unsafe.Pointer) C.int32_t {
	r := userDataValue(userData).(*run)
	return r.answer(func() error {
		return r.progress(Progress{
			Stage:    Stage(info.stage),
			Done:     uint64(info.done),
			Total:    uint64(info.total),
			Timestep: float64(info.timestep),
		})
	})
}

//export cogvideoxGoLog
func cogvideoxGoLog(info *C.cvx_log_info, userData unsafe.Pointer) {
	r := userDataValue(userData).(*run)
	r.call(func() { r.log(LogLevel(info.level), C.GoString(info.message)) })
}

//export cogvideoxGoFrames
func cogvideoxGoFrames(info *C.cvx_frames_info, userData unsafe.Pointer) C.int32_t {
	r := userDataValue(userData).(*run)
	return r.answer(func() error {
		chunk := newFrameChunk(info)
		// The memory goes back to the library: a chunk that is kept returns nothing from here
		// on instead of what lies there later.
		defer chunk.end()
		return r.frames(chunk)
	})
}

//export cogvideoxGoDeviceFrames
func cogvideoxGoDeviceFrames(info *C.cvx_device_frames_info, userData unsafe.Pointer) C.int32_t {
	r := userDataValue(userData).(*run)
	return r.answer(func() error { return r.device(newDeviceFrameChunk(info)) })
}

//export cogvideoxGoJob
func cogvideoxGoJob(status *C.cvx_job_status, userData unsafe.Pointer) {
	userDataValue(userData).(*jobEnd).end(JobState(status.state))
}

// A callback of a cache that panics returns NaN, which ends the run with ErrCallbackFailed; the
// panic is then found where the record says.

//export cogvideoxGoStep
func cogvideoxGoStep(info *C.cvx_step_info, userData unsafe.Pointer) C.double {
	record := userDataValue(userData).(*stepCallback)
	answer := math.NaN()
	record.panics.call(func() {
		answer = record.callback(StepInfo{
			Step:     int(info.step),
			NumSteps: int(info.num_steps),
			Timestep: float64(info.timestep),
		})
	})
	return C.double(answer)
}

//export cogvideoxGoLayer
func cogvideoxGoLayer(info *C.cvx_layer_info, userData unsafe.Pointer) C.double {
	record := userDataValue(userData).(*layerCallback)
	answer := math.NaN()
	record.panics.call(func() {
		answer = record.callback(LayerInfo{
			StepInfo: StepInfo{
				Step:     int(info.step),
				NumSteps: int(info.num_steps),
				Timestep: float64(info.timestep),
			},
			Layer:     int(info.layer),
			LayerName: C.GoString(info.layer_name),
		})
	})
	return C.double(answer)
}

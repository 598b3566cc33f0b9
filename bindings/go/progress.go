package cogvideox

// #include <cogvideox.h>
import "C"

import "fmt"

// Stage is a part of loading or of a run.
type Stage int32

// The stages, in the order in which they come.
const (
	// StageLoad reads weights; counted in bytes.
	StageLoad = Stage(C.CVX_STAGE_LOAD)
	// StageEncode runs the text encoder; counted in its layers.
	StageEncode = Stage(C.CVX_STAGE_ENCODE)
	// StageDenoise runs the transformer; counted in denoising steps.
	StageDenoise = Stage(C.CVX_STAGE_DENOISE)
	// StageDecode runs the VAE decoder; counted in chunks of latent frames, and in tiles where
	// it tiles.
	StageDecode = Stage(C.CVX_STAGE_DECODE)
	// StageTune tunes a cache schedule; counted in runs, of which there may be fewer than
	// foretold.
	StageTune = Stage(C.CVX_STAGE_TUNE)
	// StageEncodeImage runs the VAE encoder over the image of a run; counted in tiles where it
	// tiles.
	StageEncodeImage = Stage(C.CVX_STAGE_ENCODE_IMAGE)
)

// String is "load", "encode", "denoise", "decode", "tune" or "encode image"; "none" for 0, before
// the first.
func (s Stage) String() string {
	switch s {
	case 0:
		return "none"
	case StageLoad:
		return "load"
	case StageEncode:
		return "encode"
	case StageDenoise:
		return "denoise"
	case StageDecode:
		return "decode"
	case StageTune:
		return "tune"
	case StageEncodeImage:
		return "encode image"
	}
	return fmt.Sprintf("stage %d", int32(s))
}

// Progress is how far a load or a run is.
type Progress struct {
	// Stage is what is being done.
	Stage Stage
	// Done counts the units of the stage that are finished, from 0 to Total.
	Done uint64
	// Total counts all units of the stage: bytes, layers, steps or chunks, see [Stage].
	Total uint64
	// Timestep is the training timestep of the denoising step that has just finished, from 0
	// to below the number of training timesteps; -1 outside denoising.
	Timestep float64
}

// LogLevel says how much a message matters.
type LogLevel int32

// The levels, the more important the higher.
const (
	// LogDebug: details for developers.
	LogDebug = LogLevel(C.CVX_LOG_DEBUG)
	// LogInfo: what was chosen where the caller left a choice.
	LogInfo = LogLevel(C.CVX_LOG_INFO)
	// LogWarning: the work goes on, but not quite as asked.
	LogWarning = LogLevel(C.CVX_LOG_WARNING)
	// LogError: something failed that no error value can tell.
	LogError = LogLevel(C.CVX_LOG_ERROR)
)

// String is "debug", "info", "warning" or "error".
func (l LogLevel) String() string {
	switch l {
	case LogDebug:
		return "debug"
	case LogInfo:
		return "info"
	case LogWarning:
		return "warning"
	case LogError:
		return "error"
	}
	return fmt.Sprintf("level %d", int32(l))
}

package cogvideox

// #include <cogvideox.h>
import "C"

// The most that a run may be asked for.
const (
	// MaxSide is the most pixels that the width or the height of a video, or of a tile, may have.
	MaxSide = int(C.CVX_MAX_SIDE)
	// MaxFrames is the most frames of a video.
	MaxFrames = int(C.CVX_MAX_FRAMES)
	// MaxVideos is the most videos of one run.
	MaxVideos = int(C.CVX_MAX_VIDEOS)
	// MaxSequenceLength is the most tokens that a prompt is cut or padded to.
	MaxSequenceLength = int(C.CVX_MAX_SEQUENCE_LENGTH)
	// MaxTuneRuns is the most runs that a cache schedule is tuned on.
	MaxTuneRuns = int(C.CVX_MAX_TUNE_RUNS)
	// MaxThreads is the most threads that a pipeline computes with.
	MaxThreads = int(C.CVX_MAX_THREADS)
)

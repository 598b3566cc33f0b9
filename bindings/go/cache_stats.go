package cogvideox

// #include <cogvideox.h>
import "C"

import (
	"fmt"
	"math"
)

// LayerState is what an attention layer did in a step.
type LayerState int32

// What a layer can have done.
const (
	// LayerNotReached: the run ended before it, or there is no such step or layer.
	LayerNotReached = LayerState(C.CVX_LAYER_NOT_REACHED)
	// LayerComputed: the attention module was computed.
	LayerComputed = LayerState(C.CVX_LAYER_COMPUTED)
	// LayerReused: a kept output was used as it was.
	LayerReused = LayerState(C.CVX_LAYER_REUSED)
	// LayerApproximated: an output was extrapolated from kept ones.
	LayerApproximated = LayerState(C.CVX_LAYER_APPROXIMATED)
	// LayerSkipped: the block did not run; what it added in an earlier step was added again.
	LayerSkipped = LayerState(C.CVX_LAYER_SKIPPED)
	// LayerPredicted: nothing of the block was computed; its part was extrapolated.
	LayerPredicted = LayerState(C.CVX_LAYER_PREDICTED)
	// LayerFeedForwardPredicted: attention was computed, the feed-forward layer's output
	// extrapolated.
	LayerFeedForwardPredicted = LayerState(C.CVX_LAYER_FEED_FORWARD_PREDICTED)
)

// String is "not reached", "computed", "reused", "approximated", "skipped",
// "predicted" or "feed-forward predicted".
func (s LayerState) String() string {
	switch s {
	case LayerNotReached:
		return "not reached"
	case LayerComputed:
		return "computed"
	case LayerReused:
		return "reused"
	case LayerApproximated:
		return "approximated"
	case LayerSkipped:
		return "skipped"
	case LayerPredicted:
		return "predicted"
	case LayerFeedForwardPredicted:
		return "feed-forward predicted"
	}
	return fmt.Sprintf("state %d", int32(s))
}

// Unconditional is what became of the unconditional half of the guidance batch in a step.
type Unconditional int32

// What can have become of it.
const (
	// UnconditionalAbsent: guidance is off, or there is no such step.
	UnconditionalAbsent = Unconditional(C.CVX_UNCONDITIONAL_ABSENT)
	// UnconditionalRan: it was computed.
	UnconditionalRan = Unconditional(C.CVX_UNCONDITIONAL_RAN)
	// UnconditionalRebuilt: it was rebuilt from the conditional one.
	UnconditionalRebuilt = Unconditional(C.CVX_UNCONDITIONAL_REBUILT)
	// UnconditionalPredicted: neither half ran; the output of the step was predicted.
	UnconditionalPredicted = Unconditional(C.CVX_UNCONDITIONAL_PREDICTED)
)

// String is "absent", "ran", "rebuilt" or "predicted".
func (u Unconditional) String() string {
	switch u {
	case UnconditionalAbsent:
		return "absent"
	case UnconditionalRan:
		return "ran"
	case UnconditionalRebuilt:
		return "rebuilt"
	case UnconditionalPredicted:
		return "predicted"
	}
	return fmt.Sprintf("state %d", int32(u))
}

// CacheStats are the statistics of a run, or of one that is previewed: a snapshot that does not
// change and outlives its pipeline. Made by [Pipeline.CacheStats], [Pipeline.PreviewCache] or
// [CacheConfig.Preview].
type CacheStats struct {
	closer[*C.cvx_cache_stats]
}

func newCacheStats(ptr *C.cvx_cache_stats) *CacheStats {
	s := &CacheStats{}
	open(&s.closer, s, "CacheStats", ptr, func(ptr *C.cvx_cache_stats) { C.cvx_cache_stats_free(ptr) })
	return s
}

// Close frees the statistics. It never fails.
func (s *CacheStats) Close() error {
	s.close()
	return nil
}

// Text is a table for people: a column for each step, a row for each group of layers that did the
// same, and below it counts, bytes and the predicted speed-up. Several lines of ASCII.
func (s *CacheStats) Text() string {
	ptr := s.h.acquire("Text")
	defer s.h.release()
	return C.GoString(C.cvx_cache_stats_text(ptr))
}

// JSON is the same for programs, as one JSON object.
func (s *CacheStats) JSON() string {
	ptr := s.h.acquire("JSON")
	defer s.h.release()
	return C.GoString(C.cvx_cache_stats_json(ptr))
}

// Technique is the technique's name, such as "FasterCache"; "" where no cache was enabled.
func (s *CacheStats) Technique() string {
	ptr := s.h.acquire("Technique")
	defer s.h.release()
	return C.GoString(C.cvx_cache_stats_technique(ptr))
}

// TotalSteps is how many steps the run has, also if it ended before the last.
func (s *CacheStats) TotalSteps() int {
	ptr := s.h.acquire("TotalSteps")
	defer s.h.release()
	return int(C.cvx_cache_stats_total_steps(ptr))
}

// NumSteps is how many steps have begun.
func (s *CacheStats) NumSteps() int {
	ptr := s.h.acquire("NumSteps")
	defer s.h.release()
	return int(C.cvx_cache_stats_num_steps(ptr))
}

// NumLayers is how many attention layers there are.
func (s *CacheStats) NumLayers() int {
	ptr := s.h.acquire("NumLayers")
	defer s.h.release()
	return int(C.cvx_cache_stats_num_layers(ptr))
}

// LayerName is the name of a layer, from 0, such as "transformer_blocks.0.attn1"; "" if there is
// none.
func (s *CacheStats) LayerName(layer int) string {
	ptr := s.h.acquire("LayerName")
	defer s.h.release()
	return C.GoString(C.cvx_cache_stats_layer_name(ptr, index(layer)))
}

// Timestep is the pipeline's timestep of a step, from 0; -1 for a step that has not begun.
func (s *CacheStats) Timestep(step int) int64 {
	ptr := s.h.acquire("Timestep")
	defer s.h.release()
	return int64(C.cvx_cache_stats_timestep(ptr, index(step)))
}

// LayerState is what a layer did in a step, both from 0.
func (s *CacheStats) LayerState(step, layer int) LayerState {
	ptr := s.h.acquire("LayerState")
	defer s.h.release()
	return LayerState(C.cvx_cache_stats_layer_state(ptr, index(step), index(layer)))
}

// LayerCount is how often a layer, from 0, was in a state; with -1, how often all layers together
// were.
func (s *CacheStats) LayerCount(layer int, state LayerState) int {
	ptr := s.h.acquire("LayerCount")
	defer s.h.release()
	return int(C.cvx_cache_stats_layer_count(ptr, index(layer), C.int32_t(state)))
}

// Unconditional is what became of the unconditional half in a step, from 0.
func (s *CacheStats) Unconditional(step int) Unconditional {
	ptr := s.h.acquire("Unconditional")
	defer s.h.release()
	return Unconditional(C.cvx_cache_stats_unconditional(ptr, index(step)))
}

// LayerOverBudget says whether a layer, from 0, was to be cached and was computed on every step
// instead, because the most bytes that may be kept had no room for it.
func (s *CacheStats) LayerOverBudget(layer int) bool {
	ptr := s.h.acquire("LayerOverBudget")
	defer s.h.release()
	return C.cvx_cache_stats_layer_over_budget(ptr, index(layer)) != 0
}

// BytesNow is the bytes of tensors kept when the statistics were taken; 0 once the run is over.
func (s *CacheStats) BytesNow() uint64 {
	ptr := s.h.acquire("BytesNow")
	defer s.h.release()
	return uint64(C.cvx_cache_stats_bytes_now(ptr))
}

// BytesPeak is the most bytes of tensors kept at any time of the run; of a preview, the most that
// will be, and 0 where the sizes are not known.
func (s *CacheStats) BytesPeak() uint64 {
	ptr := s.h.acquire("BytesPeak")
	defer s.h.release()
	return uint64(C.cvx_cache_stats_bytes_peak(ptr))
}

// HostBytesNow is how many of BytesNow SetCacheLocation has put into host memory.
func (s *CacheStats) HostBytesNow() uint64 {
	ptr := s.h.acquire("HostBytesNow")
	defer s.h.release()
	return uint64(C.cvx_cache_stats_host_bytes_now(ptr))
}

// HostBytesPeak is the most of those at any time of the run; 0 of a preview.
func (s *CacheStats) HostBytesPeak() uint64 {
	ptr := s.h.acquire("HostBytesPeak")
	defer s.h.release()
	return uint64(C.cvx_cache_stats_host_bytes_peak(ptr))
}

// NumRanks is how many devices or processes computed the run together: 1 for a run on one.
func (s *CacheStats) NumRanks() int {
	ptr := s.h.acquire("NumRanks")
	defer s.h.release()
	return int(C.cvx_cache_stats_num_ranks(ptr))
}

// GuidanceDegree is among how many of them the halves of the guidance were shared: 1 or 2.
func (s *CacheStats) GuidanceDegree() int {
	ptr := s.h.acquire("GuidanceDegree")
	defer s.h.release()
	return int(C.cvx_cache_stats_guidance_degree(ptr))
}

// SequenceDegree is among how many of them a sequence was shared.
func (s *CacheStats) SequenceDegree() int {
	ptr := s.h.acquire("SequenceDegree")
	defer s.h.release()
	return int(C.cvx_cache_stats_sequence_degree(ptr))
}

// BytesExchanged is what they sent to each other in denoising. Attention that is reused exchanges
// nothing.
func (s *CacheStats) BytesExchanged() uint64 {
	ptr := s.h.acquire("BytesExchanged")
	defer s.h.release()
	return uint64(C.cvx_cache_stats_bytes_exchanged(ptr))
}

// MessagesExchanged is in how many messages they did.
func (s *CacheStats) MessagesExchanged() uint64 {
	ptr := s.h.acquire("MessagesExchanged")
	defer s.h.release()
	return uint64(C.cvx_cache_stats_messages_exchanged(ptr))
}

// AttentionUnits is the units that were computed of attention, averaged over the layers. A unit is
// one half of the guidance batch in one step.
func (s *CacheStats) AttentionUnits() float64 {
	ptr := s.h.acquire("AttentionUnits")
	defer s.h.release()
	return float64(C.cvx_cache_stats_attention_units(ptr))
}

// RestUnits is the units that were computed of everything but attention.
func (s *CacheStats) RestUnits() float64 {
	ptr := s.h.acquire("RestUnits")
	defer s.h.release()
	return float64(C.cvx_cache_stats_rest_units(ptr))
}

// TotalUnits is the units that a run without a cache would have computed in the same steps.
func (s *CacheStats) TotalUnits() float64 {
	ptr := s.h.acquire("TotalUnits")
	defer s.h.release()
	return float64(C.cvx_cache_stats_total_units(ptr))
}

// PredictedSpeedUp is how many times as fast as without a cache the steps are, by a cost model of
// the units and the attention share; 0 where the share is not known.
func (s *CacheStats) PredictedSpeedUp() float64 {
	ptr := s.h.acquire("PredictedSpeedUp")
	defer s.h.release()
	return float64(C.cvx_cache_stats_predicted_speed_up(ptr))
}

// EstimatedSeconds is how many seconds the run is expected to take, where [Pipeline.EstimateCache]
// made these statistics; else 0.
func (s *CacheStats) EstimatedSeconds() float64 {
	ptr := s.h.acquire("EstimatedSeconds")
	defer s.h.release()
	return float64(C.cvx_cache_stats_estimated_seconds(ptr))
}

// EstimatedPSNR is the PSNR in decibels against the uncached video that is expected, where
// [Pipeline.EstimateCache] made these statistics: infinite where nothing is left out, 0 where it is
// not known.
func (s *CacheStats) EstimatedPSNR() float64 {
	ptr := s.h.acquire("EstimatedPSNR")
	defer s.h.release()
	return float64(C.cvx_cache_stats_estimated_psnr(ptr))
}

// AttentionShare is attention's part of the time of a step in which everything is computed,
// from 0 to 1; 0 where it is not known. measured says whether it was timed in such steps of the
// run, or estimated by counting multiplications.
func (s *CacheStats) AttentionShare() (share float64, measured bool) {
	ptr := s.h.acquire("AttentionShare")
	defer s.h.release()
	var isMeasured C.int32_t
	share = float64(C.cvx_cache_stats_attention_share(ptr, &isMeasured))
	return share, isMeasured != 0
}

// index is a step or layer for the library; what does not fit is one that there is none of.
func index(i int) C.int32_t {
	if i < math.MinInt32 || i > math.MaxInt32 {
		return math.MaxInt32
	}
	return C.int32_t(i)
}

// The kernels for CUDA, in one piece: `make kernels` compiles it to kernels.ptx.
#include "tokens.cuh"
#include "video.cuh"

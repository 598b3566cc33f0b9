// Compiled for AVX2 with FMA (x86-64-v3).
#define CVX_ATTENTION_SET avx2
#define CVX_ATTENTION_LANES 8
#define CVX_ATTENTION_ROWS 6
#define CVX_ATTENTION_VECTORS 2
#include "attention_tile.h"

// Compiled for AVX-512 (x86-64-v4).
#define CVX_ATTENTION_SET avx512
#define CVX_ATTENTION_LANES 16
#define CVX_ATTENTION_ROWS 8
#define CVX_ATTENTION_VECTORS 3
#include "attention_tile.h"

// Kernels, as a plain C interface with the conventions of shim.h: for float32 on the CPU where
// nothing else is said.
//
// Videos are dense: frames × height × width × channels. Another dtype, layout, device or size is
// an error. The work is shared among libtorch's threads.
#pragma once

#include "shim.h"

extern "C" {

// linear.cpp

// `weight` (outputs, inputs) float32 on the CPU in the layout that cvx_shim_linear takes, in
// memory of its own; NULL where this libtorch has no oneDNN.
cvx_shim_status cvx_shim_linear_pack(cvx_shim_const_tensor weight, cvx_shim_tensor *out,
                                     char **message);
// x Wᵀ + bias (none where NULL); with `gelu` the GELU of it, in its tanh approximation and in the
// same pass.
cvx_shim_status cvx_shim_linear(cvx_shim_const_tensor x, cvx_shim_const_tensor packed,
                                cvx_shim_const_tensor bias, int32_t gelu, cvx_shim_tensor *out,
                                char **message);

// GELU, in its tanh approximation, of bias + rows weight, on CUDA in one kernel: rows
// (count, inputs), weight (inputs, outputs). On the CPU the same operator takes the exact GELU.
cvx_shim_status cvx_shim_addmm_gelu(cvx_shim_const_tensor bias, cvx_shim_const_tensor rows,
                                    cvx_shim_const_tensor weight, cvx_shim_tensor *out,
                                    char **message);

// int8.cpp: products of int8 numbers, whose sums are exact.

// `codes` (outputs, inputs) int8 in the layout that cvx_shim_int8_linear takes, in memory of its own;
// NULL where this libtorch has no oneDNN. As it lies, it can be made dense: (inputs, outputs).
cvx_shim_status cvx_shim_int8_pack(cvx_shim_const_tensor codes, cvx_shim_tensor *out,
                                   char **message);
// Writes x Wᵀ + bias (none where NULL) to `out`, with `gelu` the GELU of it in its tanh approximation:
// x (…, inputs) and out (…, outputs) dense, W the packed codes times `scale` (outputs). Each row of x is
// rounded to 255 numbers about zero, the largest of them its largest magnitude. A row with a number that
// is not finite gives outputs that are NaN. What a row gives does not depend on the rows beside it.
cvx_shim_status cvx_shim_int8_linear(cvx_shim_const_tensor x, cvx_shim_const_tensor packed,
                                     cvx_shim_const_tensor scale, cvx_shim_const_tensor bias,
                                     int32_t gelu, cvx_shim_tensor out, char **message);

// attention.cpp

// Whether there is a kernel for this processor and heads of so many numbers.
int32_t cvx_shim_attention_available(int64_t head_size);
// Softmax(scale · query keyᵀ) value of (batch, heads, tokens, head_size), written to `out` (batch,
// queries, heads, head_size). The numbers of a token lie side by side; all else may be strided.
cvx_shim_status cvx_shim_attention(cvx_shim_const_tensor query, cvx_shim_const_tensor key,
                                   cvx_shim_const_tensor value, double scale, cvx_shim_tensor out,
                                   char **message);

// video.cpp

// `sums` holds two numbers per channel: sums[c] of the values, sums[channels + c] of their
// squares; what these functions find is added to them.

// Moments of `x`. Unless `copy` is NULL, writes x there as well.
cvx_shim_status cvx_shim_vae_moments(cvx_shim_const_tensor x, cvx_shim_tensor copy, double *sums,
                                     int64_t sums_size, char **message);

// out = silu(x · scale + shift). Frame i of x belongs to frame frames[i] of `modulation`, whose
// pixels hold `channels` scales followed by `channels` shifts. Each of them serves a square of
// pixels of x, as in nearest-neighbour upsampling.
cvx_shim_status cvx_shim_vae_modulate_silu(cvx_shim_const_tensor x, cvx_shim_tensor out,
                                           cvx_shim_const_tensor modulation,
                                           const int64_t *frames, int64_t frames_size,
                                           char **message);

// Pixel shuffle of four videos of (height + 1) × (width + 1) pixels into one of (2 height) ×
// (2 width): pixel (2h + p, 2w + q) is pixel (h + p, w + q) of phases[2p + q]. Moments of what was
// written are added to `sums`.
cvx_shim_status cvx_shim_vae_pixel_shuffle(const cvx_shim_const_tensor phases[4],
                                           cvx_shim_tensor out, double *sums, int64_t sums_size,
                                           char **message);

// Gives this thread the process's number of threads, if it has none yet: to be called before another
// number is set for it.
void cvx_shim_init_num_threads(void);

// conv.cpp: oneDNN's convolutions with weights in the layout that it likes best.

// Whether this libtorch has them.
int32_t cvx_shim_conv_available(void);
// Reorders `weight` (out, in, …kernel) for stride 1, `padding` per kernel dimension and inputs
// of about `input_size`. The result is for the two functions below only.
cvx_shim_status cvx_shim_conv_pack(cvx_shim_const_tensor weight, const int64_t *padding,
                                   int64_t dimensions, const int64_t *input_size,
                                   cvx_shim_tensor *out, char **message);
cvx_shim_status cvx_shim_conv(cvx_shim_const_tensor x, cvx_shim_const_tensor packed,
                              cvx_shim_const_tensor bias, const int64_t *padding,
                              int64_t dimensions, cvx_shim_tensor *out, char **message);
// As above, added to what `sum` holds. `sum` is dense in the same order as `x`.
cvx_shim_status cvx_shim_conv_add(cvx_shim_tensor sum, cvx_shim_const_tensor x,
                                  cvx_shim_const_tensor packed, cvx_shim_const_tensor bias,
                                  const int64_t *padding, int64_t dimensions, char **message);
// libtorch's convolution, as at::convolution would choose it, but never in TF32. `bias` may be NULL.
// On every device.
cvx_shim_status cvx_shim_conv_in_full(cvx_shim_const_tensor x, cvx_shim_const_tensor weight,
                                      cvx_shim_const_tensor bias, int64_t stride,
                                      const int64_t *padding, int64_t dimensions,
                                      cvx_shim_tensor *out, char **message);

}  // extern "C"

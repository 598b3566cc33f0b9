// What lies between the convolutions of the VAE, each in one pass over memory.
#include "guarded.h"
#include "kernels.h"
#include "vectorised.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace {

// Enough rows to keep a thread busy for some tens of microseconds.
constexpr int64_t kGrainFloats = 1 << 15;
// Channels whose sums are kept in registers while going down the rows.
constexpr int64_t kLanes = 16;

// Sums in double: a mean far from zero must not cost the variance its digits.
CVX_VECTORISED
void add_moments(const float *x, int64_t rows, int64_t channels, double *sums) {
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) {
    double sum[kLanes] = {}, square[kLanes] = {};
    for (int64_t r = 0; r < rows; ++r) {
      const float *row = x + r * channels + c;
      for (int64_t i = 0; i < kLanes; ++i) {
        const double value = row[i];
        sum[i] += value;
        square[i] += value * value;
      }
    }
    for (int64_t i = 0; i < kLanes; ++i) {
      sums[c + i] += sum[i];
      sums[channels + c + i] += square[i];
    }
  }
  for (; c < channels; ++c) {
    double sum = 0, square = 0;
    for (int64_t r = 0; r < rows; ++r) {
      const double value = x[r * channels + c];
      sum += value;
      square += value * value;
    }
    sums[c] += sum;
    sums[channels + c] += square;
  }
}

CVX_VECTORISED
void modulate_silu_row(const float *__restrict x, float *__restrict out,
                       const float *__restrict modulation, int64_t pixels, int64_t channels,
                       int64_t factor) {
  const float least = cvx::kLeast, most = cvx::kMost;
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    const float *scale = modulation + pixel * 2 * channels;
    const float *shift = scale + channels;
    for (int64_t i = 0; i < factor; ++i) {
      for (int64_t c = 0; c < channels; ++c) {
        const float value = x[c] * scale[c] + shift[c];
        out[c] = cvx::times_logistic(value, value, least, most);
      }
      x += channels;
      out += channels;
    }
  }
}

// Calls body(begin, end, sums) for fixed blocks of [0, count) and adds the blocks' sums in
// their order: the result does not depend on the number of threads.
template <typename F>
void for_blocks(int64_t count, int64_t floats_each, int64_t channels, double *sums,
                const F &body) {
  const int64_t block = std::max<int64_t>(1, kGrainFloats / std::max<int64_t>(1, floats_each));
  const int64_t blocks = (count + block - 1) / block;
  std::vector<double> partial(static_cast<size_t>(blocks * 2 * channels));
  at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      body(b * block, std::min(count, (b + 1) * block), &partial[b * 2 * channels]);
    }
  });
  for (int64_t b = 0; b < blocks; ++b) {
    for (int64_t i = 0; i < 2 * channels; ++i) sums[i] += partial[b * 2 * channels + i];
  }
}

const at::Tensor &dense(cvx_shim_const_tensor tensor) {
  const at::Tensor &video = *static_cast<const at::Tensor *>(tensor);
  TORCH_CHECK(video.is_cpu() && video.scalar_type() == at::kFloat && video.dim() == 4 &&
                  video.is_contiguous() && video.numel() > 0,
              "expected a dense float32 video on the CPU, found ", video.scalar_type(), " ",
              video.sizes());
  return video;
}

void check_sums(int64_t size, int64_t channels) {
  TORCH_CHECK(size == 2 * channels, "expected ", 2 * channels, " sums, found ", size);
}

}  // namespace

extern "C" {

cvx_shim_status cvx_shim_vae_moments(cvx_shim_const_tensor x, cvx_shim_tensor copy, double *sums,
                                     int64_t sums_size, char **message) {
  return cvx::guarded(message, [&] {
    const at::Tensor &video = dense(x);
    const int64_t channels = video.size(3), rows = video.numel() / channels;
    check_sums(sums_size, channels);
    const float *const from = video.const_data_ptr<float>();
    float *to = nullptr;
    if (copy != nullptr) {
      const at::Tensor &target = dense(copy);
      TORCH_CHECK(target.sizes() == video.sizes(), "copy of another size");
      to = target.mutable_data_ptr<float>();
    }
    for_blocks(rows, channels, channels, sums, [&](int64_t begin, int64_t end, double *partial) {
      const int64_t at = begin * channels;
      add_moments(from + at, end - begin, channels, partial);
      if (to != nullptr) {
        std::memcpy(to + at, from + at, (end - begin) * channels * sizeof(float));
      }
    });
  });
}

cvx_shim_status cvx_shim_vae_modulate_silu(cvx_shim_const_tensor x, cvx_shim_tensor out,
                                           cvx_shim_const_tensor modulation,
                                           const int64_t *frames, int64_t frames_size,
                                           char **message) {
  return cvx::guarded(message, [&] {
    const at::Tensor &video = dense(x), &target = dense(out), &latent = dense(modulation);
    const int64_t height = video.size(1), width = video.size(2), channels = video.size(3);
    const int64_t lines = latent.size(1), pixels = latent.size(2);
    const int64_t tall = height / lines, wide = width / pixels;
    TORCH_CHECK(target.sizes() == video.sizes(), "output of another size");
    TORCH_CHECK(frames_size == video.size(0) && latent.size(3) == 2 * channels &&
                    height == lines * tall && width == pixels * wide,
                "modulation of another size");
    for (int64_t i = 0; i < frames_size; ++i) {
      TORCH_CHECK(frames[i] >= 0 && frames[i] < latent.size(0), "no such frame");
    }
    const float *const from = video.const_data_ptr<float>();
    const float *const by = latent.const_data_ptr<float>();
    float *const to = target.mutable_data_ptr<float>();
    const int64_t row = width * channels;
    const int64_t grain = std::max<int64_t>(1, kGrainFloats / row);
    at::parallel_for(0, frames_size * height, grain, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const int64_t line = frames[r / height] * lines + r % height / tall;
        modulate_silu_row(from + r * row, to + r * row, by + line * pixels * 2 * channels, pixels,
                          channels, wide);
      }
    });
  });
}

cvx_shim_status cvx_shim_vae_pixel_shuffle(const cvx_shim_const_tensor phases[4],
                                           cvx_shim_tensor out, double *sums, int64_t sums_size,
                                           char **message) {
  return cvx::guarded(message, [&] {
    const at::Tensor &target = dense(out);
    const int64_t frames = target.size(0), channels = target.size(3);
    const int64_t height = target.size(1) / 2, width = target.size(2) / 2;
    check_sums(sums_size, channels);
    const float *from[4];
    for (int i = 0; i < 4; ++i) {
      const at::Tensor &phase = dense(phases[i]);
      TORCH_CHECK(phase.size(0) == frames && phase.size(1) == height + 1 &&
                      phase.size(2) == width + 1 && phase.size(3) == channels &&
                      target.size(1) == 2 * height && target.size(2) == 2 * width,
                  "phase of another size");
      from[i] = phase.const_data_ptr<float>();
    }
    float *const to = target.mutable_data_ptr<float>();
    const size_t pixel = static_cast<size_t>(channels) * sizeof(float);
    const int64_t row = 2 * width * channels, rows = frames * 2 * height;
    for_blocks(rows, row, channels, sums, [&](int64_t begin, int64_t end, double *partial) {
      for (int64_t r = begin; r < end; ++r) {
        const int64_t frame = r / (2 * height), h = r % (2 * height) / 2, p = r % 2;
        const int64_t line = (frame * (height + 1) + h + p) * (width + 1);
        const float *even = from[2 * p] + line * channels;
        const float *odd = from[2 * p + 1] + (line + 1) * channels;
        float *cursor = to + r * row;
        for (int64_t w = 0; w < width; ++w) {
          std::memcpy(cursor, even, pixel);
          std::memcpy(cursor + channels, odd, pixel);
          even += channels;
          odd += channels;
          cursor += 2 * channels;
        }
        add_moments(to + r * row, 2 * width, channels, partial);
      }
    });
  });
}

}  // extern "C"

// parallel_for gives a thread the process's number of threads before its first loop, which would
// undo another number that was set meanwhile: to be called before that.
extern "C" void cvx_shim_init_num_threads(void) {
  try {
    at::internal::lazy_init_num_threads();
  } catch (...) {
  }
}

// The kernels of src/backend/cuda/kernels against the same in double precision, over random and nasty
// numbers. Prints the largest errors, as parts of what is allowed, and fails above 1.
#include KERNELS

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>

namespace {

using cuda_on_cpu::Block;
using cuda_on_cpu::Launch;

std::mt19937 random_bits(1);

float gaussian() {
  static std::normal_distribution<float> distribution;
  return distribution(random_bits);
}

int between(int least, int most) {
  return least + static_cast<int>(random_bits() % static_cast<unsigned>(most - least + 1));
}

// ---- Numbers of each dtype ----------------------------------------------------------------------

// Half the distance between neighbours at 1, and half that among the smallest.
template <class T>
struct Rounding;
template <>
struct Rounding<bf16> {
  static constexpr double relative = 0x1p-8, absolute = 0x1p-134;
  static constexpr const char *name = "bf16";
};
template <>
struct Rounding<f16> {
  static constexpr double relative = 0x1p-11, absolute = 0x1p-25;
  static constexpr const char *name = "f16";
};
template <>
struct Rounding<float> {
  static constexpr double relative = 0x1p-24, absolute = 0x1p-150;
  static constexpr const char *name = "float";
};
constexpr double kFloat = 0x1p-24;

bf16 rounded(float x, bf16) { return {static_cast<u16>(to_bf16(x))}; }
f16 rounded(float x, f16) { return {static_cast<u16>(to_f16(x))}; }
float rounded(float x, float) { return x; }
double value(bf16 x) { return wide(x.bits, x); }
double value(f16 x) { return wide(x.bits, x); }
double value(float x) { return x; }

// Memory as a kernel gets it, with numbers before and behind it that must stay what they are.
template <class T>
class Memory {
 public:
  explicit Memory(size_t size, const std::function<float(size_t)> &number = [](size_t) { return 7.f; })
      : size_(size), lines_((size + 2 * kGuard) * sizeof(T) / sizeof(Line) + 1) {
    for (T *x = begin(); x < end(); ++x) *x = rounded(-77, T());
    for (size_t i = 0; i < size; ++i) data()[i] = rounded(number(i), T());
  }
  T *data() { return begin() + kGuard; }
  std::vector<double> values() {
    std::vector<double> found;
    for (size_t i = 0; i < size_; ++i) found.push_back(value(data()[i]));
    return found;
  }
  bool guarded() {
    for (T *x = begin(); x < end(); ++x)
      if ((x < data() || x >= data() + size_) && value(*x) != -77) return false;
    return true;
  }

 private:
  struct alignas(32) Line {
    char bytes[32];
  };
  static constexpr size_t kGuard = 64;
  T *begin() { return reinterpret_cast<T *>(lines_.data()); }
  T *end() { return begin() + lines_.size() * sizeof(Line) / sizeof(T); }

  size_t size_;
  std::vector<Line> lines_;
};

// ---- What is compared ---------------------------------------------------------------------------

std::map<std::string, double> worst;

void check(const std::string &what, double found, double expected, double allowed) {
  const double error = found == expected ? 0 : std::fabs(found - expected) / allowed;
  double &most = worst[what];
  if (!(error <= most)) most = error;  // NaN too
}

void demand(const std::string &what, bool holds) { check(what, holds, true, 0.5); }

// `launch`ed in both orders of threads, with the same result, and no number beyond `memory` touched.
template <class T>
void both_orders(const std::string &what, Memory<T> &memory, Launch launch,
                 const std::function<void(const Launch &)> &run) {
  Memory<T> before = memory;
  run(launch);
  const std::vector<double> forward = memory.values();
  demand(what + ", nothing else is written", memory.guarded());
  std::copy_n(before.data(), forward.size(), memory.data());
  launch.order = Block::Order::kBackward;
  run(launch);
  const std::vector<double> backward = memory.values();
  bool same = true;
  for (size_t i = 0; i < forward.size(); ++i)
    same &= forward[i] == backward[i] || (forward[i] != forward[i] && backward[i] != backward[i]);
  demand(what + ", in any order of threads", same);
}

// Kinds of rows: of a usual size, far from zero, nearly constant, zero, large.
constexpr int kKinds = 5;
float nasty(int kind) {
  switch (kind) {
    case 0: return gaussian();
    case 1: return 100 + gaussian();
    case 2: return 3 + 1e-3f * gaussian();
    case 3: return 0;
    default: return 200 * gaussian();
  }
}

struct Statistics {
  double mean = 0, variance = 0, largest = 0;
};

Statistics statistics(const std::vector<double> &x, size_t start, size_t count) {
  Statistics s;
  for (size_t i = 0; i < count; ++i) {
    s.mean += x[start + i] / static_cast<double>(count);
    s.largest = std::max(s.largest, std::fabs(x[start + i]));
  }
  for (size_t i = 0; i < count; ++i)
    s.variance += (x[start + i] - s.mean) * (x[start + i] - s.mean) / static_cast<double>(count);
  return s;
}

// What float32 may lose in a norm: numbers as they are, over the deviation; sums of some hundred.
double lost_in_norm(const Statistics &s, double epsilon) {
  return 16 * kFloat * (1 + s.largest / std::sqrt(s.variance + epsilon));
}

// ---- Heads --------------------------------------------------------------------------------------

template <class T>
void test_heads(void (*kernel)(T *, const T *, const T *, const T *, const T *, const float *, int,
                               int, int, int, u32, float),
                int batch, int tokens, int text, int heads, int head_dim, bool turned) {
  const std::string what = std::string("norm_heads ") + Rounding<T>::name;
  const int rows = batch * tokens;
  const auto size = static_cast<size_t>(rows) * 3 * heads * head_dim;
  Memory<T> qkv(size, [&](size_t i) { return nasty(static_cast<int>(i / head_dim % kKinds)); });
  const auto vector = [&](float around) {
    return Memory<T>(head_dim, [&](size_t) { return around + 0.3f * gaussian(); });
  };
  Memory<T> weights[2] = {vector(1), vector(1)}, biases[2] = {vector(0), vector(0)};
  const size_t turns = static_cast<size_t>(std::max(tokens - text, 1)) * head_dim;
  float angle = 0;
  Memory<float> rotary(turns, [&](size_t i) {
    if (i % 2 == 0) angle = gaussian();
    return i % 2 == 0 ? std::cos(angle) : std::sin(angle);
  });
  const std::vector<double> before = qkv.values(), turn = rotary.values();
  const float epsilon = 1e-6f;
  const auto units = static_cast<u32>(rows * 2 * heads);
  Launch launch;
  launch.block = {256, 1, 1};
  launch.grid = {(units + 31) / 32, 1, 1};
  both_orders(what, qkv, launch, [&](const Launch &launch) {
    cuda_on_cpu::run(kernel, launch, {qkv.data(), weights[0].data(), biases[0].data(), weights[1].data(),
                                      biases[1].data(), turned ? rotary.data() : nullptr, tokens, text,
                                      heads, head_dim, units, epsilon});
  });
  const std::vector<double> after = qkv.values();
  for (int row = 0; row < rows; ++row) {
    const int token = row % tokens;
    for (int part = 0; part < 3; ++part) {
      for (int head = 0; head < heads; ++head) {
        const size_t at = (static_cast<size_t>(row * 3 + part) * heads + head) * head_dim;
        if (part == 2) {
          for (int i = 0; i < head_dim; ++i) demand(what + ", values", after[at + i] == before[at + i]);
          continue;
        }
        const Statistics s = statistics(before, at, head_dim);
        const std::vector<double> weight = weights[part].values(), bias = biases[part].values();
        std::vector<double> y(head_dim), lost(head_dim);
        for (int i = 0; i < head_dim; ++i) {
          const double normed = (before[at + i] - s.mean) / std::sqrt(s.variance + epsilon);
          y[i] = normed * weight[i] + bias[i];
          lost[i] = std::fabs(weight[i]) * lost_in_norm(s, epsilon) + 4 * kFloat * (std::fabs(y[i]) + std::fabs(bias[i]));
        }
        for (int i = 0; i < head_dim; i += 2) {
          double a = y[i], b = y[i + 1];
          const double most = lost[i] + lost[i + 1] + 4 * kFloat * (std::fabs(a) + std::fabs(b));
          if (turned && token >= text) {
            const double *t = &turn[static_cast<size_t>(token - text) * head_dim + i];
            const double c = a * t[0] - b * t[1];
            b = a * t[1] + b * t[0];
            a = c;
          }
          const auto compare = [&](double found, double expected) {
            check(what, found, expected, most + Rounding<T>::relative * (std::fabs(expected) + most) + Rounding<T>::absolute);
          };
          compare(after[at + i], a);
          compare(after[at + i + 1], b);
        }
      }
    }
  }
}

// ---- Rows ---------------------------------------------------------------------------------------

template <class T>
using GateNormModulate = void (*)(T *, const T *, PerToken<T>, T *, const T *, const T *, PerToken<T>,
                                  PerToken<T>, int, int, int, float);
template <class T>
using NormModulate = void (*)(T *, T *, const T *, const T *, PerToken<T>, PerToken<T>, int, int, int,
                              float);
template <class T>
using AddGated = void (*)(T *, const T *, PerToken<T>, int, int, int, u32);

template <class T>
void test_rows(GateNormModulate<T> both, NormModulate<T> norm, AddGated<T> add, int batch, int tokens,
               int text, int width, bool affine) {
  const std::string dtype = Rounding<T>::name;
  const int rows = batch * tokens;
  const auto size = static_cast<size_t>(rows) * width;
  const auto kind = [&](size_t i) { return static_cast<int>(i / width % kKinds); };
  Memory<T> x(size, [&](size_t i) { return nasty(kind(i)); });
  Memory<T> branch(size, [&](size_t i) { return kind(i) == 3 ? 0 : gaussian(); });
  const auto vector = [&](float around) {
    return Memory<T>(width, [&](size_t) { return around + 0.3f * gaussian(); });
  };
  Memory<T> weight = vector(1), bias = vector(0);
  // Of the video's tokens and of the text's: gate, scale, shift.
  Memory<T> of[6] = {vector(0), vector(0), vector(0), vector(0), vector(0), vector(0)};
  const auto pair = [&](int i) { return PerToken<T>{of[2 * i].data(), of[2 * i + 1].data()}; };
  const float epsilon = 1e-5f;
  const std::vector<double> before = x.values(), added = branch.values(), w = weight.values(), b = bias.values();
  std::vector<double> vectors[6];
  for (int i = 0; i < 6; ++i) vectors[i] = of[i].values();
  Launch launch;
  launch.block = {kRowThreads, 1, 1};
  launch.grid = {static_cast<unsigned>(rows), 1, 1};

  const auto check_sum = [&](const std::string &what, const std::vector<double> &sums) {
    for (size_t i = 0; i < size; ++i) {
      const bool is_text = static_cast<int>(i / width) % tokens < text;
      const double product = vectors[is_text][i % width] * added[i], sum = before[i] + product;
      check(what, sums[i], sum, Rounding<T>::relative * std::fabs(sum) * (1 + 1e-5) +
                                    2 * kFloat * (std::fabs(product) + std::fabs(sum)) + Rounding<T>::absolute);
    }
  };
  const auto check_norm = [&](const std::string &what, const std::vector<double> &from, const std::vector<double> &to) {
    for (int row = 0; row < rows; ++row) {
      const bool is_text = row % tokens < text;
      const size_t start = static_cast<size_t>(row) * width;
      const Statistics s = statistics(from, start, width);
      for (int i = 0; i < width; ++i) {
        const double normed = (from[start + i] - s.mean) / std::sqrt(s.variance + epsilon);
        const double y = affine ? normed * w[i] + b[i] : normed;
        const double scale = 1 + vectors[2 + is_text][i], shift = vectors[4 + is_text][i];
        const double expected = y * scale + shift;
        const double lost = std::fabs(scale) * ((affine ? std::fabs(w[i]) : 1) * lost_in_norm(s, epsilon) +
                                                8 * kFloat * (std::fabs(y) + std::fabs(b[i]))) +
                            8 * kFloat * (std::fabs(shift) + std::fabs(expected));
        check(what, to[start + i], expected, lost + Rounding<T>::relative * (std::fabs(expected) + lost) + Rounding<T>::absolute);
      }
    }
  };

  {
    const std::string what = "norm_modulate " + dtype;
    Memory<T> out(size);
    both_orders(what, out, launch, [&](const Launch &launch) {
      cuda_on_cpu::run(norm, launch, {x.data(), out.data(), affine ? weight.data() : nullptr,
                                      affine ? bias.data() : nullptr, pair(1), pair(2), width, tokens, text, epsilon});
    });
    check_norm(what, before, out.values());
    demand(what + ", its input stays", x.values() == before);
  }
  {
    const std::string what = "gate_norm_modulate " + dtype;
    Memory<T> out(size), sum = x;
    cuda_on_cpu::run(both, launch, {sum.data(), branch.data(), pair(0), out.data(), affine ? weight.data() : nullptr,
                                    affine ? bias.data() : nullptr, pair(1), pair(2), width, tokens, text, epsilon});
    demand(what + ", nothing else is written", sum.guarded() && out.guarded());
    check_sum(what + ", sum", sum.values());
    check_norm(what, sum.values(), out.values());
  }
  {
    const std::string what = "add_gated " + dtype;
    const auto count = static_cast<u32>(size / 8);
    launch.block = {256, 1, 1};
    launch.grid = {(count + 255) / 256, 1, 1};
    both_orders(what, x, launch, [&](const Launch &launch) {
      cuda_on_cpu::run(add, launch, {x.data(), branch.data(), pair(0), width, tokens, text, count});
    });
    check_sum(what, x.values());
  }
}

// ---- Videos -------------------------------------------------------------------------------------

template <class T>
void test_moments(void (*kernel)(const T *, float *, long long, int, long long), int rows, int channels,
                  int groups, int chunk, int of_kind) {
  const std::string what = std::string("moments ") + Rounding<T>::name;
  Memory<T> x(static_cast<size_t>(rows) * channels, [&](size_t) { return nasty(of_kind); });
  const int blocks = (rows + chunk - 1) / chunk;
  Memory<float> partial(static_cast<size_t>(blocks) * channels * 2), out(2 * groups);
  Launch launch;
  launch.block = {kMomentThreads, 1, 1};
  launch.grid = {static_cast<unsigned>(blocks), 1, 1};
  both_orders(what, partial, launch, [&](const Launch &launch) {
    cuda_on_cpu::run(kernel, launch, {x.data(), partial.data(), rows, channels, chunk});
  });
  launch.grid = {static_cast<unsigned>(groups), 1, 1};
  both_orders(what, out, launch, [&](const Launch &launch) {
    cuda_on_cpu::run(&cvx_moments_of_groups, launch, {partial.data(), out.data(), rows, channels, chunk, blocks});
  });
  const std::vector<double> from = x.values(), found = out.values();
  const int width = channels / groups;
  for (int group = 0; group < groups; ++group) {
    std::vector<double> in_group;
    for (int row = 0; row < rows; ++row)
      for (int i = 0; i < width; ++i) in_group.push_back(from[static_cast<size_t>(row) * channels + group * width + i]);
    const Statistics s = statistics(in_group, 0, in_group.size());
    const double deviation = std::sqrt(s.variance);
    check(what + ", mean", found[group], s.mean, 64 * kFloat * s.largest + 1e-30);
    // A mean that is off by e adds e² to the variance, and numbers that are off by e, e · deviation.
    const double off = 16 * kFloat * s.largest;
    check(what + ", variance", found[groups + group], s.variance, 64 * kFloat * s.variance + off * (deviation + off) + 1e-30);
  }
}

template <class T>
void test_silu(void (*kernel)(const T *, T *, const float *, Frames, int, int, int, int, int), int frames,
               int height, int width, int channels, int latent_frames, int lines, int pixels) {
  const std::string what = std::string("modulate_silu ") + Rounding<T>::name;
  const auto size = static_cast<size_t>(frames) * height * width * channels;
  Memory<T> x(size, [&](size_t i) { return nasty(static_cast<int>(i / channels % kKinds)) * (i % 7 == 0 ? 0.1f : 1); });
  Memory<T> out(size);
  Memory<float> modulation(static_cast<size_t>(latent_frames) * lines * pixels * 2 * channels, [](size_t) { return gaussian(); });
  Frames of{};
  for (int i = 0; i < frames; ++i) of.of[i] = between(0, latent_frames - 1);
  Launch launch;
  launch.block = {256, 1, 1};
  launch.grid = {(static_cast<unsigned>(height * width * channels / 8) + 255) / 256, static_cast<unsigned>(frames), 1};
  both_orders(what, out, launch, [&](const Launch &launch) {
    cuda_on_cpu::run(kernel, launch, {x.data(), out.data(), modulation.data(), of, height, width, channels, lines, pixels});
  });
  const std::vector<double> from = x.values(), found = out.values(), table = modulation.values();
  for (size_t i = 0; i < size; ++i) {
    const size_t channel = i % channels, pixel = i / channels % width, row = i / channels / width % height;
    const size_t frame = i / channels / width / height;
    const size_t line = row * lines / height, place = pixel * pixels / width;
    const size_t at = ((static_cast<size_t>(of.of[frame]) * lines + line) * pixels + place) * 2 * channels + channel;
    const double product = from[i] * table[at], y = product + table[at + channels];
    const double expected = y / (1 + std::exp(-y));
    // The derivative of SiLU is at most 1.1.
    const double lost = 8 * kFloat * (std::fabs(product) + std::fabs(y) + std::fabs(expected));
    check(what, found[i], expected, lost + Rounding<T>::relative * (std::fabs(expected) + lost) + Rounding<T>::absolute);
  }
}

}  // namespace

// Of one dtype.
#define TESTS(T)                                                                                    \
  for (int round = 0; round < 12; ++round) {                                                        \
    const int tokens = between(1, 23), text = round % 4 == 0 ? 0 : round % 4 == 1 ? tokens : between(0, tokens); \
    const int head_dims[] = {64, 16, 24, 64, 32, 8};                                                \
    test_heads<T>(&cvx_norm_heads_##T, between(1, 2), tokens, text, between(1, 5), head_dims[round % 6], round % 3 != 0); \
    const int narrow[] = {8, 48, 192, 512, 1000, 1024};                                             \
    test_rows<T>(&cvx_gate_norm_modulate_1_##T, &cvx_norm_modulate_1_##T, &cvx_add_gated_##T,       \
                 between(1, 2), tokens, text, narrow[round % 6], round % 2 == 0);                   \
    const int wide[] = {1032, 1920, 2048};                                                          \
    test_rows<T>(&cvx_gate_norm_modulate_2_##T, &cvx_norm_modulate_2_##T, &cvx_add_gated_##T, 1,    \
                 between(1, 5), between(0, 3), wide[round % 3], round % 2 == 0);                    \
    const int wider[] = {2056, 3072, 2560};                                                         \
    test_rows<T>(&cvx_gate_norm_modulate_3_##T, &cvx_norm_modulate_3_##T, &cvx_add_gated_##T, 1,    \
                 between(1, 5), between(0, 3), wider[round % 3], round % 2 == 0);                   \
    const int channels[] = {8, 16, 128, 24, 512, 2048};                                             \
    const int rows = between(1, 300);                                                               \
    test_moments<T>(&cvx_moments_##T, rows, channels[round % 6], round % 2 == 0 ? 8 : 4, between(1, rows), round % kKinds); \
    const int lines = between(1, 3), pixels = between(1, 3);                                        \
    test_silu<T>(&cvx_modulate_silu_##T, between(1, 5), lines * between(1, 4), pixels * between(1, 4), \
                 channels[round % 4], between(1, 3), lines, pixels);                                \
  }

int main() {
  try {
    TESTS(bf16)
#ifndef ONLY_BF16  // which compiles faster
    TESTS(f16)
    TESTS(float)
#endif
  } catch (const std::exception &failure) {
    std::printf("failed: %s\n", failure.what());
    return 1;
  }
  bool good = true;
  for (const auto &[what, error] : worst) {
    std::printf("%-50s %.3f\n", what.c_str(), error);
    good &= error <= 1;
  }
  return good ? 0 : 1;
}

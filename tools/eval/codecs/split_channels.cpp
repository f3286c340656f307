#include "tools/eval/codecs/split_channels.hpp"

#include <algorithm>
#include <cstddef>
#include <numeric>

#include "core/base/assert.hpp"

namespace kvault::eval {
namespace {

constexpr std::size_t kLearnTokens = 256;

/// Channels by falling energy. [head_dim]
std::vector<std::size_t> by_energy(const HeadRows& in) {
  std::vector<double> energy(in.head_dim);
  const std::size_t n = std::min<std::size_t>(in.n_token, kLearnTokens);
  for (std::size_t i = 0; i < n * in.head_dim; ++i) {
    energy[i % in.head_dim] += double{in.rows[i]} * double{in.rows[i]};
  }
  std::vector<std::size_t> order(in.head_dim);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&energy](std::size_t a, std::size_t b) { return energy[a] > energy[b]; });
  return order;
}

/// Codes the channels `which` of the rows into the same channels of `out`.
void code_channels(const SideCodec* codec, const HeadRows& in, std::span<const std::size_t> which,
                   std::span<float> out) {
  std::vector<float> rows(in.n_token * which.size());
  for (std::size_t t = 0; t < in.n_token; ++t) {
    for (std::size_t i = 0; i < which.size(); ++i) {
      rows[t * which.size() + i] = in.rows[t * in.head_dim + which[i]];
    }
  }
  std::vector<float> coded = rows;
  if (codec != nullptr) {
    HeadRows part = in;
    part.head_dim = static_cast<std::uint32_t>(which.size());
    part.rows = rows;
    part.queries = {};
    part.profile = nullptr;
    codec->code(part, coded);
  }
  for (std::size_t t = 0; t < in.n_token; ++t) {
    for (std::size_t i = 0; i < which.size(); ++i) {
      out[t * in.head_dim + which[i]] = coded[t * which.size() + i];
    }
  }
}

}  // namespace

double SplitChannels::bits_per_element(std::uint32_t head_dim) const {
  const double loud = loud_ == nullptr ? kRawBits : loud_->bits_per_element(n_loud_);
  const double quiet = quiet_->bits_per_element(head_dim - n_loud_);
  return (loud * n_loud_ + quiet * (head_dim - n_loud_)) / head_dim;
}

void SplitChannels::code(const HeadRows& in, std::span<float> out) const {
  KVAULT_ASSERT(n_loud_ < in.head_dim);
  const std::vector<std::size_t> order = by_energy(in);
  code_channels(loud_.get(), in, std::span(order).first(n_loud_), out);
  code_channels(quiet_.get(), in, std::span(order).subspan(n_loud_), out);
}

}  // namespace kvault::eval

#include "tools/cli/roundtrip_job.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "core/cache/cache.hpp"
#include "core/codec/equaliser.hpp"
#include "kvault_backends.hpp"
#include "tools/cli/attend_job.hpp"

namespace kvault::tools {
namespace {

/// The side that is not looked at: one head_dim of zeros, the same row for every token.
constexpr std::uint32_t kOtherDim = 32;

struct Shape {
  std::uint32_t n_kv_head = 0;
  std::uint32_t n_token = 0;
  std::uint32_t head_dim = 0;
};

Shape shape_of(const NamedArray& input) {
  const std::vector<std::uint64_t>& shape = input.array.shape;
  return {static_cast<std::uint32_t>(shape[0]), static_cast<std::uint32_t>(shape[1]),
          static_cast<std::uint32_t>(shape[2])};
}

template <class Value, std::size_t n>
Result<Value> choose(std::string_view option, std::string_view given,
                     const std::array<std::pair<std::string_view, Value>, n>& choices) {
  std::string names;
  for (const auto& [name, value] : choices) {
    if (name == given) return value;
    names += message(names.empty() ? "" : ", ", name);
  }
  return fail(Errc::invalid_argument, message(option, " '", given, "' is not one of ", names));
}

/// [n_kv_head, head_dim]; `learn` takes queries for even, as none are given.
Result<std::vector<Half>> find_equaliser(const RoundtripFlags& flags, const NamedArray& input) {
  const Shape shape = shape_of(input);
  if (flags.equalise == "none") return std::vector<Half>();
  if (flags.side != "key") {
    return fail(Errc::invalid_argument, message("--equalise ", flags.equalise,
                                                " is for keys, not for --side ", flags.side));
  }
  if (flags.equalise != "learn") {
    return read_equaliser(flags.equalise, {shape.n_kv_head, shape.head_dim});
  }
  AttendJob job;
  job.keys = input;
  job.n_token = job.n_valid = shape.n_token;
  job.n_q = 1;
  job.layer.n_head = job.layer.n_kv_head = shape.n_kv_head;
  job.layer.key_head_dim = shape.head_dim;
  job.q.assign(std::size_t{shape.n_kv_head} * shape.head_dim, 1.0F);
  return learn_job_equaliser(job);
}

Result<CacheOptions> make_options(const RoundtripFlags& flags, const NamedArray& input) {
  using SideChoice = std::pair<std::string_view, Side>;
  using RuleChoice = std::pair<std::string_view, ScaleRule>;
  using SchemeChoice = std::pair<std::string_view, Scheme>;
  KVAULT_TRY(const Side side,
             choose("--side", flags.side,
                    std::array{SideChoice{"key", Side::key}, SideChoice{"value", Side::value}}));
  KVAULT_TRY(const Scheme scheme,
             choose("--scheme", flags.scheme,
                    std::array{SchemeChoice{"raw", Scheme::raw}, SchemeChoice{"q8", Scheme::q8},
                               SchemeChoice{"tq4", Scheme::tq4}, SchemeChoice{"tq3", Scheme::tq3},
                               SchemeChoice{"tq2", Scheme::tq2}}));
  CacheOptions options;
  KVAULT_TRY(options.scale_rule,
             choose("--rule", flags.rule,
                    std::array{RuleChoice{"unbiased", ScaleRule::unbiased},
                               RuleChoice{"matched", ScaleRule::matched},
                               RuleChoice{"least-squares", ScaleRule::least_squares},
                               RuleChoice{"plain", ScaleRule::plain}}));
  KVAULT_TRY(std::vector<Half> equaliser, find_equaliser(flags, input));
  const Shape shape = shape_of(input);
  const bool is_key = side == Side::key;
  options.shape.row_type = input.array.type == NpyType::f2 ? RowType::f16 : RowType::f32;
  options.shape.layers = {{.n_head = shape.n_kv_head,
                           .n_kv_head = shape.n_kv_head,
                           .key_head_dim = is_key ? shape.head_dim : kOtherDim,
                           .value_head_dim = is_key ? kOtherDim : shape.head_dim,
                           .key_scheme = is_key ? scheme : Scheme::raw,
                           .value_scheme = is_key ? Scheme::raw : scheme}};
  options.raw_policy = RawPolicy::none;
  options.equalise = equaliser.empty() ? Equalise::none : Equalise::given;
  if (!equaliser.empty()) options.equalisers = {std::move(equaliser)};
  options.centre_keys = !flags.no_centre;
  options.centre_values = flags.centre;
  return options;
}

Result<> append_input(Cache& cache, const NamedArray& input, bool is_key) {
  const Shape shape = shape_of(input);
  const RowType type = cache.options().shape.row_type;
  const auto row_bytes = static_cast<std::int64_t>(shape.head_dim * size_bytes_of(type));
  const RowsView rows{input.array.bytes.data(),
                      type,
                      shape.n_token,
                      shape.n_kv_head,
                      shape.head_dim,
                      row_bytes,
                      row_bytes * static_cast<std::int64_t>(shape.n_token)};
  const std::array<float, kOtherDim> zeros{};
  const RowsView other{std::as_bytes(std::span(zeros)).data(),
                       type,
                       shape.n_token,
                       shape.n_kv_head,
                       kOtherDim,
                       0,
                       0};
  return cache.append(LayerIndex(0), is_key ? rows : other, is_key ? other : rows);
}

/// Sizes and formats of the sealed blocks.
Result<> count_blocks(Cache& cache, Side side, RoundtripAnswer& answer) {
  const Shape shape = shape_of(answer.input);
  std::uint64_t size_bytes = 0;
  std::vector<std::byte> bytes;
  for (std::uint64_t page = 0; page < cache.n_sealed_page(); ++page) {
    for (std::uint32_t head = 0; head < shape.n_kv_head; ++head) {
      KVAULT_TRY(const BlockFormat format,
                 cache.read_block(LayerIndex(0), PageIndex(page), side, head, bytes));
      size_bytes += bytes.size();
      ++answer.n_block;
      if (format.is_raw()) ++answer.n_raw_block;
      if (format.is_centred()) answer.is_centred = true;
    }
  }
  const double n_element =
      static_cast<double>(answer.n_block) * kPageTokens * static_cast<double>(shape.head_dim);
  if (n_element > 0) answer.bits_per_element = 8 * static_cast<double>(size_bytes) / n_element;
  return {};
}

}  // namespace

Result<RoundtripAnswer> run_roundtrip(const RoundtripFlags& flags) {
  RoundtripAnswer answer;
  KVAULT_TRY(answer.input, read_rows_array(flags.input_path, "[n_kv_head, n_token, head_dim]"));
  const Shape shape = shape_of(answer.input);
  if (shape.n_token < kPageTokens) {
    return fail(Errc::shape_mismatch, message(flags.input_path, ": ", shape.n_token,
                                              " tokens are less than a page of ", kPageTokens));
  }
  KVAULT_CHECK(check_finite(answer.input, shape.n_token));
  KVAULT_TRY(CacheOptions options, make_options(flags, answer.input));
  KVAULT_TRY(const std::unique_ptr<Device> device,
             open_device(flags.device, {.n_thread = flags.n_thread}));
  KVAULT_TRY(Cache cache, Cache::create(*device, std::move(options)));
  const Side side = flags.side == "key" ? Side::key : Side::value;
  KVAULT_CHECK(append_input(cache, answer.input, side == Side::key));
  KVAULT_CHECK(count_blocks(cache, side, answer));
  answer.n_sealed_token = cache.n_sealed_page() * kPageTokens;
  std::vector<float> rows(answer.input.array.n_element());  // [n_token, n_kv_head, head_dim]
  KVAULT_CHECK(cache.read_rows(LayerIndex(0), side, Tokens(0), Tokens(shape.n_token), rows));
  const std::vector<std::uint64_t> order = {shape.n_token, shape.n_kv_head, shape.head_dim};
  answer.rows = swap_outer(rows, order);
  return answer;
}

RoundtripError measure(const RoundtripAnswer& answer) {
  const Shape shape = shape_of(answer.input);
  const std::vector<float> input = to_floats(answer.input.array);
  RoundtripError error;
  double lost = 0;
  double energy = 0;
  double cosines = 0;
  for (std::size_t row = 0; row < std::size_t{shape.n_kv_head} * shape.n_token; ++row) {
    if (row % shape.n_token >= answer.n_sealed_token) continue;
    double xx = 0;
    double yy = 0;
    double xy = 0;
    for (std::size_t i = row * shape.head_dim; i < (row + 1) * shape.head_dim; ++i) {
      const auto x = static_cast<double>(input[i]);
      const auto y = static_cast<double>(answer.rows[i]);
      xx += x * x;
      yy += y * y;
      xy += x * y;
      lost += (x - y) * (x - y);
      error.max_error = std::max(error.max_error, std::fabs(x - y));
    }
    energy += xx;
    const double cosine = xx == 0 && yy == 0 ? 1 : xx == 0 || yy == 0 ? 0 : xy / std::sqrt(xx * yy);
    cosines += cosine;
    error.min_cosine = std::min(error.min_cosine, cosine);
  }
  error.mean_cosine = cosines / static_cast<double>(answer.n_sealed_token * shape.n_kv_head);
  error.relative_mse = lost == 0 ? 0 : lost / energy;
  return error;
}

}  // namespace kvault::tools

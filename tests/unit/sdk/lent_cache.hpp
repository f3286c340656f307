#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "tests/support/random.hpp"
#include "tests/unit/sdk/engine.hpp"

namespace kvault::test {

struct CacheDeleter {
  void operator()(kvault_cache* cache) const { kvault_cache_destroy(cache); }
};
using OwnedCache = std::unique_ptr<kvault_cache, CacheDeleter>;

inline constexpr std::uint32_t kHeads = 4;
inline constexpr std::uint32_t kKvHeads = 2;
inline constexpr std::uint32_t kKeyDim = 64;
inline constexpr std::uint32_t kValueDim = 32;
inline constexpr kvault_layer kLentLayer = {
    KVAULT_FULL_ATTENTION, kHeads, kKvHeads, kKeyDim, kValueDim, 0, KVAULT_TQ4, KVAULT_TQ3};

/// A cache of one layer and float rows on a device that is lent, or null and why.
inline OwnedCache create_lent(const kvault_vulkan_device* lent, kvault_error& error,
                              const char* device = nullptr) {
  kvault_cache_options options = KVAULT_CACHE_OPTIONS_INIT;
  options.n_layer = 1;
  options.layers = &kLentLayer;
  options.row_type = KVAULT_F32;
  options.device = device;
  options.vulkan_device = lent;
  kvault_cache* cache = nullptr;
  error = {};
  const kvault_status status = kvault_cache_create(&options, &cache, &error);
  CHECK(status == error.status);
  CHECK((cache != nullptr) == (status == KVAULT_OK));
  return OwnedCache(cache);
}

inline OwnedCache make_lent(Engine& engine) {
  const kvault_vulkan_device lent = engine.lend();
  kvault_error error{};
  OwnedCache cache = create_lent(&lent, error);
  INFO(error.message);
  REQUIRE(cache != nullptr);
  return cache;
}

/// What a step of the model hands over, and room for what it gets.
struct Step {
  Step(std::uint32_t n, std::uint64_t seed)
      : n_token(n),
        k(Random(seed).normals(std::size_t{n} * kKvHeads * kKeyDim)),
        v(Random(seed + 1).normals(std::size_t{n} * kKvHeads * kValueDim)),
        q(Random(seed + 2).normals(std::size_t{n} * kHeads * kKeyDim)),
        out(std::size_t{n} * kHeads * kValueDim),
        lse(std::size_t{n} * kHeads) {}

  kvault_rows keys() const { return {k.data(), n_token, 0, 0, 0}; }
  kvault_rows values() const { return {v.data(), n_token, 0, 0, 0}; }
  kvault_attend_options host_options() {
    kvault_attend_options options = KVAULT_ATTEND_OPTIONS_INIT;
    options.n_q = n_token;
    options.q = q.data();
    options.out = out.data();
    options.lse = lse.data();
    return options;
  }
  kvault_attend_options options() const {
    kvault_attend_options options = KVAULT_ATTEND_OPTIONS_INIT;
    options.n_q = n_token;
    return options;
  }

  std::uint32_t n_token;
  std::vector<float> k;
  std::vector<float> v;
  std::vector<float> q;
  std::vector<float> out;
  std::vector<float> lse;
};

/// A step in an engine's buffers: what is read in one, what is written in another, each at places
/// that are not the first.
class StepBuffers {
 public:
  static constexpr std::size_t kMargin = 5;

  StepBuffers(const Engine& engine, const Step& step)
      : n_token_(step.n_token),
        k_at_(kMargin),
        v_at_(k_at_ + step.k.size() + kMargin),
        q_at_(v_at_ + step.v.size() + kMargin),
        lse_at_(kMargin + step.out.size() + kMargin),
        n_out_(step.out.size()),
        n_lse_(step.lse.size()),
        input_(engine, VK_BUFFER_USAGE_TRANSFER_SRC_BIT, q_at_ + step.q.size()),
        output_(engine, VK_BUFFER_USAGE_TRANSFER_DST_BIT, lse_at_ + n_lse_ + kMargin) {
    put(k_at_, step.k);
    put(v_at_, step.v);
    put(q_at_, step.q);
  }

  kvault_vulkan_rows keys() const { return {input_.at(k_at_), n_token_, 0, 0, 0}; }
  kvault_vulkan_rows values() const { return {input_.at(v_at_), n_token_, 0, 0, 0}; }
  kvault_vulkan_attend_buffers attend() const {
    return {input_.at(q_at_), output_.at(kMargin), output_.at(lse_at_)};
  }
  std::vector<float> out() { return part(kMargin, n_out_); }
  std::vector<float> lse() { return part(lse_at_, n_lse_); }
  std::span<float> input() { return input_.values(); }
  std::span<float> output() { return output_.values(); }

 private:
  void put(std::size_t at, const std::vector<float>& values) {
    std::copy(values.begin(), values.end(), input_.values().begin() + std::ptrdiff_t(at));
  }
  std::vector<float> part(std::size_t at, std::size_t n) {
    const std::span<float> values = output_.values().subspan(at, n);
    return {values.begin(), values.end()};
  }

  std::uint32_t n_token_;
  std::size_t k_at_;
  std::size_t v_at_;
  std::size_t q_at_;
  std::size_t lse_at_;
  std::size_t n_out_;
  std::size_t n_lse_;
  EngineBuffer input_;
  EngineBuffer output_;
};

}  // namespace kvault::test

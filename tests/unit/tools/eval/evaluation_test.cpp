#include "tools/eval/evaluation.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/skip.hpp"
#include "tools/eval/bootstrap.hpp"
#include "tools/eval/lab.hpp"
#include "tools/model/model.hpp"

namespace kvault::eval {
namespace {

const std::filesystem::path kModel =
    std::filesystem::path(KVAULT_TEST_SHARED_DIR) / "data/models/fineweb-hd64";

bool has_model() { return std::filesystem::exists(kModel / "model.safetensors"); }

Lab open_lab(std::uint64_t n_token) {
  LabOptions options;
  options.model_directory = kModel;
  options.n_token = n_token;
  options.n_recall = 0;
  auto lab = Lab::open(options);
  REQUIRE(lab);
  return std::move(*lab);
}

double mean_kl(Lab& lab, const std::string& scheme, Mode mode, std::uint32_t stress) {
  const auto made = lab.scheme(scheme);
  REQUIRE(made);
  const auto scores = lab.run(*made, mode, stress, {});
  REQUIRE(scores);
  return tools::mean_of(scores->kl);
}

TEST_CASE("lab: short form: schemes of the real model rank as their bits, and stress is survived") {
  if (!has_model()) KVAULT_TEST_SKIP("no model at " + kModel.native());
  Lab lab = open_lab(512);
  const double k8v8 = mean_kl(lab, "k8v8", Mode::codec_only, 0);
  const double k4v4 = mean_kl(lab, "k4v4", Mode::codec_only, 0);
  const double k3v3 = mean_kl(lab, "k3v3", Mode::codec_only, 0);
  const double k2v2 = mean_kl(lab, "k2v2", Mode::codec_only, 0);
  CHECK(k8v8 < 0.05 * k4v4);
  CHECK(k4v4 < 0.5 * k3v3);
  CHECK(k3v3 < 0.5 * k2v2);
  CHECK(mean_kl(lab, "trellis-k3v3", Mode::codec_only, 0) < 0.8 * k3v3);
  CHECK(mean_kl(lab, "k3v3", Mode::live, 0) < 0.2 * k3v3);
  CHECK(mean_kl(lab, "raw", Mode::codec_only, 0) == 0);
  CHECK(mean_kl(lab, "k4v4", Mode::codec_only, 4) < 1.2 * k4v4);
  CHECK(mean_kl(lab, "tq4", Mode::codec_only, 4) > 100 * k4v4);
}

/// Logits of the product's own cache over f16 rows, all tokens at once.
std::vector<float> cache_logits(const tools::FinewebModel& model, const std::string& preset,
                                std::span<const std::uint32_t> tokens, double& bits) {
  const auto layers = tools::layers_with_preset(model, preset);
  REQUIRE(layers);
  auto cache = sdk::Cache::create({.layers = *layers, .row_type = KVAULT_F16, .device = "cpu"});
  REQUIRE(cache.is_ok());
  tools::CacheAttention attention(cache.value().view());
  std::vector<float> logits(tokens.size() * model.n_vocab());
  REQUIRE(model.forward(tokens, attention, static_cast<std::uint32_t>(tokens.size()), logits));
  const auto stats = cache.value()->stats();
  REQUIRE(stats.is_ok());
  bits = stats.value().bits_per_element;
  return logits;
}

TEST_CASE("lab: live presets are the product's cache, in logits and in bits") {
  if (!has_model()) KVAULT_TEST_SKIP("no model at " + kModel.native());
  Lab lab = open_lab(1024);
  const EvalSetup& setup = lab.setup();
  const auto tokens = setup.text.first(1024);
  constexpr std::size_t kVocab = tools::FinewebModel::kVocab;
  const auto reference = lab.reference(0);
  REQUIRE(reference);
  for (const std::string preset : {"raw", "k4v4", "k2v2"}) {
    CAPTURE(preset);
    double bits = 0;
    const std::vector<float> truth = cache_logits(lab.model(), preset, tokens, bits);
    const auto scheme = lab.scheme(preset);
    REQUIRE(scheme);
    LabAttentionOptions options;
    options.scheme = &*scheme;
    options.mode = Mode::live;
    LabAttention attention(lab.model().layers(), options);
    std::vector<float> logits(tokens.size() * kVocab);
    REQUIRE(lab.model().forward(tokens, attention, 1024, logits));
    double between = 0;
    double own = 0;
    for (std::size_t t = 256; t < 1024; ++t) {
      const auto row = std::span<const float>(logits).subspan(t * kVocab, kVocab);
      const auto other = std::span<const float>(truth).subspan(t * kVocab, kVocab);
      const auto raw = std::span((*reference)->logits[0]).subspan(t * kVocab, kVocab);
      between += tools::kl_divergence(other, row) / 768;
      own += tools::kl_divergence(raw, row) / 768;
    }
    // What is left between them: the order of sums, and codes on ties.
    CHECK(between < 1e-6 + 0.05 * own);
    const auto n_layer = static_cast<std::uint32_t>(lab.model().layers().size());
    CHECK(all_in_bits(*scheme, Mode::live, 1024, 64, n_layer) ==
          doctest::Approx(bits).epsilon(0.01));
  }
}

TEST_CASE("lab: stress leaves the model's own answers alone") {
  if (!has_model()) KVAULT_TEST_SKIP("no model at " + kModel.native());
  Lab lab = open_lab(256);
  const auto tokens = lab.setup().text.first(256);
  constexpr std::size_t kVocab = tools::FinewebModel::kVocab;
  const auto logits_under = [&](const Stress& stress) {
    LabAttentionOptions options;
    options.stress = &stress;
    options.rounds_rows = false;
    LabAttention attention(lab.model().layers(), options);
    std::vector<float> logits(tokens.size() * kVocab);
    REQUIRE(lab.model().forward(tokens, attention, 256, logits));
    return logits;
  };
  const std::vector<float> plain = logits_under(Stress{});
  for (std::uint32_t level = 1; level <= Stress::kLevelMax; ++level) {
    const auto stress = Stress::at(level, 64, 4.0);
    REQUIRE(stress);
    const std::vector<float> stressed = logits_under(*stress);
    double worst = 0;
    for (std::size_t t = 0; t < tokens.size(); ++t) {
      worst = std::max(worst, tools::kl_divergence(
                                  std::span<const float>(plain).subspan(t * kVocab, kVocab),
                                  std::span<const float>(stressed).subspan(t * kVocab, kVocab)));
    }
    CAPTURE(level);
    CHECK(worst < 1e-5);  // in f32 rows; sums of numbers that large lose digits
    const auto raw_kl = lab.raw_kl(level);
    REQUIRE(raw_kl);
    CHECK(*raw_kl < 2e-3);  // f16 rows themselves
  }
  CHECK(!Stress::at(Stress::kLevelMax + 1, 64, 4.0));
}

TEST_CASE("lab: a text that is too short and lengths that cannot be cut are refused") {
  if (!has_model()) KVAULT_TEST_SKIP("no model at " + kModel.native());
  for (const std::uint64_t n_token : {0U, 127U, 1025U, 1U << 20U}) {
    LabOptions options;
    options.model_directory = kModel;
    options.n_token = n_token;
    CHECK(!Lab::open(options));
  }
}

TEST_CASE("lab: a block bootstrap covers the mean, and is the same every time") {
  std::vector<double> values;
  for (int i = 0; i < 3000; ++i) values.push_back(std::sin(i * 0.37) + (i % 97 == 0 ? 20 : 1));
  const Interval first = bootstrap(values, tools::mean_of);
  const Interval second = bootstrap(values, tools::mean_of);
  CHECK(first.low == second.low);
  CHECK(first.high == second.high);
  const double mean = tools::mean_of(values);
  CHECK(first.low < mean);
  CHECK(first.high > mean);
  CHECK(first.high - first.low < 0.5);
  const std::vector<double> flat(500, 2.0);
  CHECK(bootstrap(flat, tools::mean_of).low == 2.0);
  CHECK(bootstrap(flat, tools::mean_of).high == 2.0);
}

}  // namespace
}  // namespace kvault::eval

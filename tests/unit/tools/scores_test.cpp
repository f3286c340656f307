#include "tools/model/scores.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

namespace kvault::tools {
namespace {

TEST_CASE("scores: nll is the negative log of the softmax, however large the logits") {
  const std::vector<float> logits = {1000.0F, 1000.0F + std::log(3.0F)};
  CHECK(nll_of(logits, 0) == doctest::Approx(std::log(4.0)).epsilon(1e-4));
  CHECK(nll_of(logits, 1) == doctest::Approx(std::log(4.0 / 3.0)).epsilon(1e-4));
}

TEST_CASE("scores: KL is zero for the same distribution, positive and asymmetric for others") {
  const std::vector<float> p = {0.0F, 1.0F, 2.0F};
  const std::vector<float> shifted = {5.0F, 6.0F, 7.0F};
  const std::vector<float> q = {0.0F, 1.0F, 4.0F};
  CHECK(kl_divergence(p, p) == doctest::Approx(0.0));
  CHECK(kl_divergence(p, shifted) == doctest::Approx(0.0));
  CHECK(kl_divergence(p, q) > 0.1);
  CHECK(kl_divergence(q, p) > 0.1);
  CHECK(kl_divergence(p, q) != doctest::Approx(kl_divergence(q, p)));
}

TEST_CASE("scores: KL of two words by hand") {
  const std::vector<float> p = {0.0F, 0.0F};
  const std::vector<float> q = {0.0F, std::log(3.0F)};
  const double expected = 0.5 * std::log(0.5 / 0.25) + 0.5 * std::log(0.5 / 0.75);
  CHECK(kl_divergence(p, q) == doctest::Approx(expected).epsilon(1e-5));
}

TEST_CASE("scores: KL stays finite where a word is impossible in one distribution") {
  const std::vector<float> p = {0.0F, 500.0F};
  const std::vector<float> q = {500.0F, 0.0F};
  CHECK(kl_divergence(p, q) == doctest::Approx(500.0));
}

TEST_CASE("scores: quantiles take the nearest rank") {
  std::vector<double> values;
  for (int i = 1000; i >= 1; --i) values.push_back(i);
  CHECK(quantile_of(values, 0.5) == 500);
  CHECK(quantile_of(values, 0.99) == 990);
  CHECK(quantile_of(values, 0.999) == 999);
  CHECK(quantile_of(values, 0.0) == 1);
  CHECK(quantile_of(values, 1.0) == 1000);
  CHECK(quantile_of({}, 0.5) == 0);
  const KlScore score = summarise_kl(values);
  CHECK(score.n == 1000);
  CHECK(score.mean == doctest::Approx(500.5));
  CHECK(score.p99 == 990);
  CHECK(score.p999 == 999);
}

TEST_CASE("scores: recall is the share of right answers") {
  RecallScore score;
  CHECK(score.share() == 0);
  score.add(true);
  score.add(false);
  score.add(true);
  score.add(true);
  CHECK(score.share() == 0.75);
}

}  // namespace
}  // namespace kvault::tools

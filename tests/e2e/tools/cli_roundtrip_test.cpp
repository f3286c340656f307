#include <doctest/doctest.h>

#include <cmath>

#include "tests/e2e/tools/cli_case.hpp"

// `kvault roundtrip`: what one side costs, against what the codebooks promise.

namespace kvault::test::cli {
namespace {

nlohmann::json roundtrip(const Folder& folder, const std::string& words) {
  const RunResult result = run_kvault(folder, "roundtrip --json --input '" + folder / "K.npy" +
                                                  "' --out '" + folder / "R.npy" + "' " + words);
  INFO(words << "\n" << result.err);
  REQUIRE(result.exit_code == 0);
  return nlohmann::json::parse(result.out);
}

double mse_of(const nlohmann::json& report) { return report["relative_mse"].get<double>(); }

Arrays normal_rows(std::uint64_t n_token, std::uint64_t dim) {
  Arrays a{.n_kv_head = 2, .n_token = n_token, .key_dim = dim};
  fill_normal(a, 31);
  return a;
}

}  // namespace

TEST_CASE("short: cli roundtrip: normal rows come back as well as the codebooks promise") {
  const Folder folder;
  const Arrays a = normal_rows(600, 128);
  write(a, folder);
  // The codebooks' mean squared errors, docs/format.md; other rules trade some for other ends.
  const struct {
    const char* scheme;
    double mse;
    double bits;
  } cases[] = {
      {"q8", 6e-5, 8.25}, {"tq4", 0.0096, 4.25}, {"tq3", 0.0346, 3.25}, {"tq2", 0.1175, 2.25}};
  for (const auto& c : cases) {
    const auto report = roundtrip(folder, std::string("--rule least-squares --scheme ") + c.scheme);
    CHECK(mse_of(report) < 1.1 * c.mse);
    CHECK(mse_of(report) > 0.5 * c.mse);
    CHECK(report["bits_per_element"].get<double>() == doctest::Approx(c.bits));
    CHECK(report["n_sealed_token"] == 512);
    CHECK(report["n_block"] == 8);
    CHECK(report["n_raw_block"] == 0);
    CHECK(report["mean_cosine"].get<double>() ==
          doctest::Approx(std::sqrt(1 - c.mse)).epsilon(0.02));
    const auto value = roundtrip(folder, std::string("--side value --scheme ") + c.scheme);
    CHECK(value["bits_per_element"].get<double>() == doctest::Approx(c.bits - 0.125));
    CHECK(value["centred"] == false);
  }
  const auto raw = roundtrip(folder, "--scheme raw");
  CHECK(mse_of(raw) == 0);
  CHECK(raw["bits_per_element"].get<double>() == doctest::Approx(16));
}

TEST_CASE("short: cli roundtrip: what is written is what is measured, the open page is verbatim") {
  const Folder folder;
  const Arrays a = normal_rows(300, 64);
  write(a, folder);
  const auto report = roundtrip(folder, "--scheme tq3");
  const std::vector<float> rows = read_floats(folder / "R.npy");
  REQUIRE(rows.size() == a.k.size());
  double lost = 0;
  double energy = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (i / 64 % 300 >= 256) {
      CHECK(rows[i] == a.k[i]);
      continue;
    }
    lost += std::pow(double{rows[i]} - double{a.k[i]}, 2);
    energy += std::pow(double{a.k[i]}, 2);
  }
  CHECK(mse_of(report) == doctest::Approx(lost / energy));
}

TEST_CASE("short: cli roundtrip: rules, centring and equaliser do what they are for") {
  const Folder folder;
  Arrays a = normal_rows(512, 64);
  write(a, folder);
  const double best = mse_of(roundtrip(folder, "--scheme tq2 --rule least-squares"));
  for (const char* rule : {"matched", "unbiased", "plain"}) {
    CHECK(mse_of(roundtrip(folder, std::string("--scheme tq2 --rule ") + rule)) > best);
  }
  for (std::size_t i = 0; i < a.k.size(); i += 64) a.k[i] += 50;
  write(a, folder);
  const double centred = mse_of(roundtrip(folder, ""));
  CHECK(mse_of(roundtrip(folder, "--no-centre")) > 10 * centred);
  CHECK(mse_of(roundtrip(folder, "--side value")) > 10 * centred);
  CHECK(mse_of(roundtrip(folder, "--side value --centre")) < 1.1 * centred);

  // A wide channel drowns the others where channels are not equalised: compare a narrow one.
  a = normal_rows(512, 64);
  for (std::size_t i = 3; i < a.k.size(); i += 64) a.k[i] *= 100;
  write(a, folder);
  const auto narrow_error = [&](const char* words) {
    roundtrip(folder, words);
    const std::vector<float> rows = read_floats(folder / "R.npy");
    double lost = 0;
    for (std::size_t i = 5; i < rows.size(); i += 64) {
      lost += std::pow(double{rows[i]} - double{a.k[i]}, 2);
    }
    return lost;
  };
  const double none = narrow_error("--equalise none");
  CHECK(narrow_error("--equalise learn") < 0.2 * none);
}

TEST_CASE("short: cli roundtrip: nonsense is refused with the numbers") {
  const Folder folder;
  write(normal_rows(100, 64), folder);
  const auto run = [&](const std::string& words) {
    return run_kvault(folder, "roundtrip --input '" + folder / "K.npy" + "' " + words);
  };
  check_refused(run(""), {"K.npy", "100", "128"});
  write(normal_rows(128, 40), folder);
  check_refused(run(""), {"unsupported", "40"});
  Arrays a = normal_rows(128, 64);
  write(a, folder);
  check_refused(run("--scheme tq5"), {"tq5", "tq4"});
  check_refused(run("--side middle"), {"middle", "value"});
  check_refused(run("--rule golden"), {"golden", "matched"});
  check_refused(run("--device abacus"), {"abacus"});
  check_refused(run("--side value --equalise learn"), {"--equalise", "value"});
  check_refused(run("--centre --no-centre"), {"--no-centre"});
  check_refused(run_kvault(folder, "roundtrip --input none.npy"), {"none.npy"});
  a.k[64 * 7 + 2] = INFINITY;
  write(a, folder);
  check_refused(run(""), {"not_finite", "[0, 7, 2]"});
}

}  // namespace kvault::test::cli

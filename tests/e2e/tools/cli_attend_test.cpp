#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "tests/e2e/tools/cli_case.hpp"

// `kvault attend` as users run it: files in, files out, held against the oracle and, where nothing
// is coded, against the plain formula.

namespace kvault::test::cli {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// What breaks naive codecs and kernels.
struct Hazard {
  const char* name;
  std::function<void(Arrays&, Random&)> apply;
};

void scale_channels(std::vector<float>& rows, std::uint64_t dim, float factor, Random& random) {
  for (int n = 0; n < 4; ++n) {
    for (std::size_t i = random.below(dim); i < rows.size(); i += dim) rows[i] *= factor;
  }
}

void offset_channels(std::vector<float>& rows, std::uint64_t dim, Random& random) {
  std::vector<float> offset(dim);
  for (float& entry : offset) entry = static_cast<float>(100 * random.normal());
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] += offset[i % dim];
}

void make_tokens_equal(std::vector<float>& rows, std::uint64_t n_token, std::uint64_t dim) {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows[i] = rows[i - (i / dim) % n_token * dim];
  }
}

std::vector<Hazard> hazards() {
  return {
      {"random", [](Arrays&, Random&) {}},
      {"outlier channels x10",
       [](Arrays& a, Random& random) {
         scale_channels(a.k, a.key_dim, 10, random);
         scale_channels(a.v, a.value_dim, 10, random);
       }},
      {"constant offset x100 of keys",
       [](Arrays& a, Random& random) { offset_channels(a.k, a.key_dim, random); }},
      {"constant offset x100 of values",
       [](Arrays& a, Random& random) { offset_channels(a.v, a.value_dim, random); }},
      {"one token 200x larger",
       [](Arrays& a, Random& random) {
         for (std::uint64_t head = 0; head < a.n_kv_head; ++head) {
           const std::uint64_t token = random.below(a.n_token);
           for (std::uint64_t i = 0; i < a.key_dim; ++i) a.k_at(head, token, i) *= 200;
           for (std::uint64_t i = 0; i < a.value_dim; ++i) a.v_at(head, token, i) *= 200;
         }
       }},
      {"all tokens equal",
       [](Arrays& a, Random&) {
         make_tokens_equal(a.k, a.n_token, a.key_dim);
         make_tokens_equal(a.v, a.n_token, a.value_dim);
       }},
      {"values cancel",
       [](Arrays& a, Random&) {
         make_tokens_equal(a.k, a.n_token, a.key_dim);
         make_tokens_equal(a.v, a.n_token, a.value_dim);
         for (std::uint64_t head = 0; head < a.n_kv_head; ++head) {
           for (std::uint64_t t = 1; t < a.n_token; t += 2) {
             for (std::uint64_t i = 0; i < a.value_dim; ++i) a.v_at(head, t, i) *= -1;
           }
         }
       }},
      {"sharp queries x20",
       [](Arrays& a, Random&) {
         for (float& entry : a.q) entry *= 20;
       }},
      {"zeros",
       [](Arrays& a, Random&) {
         std::fill(a.k.begin(), a.k.end(), 0.0F);
         std::fill(a.v.begin(), a.v.end(), 0.0F);
       }},
      {"tiny values",
       [](Arrays& a, Random&) {
         for (float& entry : a.v) entry *= 1e-6F;
         for (float& entry : a.k) entry *= 1e-6F;
       }},
  };
}

/// What attention is, from the words of the requirement, over raw rows.
struct Formula {
  bool causal = false;
  std::int64_t window = 0;
  double softcap = 0;
  double scale = 0;
};

/// Worst error of O.npy and L.npy against the formula in double precision.
void check_formula(const Arrays& a, const Folder& folder, const Formula& formula) {
  const std::vector<float> out = read_floats(folder / "O.npy");
  const std::vector<float> lse = read_floats(folder / "L.npy");
  REQUIRE(out.size() == a.n_head * a.n_q * a.value_dim);
  REQUIRE(lse.size() == a.n_head * a.n_q);
  double worst = 0;
  for (std::uint64_t row = 0; row < a.n_head * a.n_q; ++row) {
    const std::uint64_t head = row / a.n_q / (a.n_head / a.n_kv_head);
    const auto query = static_cast<std::int64_t>(row % a.n_q);
    const std::int64_t position = static_cast<std::int64_t>(a.n_token - a.n_q) + query;
    std::vector<double> sum(a.value_dim);
    double weight = 0;
    for (std::uint64_t t = 0; t < a.n_token; ++t) {
      const auto at = static_cast<std::int64_t>(t);
      if (formula.causal && at > position) continue;
      if (formula.window > 0 && at <= position - formula.window) continue;
      if (!a.mask.empty() && a.mask[static_cast<std::uint64_t>(query) * a.n_token + t] == 0) {
        continue;
      }
      double logit = 0;
      for (std::uint64_t i = 0; i < a.key_dim; ++i) {
        logit +=
            double{a.q[row * a.key_dim + i]} * double{a.k[(head * a.n_token + t) * a.key_dim + i]};
      }
      logit *= formula.scale;
      if (formula.softcap > 0) logit = formula.softcap * std::tanh(logit / formula.softcap);
      weight += std::exp(logit);
      for (std::uint64_t i = 0; i < a.value_dim; ++i) {
        sum[i] += std::exp(logit) * double{a.v[(head * a.n_token + t) * a.value_dim + i]};
      }
    }
    if (weight == 0) {
      CHECK(lse[row] == -kInfinity);
    } else {
      worst = std::max(worst, std::fabs(double{lse[row]} - std::log(weight)));
    }
    for (std::uint64_t i = 0; i < a.value_dim; ++i) {
      const double wanted = weight == 0 ? 0 : sum[i] / weight;
      worst = std::max(worst, std::fabs(double{out[row * a.value_dim + i]} - wanted));
    }
  }
  CHECK(worst < 1e-3);
}

double worst_difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i]) continue;
    worst = std::max(worst, std::fabs(double{a[i]} - double{b[i]}));
  }
  return worst;
}

}  // namespace

TEST_CASE("short: cli attend: every preset is within 2e-3 of the oracle") {
  const Folder folder;
  Arrays a{.n_kv_head = 2, .n_head = 4, .n_token = 517, .n_q = 3};
  fill_normal(a, 1);
  write(a, folder);
  double bits = 100;
  for (const char* preset : {"raw", "k8v8", "k8v4", "k4v4", "k4v3", "k3v3", "k3v2", "k2v2"}) {
    for (const char* words : {" --causal", " --raw-pages none"}) {
      const auto report = check_attend(folder, std::string("--preset ") + preset + words, "preset");
      if (words[3] != 'r') continue;
      CHECK(report["bits_per_element"].get<double>() < bits);
      bits = report["bits_per_element"].get<double>();
    }
  }
}

TEST_CASE("cli attend: every head_dim, keys and values of different ones") {
  std::uint64_t seed = 100;
  const std::vector<std::uint64_t> dims = {32, 48, 64, 80, 96, 112, 128, 160, 192, 256, 512};
  for (std::size_t i = 0; i < dims.size(); ++i) {
    for (const std::size_t other : {i, dims.size() - 1 - i}) {
      const Folder folder;
      Arrays a{.n_head = 3,
               .n_token = 400,
               .n_q = 2,
               .key_dim = dims[i],
               .value_dim = dims[other],
               .is_f32 = i % 2 == 1};
      fill_normal(a, ++seed);
      write(a, folder);
      const std::string note = std::to_string(dims[i]) + " and " + std::to_string(dims[other]);
      check_attend(folder, "--preset k4v4 --raw-pages none", note);
      check_attend(folder, "--preset k3v2 --causal", note);
    }
  }
}

TEST_CASE("cli attend: groups of 1 to 16 query heads per kv head") {
  for (std::uint64_t group = 1; group <= 16; ++group) {
    const Folder folder;
    Arrays a{.n_kv_head = 1 + group % 2,
             .n_head = group * (1 + group % 2),
             .n_token = 390,
             .n_q = 1 + group % 3};
    fill_normal(a, 200 + group);
    write(a, folder);
    check_attend(folder, "--preset k4v4 --causal", "group " + std::to_string(group));
    check_attend(folder, "--preset k4v3 --raw-pages none", "group " + std::to_string(group));
  }
}

TEST_CASE("cli attend: hostile data stays within 2e-3 of the oracle") {
  std::uint64_t seed = 300;
  for (const Hazard& hazard : hazards()) {
    for (const bool is_f32 : {false, true}) {
      const Folder folder;
      Arrays a{.n_kv_head = 2,
               .n_head = 8,
               .n_token = 650,
               .n_q = 4,
               .key_dim = 128,
               .value_dim = 128,
               .is_f32 = is_f32};
      fill_normal(a, ++seed);
      Random random(seed);
      hazard.apply(a, random);
      if (!is_f32) round_to_f16(a);
      write(a, folder);
      for (const char* preset : {"k8v8", "k4v4", "k3v3", "k2v2"}) {
        const std::string words = std::string("--preset ") + preset;
        check_attend(folder, words + " --causal", hazard.name);
        check_attend(folder, words + " --raw-pages none", hazard.name);
        check_attend(folder, words + " --raw-pages none --equalise none", hazard.name);
      }
    }
  }
}

TEST_CASE("cli attend: 1 to 200 queries across pages") {
  std::uint64_t seed = 400;
  for (const std::uint64_t n_q :
       {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 100, 127, 128, 129, 150, 199, 200}) {
    const Folder folder;
    Arrays a{.n_kv_head = 2, .n_head = 4, .n_token = 385 + 13 * (n_q % 11), .n_q = n_q};
    fill_normal(a, ++seed);
    write(a, folder);
    const std::string note = std::to_string(n_q) + " queries";
    check_attend(folder, "--preset k4v4 --causal", note);
    check_attend(folder, "--preset k3v3", note);
    check_attend(folder, "--preset k2v2 --causal --raw-pages none", note);
  }
}

TEST_CASE("cli attend: lengths around every page boundary") {
  for (const std::uint64_t n_token :
       {1, 2, 127, 128, 129, 255, 256, 257, 383, 384, 385, 511, 512, 513, 640}) {
    const Folder folder;
    Arrays a{.n_head = 2, .n_token = n_token, .n_q = std::min<std::uint64_t>(n_token, 9)};
    fill_normal(a, 500 + n_token);
    write(a, folder);
    const std::string note = std::to_string(n_token) + " tokens";
    check_attend(folder, "--preset k4v4 --causal", note);
    check_attend(folder, "--preset k4v4", note);
    check_attend(folder, "--preset k4v4 --raw-pages none", note);
  }
}

TEST_CASE("short: cli attend: raw pages give the plain formula, with every kind of mask") {
  const Folder folder;
  Arrays a{.n_kv_head = 2, .n_head = 6, .n_token = 300, .n_q = 140, .key_dim = 32, .value_dim = 48};
  fill_normal(a, 7);
  Random random(8);
  a.mask.resize(a.n_q * a.n_token);
  for (std::uint8_t& bit : a.mask) bit = random.below(3) == 0 ? 0 : 1;
  std::fill_n(a.mask.begin() + static_cast<std::ptrdiff_t>(5 * a.n_token), a.n_token, 0);
  write(a, folder);
  const std::vector<std::uint8_t> mask = a.mask;
  const double scale = 1 / std::sqrt(32.0);
  const struct {
    const char* words;
    Formula formula;
    bool is_masked;
  } cases[] = {
      {"", {false, 0, 0, scale}, false},
      {"--causal", {true, 0, 0, scale}, false},
      {"--causal --window 17", {true, 17, 0, scale}, false},
      {"--window 150", {false, 150, 0, scale}, false},
      {"--causal --window 1", {true, 1, 0, scale}, false},
      {"--causal --softcap 1.5", {true, 0, 1.5, scale}, false},
      {"--scale 0.5", {false, 0, 0, 0.5}, false},
      {"--mask", {false, 0, 0, scale}, true},
      {"--causal --window 40 --softcap 3 --scale 0.3 --mask", {true, 40, 3, 0.3}, true},
  };
  for (const auto& c : cases) {
    std::string words = c.words;
    if (c.is_masked) words += " '" + folder / "mask.npy" + "'";
    a.mask = c.is_masked ? mask : std::vector<std::uint8_t>();
    for (const char* device : {"cpu", "oracle"}) {
      for (const char* raw_pages : {"sink,tail", "none"}) {
        INFO(words << " on " << device << ", raw pages " << raw_pages);
        const RunResult result = attend(
            folder, words + " --preset raw --device " + device + " --raw-pages " + raw_pages);
        INFO(result.err);
        REQUIRE(result.exit_code == 0);
        check_formula(a, folder, c.formula);
      }
    }
    check_attend(folder, words, "coded");
    check_attend(folder, words + " --raw-pages none", "coded");
  }
}

TEST_CASE("short: cli attend: rows that see nothing are zeros and -inf") {
  const Folder folder;
  Arrays a{.n_kv_head = 1, .n_head = 2, .n_token = 300, .n_q = 3};
  fill_normal(a, 9);
  a.mask.assign(a.n_q * a.n_token, 0);
  a.mask[a.n_token + 200] = 1;  // query 1 sees token 200
  write(a, folder);
  for (const char* words : {"", "--raw-pages none", "--device oracle"}) {
    REQUIRE(attend(folder, words + (" --mask '" + folder / "mask.npy" + "'")).exit_code == 0);
    const std::vector<float> out = read_floats(folder / "O.npy");
    const std::vector<float> lse = read_floats(folder / "L.npy");
    for (std::size_t row = 0; row < 6; ++row) {
      const bool sees = row % 3 == 1;
      CHECK(std::isfinite(lse[row]) == sees);
      if (!sees) CHECK(lse[row] == -kInfinity);
      const bool is_zero =
          std::all_of(&out[row * 64], &out[row * 64] + 64, [](float x) { return x == 0; });
      CHECK(is_zero != sees);
    }
  }
}

TEST_CASE("short: cli attend: queries before the first token see nothing") {
  const Folder folder;
  Arrays a{.n_kv_head = 1, .n_head = 2, .n_token = 150, .n_q = 200};
  fill_normal(a, 10);
  write(a, folder);
  for (const char* words : {"--causal", "--causal --raw-pages none", "--causal --chunk 3", ""}) {
    check_attend(folder, words, "more queries than tokens");
    const std::vector<float> lse = read_floats(folder / "L.npy");
    const bool is_causal = words[0] != '\0';
    for (std::size_t i = 0; i < 200; ++i) CHECK(std::isfinite(lse[i]) == (!is_causal || i >= 50));
  }
  check_attend(folder, "--causal --valid-length 0", "no tokens");
  check_attend(folder, "--valid-length 0", "no tokens");
  for (const float entry : read_floats(folder / "O.npy")) CHECK(entry == 0);
}

TEST_CASE("short: cli attend: garbage and NaN past the valid length do not matter") {
  Arrays a{.n_kv_head = 2, .n_head = 4, .n_token = 421, .n_q = 5};
  fill_normal(a, 11);
  Arrays longer = a;
  longer.n_token = 600;
  fill_normal(longer, 12);
  Random random(13);
  for (std::uint64_t head = 0; head < 2; ++head) {
    for (std::uint64_t t = 0; t < longer.n_token; ++t) {
      for (std::uint64_t i = 0; i < 64; ++i) {
        const bool is_nan = random.below(5) == 0;
        const auto garbage = static_cast<float>(1000 * random.normal());
        const float bad = is_nan ? std::nanf("") : random.below(9) == 0 ? kInfinity : garbage;
        longer.k_at(head, t, i) = t < a.n_token ? a.k_at(head, t, i) : bad;
        longer.v_at(head, t, i) = t < a.n_token ? a.v_at(head, t, i) : bad;
      }
    }
  }
  longer.q = a.q;
  const Folder clean;
  const Folder dirty;
  write(a, clean);
  write(longer, dirty);
  for (const char* words : {"", "--causal", "--raw-pages none", "--causal --device oracle",
                            "--preset raw", "--causal --window 100"}) {
    REQUIRE(attend(clean, words).exit_code == 0);
    REQUIRE(attend(dirty, std::string("--valid-length 421 ") + words).exit_code == 0);
    INFO(words);
    CHECK(read_bytes(clean / "O.npy") == read_bytes(dirty / "O.npy"));
    CHECK(read_bytes(clean / "L.npy") == read_bytes(dirty / "L.npy"));
  }
  check_refused(attend(dirty, "--valid-length 422"), {"not_finite", "K.npy", "[0, 421, "});
}

TEST_CASE("short: cli attend: the same call gives the same bytes, on any number of threads") {
  const Folder folder;
  Arrays a{.n_kv_head = 2, .n_head = 8, .n_token = 700, .n_q = 20};
  fill_normal(a, 14);
  write(a, folder);
  for (const char* words : {"--causal", "--raw-pages none --preset k3v3"}) {
    std::vector<char> out;
    for (const char* threads : {" --threads 1", " --threads 1", " --threads 2", " --threads 5"}) {
      REQUIRE(attend(folder, words + std::string(threads)).exit_code == 0);
      std::vector<char> now = read_bytes(folder / "O.npy");
      const std::vector<char> lse = read_bytes(folder / "L.npy");
      now.insert(now.end(), lse.begin(), lse.end());
      if (out.empty()) out = now;
      CHECK(out == now);
    }
  }
}

TEST_CASE("short: cli attend: chunk sizes agree") {
  const Folder folder;
  Arrays a{.n_kv_head = 1, .n_head = 4, .n_token = 700, .n_q = 300};
  fill_normal(a, 15);
  write(a, folder);
  std::vector<char> exact;
  std::vector<float> out;
  for (const char* chunk : {"1", "8", "100", "512"}) {
    INFO("chunk " << chunk);
    const std::string words = std::string("--causal --preset k3v3 --chunk ") + chunk;
    // Over the same state the oracle gives the same bits: chunking does not change the state.
    REQUIRE(attend(folder, words + " --device oracle").exit_code == 0);
    const std::vector<char> exact_now = read_bytes(folder / "O.npy");
    if (exact.empty()) exact = exact_now;
    CHECK(exact == exact_now);
    check_attend(folder, words, "chunk");
    const std::vector<float> out_now = read_floats(folder / "O.npy");
    if (out.empty()) out = out_now;
    CHECK(worst_difference(out, out_now) < 2e-3);
  }
}

TEST_CASE("short: cli attend: an equaliser file of ones is no equaliser") {
  const Folder folder;
  Arrays a{.n_kv_head = 2, .n_head = 2, .n_token = 400, .n_q = 1};
  fill_normal(a, 16);
  write(a, folder);
  write_floats(folder / "E.npy", {2, 64}, std::vector<float>(128, 1.0F), false);
  REQUIRE(attend(folder, "--raw-pages none --equalise none").exit_code == 0);
  const std::vector<char> none = read_bytes(folder / "O.npy");
  REQUIRE(attend(folder, "--raw-pages none --equalise '" + folder / "E.npy" + "'").exit_code == 0);
  CHECK(read_bytes(folder / "O.npy") == none);
  REQUIRE(attend(folder, "--raw-pages none").exit_code == 0);
  CHECK(read_bytes(folder / "O.npy") != none);
}

}  // namespace kvault::test::cli

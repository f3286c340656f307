#include <chrono>

#include "core/base/result.hpp"
#include "tests/torture/fuzz/fuzz_target.hpp"
#include "tests/torture/fuzz/mutator.hpp"
#include "tests/torture/parts/part.hpp"

/// Every parser is fed what is almost right. The same targets are libFuzzer's (KVAULT_FUZZERS).
namespace kvault::torture {

#define KVAULT_FUZZ_TARGET(name) FuzzTarget name##_target();
#include "fuzz_targets.inc"
#undef KVAULT_FUZZ_TARGET

namespace {

constexpr std::size_t kCorpusMax = 256;

void fuzz(const FuzzTarget& target, std::uint64_t n_input, std::uint64_t seed, Report& report) {
  std::vector<std::vector<std::byte>> corpus = target.seeds();
  const std::size_t n_seed = corpus.size();
  for (const std::vector<std::byte>& bytes : corpus) target.run(bytes);
  test::Random random(seed);
  for (std::uint64_t i = 0; i < n_input; ++i) {
    std::vector<std::byte> bytes = corpus[random.next() % corpus.size()];
    mutate(bytes, corpus[random.next() % corpus.size()], random);
    if (target.mend != nullptr && random.integer(0, 3) > 0) target.mend(bytes);
    try {
      target.run(bytes);
    } catch (const FuzzFailure& failure) {
      report.wrong(
          message("target ", target.name, ", seed ", seed, ", input ", i, ": ", failure.what()));
      return;
    }
    // Some mutants go on, so that changes add up.
    if (random.integer(0, 63) == 0 && bytes.size() < 65536) {
      if (corpus.size() < kCorpusMax) {
        corpus.push_back(std::move(bytes));
      } else {
        corpus[n_seed + random.next() % (kCorpusMax - n_seed)] = std::move(bytes);
      }
    }
    if (i % 4096 == 0) report.progress(message(target.name, ": ", i, " inputs"));
  }
}

}  // namespace

void run_fuzz(const TortureOptions& options, Report& report) {
  const std::uint64_t n_input = options.choose(options.n_input, 100'000, 3'000'000);
  const FuzzTarget targets[] = {
#define KVAULT_FUZZ_TARGET(name) name##_target(),
#include "fuzz_targets.inc"
#undef KVAULT_FUZZ_TARGET
  };
  for (const FuzzTarget& target : targets) {
    const auto begin = std::chrono::steady_clock::now();
    fuzz(target, n_input, options.seed, report);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    report.count("fuzz_inputs", n_input);
    report.count(message("fuzz_", target.name, "_per_second"),
                 static_cast<std::uint64_t>(static_cast<double>(n_input) / elapsed.count()));
  }
}

}  // namespace kvault::torture

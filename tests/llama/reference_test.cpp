#include <doctest/doctest.h>

#include "tests/llama/support/kept_chat.hpp"
#include "tests/llama/support/tiny_model.hpp"

// What llama.cpp's own states do: the measure for ours.

using namespace kvault::test;

namespace {

TEST_CASE(
    "llama.cpp's own state of a sliding window gives other bits than the context it is from") {
  const Llama* const llama = Llama::get();
  if (llama == nullptr) return;
  const TemporaryDirectory directory;
  const auto path = directory.path() / "model.gguf";
  write_sliding(path, {});
  const LlamaModel model(*llama, path);
  for (const std::size_t n : {5U, 100U, 200U, 300U, 600U, 900U}) {
    const std::vector<std::int32_t> tokens = random_tokens(n, 7);
    LlamaContext context(model, {});
    static_cast<void>(context.decode({tokens.begin(), tokens.end() - 1}));
    const std::vector<std::byte> state = context.state();
    LlamaContext fresh(model, {});
    REQUIRE(llama->functions.state_seq_set_data(fresh.handle(),
                                                reinterpret_cast<const std::uint8_t*>(state.data()),
                                                state.size(), 0) == state.size());
    const std::vector<float> expected = context.decode({tokens.back()});
    MESSAGE(n << " tokens: " << max_difference(expected, fresh.decode({tokens.back()})));
  }
}

}  // namespace

#include "tests/torture/model/upload.hpp"

#include <algorithm>

namespace kvault::torture {

bool has_recurrent_layers(const ModelShape& shape) {
  return std::any_of(shape.layers.begin(), shape.layers.end(),
                     [](const LayerSpec& layer) { return layer.kind == LayerKind::recurrent; });
}

std::vector<std::uint32_t> prompt_tokens(std::uint32_t prompt, std::uint64_t first,
                                         std::uint32_t count) {
  std::vector<std::uint32_t> tokens(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    tokens[i] = test::Random(prompt * 1'000'000 + first + i).integer(0, 150'000);
  }
  return tokens;
}

std::uint64_t seed_of(std::span<const std::uint32_t> token_ids) {
  return payload_checksum(std::as_bytes(token_ids));
}

SecretKey test_secret() {
  return SecretKey::from_bytes(std::vector<std::byte>(kSecretKeySize, std::byte{0x5A})).value();
}

}  // namespace kvault::torture

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/format/sealed_record.hpp"
#include "tests/support/random.hpp"

namespace kvault {
namespace {

std::vector<std::byte> random_bytes(test::Random& random, std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.next() & 0xFFU);
  return bytes;
}

SecretKey key_of(std::uint64_t seed) {
  test::Random random(seed);
  return SecretKey::from_bytes(random_bytes(random, kSecretKeySize)).value();
}

}  // namespace

TEST_CASE("short: seal: what was sealed comes back, and nothing else does") {
  test::Random random(1);
  const SecretKey key = key_of(2);
  for (const std::size_t size : {0U, 1U, 63U, 64U, 65U, 4096U, 100'000U}) {
    CAPTURE(size);
    const std::vector<std::byte> plain = random_bytes(random, size);
    const std::vector<std::byte> context = random_bytes(random, size % 7);
    const std::vector<std::byte> sealed = seal(key, plain, context);
    REQUIRE(sealed.size() == size + kSealBytes);
    CHECK(unseal(key, sealed, context).value() == plain);
    CHECK(sealed != seal(key, plain, context));
    if (size >= 63) {
      CHECK(std::search(sealed.begin(), sealed.end(), plain.begin(), plain.begin() + 16) ==
            sealed.end());
    }
    CHECK(unseal(key_of(3), sealed, context).error().code == Errc::corrupt);
    CHECK(unseal(key, sealed, random_bytes(random, 9)).error().code == Errc::corrupt);
    // Every bit, of a long one some.
    for (std::size_t bit = 0; bit < 8 * sealed.size(); bit += sealed.size() < 200 ? 1 : 9973) {
      std::vector<std::byte> flipped = sealed;
      flipped[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
      CHECK(!unseal(key, flipped, context));
    }
    for (std::size_t cut = 0; cut < sealed.size(); cut += 1 + sealed.size() / 60) {
      CHECK(!unseal(key, std::span(sealed).first(cut), context));
    }
  }
}

TEST_CASE("short: seal: XChaCha20-Poly1305 as its draft has it") {
  // draft-irtf-cfrg-xchacha-03, A.3.1: the same message, nonce, key and additional data.
  std::vector<std::byte> key_bytes;
  for (unsigned i = 0x80; i <= 0x9F; ++i) key_bytes.push_back(static_cast<std::byte>(i));
  const SecretKey key = SecretKey::from_bytes(key_bytes).value();
  const auto from_hex = [](std::string_view hex) {
    std::vector<std::byte> bytes;
    for (std::size_t i = 0; i < hex.size(); i += 2) {
      bytes.push_back(
          static_cast<std::byte>(std::stoul(std::string(hex.substr(i, 2)), nullptr, 16)));
    }
    return bytes;
  };
  const std::vector<std::byte> context = from_hex("50515253c0c1c2c3c4c5c6c7");
  const std::vector<std::byte> sealed = from_hex(
      "404142434445464748494a4b4c4d4e4f5051525354555657"
      "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb"
      "731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452"
      "2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9"
      "21f9664c97637da9768812f615c68b13b52e"
      "c0875924c1c7987947deafd8780acf49");
  const std::vector<std::byte> plain = unseal(key, sealed, context).value();
  std::string text;
  for (const std::byte byte : plain) text += std::to_integer<char>(byte);
  CHECK(text ==
        "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the "
        "future, sunscreen would be it.");
}

TEST_CASE("short: secret key: text, purposes, comparison") {
  const SecretKey key = key_of(5);
  CHECK(key.to_hex().size() == 64);
  CHECK(SecretKey::from_hex(key.to_hex()).value() == key);
  CHECK(!(key_of(6) == key));
  CHECK(!(SecretKey::random().value() == SecretKey::random().value()));
  for (const std::string& text : {std::string(), key.to_hex() + "0", key.to_hex().substr(1),
                                  std::string(64, 'g'), key.to_hex().substr(0, 62) + "  "}) {
    const Result<SecretKey> parsed = SecretKey::from_hex(text);
    REQUIRE(!parsed);
    CHECK(parsed.error().code == Errc::invalid_argument);
    if (text.size() > 60)
      CHECK(parsed.error().message.find(text.substr(0, 20)) == std::string::npos);
  }
  CHECK(!SecretKey::from_bytes(std::vector<std::byte>(31)));
  CHECK(key.derive("purpose1") == key.derive("purpose1"));
  CHECK(!(key.derive("purpose1") == key.derive("purpose2")));
  CHECK(!(key.derive("purpose1") == key.derive("purpose1", 1)));
  CHECK(!(key.derive("purpose1") == key));
}

TEST_CASE("short: sealed record: a chunk belongs to its place") {
  test::Random random(7);
  const SecretKey key = key_of(8);
  SessionId family;
  family.bytes[3] = std::byte{9};
  const RecordDraft record{.kind = RecordKind::page, .first_token = 256, .n_token = 128};
  const Chunk chunk{.kind = ChunkKind::segment, .layer = 4};
  const std::vector<std::byte> plain = random_bytes(random, 500);
  const std::vector<std::byte> sealed = seal_chunk(key, family, record, chunk, plain);
  CHECK(unseal_chunk(key, family, record, chunk, sealed).value() == plain);
  SessionId other_family;
  CHECK(!unseal_chunk(key, other_family, record, chunk, sealed));
  RecordDraft other_record = record;
  other_record.first_token = 384;
  CHECK(!unseal_chunk(key, family, other_record, chunk, sealed));
  Chunk other_chunk = chunk;
  other_chunk.layer = 5;
  CHECK(!unseal_chunk(key, family, record, other_chunk, sealed));
  other_chunk = chunk;
  other_chunk.kind = ChunkKind::rows;
  CHECK(!unseal_chunk(key, family, record, other_chunk, sealed));
}

}  // namespace kvault

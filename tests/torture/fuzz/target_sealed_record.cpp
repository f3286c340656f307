#include <algorithm>
#include <numeric>

#include "core/format/sealed_record.hpp"
#include "tests/torture/fuzz/fuzz_target.hpp"
#include "tests/torture/fuzz/record_bytes.hpp"

/// Records of an encrypted store. Whoever has no key cannot make one that is believed, whatever
/// checksums are mended: what is accepted is what was sealed.
namespace kvault::torture {
namespace {

using Bytes = std::vector<std::byte>;

SessionKey session_key() {
  SessionId family;
  family.bytes[1] = std::byte{2};
  return {family, test_secret()};
}

struct Sealed {
  Bytes record;
  RecordHeader header;
  PayloadMeta meta;
};

/// A page, a tail and a snapshot.
const std::vector<Sealed>& originals() {
  static const std::vector<Sealed> records = [] {
    const ModelShape shape = small_session("seed", true).shape;
    std::vector<std::uint32_t> tokens(128);
    std::iota(tokens.begin(), tokens.end(), 1000U);
    std::vector<Sealed> made;
    for (const Upload& plain :
         {page_upload(shape, 3, tokens, 2), tail_upload(shape, 128, std::span(tokens).first(3), 3),
          snapshot_upload(shape, 128, 4)}) {
      const Upload upload = sealed(session_key(), plain);
      RecordHeader header = header_of(upload);
      const Bytes meta =
          seal_meta(header, session_key(), serialise_payload_meta(upload.draft.meta));
      made.push_back({record_bytes(header, meta, upload.payload), header, upload.draft.meta});
    }
    return made;
  }();
  return records;
}

bool is_original(const RecordHeader& header, const PayloadMeta& meta) {
  return std::any_of(originals().begin(), originals().end(), [&](const Sealed& original) {
    return header.kind == original.header.kind && header.session == original.header.session &&
           header.first_token == original.header.first_token &&
           header.n_token == original.header.n_token && meta == original.meta;
  });
}

void run_sealed(std::span<const std::byte> bytes) {
  const Result<RecordHeader> header = parse_head(bytes);
  OneKey keys(session_key());
  const Result<RecordHeader> verified = verify_record(bytes, &keys);
  if (!header) return must(!verified, "verify_record accepts what parse_head refuses");
  if (header->kind == RecordKind::commit) {
    return must(!parse_commit_meta(*header, bytes, &keys), "a commit nobody sealed is believed");
  }
  if (header->kind == RecordKind::tombstone) return;
  const Result<PayloadMeta> meta = parse_payload_meta(*header, bytes, &keys);
  if (!meta) return must(!verified, "verify_record accepts a meta that is none");
  must(is_original(*header, *meta), "a meta nobody sealed is believed");
  if (!verified) return;
  const Result<Bytes> plain = unseal_record(bytes, keys);
  if (plain) must(verify_record(*plain).has_value(), "an unsealed record is not sound");
}

}  // namespace

FuzzTarget sealed_record_target() {
  FuzzTarget target{.name = "sealed_record", .seeds = nullptr, .run = run_sealed, .mend = nullptr};
  target.seeds = [] {
    std::vector<Bytes> seeds;
    for (const Sealed& original : originals()) seeds.push_back(original.record);
    return seeds;
  };
  target.mend = [](Bytes& bytes) { mend_head(bytes); };
  return target;
}

}  // namespace kvault::torture

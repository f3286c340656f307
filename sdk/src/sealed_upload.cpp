#include "sdk/src/sealed_upload.hpp"

#include "core/format/sealed_record.hpp"

namespace kvault {

Result<SealedUpload> SealedUpload::create(const SessionKey& key,
                                          const client::RecordUpload& plain) {
  KVAULT_TRY(PayloadReader reader, PayloadReader::create(plain.draft, plain.pieces));
  SealedUpload sealed;
  sealed.draft_ = plain.draft;
  std::vector<std::byte> bytes;
  for (Chunk& chunk : sealed.draft_.meta.chunks) {
    bytes.resize(chunk.offset_bytes - reader.position());
    reader.read(bytes);
    bytes.resize(chunk.size_bytes);
    reader.read(bytes);
    sealed.chunks_.push_back(seal_chunk(key.key, key.family, sealed.draft_, chunk, bytes));
    chunk.size_bytes = sealed.chunks_.back().size();
    chunk.checksum = payload_checksum(sealed.chunks_.back());
  }
  sealed.draft_.payload_bytes = place_chunks(sealed.draft_.meta.chunks);
  sealed.pieces_.assign(sealed.chunks_.begin(), sealed.chunks_.end());
  return sealed;
}

}  // namespace kvault

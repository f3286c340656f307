#include <algorithm>
#include <cstring>
#include <utility>

#include "core/base/assert.hpp"
#include "sdk/adapters/llama/src/state.hpp"

namespace kvault::llama {

template <class T>
void StateWriter::put(T value) {
  std::memcpy(blob_.grow(sizeof value).data(), &value, sizeof value);
}

StateWriter StateWriter::blob(std::int32_t seq_id, Blob memory) {
  StateWriter writer;
  writer.blob_ = std::move(memory);
  writer.blob_.clear();
  writer.put(kBlobMagic);
  writer.put(seq_id);
  return writer;
}

StateWriter StateWriter::file(std::span<const std::int32_t> tokens) {
  StateWriter writer;
  writer.put(kFileMagic);
  writer.put(kFileVersion);
  writer.put(static_cast<std::uint32_t>(tokens.size()));
  for (const std::int32_t token : tokens) writer.put(token);
  return writer;
}

void StateWriter::begin_kv(const KvHead& head, std::span<const Cell> cells) {
  head_ = head;
  n_cell_ = cells.size();
  put(head.n_stream);
  put(static_cast<std::uint32_t>(cells.size()));
  if (cells.empty()) return;
  for (const Cell& cell : cells) {
    put(cell.position);
    put(std::uint32_t{1});
    if (head.ext_bytes >= 8) {
      put(cell.x);
      put(cell.y);
    }
    if (head.ext_bytes == 12) put(cell.token);
    put(head.seq_id);
  }
  put(std::uint32_t{head.is_transposed ? 1U : 0U});
  put(head.n_layer);
}

std::span<std::byte> StateWriter::add_keys(const GgmlType& type, std::uint64_t row_bytes) {
  KVAULT_ASSERT(n_cell_ > 0);
  put(type.number);
  put(row_bytes);
  return blob_.grow(n_cell_ * row_bytes);
}

std::span<std::byte> StateWriter::add_values(const GgmlType& type, std::uint64_t n_element) {
  if (!head_.is_transposed) return add_keys(type, type.row_bytes(n_element));
  KVAULT_ASSERT(n_cell_ > 0 && !type.is_quantised);
  put(type.number);
  put(type.block_bytes);
  put(static_cast<std::uint32_t>(n_element));
  return blob_.grow(n_cell_ * type.row_bytes(n_element));
}

/// The other streams hold nothing of this sequence.
void StateWriter::end_kv() {
  for (std::uint32_t stream = 1; stream < head_.n_stream; ++stream) put(std::uint32_t{0});
}

void StateWriter::add_recurrent(std::span<const std::byte> section) {
  std::copy(section.begin(), section.end(), blob_.grow(section.size()).begin());
}

}  // namespace kvault::llama

#include "gpu_cuda/kept_tables.hpp"

#include <algorithm>
#include <span>

#include "core/base/assert.hpp"
#include "gpu_cuda/runtime.hpp"

namespace kvault::cuda {
namespace {

/// Tables are compared in pieces of so many bytes; those that differ go in one copy where they
/// touch.
constexpr std::size_t kPieceBytes = 1024;

/// Whether a piece from `at` on is as it was sent.
bool is_same(const std::vector<std::byte>& a, const std::vector<std::byte>& b, std::size_t at) {
  const std::size_t end = std::min(a.size(), at + kPieceBytes);
  if (end > b.size()) return false;
  return std::equal(a.begin() + std::ptrdiff_t(at), a.begin() + std::ptrdiff_t(end),
                    b.begin() + std::ptrdiff_t(at));
}

}  // namespace

void KeptTables::reset() {
  for (auto& [key, table] : tables_) release(table);
  tables_.clear();
}

void KeptTables::release(Table& table) {
  if (table.memory == 0) return;
  runtime_.release(table.memory);
  kept_bytes_ -= table.size_bytes;
  table = {};
}

void KeptTables::begin_call() {
  ++call_;
  while (kept_bytes_ > kept_bytes_max_) {
    const auto oldest = std::min_element(
        tables_.begin(), tables_.end(),
        [](const auto& a, const auto& b) { return a.second.call < b.second.call; });
    release(oldest->second);
    tables_.erase(oldest);
  }
}

Result<CUdeviceptr> KeptTables::place(const Key& key, std::uint64_t size_bytes) {
  Table& table = tables_[key];
  KVAULT_ASSERT(table.call != call_);
  table.call = call_;
  if (table.memory != 0 && size_bytes <= table.size_bytes) return table.memory;
  release(table);
  table.call = call_;
  // Room for what a growing sequence adds.
  const std::uint64_t wanted_bytes = size_bytes + size_bytes / 2 + kPieceBytes;
  KVAULT_TRY(table.memory, runtime_.allocate(wanted_bytes));
  table.size_bytes = wanted_bytes;
  kept_bytes_ += wanted_bytes;
  return table.memory;
}

Result<> KeptTables::upload(const Table& table, const std::vector<std::byte>& bytes,
                            std::size_t begin, std::size_t end) {
  n_sent_bytes_ += end - begin;
  return runtime_.upload(table.memory + begin, std::span(bytes).subspan(begin, end - begin));
}

Result<> KeptTables::send(const Key& key, std::vector<std::byte> bytes) {
  Table& table = tables_.at(key);
  KVAULT_ASSERT(table.call == call_ && bytes.size() <= table.size_bytes);
  // Should an upload fail, nothing is known of what stands there.
  const std::vector<std::byte> sent = std::move(table.sent);
  table.sent.clear();
  for (std::size_t begin = 0; begin < bytes.size();) {
    if (is_same(bytes, sent, begin)) {
      begin += kPieceBytes;
      continue;
    }
    std::size_t end = begin + kPieceBytes;
    while (end < bytes.size() && !is_same(bytes, sent, end)) end += kPieceBytes;
    end = std::min(end, bytes.size());
    KVAULT_CHECK(upload(table, bytes, begin, end));
    begin = end;
  }
  table.sent = std::move(bytes);
  return {};
}

}  // namespace kvault::cuda

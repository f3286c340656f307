#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "core/base/result.hpp"
#include "gpu_cuda/api.hpp"

namespace kvault::cuda {

class Runtime;

/// Tables of calls that come again much alike, as page tables do for every token: they stay on the
/// device, and only what has changed goes there. What a key names decides nothing but how much that
/// is: the host keeps a copy of what stands on the device, and compares.
class KeptTables {
 public:
  struct Key {
    CUdeviceptr owner = 0;   ///< some buffer of whose calls these are
    std::uint32_t part = 0;  ///< of the call
    auto operator<=>(const Key&) const = default;
  };
  /// Beyond so much, what was not used for longest goes.
  static constexpr std::uint64_t kKeptBytes = std::uint64_t{64} << 20U;

  explicit KeptTables(Runtime& runtime, std::uint64_t kept_bytes_max = kKeptBytes)
      : runtime_(runtime), kept_bytes_max_(kept_bytes_max) {}
  KeptTables(const KeptTables&) = delete;
  KeptTables& operator=(const KeptTables&) = delete;

  /// Gives all memory back, in the stream's order: its work may still use it.
  void reset();

  /// Before the first place() of a call, whose places stay until the next call begins.
  void begin_call();
  /// Memory for a table of that size, where it stays while it is large enough. Once for a key and
  /// call.
  Result<CUdeviceptr> place(const Key& key, std::uint64_t size_bytes);
  /// Has `bytes` stand in the key's place for what is enqueued next. pre: placed, large enough
  Result<> send(const Key& key, std::vector<std::byte> bytes);

  /// Bytes that went to the device so far.
  std::uint64_t n_sent_bytes() const { return n_sent_bytes_; }

 private:
  struct Table {
    CUdeviceptr memory = 0;
    std::uint64_t size_bytes = 0;
    std::uint64_t call = 0;  ///< that used it last
    std::vector<std::byte> sent;
  };

  Result<> upload(const Table& table, const std::vector<std::byte>& bytes, std::size_t begin,
                  std::size_t end);
  void release(Table& table);

  Runtime& runtime_;
  std::uint64_t kept_bytes_max_;
  std::map<Key, Table> tables_;
  std::uint64_t call_ = 0;
  std::uint64_t kept_bytes_ = 0;
  std::uint64_t n_sent_bytes_ = 0;
};

}  // namespace kvault::cuda

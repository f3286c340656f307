#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "core/base/result.hpp"
#include "sdk/adapters/llama/src/blob.hpp"
#include "sdk/adapters/llama/src/ggml_type.hpp"

/// The state of one llama.cpp sequence, as llama_state_seq_get_data writes it. Little-endian,
/// without padding. Source of the layout: llama.cpp v0.5.0, src/llama-kv-cache.cpp
/// (state_write_meta, state_write_data), llama-kv-cache-iswa.cpp, llama-memory-hybrid*.cpp,
/// llama-memory-recurrent.cpp, llama-context.cpp (state_seq_get_data, state_seq_save_file).
namespace kvault::llama {

inline constexpr std::uint32_t kBlobMagic = 0xaf143cd8;  ///< llama_state_seq_get_data
inline constexpr std::uint32_t kFileMagic = 0x67677371;  ///< 'ggsq', llama_state_seq_save_file
inline constexpr std::uint32_t kFileVersionMin = 2;
inline constexpr std::uint32_t kFileVersion = 3;

/// Which caches a model's memory is made of, in the order of the state.
enum class MemoryKind : std::uint8_t {
  plain,           ///< one KV cache
  sliding,         ///< a KV cache of the full layers, one of the sliding-window layers
  hybrid,          ///< a KV cache, then a recurrent state
  sliding_hybrid,  ///< both KV caches, then a recurrent state
  recurrent        ///< a recurrent state alone
};
std::string_view name_of(MemoryKind kind);
constexpr bool has_attention(MemoryKind kind) { return kind != MemoryKind::recurrent; }
constexpr bool slides(MemoryKind kind) {
  return kind == MemoryKind::sliding || kind == MemoryKind::sliding_hybrid;
}
constexpr bool is_recurrent(MemoryKind kind) {
  return kind == MemoryKind::hybrid || kind == MemoryKind::sliding_hybrid ||
         kind == MemoryKind::recurrent;
}

/// One token of a KV cache. x, y: of a picture's patch (M-RoPE); token: v0.5.0 on. A text's token
/// has x = y = position.
struct Cell {
  std::int32_t position = 0;
  std::int32_t x = 0;
  std::int32_t y = 0;
  std::int32_t token = 0;
};

/// One side of one layer. Bytes are borrowed: [n_cell][row_bytes], or, where the values are
/// transposed (flash attention off), [n_element][n_cell][element_bytes].
struct StateRows {
  GgmlType type;
  std::uint64_t row_bytes = 0;
  std::span<const std::byte> bytes;
};

struct KvSection {
  std::uint32_t n_stream = 0;
  std::uint32_t ext_bytes = 0;  ///< behind each cell's head: 0, 8 (x, y) or 12 (x, y, token)
  std::vector<Cell> cells;      ///< in the order of the rows, not always of positions
  bool is_transposed = false;   ///< the values
  std::vector<StateRows> keys;  ///< [layer of this cache]
  std::vector<StateRows> values;
};

struct RecurrentSection {
  std::int32_t position = 0;
  std::uint32_t n_layer = 0;         ///< of the model
  std::span<const std::byte> bytes;  ///< the section as it is
};

/// A parsed state; borrows the bytes.
struct State {
  MemoryKind kind = MemoryKind::plain;
  bool is_file = false;
  std::vector<std::int32_t> tokens;  ///< of a file
  std::vector<KvSection> kv;         ///< none, one, or the full and the sliding one
  std::optional<RecurrentSection> recurrent;

  std::int32_t last_position() const;
};

/// What is known of a state before it is read. The recurrent section does not say how many layers
/// it has; 0: not known.
struct ExpectedState {
  std::optional<MemoryKind> kind{};
  std::uint32_t n_recurrent = 0;
};

/// Reads a state. Every byte is consumed and every count
/// bounded by what is there; anything else is refused with the offset and the number.
/// Errc::truncated, unknown_format, corrupt, unsupported; incomplete for an empty sequence.
Result<State> parse_state(std::span<const std::byte> bytes, const ExpectedState& expected = {});

/// The number of streams that the state of any sequence, an empty one too, begins with.
/// pre: the model has attention
Result<std::uint32_t> read_n_stream(std::span<const std::byte> blob);

/// Builds a state. Sections come in the order of MemoryKind; per KV section all keys, then all
/// values. The returned spans are filled by the caller before the next call.
class StateWriter {
 public:
  /// A blob for llama_state_seq_set_data. memory: of a blob that is done with, used again.
  static StateWriter blob(std::int32_t seq_id, Blob memory = {});
  /// A file for llama_state_seq_load_file.
  static StateWriter file(std::span<const std::int32_t> tokens);

  struct KvHead {
    std::uint32_t n_stream = 1;
    std::uint32_t ext_bytes = 0;
    std::int32_t seq_id = 0;
    bool is_transposed = false;
    std::uint32_t n_layer = 0;
  };
  void begin_kv(const KvHead& head, std::span<const Cell> cells);
  /// [n_cell][row_bytes]
  std::span<std::byte> add_keys(const GgmlType& type, std::uint64_t row_bytes);
  /// As keys, or [n_element][n_cell][element_bytes] where the values are transposed.
  std::span<std::byte> add_values(const GgmlType& type, std::uint64_t n_element);
  void end_kv();
  void add_recurrent(std::span<const std::byte> section);
  Blob take() { return std::move(blob_); }
  void reserve(std::size_t size_bytes) { blob_.reserve(size_bytes); }

 private:
  template <class T>
  void put(T value);

  Blob blob_;
  KvHead head_;
  std::size_t n_cell_ = 0;
};

}  // namespace kvault::llama

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/base/half.hpp"
#include "core/base/result.hpp"
#include "kvault/kvault.h"
#include "sdk/adapters/llama/src/model.hpp"
#include "sdk/adapters/llama/src/row_layout.hpp"
#include "sdk/adapters/llama/src/state.hpp"

namespace kvault::llama {

/// The identity field that says how a session keeps rows; not part of the model's identity.
inline constexpr const char* kRowsField = "llama.rows";

/// What a C call answered, as a Result.
Result<> to_result(kvault_status status, const kvault_error& error);

/// The layers of a session: full attention in the state's order, then sliding, then at most one
/// recurrent layer that holds the whole section, then the cells (positions and token ids).
struct ChatShape {
  RowLayout layout;
  std::vector<kvault_layer> layers;

  std::uint32_t n_full() const;
  std::uint32_t n_sliding() const;
  bool has_recurrent() const;
  std::uint32_t cells() const { return static_cast<std::uint32_t>(layers.size()) - 1; }
  std::uint32_t recurrent() const { return cells() - 1; }
  MemoryKind kind() const;
  /// The layers of the state's KV cache 0 (full) or 1 (sliding): first, count.
  std::pair<std::uint32_t, std::uint32_t> range_of(std::size_t section) const;
  const RowFormat& format(kvault_side side) const {
    return side == KVAULT_KEY ? layout.key : layout.value;
  }
  /// Elements of one token's row as the session keeps it.
  std::size_t elements(std::uint32_t layer, kvault_side side) const;
  std::size_t element_bytes() const { return layout.row_type() == KVAULT_F32 ? 4 : 2; }
  std::size_t row_bytes(std::uint32_t layer, kvault_side side) const {
    return elements(layer, side) * element_bytes();
  }
};

/// For a new session: what a state looks like, and how it is to be kept.
struct ShapeOptions {
  RowLayout layout;
  kvault_scheme key_scheme = KVAULT_RAW;
  kvault_scheme value_scheme = KVAULT_RAW;
};
/// Errc::unsupported where heads do not divide the rows.
Result<ChatShape> make_shape(const Model& model, const State& state, const ShapeOptions& options);
/// Of a session that exists. Errc::unknown_format where an adapter of another version made it.
Result<ChatShape> read_shape(const kvault_description& description);

/// What is kept of a token beside its rows.
struct StoredCell {
  Cell cell;
  bool has_window_rows = false;  ///< the sliding layers have its rows
};

struct SessionPlace {
  kvault_client* client = nullptr;
  std::string name;
  const Model* model = nullptr;
  kvault_progress progress = nullptr;
  void* progress_user = nullptr;
  std::uint32_t n_thread = 0;
};

/// An open session of a chat. Owns the lease; the client and the model outlive it.
class ChatSession {
 public:
  /// Nothing where there is no such session. Errc::identity_mismatch before anything is loaded.
  static Result<std::optional<ChatSession>> open(const SessionPlace& place);
  static Result<ChatSession> create(const SessionPlace& place, ChatShape shape,
                                    std::vector<Half> equaliser);

  /// Closes; a session that nothing was ever saved in goes.
  static void close_and_delete_empty(kvault_client* client, ChatSession session);

  const ChatShape& shape() const { return shape_; }
  std::uint64_t n_token() const;
  /// What it takes on disk, as the daemon says; 0 where it does not say.
  std::uint64_t stored_bytes() const;
  /// The saved ids as the app gave them, those of a shifted context too.
  Result<std::vector<std::int32_t>> tokens();

  /// The first token saved without its id (KVAULT_TOKEN_OPAQUE), or UINT64_MAX.
  Result<std::uint64_t> first_shifted() const;

  /// Rows of one layer, as the session keeps them: [n][row_bytes].
  Result<> append(std::uint32_t layer, std::uint32_t n, std::span<const std::byte> keys,
                  std::span<const std::byte> values);
  Result<> append_cells(std::span<const StoredCell> cells);
  Result<> set_recurrent(std::uint64_t n_token, std::span<const std::byte> section);
  Result<> read(std::uint32_t layer, kvault_side side, std::uint64_t first, std::uint64_t n,
                std::span<std::byte> rows);
  Result<std::vector<StoredCell>> read_cells(std::uint64_t first, std::uint64_t n);
  Result<std::span<const std::byte>> recurrent();
  Result<std::uint64_t> rollback(std::uint64_t n_token);
  Result<kvault_save_info> save(std::span<const std::uint32_t> new_ids);
  /// What a coded row may differ from what was appended; true: nothing is coded.
  bool is_verbatim() const;

 private:
  struct Close {
    void operator()(kvault_session* session) const { kvault_session_close(session); }
  };
  ChatSession() = default;
  static Result<ChatSession> open_as(const SessionPlace& place, ChatShape shape,
                                     std::span<const Half> equaliser, bool create);
  Result<std::span<const std::uint32_t>> saved_ids() const;
  kvault_cache* cache() const { return kvault_session_cache(session_.get()); }

  ChatShape shape_;
  std::unique_ptr<kvault_session, Close> session_;
};

/// One token's cell as 16-bit elements that every row type keeps exactly, and back. Where cells
/// have no ext, x and y are the position and not kept: the key says which by its length.
inline constexpr std::size_t kCellTextElements = 3;     ///< position and flags
inline constexpr std::size_t kCellPictureElements = 9;  ///< position and flags, x, y
inline constexpr std::size_t kCellValueElements = 3;    ///< token id
void encode_cell(const StoredCell& cell, std::span<std::uint16_t> key,
                 std::span<std::uint16_t> value);
StoredCell decode_cell(std::span<const std::uint16_t> key, std::span<const std::uint16_t> value);

}  // namespace kvault::llama

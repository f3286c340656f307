#include <algorithm>
#include <cstring>

#include "core/base/assert.hpp"
#include "sdk/adapters/llama/src/chat.hpp"

// From a session's rows to a state for a context.

namespace kvault::llama {
namespace {

/// The type and element count of a layer's rows in the engine they came from.
Result<std::size_t> engine_elements(const ChatShape& shape, std::uint32_t layer, kvault_side side,
                                    std::span<const std::byte> rows) {
  if (shape.layout.is_natural) return shape.elements(layer, side);
  std::vector<std::uint16_t> head(shape.elements(layer, side));
  std::memcpy(head.data(), rows.data(), head.size() * 2);
  KVAULT_TRY(const std::uint32_t row_bytes, packed_row_bytes(head));
  const std::size_t n = shape.format(side).type.elements_of(row_bytes);
  if (n > 0) return n;
  return fail(Errc::corrupt, message("layer ", layer, " holds verbatim rows of ", row_bytes,
                                     " bytes, no rows of ", shape.format(side).type.name));
}

/// Takes session rows to engine rows of the target's format.
class RowMaker {
 public:
  RowMaker(const RowLayout& layout, const RowFormat& from, const RowFormat& to,
           std::size_t n_element)
      : layout_(layout),
        from_(from),
        to_(to),
        scratch_(n_element),
        row_(from.type.row_bytes(n_element)) {}

  Result<> make(std::span<const std::byte> stored, std::span<std::byte> target) {
    if (layout_.is_natural) {
      convert_row(from_, stored, to_, target, scratch_);
      return {};
    }
    elements_.resize(stored.size() / 2);
    std::memcpy(elements_.data(), stored.data(), stored.size());
    KVAULT_TRY(const std::uint32_t n, packed_row_bytes(elements_));
    if (n != row_.size()) {
      return fail(Errc::corrupt,
                  message("a verbatim row of ", n, " bytes among rows of ", row_.size()));
    }
    unpack_row(elements_, row_);
    convert_row(from_, row_, to_, target, scratch_);
    return {};
  }

 private:
  const RowLayout& layout_;
  RowFormat from_;
  RowFormat to_;
  std::vector<float> scratch_;
  std::vector<std::byte> row_;
  std::vector<std::uint16_t> elements_;
};

/// Writes the sections of one state.
class StateMaker {
 public:
  StateMaker(ChatSession& session, const TargetFormat& target, StateWriter& writer)
      : session_(session), shape_(session.shape()), target_(target), writer_(writer) {}

  Result<> add_section(std::size_t section, const Stretch& stretch, std::span<const Cell> cells) {
    const auto [first, n_layer] = shape_.range_of(section);
    writer_.begin_kv({.n_stream = target_.n_stream,
                      .ext_bytes = shape_.layout.ext_bytes,
                      .seq_id = target_.seq_id,
                      .is_transposed = target_.is_transposed,
                      .n_layer = n_layer},
                     cells);
    for (std::uint32_t i = 0; i < n_layer; ++i) {
      KVAULT_CHECK(add_side(first + i, KVAULT_KEY, target_.key, stretch));
    }
    for (std::uint32_t i = 0; i < n_layer; ++i) {
      KVAULT_CHECK(add_side(first + i, KVAULT_VALUE, target_.value, stretch));
    }
    writer_.end_kv();
    return {};
  }

 private:
  Result<> add_side(std::uint32_t layer, kvault_side side, const RowFormat& to,
                    const Stretch& stretch) {
    const RowFormat& from = shape_.format(side);
    const std::size_t width = shape_.row_bytes(layer, side);
    const bool is_transposed = side == KVAULT_VALUE && target_.is_transposed;
    if (shape_.layout.is_natural && from == to && !is_transposed) {
      return session_.read(layer, side, stretch.first, stretch.n, writer_.add_keys(to.type, width));
    }
    rows_.resize(stretch.n * width);
    KVAULT_CHECK(session_.read(layer, side, stretch.first, stretch.n, rows_));
    KVAULT_TRY(const std::size_t n_element, engine_elements(shape_, layer, side, rows_));
    if (n_element % to.type.block_elements != 0) {
      return fail(Errc::unsupported,
                  message("rows of ", n_element, " elements cannot be ", to.type.name));
    }
    const std::size_t row_bytes = to.type.row_bytes(n_element);
    const std::span<std::byte> target = side == KVAULT_KEY ? writer_.add_keys(to.type, row_bytes)
                                                           : writer_.add_values(to.type, n_element);
    RowMaker maker(shape_.layout, from, to, n_element);
    std::vector<std::byte> row(row_bytes);
    for (std::size_t i = 0; i < stretch.n; ++i) {
      const auto stored = std::span(rows_).subspan(i * width, width);
      if (!is_transposed) {
        KVAULT_CHECK(maker.make(stored, target.subspan(i * row_bytes, row_bytes)));
        continue;
      }
      KVAULT_CHECK(maker.make(stored, row));
      const std::size_t element = to.type.block_bytes;
      for (std::size_t e = 0; e < n_element; ++e) {
        std::memcpy(target.data() + (e * stretch.n + i) * element, row.data() + e * element,
                    element);
      }
    }
    return {};
  }

  ChatSession& session_;
  const ChatShape& shape_;
  const TargetFormat& target_;
  StateWriter& writer_;
  std::vector<std::byte> rows_;
};

Result<> check_target(const ChatShape& shape, const TargetFormat& target) {
  if (!has_attention(shape.kind())) return {};
  KVAULT_CHECK(check_convertible(shape.layout.key, target.key));
  KVAULT_CHECK(check_convertible(shape.layout.value, target.value));
  if (target.is_transposed && target.value.type.is_quantised) {
    return fail(Errc::unsupported,
                message("values of ", target.value.type.name, " need flash attention"));
  }
  return {};
}

/// No less than the state will take, but for a recurrent section; quantised rows take less.
std::size_t state_bytes_max(const ChatShape& shape, const TargetFormat& target,
                            std::uint64_t n_token) {
  std::size_t cell_bytes = 64;
  for (std::uint32_t layer = 0; layer < shape.n_full() + shape.n_sliding(); ++layer) {
    cell_bytes += shape.elements(layer, KVAULT_KEY) * target.key.type.block_bytes /
                  target.key.type.block_elements;
    cell_bytes += shape.elements(layer, KVAULT_VALUE) * target.value.type.block_bytes /
                  target.value.type.block_elements;
  }
  return (n_token + 64) * cell_bytes;
}

std::vector<Cell> cells_of(std::span<const StoredCell> stored) {
  std::vector<Cell> cells;
  for (const StoredCell& cell : stored) cells.push_back(cell.cell);
  return cells;
}

StateWriter make_writer(const TargetFormat& target, std::span<const std::int32_t> tokens) {
  return target.is_file ? StateWriter::file(tokens) : StateWriter::blob(target.seq_id);
}

}  // namespace

Result<Blob> make_state(ChatSession& session, const TargetFormat& target, std::uint64_t n_token,
                        std::span<const std::int32_t> tokens) {
  const ChatShape& shape = session.shape();
  KVAULT_CHECK(check_target(shape, target));
  StateWriter writer = make_writer(target, tokens);
  StateMaker maker(session, target, writer);
  if (has_attention(shape.kind())) {
    KVAULT_TRY(const std::vector<StoredCell> stored, session.read_cells(0, n_token));
    const std::vector<Cell> cells = cells_of(stored);
    writer.reserve(state_bytes_max(shape, target, n_token));
    KVAULT_CHECK(maker.add_section(0, {0, n_token}, cells));
    if (shape.n_sliding() > 0) {
      const std::uint64_t window = shape.layers[shape.n_full()].window;
      std::uint64_t first = n_token;
      while (first > 0 && n_token - first < window && stored[first - 1].has_window_rows) --first;
      KVAULT_CHECK(maker.add_section(1, {first, n_token - first}, std::span(cells).subspan(first)));
    }
  }
  if (shape.has_recurrent()) {
    KVAULT_TRY(const std::span<const std::byte> section, session.recurrent());
    writer.add_recurrent(section);
  }
  return writer.take();
}

Result<Blob> make_part(ChatSession& session, const TargetFormat& target, const Stretch& stretch,
                       Blob memory) {
  const ChatShape& shape = session.shape();
  KVAULT_ASSERT(shape.kind() == MemoryKind::plain && !target.is_file);
  KVAULT_CHECK(check_target(shape, target));
  StateWriter writer = StateWriter::blob(target.seq_id, std::move(memory));
  writer.reserve(state_bytes_max(shape, target, stretch.n));
  KVAULT_TRY(const std::vector<StoredCell> cells, session.read_cells(stretch.first, stretch.n));
  StateMaker maker(session, target, writer);
  KVAULT_CHECK(maker.add_section(0, stretch, cells_of(cells)));
  return writer.take();
}

Result<Blob> make_probe(ChatSession& session, const TargetFormat& target) {
  const ChatShape& shape = session.shape();
  StateWriter writer = make_writer(target, {});
  const Cell cell{};
  for (std::size_t section = 0; section < (shape.n_sliding() > 0 ? 2U : 1U); ++section) {
    const auto [first, n_layer] = shape.range_of(section);
    writer.begin_kv({.n_stream = target.n_stream,
                     .ext_bytes = shape.layout.ext_bytes,
                     .seq_id = target.seq_id,
                     .is_transposed = target.is_transposed,
                     .n_layer = n_layer},
                    std::span(&cell, 1));
    for (const kvault_side side : {KVAULT_KEY, KVAULT_VALUE}) {
      for (std::uint32_t layer = first; layer < first + n_layer; ++layer) {
        std::vector<std::byte> row(shape.row_bytes(layer, side));
        KVAULT_CHECK(session.read(layer, side, session.n_token() - 1, 1, row));
        KVAULT_TRY(const std::size_t n, engine_elements(shape, layer, side, row));
        const GgmlType& type = side == KVAULT_KEY ? target.key.type : target.value.type;
        if (n % type.block_elements != 0) {
          return fail(Errc::unsupported, message("rows of ", n, " elements in ", type.name));
        }
        static_cast<void>(side == KVAULT_KEY ? writer.add_keys(type, type.row_bytes(n))
                                             : writer.add_values(type, n));
      }
    }
    writer.end_kv();
  }
  if (shape.has_recurrent()) {
    KVAULT_TRY(const std::span<const std::byte> section, session.recurrent());
    writer.add_recurrent(section);
  }
  return writer.take();
}

}  // namespace kvault::llama

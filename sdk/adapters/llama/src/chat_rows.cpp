#include <algorithm>
#include <cstring>
#include <numeric>
#include <tuple>

#include "sdk/adapters/llama/src/chat.hpp"

// From a state's cells to a session's rows.

namespace kvault::llama {
namespace {

auto key_of(const Cell& cell) { return std::tuple(cell.position, cell.y, cell.x); }

std::vector<std::uint32_t> sorted(const std::vector<Cell>& cells) {
  std::vector<std::uint32_t> order(cells.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return key_of(cells[a]) < key_of(cells[b]);
  });
  return order;
}

/// Where each token of the full cache lies in the sliding one. Both orders are sorted.
Result<std::vector<std::int64_t>> match_sliding(const IncomingState& incoming) {
  const std::vector<Cell>& full = incoming.state.kv[0].cells;
  const std::vector<Cell>& sliding = incoming.state.kv[1].cells;
  const std::vector<std::uint32_t> order = sorted(sliding);
  std::vector<std::int64_t> result(incoming.order.size(), -1);
  std::size_t at = 0;
  for (std::size_t i = 0; i < result.size() && at < order.size(); ++i) {
    if (key_of(full[incoming.order[i]]) != key_of(sliding[order[at]])) continue;
    result[i] = order[at++];
  }
  if (at == order.size()) return result;
  return fail(Errc::corrupt, message("position ", sliding[order[at]].position,
                                     " of the sliding cache is not in the full one"));
}

/// A row of transposed values, gathered.
void gather(const StateRows& rows, std::size_t n_cell, std::size_t cell,
            std::span<std::byte> target) {
  const std::size_t width = rows.type.block_bytes;
  for (std::size_t i = 0; i * width < target.size(); ++i) {
    std::memcpy(target.data() + i * width, rows.bytes.data() + (i * n_cell + cell) * width, width);
  }
}

/// Writes one engine row as the session keeps it.
class RowStore {
 public:
  RowStore(const RowLayout& layout, kvault_side side, const RowFormat& from, std::size_t n_element)
      : layout_(layout),
        from_(from),
        to_(side == KVAULT_KEY ? layout.key : layout.value),
        scratch_(n_element),
        row_(to_.type.row_bytes(n_element)) {}

  void put(std::span<const std::byte> row, std::span<std::byte> target) {
    if (layout_.is_natural) return convert_row(from_, row, to_, target, scratch_);
    convert_row(from_, row, to_, row_, scratch_);
    elements_.resize(target.size() / 2);
    pack_row(row_, elements_);
    std::memcpy(target.data(), elements_.data(), target.size());
  }

 private:
  const RowLayout& layout_;
  RowFormat from_;
  RowFormat to_;
  std::vector<float> scratch_;
  std::vector<std::byte> row_;
  std::vector<std::uint16_t> elements_;
};

}  // namespace

Result<IncomingState> sort_state(State state, std::uint64_t first_token, std::uint64_t end_token) {
  IncomingState incoming;
  incoming.state = std::move(state);
  incoming.first_token = first_token;
  incoming.end_token = end_token;
  const State& sorted_state = incoming.state;
  if (sorted_state.kv.empty()) {
    const auto held = static_cast<std::uint64_t>(sorted_state.last_position()) + 1;
    if (held == end_token) return incoming;
    return fail(Errc::shape_mismatch, message("the recurrent state is of ", held, " tokens, ",
                                              end_token, " token ids are given"));
  }
  const std::vector<Cell>& cells = sorted_state.kv[0].cells;
  incoming.order = sorted(cells);
  if (cells.size() != end_token - first_token) {
    return fail(
        Errc::shape_mismatch,
        message("the sequence holds ", cells.size(), " tokens at positions ",
                cells[incoming.order.front()].position, " to ",
                cells[incoming.order.back()].position, ", but ids for ", end_token - first_token,
                " are given; after a context shift give the ids of what is left"));
  }
  for (std::size_t i = 1; i < cells.size(); ++i) {
    const Cell& a = cells[incoming.order[i - 1]];
    const Cell& b = cells[incoming.order[i]];
    if (sorted_state.kv[0].ext_bytes == 0 && a.position == b.position) {
      return fail(Errc::corrupt, message("position ", a.position, " comes twice"));
    }
  }
  if (sorted_state.kv.size() == 2) {
    KVAULT_TRY(incoming.sliding_order, match_sliding(incoming));
  }
  return incoming;
}

std::vector<std::byte> stored_rows(const ChatShape& shape, std::uint32_t layer, kvault_side side,
                                   const IncomingState& incoming, const Rotation& rotation,
                                   std::uint64_t first, std::uint64_t n) {
  const bool is_sliding = layer >= shape.n_full();
  const KvSection& section = incoming.state.kv[is_sliding ? 1 : 0];
  const std::size_t index = is_sliding ? layer - shape.n_full() : layer;
  const StateRows& rows = side == KVAULT_KEY ? section.keys[index] : section.values[index];
  const bool is_transposed = side == KVAULT_VALUE && section.is_transposed;
  const RowFormat from{rows.type, side == KVAULT_KEY ? rotation.key : rotation.value};
  RowStore store(shape.layout, side, from, rows.type.elements_of(rows.row_bytes));

  const std::size_t width = shape.row_bytes(layer, side);
  std::vector<std::byte> result(n * width);
  std::vector<std::byte> gathered(is_transposed ? rows.row_bytes : 0);
  for (std::uint64_t i = 0; i < n; ++i) {
    const std::uint64_t token = first + i - incoming.first_token;
    const std::int64_t cell = is_sliding ? incoming.sliding_order[token] : incoming.order[token];
    if (cell < 0) continue;  // left the window: zeros, and its cell says so
    std::span<const std::byte> row = gathered;
    if (is_transposed) {
      gather(rows, section.cells.size(), static_cast<std::size_t>(cell), gathered);
    } else {
      row = rows.bytes.subspan(static_cast<std::size_t>(cell) * rows.row_bytes, rows.row_bytes);
    }
    store.put(row, std::span(result).subspan(i * width, width));
  }
  return result;
}

}  // namespace kvault::llama

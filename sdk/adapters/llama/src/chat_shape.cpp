#include <algorithm>
#include <cstring>

#include "sdk/adapters/llama/src/chat_session.hpp"

namespace kvault::llama {
namespace {

constexpr std::uint32_t kHeadDimMax = 512;

std::uint32_t count(const std::vector<kvault_layer>& layers, kvault_layer_kind kind) {
  return static_cast<std::uint32_t>(
      std::count_if(layers.begin(), layers.end(),
                    [kind](const kvault_layer& layer) { return layer.kind == kind; }));
}

/// Heads and head_dim of a row of n elements that has no heads: at least that many.
std::pair<std::uint32_t, std::uint32_t> cut(std::uint32_t n) {
  const std::uint32_t n_head = (n + kHeadDimMax - 1) / kHeadDimMax;
  return {n_head, (n + n_head - 1) / n_head};
}

/// One layer kept verbatim. Both sides have as many heads as the longer one needs.
kvault_layer verbatim_layer(const StateRows& keys, const StateRows& values) {
  const std::uint32_t n_key = packed_elements(keys.row_bytes);
  const std::uint32_t n_value = packed_elements(values.row_bytes);
  const std::uint32_t n_head = cut(std::max(n_key, n_value)).first;
  kvault_layer layer{};
  layer.n_head = layer.n_kv_head = n_head;
  layer.key_head_dim = (n_key + n_head - 1) / n_head;
  layer.value_head_dim = (n_value + n_head - 1) / n_head;
  return layer;
}

Result<kvault_layer> natural_layer(const Model& model, const StateRows& keys,
                                   const StateRows& values, bool is_coded) {
  const std::uint64_t n_key = keys.type.elements_of(keys.row_bytes);
  const std::uint64_t n_value = values.type.elements_of(values.row_bytes);
  const std::uint32_t key_dim = model.key_head_dim();
  const std::uint32_t value_dim = model.value_head_dim();
  kvault_layer layer{};
  const bool has_heads = key_dim > 0 && value_dim > 0 && n_key % key_dim == 0 &&
                         n_value % value_dim == 0 && n_key / key_dim == n_value / value_dim;
  if (has_heads) {
    layer.n_head = layer.n_kv_head = static_cast<std::uint32_t>(n_key / key_dim);
    layer.key_head_dim = key_dim;
    layer.value_head_dim = value_dim;
    return layer;
  }
  // Windows may have heads of another size, and are never coded.
  const std::uint32_t n_head = cut(static_cast<std::uint32_t>(std::max(n_key, n_value))).first;
  if (is_coded || n_key % n_head != 0 || n_value % n_head != 0) {
    return fail(Errc::unsupported,
                message("rows of ", n_key, " and ", n_value, " elements are no heads of ", key_dim,
                        " and ", value_dim, "; the raw preset may keep them"));
  }
  layer.n_head = layer.n_kv_head = n_head;
  layer.key_head_dim = static_cast<std::uint32_t>(n_key / n_head);
  layer.value_head_dim = static_cast<std::uint32_t>(n_value / n_head);
  return layer;
}

void put31(std::uint32_t value, std::uint32_t flag, std::span<std::uint16_t> elements) {
  elements[0] = to_element(value & 0x7FFFU);
  elements[1] = to_element((value >> 15U) & 0x7FFFU);
  elements[2] = to_element((value >> 30U) | (flag << 2U));
}

std::uint32_t get31(std::span<const std::uint16_t> elements) {
  return from_element(elements[0]) | (from_element(elements[1]) << 15U) |
         ((from_element(elements[2]) & 3U) << 30U);
}

std::uint32_t cell_key_elements(const RowLayout& layout) {
  return layout.ext_bytes == 0 ? kCellTextElements : kCellPictureElements;
}

}  // namespace

std::uint32_t ChatShape::n_full() const { return count(layers, KVAULT_FULL_ATTENTION) - 1; }
std::uint32_t ChatShape::n_sliding() const { return count(layers, KVAULT_SLIDING_WINDOW); }
bool ChatShape::has_recurrent() const { return count(layers, KVAULT_RECURRENT) > 0; }

MemoryKind ChatShape::kind() const {
  if (has_recurrent()) {
    if (n_full() == 0) return MemoryKind::recurrent;
    return n_sliding() > 0 ? MemoryKind::sliding_hybrid : MemoryKind::hybrid;
  }
  return n_sliding() > 0 ? MemoryKind::sliding : MemoryKind::plain;
}

std::pair<std::uint32_t, std::uint32_t> ChatShape::range_of(std::size_t section) const {
  return section == 0 ? std::pair{0U, n_full()} : std::pair{n_full(), n_sliding()};
}

std::size_t ChatShape::elements(std::uint32_t layer, kvault_side side) const {
  const kvault_layer& spec = layers[layer];
  return std::size_t{spec.n_kv_head} *
         (side == KVAULT_KEY ? spec.key_head_dim : spec.value_head_dim);
}

Result<ChatShape> make_shape(const Model& model, const State& state, const ShapeOptions& options) {
  ChatShape shape;
  shape.layout = options.layout;
  for (std::size_t section = 0; section < state.kv.size(); ++section) {
    const KvSection& kv = state.kv[section];
    const bool is_window = section == 1;
    for (std::size_t i = 0; i < kv.keys.size(); ++i) {
      kvault_layer layer{};
      const bool is_coded =
          !is_window && (options.key_scheme != KVAULT_RAW || options.value_scheme != KVAULT_RAW);
      if (options.layout.is_natural) {
        KVAULT_TRY(layer, natural_layer(model, kv.keys[i], kv.values[i], is_coded));
      } else {
        layer = verbatim_layer(kv.keys[i], kv.values[i]);
      }
      layer.kind = is_window ? KVAULT_SLIDING_WINDOW : KVAULT_FULL_ATTENTION;
      layer.window = is_window ? model.window() : 0;
      if (is_window && layer.window == 0) {
        return fail(Errc::unsupported, message("the state has a sliding-window cache, but the "
                                               "model file of architecture ",
                                               model.architecture(), " names no window"));
      }
      layer.key_scheme = is_coded ? options.key_scheme : KVAULT_RAW;
      layer.value_scheme = is_coded ? options.value_scheme : KVAULT_RAW;
      shape.layers.push_back(layer);
    }
  }
  if (state.recurrent) {
    kvault_layer layer{};
    layer.kind = KVAULT_RECURRENT;
    shape.layers.push_back(layer);
  }
  shape.layers.push_back({KVAULT_FULL_ATTENTION, 1, 1, cell_key_elements(options.layout),
                          kCellValueElements, 0, KVAULT_RAW, KVAULT_RAW});
  return shape;
}

Result<ChatShape> read_shape(const kvault_description& description) {
  ChatShape shape;
  std::uint32_t n = 0;
  const kvault_identity_field* const fields = kvault_description_identity(&description, &n);
  const auto* const rows = std::find_if(fields, fields + n, [](const kvault_identity_field& field) {
    return std::strcmp(field.name, kRowsField) == 0;
  });
  if (rows == fields + n) {
    return fail(Errc::identity_mismatch, "the session holds no chat of llama.cpp");
  }
  KVAULT_TRY(shape.layout, RowLayout::parse(rows->value));
  const kvault_layer* const layers = kvault_description_layers(&description, &n);
  if (n == 0) return fail(Errc::unknown_format, "the session has no layers");
  shape.layers.assign(layers, layers + n);
  const auto rank = [](const kvault_layer& layer) { return layer.kind; };
  const auto end = shape.layers.end() - 1;
  const bool is_ordered = std::is_sorted(
      shape.layers.begin(), end,
      [&](const kvault_layer& a, const kvault_layer& b) { return rank(a) < rank(b); });
  if (!is_ordered || end->kind != KVAULT_FULL_ATTENTION || end->n_kv_head != 1 ||
      end->key_head_dim != cell_key_elements(shape.layout) ||
      end->value_head_dim != kCellValueElements ||
      kvault_description_row_type(&description) != shape.layout.row_type()) {
    return fail(Errc::unknown_format, "the session's layers are not those of this adapter");
  }
  return shape;
}

void encode_cell(const StoredCell& cell, std::span<std::uint16_t> key,
                 std::span<std::uint16_t> value) {
  put31(static_cast<std::uint32_t>(cell.cell.position), cell.has_window_rows ? 1 : 0, key);
  put31(static_cast<std::uint32_t>(cell.cell.token), 0, value);
  if (key.size() == kCellTextElements) return;
  put31(static_cast<std::uint32_t>(cell.cell.x), 0, key.subspan(3));
  put31(static_cast<std::uint32_t>(cell.cell.y), 0, key.subspan(6));
}

StoredCell decode_cell(std::span<const std::uint16_t> key, std::span<const std::uint16_t> value) {
  StoredCell cell;
  cell.cell.position = static_cast<std::int32_t>(get31(key));
  cell.cell.token = static_cast<std::int32_t>(get31(value));
  cell.has_window_rows = (from_element(key[2]) & 4U) != 0;
  cell.cell.x = cell.cell.y = cell.cell.position;
  if (key.size() == kCellTextElements) return cell;
  cell.cell.x = static_cast<std::int32_t>(get31(key.subspan(3)));
  cell.cell.y = static_cast<std::int32_t>(get31(key.subspan(6)));
  return cell;
}

}  // namespace kvault::llama

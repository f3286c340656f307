#include <algorithm>
#include <array>
#include <cstring>

#include "sdk/adapters/llama/src/state.hpp"

namespace kvault::llama {
namespace {

constexpr std::uint32_t kStreamsMax = 4096;
constexpr std::uint32_t kLayersMax = 1024;

/// Takes values from the front; never past the end.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::size_t offset() const { return offset_; }
  std::size_t left() const { return bytes_.size() - offset_; }

  template <class T>
  Result<T> take(std::string_view what) {
    if (left() < sizeof(T)) return too_short(what, sizeof(T));
    T value{};
    std::memcpy(&value, bytes_.data() + offset_, sizeof value);
    offset_ += sizeof value;
    return value;
  }
  Result<std::span<const std::byte>> take_bytes(std::string_view what, std::uint64_t n,
                                                std::uint64_t size_bytes) {
    if (size_bytes != 0 && n > left() / size_bytes) return too_short(what, n, size_bytes);
    const auto taken = bytes_.subspan(offset_, n * size_bytes);
    offset_ += taken.size();
    return taken;
  }
  /// A count whose things take at least min_bytes each.
  Result<std::uint32_t> take_count(std::string_view what, std::uint32_t max,
                                   std::size_t min_bytes) {
    const std::size_t at = offset_;
    KVAULT_TRY(const std::uint32_t count, take<std::uint32_t>(what));
    if (count > max || (min_bytes > 0 && count > left() / min_bytes)) {
      return fail(Errc::corrupt, message("the state says ", count, " ", what, " at byte ", at,
                                         ", with ", left(), " bytes left; at most ", max));
    }
    return count;
  }
  tl::unexpected<Error> wrong(std::string_view what, std::int64_t value) const {
    return fail(Errc::corrupt,
                message("the state has ", what, " ", value, " before byte ", offset_));
  }
  std::span<const std::byte> since(std::size_t begin) const {
    return bytes_.subspan(begin, offset_ - begin);
  }

 private:
  tl::unexpected<Error> too_short(std::string_view what, std::uint64_t n,
                                  std::uint64_t size_bytes = 1) const {
    return fail(Errc::truncated,
                message("the state ends at byte ", bytes_.size(), ", within ", what, " of ", n,
                        " x ", size_bytes, " bytes at byte ", offset_));
  }

  std::span<const std::byte> bytes_;
  std::size_t offset_ = 0;
};

struct Head {
  bool is_file = false;
  std::optional<std::int32_t> seq_id;
  std::vector<std::int32_t> tokens;
};

Result<Head> take_head(Reader& reader) {
  Head head;
  KVAULT_TRY(const std::uint32_t magic, reader.take<std::uint32_t>("magic"));
  if (magic == kBlobMagic) {
    KVAULT_TRY(head.seq_id, reader.take<std::int32_t>("sequence id"));
    return head;
  }
  if (magic != kFileMagic) {
    return fail(Errc::unknown_format,
                message("magic ", magic, " begins no state of a llama.cpp sequence"));
  }
  head.is_file = true;
  KVAULT_TRY(const std::uint32_t version, reader.take<std::uint32_t>("version"));
  if (version < kFileVersionMin || version > kFileVersion) {
    return fail(Errc::unknown_format, message("version ", version, " of a sequence file; ",
                                              kFileVersionMin, " to ", kFileVersion, " are known"));
  }
  KVAULT_TRY(const std::uint32_t n, reader.take_count("tokens", UINT32_MAX, 4));
  KVAULT_TRY(const auto bytes, reader.take_bytes("tokens", n, 4));
  head.tokens.resize(n);
  if (n > 0) std::memcpy(head.tokens.data(), bytes.data(), bytes.size());
  return head;
}

Result<GgmlType> take_type(Reader& reader) {
  KVAULT_TRY(const std::int32_t number, reader.take<std::int32_t>("type"));
  return find_ggml_type(number);
}

/// seq_id: what all cells must say; unknown in a file, where they only have to agree.
Result<> take_cells(Reader& reader, std::uint32_t n_cell, std::optional<std::int32_t> seq_id,
                    KvSection& section) {
  section.cells.resize(n_cell);
  for (Cell& cell : section.cells) {
    KVAULT_TRY(cell.position, reader.take<std::int32_t>("position"));
    KVAULT_TRY(const std::uint32_t n_seq, reader.take<std::uint32_t>("sequence count"));
    if (cell.position < 0) return reader.wrong("position", cell.position);
    if (n_seq != 1) return reader.wrong("sequences of a cell:", n_seq);
    cell.x = cell.y = cell.position;
    if (section.ext_bytes >= 8) {
      KVAULT_TRY(cell.x, reader.take<std::int32_t>("x"));
      KVAULT_TRY(cell.y, reader.take<std::int32_t>("y"));
    }
    if (section.ext_bytes == 12) {
      KVAULT_TRY(cell.token, reader.take<std::int32_t>("token"));
    }
    KVAULT_TRY(const std::int32_t id, reader.take<std::int32_t>("sequence id"));
    if (id < 0 || (seq_id && id != *seq_id)) return reader.wrong("a cell of sequence", id);
    seq_id = id;
  }
  return {};
}

Result<StateRows> take_rows(Reader& reader, std::string_view what, std::uint32_t n_cell) {
  StateRows rows;
  KVAULT_TRY(rows.type, take_type(reader));
  KVAULT_TRY(rows.row_bytes, reader.take<std::uint64_t>("row size"));
  if (rows.row_bytes == 0 || rows.row_bytes > (1U << 24U) ||
      rows.type.elements_of(rows.row_bytes) == 0) {
    return fail(Errc::corrupt, message(what, " rows of ", rows.row_bytes, " bytes are no rows of ",
                                       rows.type.name, ", before byte ", reader.offset()));
  }
  KVAULT_TRY(rows.bytes, reader.take_bytes(what, n_cell, rows.row_bytes));
  return rows;
}

Result<StateRows> take_transposed(Reader& reader, std::uint32_t n_cell) {
  StateRows rows;
  KVAULT_TRY(rows.type, take_type(reader));
  KVAULT_TRY(const std::uint32_t element_bytes, reader.take<std::uint32_t>("element size"));
  KVAULT_TRY(const std::uint32_t n_element, reader.take<std::uint32_t>("element count"));
  if (rows.type.is_quantised || element_bytes != rows.type.block_bytes || n_element == 0 ||
      n_element > (1U << 22U)) {
    return fail(Errc::corrupt,
                message("transposed values of ", n_element, " elements of ", element_bytes,
                        " bytes are no ", rows.type.name, ", before byte ", reader.offset()));
  }
  rows.row_bytes = rows.type.row_bytes(n_element);
  KVAULT_TRY(rows.bytes, reader.take_bytes("values", n_cell, rows.row_bytes));
  return rows;
}

Result<KvSection> take_kv(Reader& reader, const Head& head, std::uint32_t ext_bytes) {
  KvSection section;
  section.ext_bytes = ext_bytes;
  KVAULT_TRY(section.n_stream, reader.take_count("streams", kStreamsMax, 4));
  if (section.n_stream == 0) return reader.wrong("streams:", 0);
  for (std::uint32_t stream = 0; stream < section.n_stream; ++stream) {
    KVAULT_TRY(const std::uint32_t n_cell, reader.take_count("cells", UINT32_MAX, 12 + ext_bytes));
    if (n_cell == 0) continue;
    if (!section.cells.empty()) return reader.wrong("cells in a second stream:", n_cell);
    KVAULT_CHECK(take_cells(reader, n_cell, head.seq_id, section));
    KVAULT_TRY(const std::uint32_t is_transposed, reader.take<std::uint32_t>("v_trans"));
    if (is_transposed > 1) return reader.wrong("v_trans", is_transposed);
    section.is_transposed = is_transposed == 1;
    KVAULT_TRY(const std::uint32_t n_layer, reader.take_count("layers", kLayersMax, 12));
    for (std::uint32_t layer = 0; layer < n_layer; ++layer) {
      KVAULT_TRY(StateRows rows, take_rows(reader, "key", n_cell));
      section.keys.push_back(rows);
    }
    for (std::uint32_t layer = 0; layer < n_layer; ++layer) {
      KVAULT_TRY(StateRows rows, section.is_transposed ? take_transposed(reader, n_cell)
                                                       : take_rows(reader, "value", n_cell));
      section.values.push_back(rows);
    }
  }
  return section;
}

struct RecurrentRow {
  std::int32_t type = 0;
  std::uint64_t row_bytes = 0;
};

/// All rows to the end: those of R (one width), then as many of S (another width, may be 0).
Result<> take_recurrent_rows(Reader& reader, std::uint32_t n_cell, std::uint32_t n_layer,
                             std::uint32_t n_expected) {
  std::vector<RecurrentRow> rows;
  while (reader.left() > 0) {
    RecurrentRow row;
    KVAULT_TRY(row.type, reader.take<std::int32_t>("type of a recurrent row"));
    KVAULT_TRY(row.row_bytes, reader.take<std::uint64_t>("recurrent row size"));
    if (row.type != kGgmlF32 || row.row_bytes % 4 != 0) {
      return fail(Errc::unknown_format,
                  message("a recurrent row of type ", row.type, " and ", row.row_bytes,
                          " bytes before byte ", reader.offset(), "; only f32 is known"));
    }
    KVAULT_TRY(const auto bytes, reader.take_bytes("recurrent row", n_cell, row.row_bytes));
    for (std::size_t at = 0; at < bytes.size(); at += 4) {
      std::uint32_t bits = 0;
      std::memcpy(&bits, bytes.data() + at, 4);
      if ((bits & 0x7F800000U) != 0x7F800000U) continue;
      return fail(Errc::not_finite, message("a recurrent row has a NaN or an infinity before byte ",
                                            reader.offset()));
    }
    rows.push_back(row);
    if (rows.size() > 2U * kLayersMax) return reader.wrong("recurrent rows:", 2 * kLayersMax + 1);
  }
  const std::size_t n = rows.size() / 2;
  const auto same = [&](std::size_t i) {
    return rows[i].row_bytes == rows[i < n ? 0 : n].row_bytes;
  };
  bool fits = !rows.empty() && rows.size() % 2 == 0 && n <= n_layer;
  if (n_expected > 0 && n != n_expected) fits = false;
  for (std::size_t i = 0; fits && i < rows.size(); ++i) fits = same(i);
  if (!fits) {
    return fail(Errc::unknown_format,
                message("recurrent rows, ", rows.size(), " for ", n_layer,
                        " layers, are no pairs of two widths; expected ", n_expected));
  }
  return {};
}

Result<RecurrentSection> take_recurrent(Reader& reader, std::uint32_t n_expected) {
  const std::size_t begin = reader.offset();
  RecurrentSection section;
  KVAULT_TRY(const std::uint32_t n_cell, reader.take_count("recurrent cells", UINT32_MAX, 8));
  if (n_cell > 1) return reader.wrong("recurrent cells of one sequence:", n_cell);
  section.position = -1;
  if (n_cell == 1) {
    KVAULT_TRY(section.position, reader.take<std::int32_t>("recurrent position"));
    KVAULT_TRY(const std::uint32_t n_seq, reader.take<std::uint32_t>("sequence count"));
    if (section.position < 0) return reader.wrong("recurrent position", section.position);
    if (n_seq != 0) return reader.wrong("sequences of a recurrent cell:", n_seq);
  }
  KVAULT_TRY(const std::uint32_t is_transposed, reader.take<std::uint32_t>("s_trans"));
  if (is_transposed != 0) return reader.wrong("s_trans", is_transposed);
  KVAULT_TRY(section.n_layer, reader.take_count("layers of the model", kLayersMax, 0));
  KVAULT_CHECK(take_recurrent_rows(reader, n_cell, section.n_layer, n_expected));
  section.bytes = reader.since(begin);
  return section;
}

/// How a state is read on trial.
struct Variant {
  MemoryKind kind = MemoryKind::plain;
  std::uint32_t ext_bytes = 0;
  std::uint32_t n_recurrent = 0;
};

Result<State> parse_as(std::span<const std::byte> bytes, const Variant& variant,
                       std::size_t* reached) {
  const auto [kind, ext_bytes, n_recurrent] = variant;
  Reader reader(bytes);
  const auto parse = [&]() -> Result<State> {
    State state;
    state.kind = kind;
    KVAULT_TRY(Head head, take_head(reader));
    state.is_file = head.is_file;
    const std::size_t n_kv = !has_attention(kind) ? 0 : slides(kind) ? 2 : 1;
    for (std::size_t i = 0; i < n_kv; ++i) {
      KVAULT_TRY(KvSection section, take_kv(reader, head, ext_bytes));
      state.kv.push_back(std::move(section));
    }
    if (is_recurrent(kind)) {
      KVAULT_TRY(state.recurrent, take_recurrent(reader, n_recurrent));
    }
    if (reader.left() > 0) {
      return fail(Errc::unknown_format,
                  message("a ", name_of(kind), " state ends at byte ", reader.offset(), ", and ",
                          reader.left(), " bytes follow"));
    }
    state.tokens = std::move(head.tokens);
    return state;
  };
  Result<State> state = parse();
  *reached = reader.offset();
  return state;
}

/// What the sections say of each other.
Result<> check_together(const State& state) {
  const auto empty = [] { return fail(Errc::incomplete, "the sequence holds no token"); };
  if (!state.kv.empty() && state.kv[0].cells.empty()) return empty();
  if (state.kv.empty() && state.recurrent->position < 0) return empty();
  const std::int32_t last = state.last_position();
  if (state.recurrent && state.recurrent->position != last) {
    return fail(Errc::corrupt, message("the recurrent state is of position ",
                                       state.recurrent->position, ", the cache's last is ", last));
  }
  if (state.kv.size() == 2) {
    const KvSection& full = state.kv[0];
    const KvSection& sliding = state.kv[1];
    if (sliding.cells.empty() || sliding.n_stream != full.n_stream ||
        sliding.cells.size() > full.cells.size() || sliding.is_transposed != full.is_transposed) {
      return fail(Errc::corrupt, message("the sliding cache has ", sliding.cells.size(),
                                         " cells in ", sliding.n_stream, " streams, the full one ",
                                         full.cells.size(), " in ", full.n_stream));
    }
  }
  return {};
}

}  // namespace

std::string_view name_of(MemoryKind kind) {
  constexpr std::array<std::string_view, 5> kNames = {"plain", "sliding-window", "hybrid",
                                                      "hybrid sliding-window", "recurrent"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::int32_t State::last_position() const {
  if (kv.empty()) return recurrent ? recurrent->position : -1;
  std::int32_t last = -1;
  for (const Cell& cell : kv[0].cells) last = std::max(last, cell.position);
  return last;
}

Result<State> parse_state(std::span<const std::byte> bytes, const ExpectedState& expected) {
  std::optional<State> found;
  std::optional<Error> furthest;
  std::size_t furthest_offset = 0;
  for (const MemoryKind tried : {MemoryKind::plain, MemoryKind::sliding, MemoryKind::hybrid,
                                 MemoryKind::sliding_hybrid, MemoryKind::recurrent}) {
    if (expected.kind && *expected.kind != tried) continue;
    for (const std::uint32_t ext_bytes : {0U, 8U, 12U}) {
      if (ext_bytes > 0 && !has_attention(tried)) continue;
      std::size_t reached = 0;
      Result<State> state = parse_as(bytes, {tried, ext_bytes, expected.n_recurrent}, &reached);
      if (state) {
        const bool is_empty = !state->kv.empty() && state->kv[0].cells.empty();
        if (found && is_empty && found->kind == tried) continue;  // no cell, so no ext to tell
        if (found) {
          return fail(Errc::unknown_format, message("the state reads as ", name_of(found->kind),
                                                    " and as ", name_of(tried)));
        }
        found = std::move(*state);
      } else if (!furthest || reached > furthest_offset) {
        furthest = state.error();
        furthest_offset = reached;
      }
    }
  }
  if (!found) return tl::unexpected<Error>(std::move(*furthest));
  KVAULT_CHECK(check_together(*found));
  return std::move(*found);
}

Result<std::uint32_t> read_n_stream(std::span<const std::byte> blob) {
  Reader reader(blob);
  KVAULT_TRY(const Head head, take_head(reader));
  KVAULT_TRY(const std::uint32_t n_stream, reader.take_count("streams", kStreamsMax, 4));
  if (n_stream == 0) return reader.wrong("streams:", 0);
  return n_stream;
}

}  // namespace kvault::llama

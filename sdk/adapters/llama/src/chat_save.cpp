#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <utility>

#include "core/codec/equaliser.hpp"
#include "sdk/adapters/llama/src/chat.hpp"

namespace kvault::llama {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

constexpr std::uint64_t kTailTokens = 128;  ///< at the end of a session rows are always raw
/// So long a run of ids behind a hole is a shift where no raw row can be compared.
constexpr std::uint64_t kRunTokens = 16;

Result<> check_tokens(std::span<const std::int32_t> tokens) {
  if (tokens.empty()) return fail(Errc::invalid_argument, "there are no token ids");
  const auto negative =
      std::find_if(tokens.begin(), tokens.end(), [](std::int32_t id) { return id < 0; });
  if (negative == tokens.end()) return {};
  return fail(Errc::invalid_argument,
              message("token ", negative - tokens.begin(), " has the id ", *negative));
}

/// Where the weights say nothing: equalises the variance of this chat's own keys.
Result<std::vector<Half>> equaliser_of(const ChatShape& shape, const IncomingState& incoming,
                                       const Rotation& rotation) {
  std::vector<Half> result;
  const std::uint64_t n = std::min<std::uint64_t>(incoming.end_token - incoming.first_token, 512);
  for (std::uint32_t layer = 0; layer < shape.n_full(); ++layer) {
    const std::vector<std::byte> rows =
        stored_rows(shape, layer, KVAULT_KEY, incoming, rotation, incoming.first_token, n);
    const std::size_t width = shape.elements(layer, KVAULT_KEY);
    std::vector<float> values(width);
    std::vector<double> sums(width);
    std::vector<double> squares(width);
    for (std::uint64_t i = 0; i < n; ++i) {
      decode_row(shape.layout.key.type,
                 std::span(rows).subspan(i * shape.row_bytes(layer, KVAULT_KEY),
                                         shape.row_bytes(layer, KVAULT_KEY)),
                 values);
      for (std::size_t c = 0; c < width; ++c) {
        const auto value = static_cast<double>(values[c]);
        sums[c] += value / static_cast<double>(n);
        squares[c] += value * value / static_cast<double>(n);
      }
    }
    const std::uint32_t dim = shape.layers[layer].key_head_dim;
    for (std::size_t first = 0; first < width; first += dim) {
      std::vector<double> variances(dim);
      for (std::size_t c = 0; c < dim; ++c) {
        variances[c] = std::max(0.0, squares[first + c] - sums[first + c] * sums[first + c]);
        if (!std::isfinite(variances[c])) variances[c] = 0;
      }
      const std::vector<Half> learned = learn_equaliser(std::vector<double>(dim, 1.0), variances);
      result.insert(result.end(), learned.begin(), learned.end());
    }
  }
  // The cells' layer is of full attention too, and raw.
  result.insert(result.end(), shape.elements(shape.cells(), KVAULT_KEY), to_half(1.0F));
  return result;
}

}  // namespace

std::uint64_t Chat::n_common(std::span<const std::int32_t> tokens) const {
  const auto [a, b] = std::mismatch(tokens.begin(), tokens.end(), tokens_.begin(), tokens_.end());
  return static_cast<std::uint64_t>(a - tokens.begin());
}

ExpectedState Chat::expected_state() const {
  ExpectedState expected;
  expected.n_recurrent = options_.place.model->n_recurrent();
  if (session_) expected.kind = session_->shape().kind();
  return expected;
}

Rotation Chat::rotation(const GgmlType& key, const GgmlType& value, std::int32_t rotates) const {
  if (rotates == 0) return {};
  const Model& model = *options_.place.model;
  return rotation_of(key, value, model.key_head_dim(), model.value_head_dim());
}

Result<kvault_llama_save_info> Chat::save(const Sequence& sequence,
                                          std::span<const std::int32_t> tokens) {
  const Clock::time_point begin = Clock::now();
  KVAULT_CHECK(check_tokens(tokens));
  KVAULT_CHECK(reopen());
  KVAULT_TRY(IncomingState incoming, [&]() -> Result<IncomingState> {
    const std::uint64_t common = n_common(tokens);
    const bool only_new =
        session_ && common > 0 && common == tokens_.size() && tokens.size() > common &&
        shifted_from_ == UINT64_MAX && session_->shape().n_full() > 0 &&
        static_cast<std::uint64_t>(sequence.last_position()) + 1 == tokens.size() &&
        sequence.can_copy_parts();
    // What is no plain continuation after all is read whole.
    if (only_new) {
      Result<IncomingState> part = read(sequence, tokens.size(), common);
      if (part) return part;
    }
    return read(sequence, tokens.size(), 0);
  }());
  const double copy_ms = ms_since(begin);
  Result<kvault_llama_save_info> info = take(incoming, tokens, sequence.given().rotates);
  if (info) {
    info->copy_ms = copy_ms;
    info->save_ms = ms_since(begin);
  }
  return info;
}

/// Whether the whole state has the size it must have where no token before the part is missing: a
/// hole in the past cannot be seen in the part itself.
bool Chat::is_part_of(const IncomingState& part, std::size_t part_bytes,
                      std::size_t whole_bytes) const {
  std::size_t expected_bytes = part_bytes;
  for (std::size_t i = 0; i < part.state.kv.size(); ++i) {
    const KvSection& section = part.state.kv[i];
    std::size_t cell_bytes = 12 + section.ext_bytes;
    for (const StateRows& rows : section.keys) cell_bytes += rows.row_bytes;
    for (const StateRows& rows : section.values) cell_bytes += rows.row_bytes;
    std::uint64_t n_cell = part.end_token;
    if (i == 1) n_cell = std::min<std::uint64_t>(n_cell, options_.place.model->window());
    expected_bytes += (n_cell - section.cells.size()) * cell_bytes;
  }
  return expected_bytes == whole_bytes;
}

/// Tokens [first, n_token) of the sequence; from 0 on: whatever it holds.
Result<IncomingState> Chat::read(const Sequence& sequence, std::uint64_t n_token,
                                 std::uint64_t first) const {
  const auto position = static_cast<std::int32_t>(first);
  KVAULT_TRY(Blob blob, first > 0 ? sequence.read_from(position) : sequence.read());
  KVAULT_TRY(State state, parse_state(blob.bytes(), expected_state()));
  KVAULT_TRY(IncomingState incoming, sort_state(std::move(state), first, n_token));
  if (first > 0 && (incoming.cell(first).position != position ||
                    !is_part_of(incoming, blob.bytes().size(), sequence.state_bytes()))) {
    return fail(Errc::incomplete, "the sequence does not go on where the saved chat ends");
  }
  incoming.state_bytes = blob.bytes().size();
  incoming.blob = std::move(blob);
  return incoming;
}

Result<kvault_llama_save_info> Chat::save_state(std::span<const std::byte> bytes,
                                                std::span<const std::int32_t> tokens) {
  const Clock::time_point begin = Clock::now();
  KVAULT_CHECK(reopen());
  KVAULT_TRY(State state, parse_state(bytes, expected_state()));
  const std::vector<std::int32_t> own = state.tokens;
  if (tokens.empty()) tokens = own;
  KVAULT_CHECK(check_tokens(tokens));
  KVAULT_TRY(IncomingState incoming, sort_state(std::move(state), 0, tokens.size()));
  incoming.state_bytes = bytes.size();
  Result<kvault_llama_save_info> info = take(incoming, tokens, -1);
  if (info) info->save_ms = ms_since(begin);
  return info;
}

Result<kvault_llama_save_info> Chat::take(const IncomingState& incoming,
                                          std::span<const std::int32_t> tokens,
                                          std::int32_t rotates) {
  Rotation rotation_now;
  if (!incoming.state.kv.empty()) {
    const KvSection& full = incoming.state.kv[0];
    if (full.keys.empty()) return fail(Errc::unsupported, "the state's cache has no layers");
    rotation_now = rotation(full.keys[0].type, full.values[0].type, rotates);
    for (const KvSection& section : incoming.state.kv) {
      for (std::size_t i = 0; i < section.keys.size(); ++i) {
        if (section.keys[i].type.number != full.keys[0].type.number ||
            section.values[i].type.number != full.values[0].type.number) {
          return fail(Errc::unsupported, message("layer ", i, " has other cache types"));
        }
      }
    }
  }
  Result<kvault_llama_save_info> info = put(incoming, tokens, rotation_now);
  if (info) return info;
  // What was half done is forgotten; opened anew when needed.
  std::optional<ChatSession> session = std::exchange(session_, std::nullopt);
  // Whether a save whose answer never came was done, nobody knows.
  if (session && info.error().code != Errc::disconnected) {
    ChatSession::close_and_delete_empty(options_.place.client, std::move(*session));
  }
  return info;
}

/// Makes the session, which takes its shape from the first state.
Result<> Chat::begin(const IncomingState& incoming, const Rotation& rotation) {
  if (!options_.create) {
    return fail(Errc::not_found, message("there is no session ", name(), ", and create is 0"));
  }
  const Model& model = *options_.place.model;
  const bool is_raw = options_.key_scheme == KVAULT_RAW && options_.value_scheme == KVAULT_RAW;
  RowLayout layout;
  KVAULT_TRY(const GgmlType f16, find_ggml_type(kGgmlF16));
  layout.key = layout.value = {f16, 0};
  if (!incoming.state.kv.empty()) {
    const KvSection& full = incoming.state.kv[0];
    KVAULT_TRY(layout,
               choose_layout({full.keys[0].type, rotation.key},
                             {full.values[0].type, rotation.value}, full.ext_bytes, is_raw));
  }
  KVAULT_TRY(ChatShape shape, make_shape(model, incoming.state,
                                         {layout, options_.key_scheme, options_.value_scheme}));
  std::vector<Half> equaliser;
  if (options_.key_scheme != KVAULT_RAW && shape.n_full() > 0) {
    std::vector<std::uint32_t> n_kv_head;
    for (std::uint32_t i = 0; i < shape.n_full(); ++i) {
      n_kv_head.push_back(shape.layers[i].n_kv_head);
    }
    equaliser = model.equaliser(n_kv_head, shape.n_sliding() > 0);
    if (!equaliser.empty()) {
      equaliser.insert(equaliser.end(), shape.elements(shape.cells(), KVAULT_KEY), to_half(1.0F));
    } else {
      KVAULT_TRY(equaliser, equaliser_of(shape, incoming, rotation));
    }
  }
  KVAULT_TRY(ChatSession session,
             ChatSession::create(options_.place, std::move(shape), std::move(equaliser)));
  session_.emplace(std::move(session));
  tokens_.clear();
  shifted_from_ = UINT64_MAX;
  return {};
}

Result<kvault_llama_save_info> Chat::put(const IncomingState& incoming,
                                         std::span<const std::int32_t> tokens,
                                         const Rotation& rotation) {
  kvault_llama_save_info info = KVAULT_LLAMA_SAVE_INFO_INIT;
  info.copied_bytes = incoming.state_bytes;
  info.way = KVAULT_LLAMA_APPENDED;
  if (!session_) KVAULT_CHECK(begin(incoming, rotation));
  KVAULT_CHECK(check_fits(incoming, rotation));
  std::uint64_t common = n_common(tokens);
  KVAULT_TRY(const std::uint64_t gap, find_gap(incoming, common));
  KVAULT_TRY(const bool has_shift, is_shifted(incoming, tokens, rotation, common));
  std::uint64_t shifted_from = shifted_from_;
  if (gap < tokens.size() || has_shift) {
    common = std::min(common, gap);
    shifted_from = common;
    if (!tokens_.empty()) {
      KVAULT_CHECK(begin_fork(common));
      info.way = KVAULT_LLAMA_FORKED;
    }
  } else if (common < tokens_.size()) {
    info.way = KVAULT_LLAMA_REPLACED;
  } else if (common == tokens.size()) {
    info.way = KVAULT_LLAMA_NOTHING;
    info.n_token = info.n_token_kept = common;
    return info;
  }
  std::uint64_t kept = tokens_.size();
  if (common < kept) {
    KVAULT_TRY(kept, session_->rollback(common));
  }
  KVAULT_TRY(const std::uint64_t window, first_better_window(incoming, kept));
  if (window < kept) {
    KVAULT_TRY(kept, session_->rollback(window));
  }
  if (kept < incoming.first_token) {
    return fail(Errc::incomplete, message("the state begins at token ", incoming.first_token,
                                          ", the saved chat ends at ", kept));
  }
  if (shifted_from_ > kept) shifted_from_ = UINT64_MAX;
  shifted_from_ = std::min(shifted_from_, shifted_from);
  if (shifted_from_ >= tokens.size()) shifted_from_ = UINT64_MAX;
  KVAULT_CHECK(append(incoming, tokens, rotation, kept));
  std::vector<std::uint32_t> ids;
  for (std::uint64_t i = kept; i < tokens.size(); ++i) {
    ids.push_back(i < shifted_from_ ? static_cast<std::uint32_t>(tokens[i]) : KVAULT_TOKEN_OPAQUE);
  }
  KVAULT_TRY(const kvault_save_info saved, session_->save(ids));
  tokens_.assign(tokens.begin(), tokens.end());
  is_rolled_back_ = false;
  info.n_token = tokens.size();
  info.n_token_kept = kept;
  info.written_bytes = saved.written_bytes;
  info.shared_bytes = saved.shared_bytes;
  return info;
}

/// Where the state has rows of the window that the session lacks, because they had left the window
/// of an end that is no more; n_kept where it has none.
Result<std::uint64_t> Chat::first_better_window(const IncomingState& incoming,
                                                std::uint64_t n_kept) {
  const std::vector<std::int64_t>& order = incoming.sliding_order;
  const auto found = std::find_if(order.begin(), order.end(), [](auto cell) { return cell >= 0; });
  const std::uint64_t first =
      incoming.first_token + static_cast<std::uint64_t>(found - order.begin());
  if (found == order.end() || first >= n_kept) return n_kept;
  KVAULT_TRY(const std::vector<StoredCell> cells, session_->read_cells(first, n_kept - first));
  const bool has_all = std::all_of(cells.begin(), cells.end(),
                                   [](const StoredCell& cell) { return cell.has_window_rows; });
  return has_all ? n_kept : first;
}

/// Whether the state's layers are those of the session.
Result<> Chat::check_fits(const IncomingState& incoming, const Rotation& rotation) const {
  const ChatShape& shape = session_->shape();
  if (incoming.state.kind != shape.kind()) {
    return fail(Errc::shape_mismatch, message("a ", name_of(incoming.state.kind), " state for a ",
                                              name_of(shape.kind()), " session"));
  }
  for (std::size_t section = 0; section < incoming.state.kv.size(); ++section) {
    const KvSection& kv = incoming.state.kv[section];
    const auto [first, n_layer] = shape.range_of(section);
    if (kv.keys.size() != n_layer || kv.ext_bytes != shape.layout.ext_bytes) {
      return fail(Errc::shape_mismatch,
                  message("a state of ", kv.keys.size(), " layers with cells of ext ", kv.ext_bytes,
                          " for a session of ", n_layer, " with ext ", shape.layout.ext_bytes));
    }
    for (std::uint32_t i = 0; i < n_layer; ++i) {
      for (const kvault_side side : {KVAULT_KEY, KVAULT_VALUE}) {
        const StateRows& rows = side == KVAULT_KEY ? kv.keys[i] : kv.values[i];
        const RowFormat from{rows.type, side == KVAULT_KEY ? rotation.key : rotation.value};
        const RowFormat& to = shape.format(side);
        KVAULT_CHECK(check_convertible(from, to));
        const std::uint64_t n = rows.type.elements_of(rows.row_bytes);
        const std::size_t room = shape.elements(first + i, side);
        const bool fits =
            shape.layout.is_natural
                ? n == room
                : n % to.type.block_elements == 0 && packed_elements(to.type.row_bytes(n)) <= room;
        if (fits) continue;
        return fail(Errc::shape_mismatch, message("layer ", i, ": rows of ", n, " ", rows.type.name,
                                                  " elements for a session's ", room));
      }
    }
  }
  return {};
}

Result<> Chat::append(const IncomingState& incoming, std::span<const std::int32_t> tokens,
                      const Rotation& rotation, std::uint64_t first) {
  const ChatShape& shape = session_->shape();
  const std::uint64_t n = tokens.size() - first;
  const bool is_attending = !incoming.state.kv.empty();
  if (n > 0) {
    for (std::uint32_t layer = 0; layer < shape.n_full() + shape.n_sliding(); ++layer) {
      const auto rows = [&](kvault_side side) {
        return stored_rows(shape, layer, side, incoming, rotation, first, n);
      };
      KVAULT_CHECK(session_->append(layer, static_cast<std::uint32_t>(n), rows(KVAULT_KEY),
                                    rows(KVAULT_VALUE)));
    }
    std::vector<StoredCell> cells(n);
    for (std::uint64_t i = 0; i < n; ++i) {
      const std::uint64_t token = first + i;
      if (is_attending) {
        cells[i].cell = incoming.cell(token);
        cells[i].has_window_rows = !incoming.sliding_order.empty() &&
                                   incoming.sliding_order[token - incoming.first_token] >= 0;
      } else {
        cells[i].cell.position = static_cast<std::int32_t>(token);
      }
      if (shape.layout.ext_bytes < 12) cells[i].cell.token = tokens[token];
    }
    KVAULT_CHECK(session_->append_cells(cells));
  }
  if (!shape.has_recurrent()) return {};
  return session_->set_recurrent(tokens.size(), incoming.state.recurrent->bytes);
}

/// The first token that does not stand right behind the one before it, or not where it stood when
/// it was saved; past the end where there is none. Pictures (M-RoPE) have gaps of their own.
Result<std::uint64_t> Chat::find_gap(const IncomingState& incoming, std::uint64_t n_common) {
  if (incoming.state.kv.empty()) return UINT64_MAX;
  const bool has_pictures = incoming.state.kv[0].ext_bytes > 0;
  const std::uint64_t first = incoming.first_token;
  std::vector<StoredCell> stored;
  if (first < n_common) {
    KVAULT_TRY(stored, session_->read_cells(first, n_common - first));
  }
  for (std::uint64_t token = first; token < incoming.end_token; ++token) {
    const std::int32_t position = incoming.cell(token).position;
    if (token < n_common) {
      if (position != stored[token - first].cell.position) return token;
    } else if (token > first && !has_pictures &&
               position != incoming.cell(token - 1).position + 1) {
      return token;
    } else if (token == 0 && position != 0) {
      return token;
    }
  }
  return UINT64_MAX;
}

/// Whether what follows the common beginning stood further back when it was saved: the ids that
/// were saved behind a hole follow, and their values, which rope does not turn, are bit for bit
/// those of then. Where no such row is still raw, a long run of ids is enough.
Result<bool> Chat::is_shifted(const IncomingState& incoming, std::span<const std::int32_t> tokens,
                              const Rotation& rotation, std::uint64_t n_common) {
  const ChatShape& shape = session_->shape();
  const std::uint64_t n_saved = tokens_.size();
  if (shape.n_full() == 0 || n_common >= n_saved || incoming.first_token > n_common) return false;
  const std::uint32_t layer = shape.n_full() - 1;
  const std::size_t width = shape.row_bytes(layer, KVAULT_VALUE);
  const bool is_raw = shape.layers[layer].value_scheme == KVAULT_RAW;
  for (std::uint64_t saved = n_common + 1; saved < n_saved; ++saved) {
    std::uint64_t run = 0;
    while (saved + run < n_saved && n_common + run < tokens.size() &&
           tokens_[saved + run] == tokens[n_common + run]) {
      ++run;
    }
    if (run == 0) continue;
    const std::uint64_t last = saved + run - 1;
    const bool can_compare = is_raw || last + kTailTokens >= n_saved || last < kTailTokens;
    if (!can_compare) {
      if (run >= kRunTokens) return true;
      continue;
    }
    std::vector<std::byte> then(width);
    KVAULT_CHECK(session_->read(layer, KVAULT_VALUE, last, 1, then));
    const std::vector<std::byte> now =
        stored_rows(shape, layer, KVAULT_VALUE, incoming, rotation, n_common + run - 1, 1);
    if (now == then) return true;
  }
  return false;
}

/// The chat goes on in a new session that shares the first n_token tokens.
Result<> Chat::begin_fork(std::uint64_t n_token) {
  const std::string old_name = name();
  kvault_kept kept{};
  for (int i = 1;; ++i) {
    const std::string new_name = message(old_name, " (shifted ", i, ")");
    kvault_error error{};
    const kvault_status status = kvault_client_fork(options_.place.client, old_name.c_str(),
                                                    n_token, new_name.c_str(), &kept, &error);
    if (status == KVAULT_ALREADY_EXISTS && i < 1000) continue;
    KVAULT_CHECK(to_result(status, error));
    session_.reset();
    options_.place.name = new_name;
    return reopen();
  }
}

}  // namespace kvault::llama

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "sdk/adapters/llama/src/chat.hpp"
#include "sdk/adapters/llama/src/parts_ahead.hpp"

namespace kvault::llama {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

/// Whole pages of a few MiB.
std::uint64_t part_tokens(const ChatShape& shape) {
  constexpr std::size_t kPartBytes = std::size_t{2} << 20U;
  constexpr std::uint64_t kPageTokens = 128;
  std::size_t token_bytes = 0;
  for (std::uint32_t layer = 0; layer < shape.n_full(); ++layer) {
    token_bytes += shape.row_bytes(layer, KVAULT_KEY) + shape.row_bytes(layer, KVAULT_VALUE);
  }
  return std::max<std::uint64_t>(1, kPartBytes / (token_bytes * kPageTokens)) * kPageTokens;
}

std::uint64_t to_decode(std::optional<std::span<const std::int32_t>> tokens, std::uint64_t reused) {
  return tokens ? tokens->size() - reused : 0;
}

}  // namespace

Result<kvault_llama_resume_info> Chat::resume(const Sequence& sequence,
                                              std::optional<std::span<const std::int32_t>> tokens) {
  const Clock::time_point begin = Clock::now();
  kvault_llama_resume_info info = KVAULT_LLAMA_RESUME_INFO_INIT;
  KVAULT_TRY(const std::uint64_t n, reusable(tokens, info));
  info.n_token_reused = n;
  info.n_token_to_decode = to_decode(tokens, n);
  if (n > sequence.n_ctx()) {
    return fail(Errc::limit_exceeded, message(n, " tokens for a context of ", sequence.n_ctx()));
  }
  if (n > 0) {
    KVAULT_TRY(const TargetFormat target, find_target(sequence));
    info.is_verbatim = is_verbatim(target) ? 1 : 0;
    sequence.clear();
    KVAULT_TRY(const bool is_taken, fill(sequence, target, n, info));
    if (!is_taken) {
      return fail(
          Errc::unsupported,
          message("llama.cpp refuses the state of ", n, " tokens, keys ", target.key.type.name,
                  ", values ", target.value.type.name, target.is_transposed ? " transposed" : "",
                  ", ", target.n_stream, " streams; its log says why"));
    }
  } else {
    sequence.clear();
  }
  info.resume_ms = ms_since(begin);
  return info;
}

Result<kvault_llama_resume_info> Chat::make(const kvault_llama_target& target,
                                            std::optional<std::span<const std::int32_t>> tokens) {
  const Clock::time_point begin = Clock::now();
  made_state_ = {};
  kvault_llama_resume_info info = KVAULT_LLAMA_RESUME_INFO_INIT;
  KVAULT_TRY(const std::uint64_t n, reusable(tokens, info));
  info.n_token_reused = n;
  info.n_token_to_decode = to_decode(tokens, n);
  if (n == 0) return info;
  const RowLayout& layout = session_->shape().layout;
  TargetFormat format;
  format.is_file = target.is_file != 0;
  format.n_stream = std::max(1U, target.n_stream);
  format.is_transposed = target.flash_attention == 0;
  format.key.type = layout.key.type;
  format.value.type = layout.value.type;
  if (target.type_k >= 0) {
    KVAULT_TRY(format.key.type, find_ggml_type(target.type_k));
  }
  if (target.type_v >= 0) {
    KVAULT_TRY(format.value.type, find_ggml_type(target.type_v));
  }
  const Rotation runs = rotation(format.key.type, format.value.type, target.rotates);
  format.key.rotation = runs.key;
  format.value.rotation = runs.value;
  KVAULT_TRY(made_state_, make_state(*session_, format, n, std::span(tokens_).first(n)));
  info.is_verbatim = is_verbatim(format) ? 1 : 0;
  info.state_bytes = made_state().size();
  info.load_ms = info.resume_ms = ms_since(begin);
  return info;
}

/// Makes the state and hands it to llama.cpp, in parts where that can be. Whether llama.cpp took
/// it; where it did not, and on any error, the sequence is empty.
Result<bool> Chat::fill(const Sequence& sequence, const TargetFormat& target, std::uint64_t n_token,
                        kvault_llama_resume_info& info) {
  if (session_->shape().kind() == MemoryKind::plain && sequence.can_copy_parts()) {
    Result<bool> is_taken = fill_parts(sequence, target, n_token, info);
    if (!is_taken) sequence.clear();
    return is_taken;
  }
  const Clock::time_point begin = Clock::now();
  Result<Blob> state = make_state(*session_, target, n_token, {});
  if (!state) {
    sequence.clear();
    return tl::unexpected<Error>(state.error());
  }
  info.load_ms += ms_since(begin);
  info.state_bytes += state->bytes().size();
  return sequence.write(state->bytes());
}

/// A small state stays in the processor's cache on its way, and while llama.cpp takes one the next
/// is made. The first goes to the sequence itself: what is there is behind no other. All layers
/// are loaded for it, so that the app is asked for progress on its own thread alone.
Result<bool> Chat::fill_parts(const Sequence& sequence, const TargetFormat& target,
                              std::uint64_t n_token, kvault_llama_resume_info& info) {
  const std::uint64_t n_part_token = part_tokens(session_->shape());
  const std::uint64_t n_part = (n_token + n_part_token - 1) / n_part_token;
  const auto make = [&](std::uint64_t part, Blob memory) {
    const std::uint64_t first = part * n_part_token;
    return make_part(*session_, target, {first, std::min(n_part_token, n_token - first)},
                     std::move(memory));
  };
  const Clock::time_point begin = Clock::now();
  KVAULT_TRY(Blob state, make(0, {}));
  info.load_ms += ms_since(begin);
  PartsAhead ahead(make, 1, n_part);
  for (std::uint64_t part = 0;; ++part) {
    info.state_bytes += state.bytes().size();
    const bool is_taken =
        part == 0 ? sequence.write(state.bytes()) : sequence.write_behind(state.bytes());
    if (!is_taken || part + 1 == n_part) return is_taken;
    ahead.give_back(std::move(state));
    const Clock::time_point wait_begin = Clock::now();
    KVAULT_TRY(state, ahead.next());
    info.load_ms += ms_since(wait_begin);
  }
}

bool Chat::is_verbatim(const TargetFormat& target) const {
  const RowLayout& layout = session_->shape().layout;
  if (!has_attention(session_->shape().kind())) return true;
  return session_->is_verbatim() && layout.key == target.key && layout.value == target.value;
}

/// How many tokens a context may be given: those that the prompt shares with the chat, one less
/// than the prompt has, and only where the model can go on.
Result<std::uint64_t> Chat::reusable(std::optional<std::span<const std::int32_t>> tokens,
                                     kvault_llama_resume_info& info) {
  if (is_rolled_back_) session_.reset();  // what a shorter prompt gave up is still on the disk
  KVAULT_CHECK(reopen());
  if (!session_) return fail(Errc::not_found, message("nothing of ", name(), " is saved yet"));
  const std::uint64_t n_saved = tokens_.size();
  info.n_token_saved = n_saved;
  info.stored_bytes = session_->stored_bytes();
  std::uint64_t n = n_saved;
  if (tokens) {
    if (tokens->empty()) return fail(Errc::invalid_argument, "there are no token ids");
    n = std::min<std::uint64_t>(n_common(*tokens), tokens->size() - 1);
  }
  if (session_->shape().has_recurrent() && n < n_saved) {
    KVAULT_TRY(n, session_->rollback(n));
    tokens_.resize(n);
    is_rolled_back_ = true;
  }
  if (session_->shape().n_sliding() > 0) return last_whole_window(n);
  return n;
}

/// The greatest position up to n_token before which no row of a window is missing.
Result<std::uint64_t> Chat::last_whole_window(std::uint64_t n_token) {
  const std::uint64_t window = session_->shape().layers[session_->shape().n_full()].window;
  KVAULT_TRY(const std::vector<StoredCell> cells, session_->read_cells(0, n_token));
  std::uint64_t run = 0;
  std::uint64_t whole = 0;
  for (std::uint64_t i = 0; i < n_token; ++i) {
    run = cells[i].has_window_rows ? run + 1 : 0;
    if (run >= std::min(window - 1, i + 1)) whole = i + 1;
  }
  if (whole == 0) return whole;
  // The session itself keeps windows only near its end.
  const std::uint64_t first = whole > window ? whole - window : 0;
  const std::uint32_t layer = session_->shape().n_full();
  std::vector<std::byte> rows((whole - first) * session_->shape().row_bytes(layer, KVAULT_KEY));
  const Result<> has_rows = session_->read(layer, KVAULT_KEY, first, whole - first, rows);
  if (has_rows) return whole;
  if (has_rows.error().code == Errc::not_found) return std::uint64_t{0};
  return tl::unexpected<Error>(has_rows.error());
}

/// What the context is like: from what the app says, from what the sequence holds, or by trying.
Result<TargetFormat> Chat::find_target(const Sequence& sequence) {
  const kvault_llama_sequence& given = sequence.given();
  const ChatShape& shape = session_->shape();
  TargetFormat target;
  target.seq_id = given.seq_id;
  if (!has_attention(shape.kind())) return target;
  KVAULT_TRY(const Blob blob, sequence.read());
  KVAULT_TRY(target.n_stream, read_n_stream(blob.bytes()));
  std::int32_t type_k = given.type_k;
  std::int32_t type_v = given.type_v;
  std::int32_t transposed = given.flash_attention < 0 ? -1 : given.flash_attention == 0 ? 1 : 0;
  if (sequence.last_position() >= 0) {
    const Result<State> state = parse_state(blob.bytes(), expected_state());
    if (state && !state->kv[0].keys.empty()) {
      type_k = state->kv[0].keys[0].type.number;
      type_v = state->kv[0].values[0].type.number;
      transposed = state->kv[0].is_transposed ? 1 : 0;
    }
  }
  if (type_k >= 0 && type_v >= 0 && transposed >= 0) {
    KVAULT_TRY(target.key.type, find_ggml_type(type_k));
    KVAULT_TRY(target.value.type, find_ggml_type(type_v));
    target.is_transposed = transposed == 1;
  } else {
    KVAULT_TRY(target, probe(sequence, target, {type_k, type_v, transposed}));
  }
  const Rotation runs = rotation(target.key.type, target.value.type, given.rotates);
  target.key.rotation = runs.key;
  target.value.rotation = runs.value;
  return target;
}

/// Tries states of one token until the context takes one.
Result<TargetFormat> Chat::probe(const Sequence& sequence, TargetFormat target,
                                 const KnownFormat& known) {
  const RowLayout& layout = session_->shape().layout;
  const std::array<std::int32_t, 6> numbers = {
      layout.key.type.number, kGgmlF16, kGgmlQ8_0, kGgmlQ4_0, kGgmlBf16, kGgmlF32};
  for (const bool is_mixed : {false, true}) {
    for (const std::int32_t k : numbers) {
      for (const std::int32_t v : numbers) {
        if (known.type_k >= 0 && k != known.type_k && k != numbers[0]) continue;
        const std::int32_t type_k = known.type_k >= 0 ? known.type_k : k;
        const std::int32_t type_v = known.type_v >= 0 ? known.type_v : v;
        if (is_mixed == (type_k == type_v)) continue;
        for (const bool is_transposed : {false, true}) {
          if (known.transposed >= 0 && is_transposed != (known.transposed == 1)) continue;
          KVAULT_TRY(target.key.type, find_ggml_type(type_k));
          KVAULT_TRY(target.value.type, find_ggml_type(type_v));
          target.is_transposed = is_transposed;
          if (is_transposed && target.value.type.is_quantised) continue;
          const Result<Blob> one = make_probe(*session_, target);
          if (!one && one.error().code != Errc::unsupported) {
            return tl::unexpected<Error>(one.error());
          }
          if (!one || !sequence.write(one->bytes())) continue;
          sequence.clear();
          return target;
        }
      }
    }
  }
  return fail(Errc::unsupported,
              "the context takes no state of known cache types; give type_k, type_v and "
              "flash_attention");
}

}  // namespace kvault::llama

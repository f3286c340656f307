#pragma once

/// kvault.h for C++20: owners that clean up, spans that carry their size, results that cannot be
/// ignored. Header-only, standard library only; what each call means is written in kvault.h.
///
///   auto cache = kvault::sdk::Cache::create({.layers = layers, .row_type = KVAULT_F32});
///   if (!cache.is_ok()) return report(cache.error().message);
///   auto done = cache->append(0, {.data = keys, .n_token = 7}, {.data = values, .n_token = 7});
///
/// Nothing here throws, but for std::bad_alloc while a list is copied out. One object is used by
/// one thread at a time. Before a span reaches the C interface its size is checked against the
/// shapes the cache was made with; a wrong one is KVAULT_SHAPE_MISMATCH, with the numbers.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "kvault/kvault.h"

namespace kvault::sdk {

/// The status and the sentence of a failure.
using Error = kvault_error;

/// An Error with a text of printf's making, cut where it is too long.
template <class... Numbers>
[[nodiscard]] Error make_error(kvault_status status, const char* format, Numbers... numbers) {
  Error error{};
  error.status = status;
  std::snprintf(error.message, sizeof error.message, format, numbers...);
  return error;
}

/// A value or an Error. There is no conversion to bool: ask is_ok(). Taking the value of a failure,
/// or the error of a success, is a defect of the caller and ends the program.
template <class T = void>
class [[nodiscard]] Outcome {
 public:
  using Value = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

  Outcome(Error error) : state_(std::in_place_index<1>, error) {}
  Outcome(Value value) : state_(std::in_place_index<0>, std::move(value)) {}
  Outcome() requires std::is_void_v<T> : state_(std::in_place_index<0>) {}

  bool is_ok() const noexcept { return state_.index() == 0; }
  /// KVAULT_OK or the error's status.
  kvault_status status() const noexcept { return is_ok() ? KVAULT_OK : error().status; }
  const Error& error() const noexcept {
    require(!is_ok(), "error() of a success");
    return *std::get_if<1>(&state_);
  }

  Value& value() & noexcept { return checked(state_); }
  const Value& value() const& noexcept { return checked(state_); }
  Value&& value() && noexcept { return std::move(checked(state_)); }
  Value* operator->() noexcept { return &checked(state_); }
  const Value* operator->() const noexcept { return &checked(state_); }

 private:
  static void require(bool condition, const char* what) noexcept {
    if (condition) return;
    std::fprintf(stderr, "kvault: %s\n", what);
    std::abort();
  }
  template <class State>
  static auto& checked(State& state) noexcept {
    if (const Error* error = std::get_if<1>(&state)) require(false, error->message);
    return *std::get_if<0>(&state);
  }

  std::variant<Value, Error> state_;
};

/// The name ("shape_mismatch") of a status, and of the library that runs its version.
inline std::string_view name_of(kvault_status status) { return kvault_status_name(status); }
inline std::string_view version() { return kvault_version_string(); }

/// The schemes of a preset's name: "k4v4", "raw", ...
struct Preset {
  kvault_scheme key = KVAULT_RAW;
  kvault_scheme value = KVAULT_RAW;
};
inline Outcome<Preset> find_preset(const char* name) {
  Preset preset;
  Error error{};
  if (kvault_preset(name, &preset.key, &preset.value, &error) != KVAULT_OK) return error;
  return preset;
}

/// Names of the devices this build can try, "cpu" first.
inline std::vector<std::string> device_names() {
  std::vector<std::string> names;
  for (std::uint32_t i = 0; const char* name = kvault_device_name(i); ++i) names.emplace_back(name);
  return names;
}

/// Bytes of one element; 0 for a type that is not one.
constexpr std::size_t size_bytes_of(kvault_row_type type) {
  if (type == KVAULT_F32) return 4;
  return type == KVAULT_F16 || type == KVAULT_BF16 ? 2 : 0;
}

/// Any array of trivially copyable elements, as the bytes it is made of.
class Bytes {
 public:
  Bytes() = default;
  template <class Array>
  requires std::is_trivially_copyable_v<
      std::remove_pointer_t<decltype(std::data(std::declval<const Array&>()))>>
  Bytes(const Array& array)
      : bytes_(std::as_bytes(std::span(std::data(array), std::size(array)))) {}
  const std::byte* data() const noexcept { return bytes_.data(); }
  std::size_t size() const noexcept { return bytes_.size(); }

 private:
  std::span<const std::byte> bytes_;
};

/// Rows of one side: [n_token][n_kv_head][head_dim] of the cache's row type. A stride of 0 means
/// dense. `data` may be a vector, array or span of any element type of that size.
struct Rows {
  Bytes data;
  std::uint32_t n_token = 0;
  std::int64_t token_stride_bytes = 0;
  std::int64_t head_stride_bytes = 0;
};

/// kvault_attend_options with spans.
struct AttendOptions {
  std::uint32_t n_q = 0;
  std::span<const float> q = {};  ///< [n_q][n_head][key_head_dim]
  std::span<float> out = {};      ///< [n_q][n_head][value_head_dim]
  std::span<float> lse = {};      ///< [n_q][n_head], or empty
  float softmax_scale = 0;        ///< 0 = 1/sqrt(key_head_dim)
  float logit_softcap = 0;        ///< 0 = none
  std::uint32_t window = 0;       ///< 0 = none
  bool causal = true;
  std::span<const std::uint8_t> mask = {};  ///< [n_q][mask_stride], nonzero = visible, or empty
  std::uint64_t mask_stride = 0;
  float sparse_threshold = 0;            ///< 0 = off
  std::uint32_t sparse_n_token_min = 0;  ///< of the context, for sparse_threshold to apply
};

/// kvault_cache_options with spans.
struct CacheOptions {
  std::span<const kvault_layer> layers = {};
  kvault_row_type row_type = KVAULT_F16;
  kvault_equalise equalise = KVAULT_EQUALISE_LEARN;
  kvault_raw_pages raw_pages = KVAULT_RAW_SINK_AND_TAIL;
  /// f16 [full-attention layer][n_kv_head][key_head_dim], for KVAULT_EQUALISE_GIVEN
  std::span<const std::uint16_t> equaliser = {};
  std::uint64_t n_token_max = 0;  ///< 0 = 2^24
  std::string device = "cpu";     ///< "cpu", "vulkan:0", ...: see kvault_device_name
  std::uint32_t n_thread = 0;     ///< of the cpu device; 0 = one per core
  bool centre_values = false;
  const kvault_vulkan_device* vulkan_device = nullptr;  ///< lent, instead: kvault_vulkan.h
  const kvault_cuda_device* cuda_device = nullptr;      ///< likewise: kvault_cuda.h
};

/// A stretch of rows to read back.
struct ReadOptions {
  kvault_side side = KVAULT_KEY;
  std::uint64_t first_token = 0;
  std::uint64_t n_token = 0;
  kvault_row_type type = KVAULT_F32;
};

/// One block to read.
struct BlockAddress {
  kvault_side side = KVAULT_KEY;
  std::uint64_t page = 0;
  std::uint32_t kv_head = 0;
};

/// A block as stored.
struct Block {
  std::uint8_t format = 0;
  std::uint32_t n_valid = 0;
  std::vector<std::byte> bytes;
};

/// What a cache's arrays are made of; kept beside the handle to check spans.
struct Shape {
  std::vector<kvault_layer> layers;
  kvault_row_type row_type = KVAULT_F16;
};

namespace detail {

/// A struct of the C interface: zeros, and its own size first.
template <class Struct>
Struct sized() {
  Struct value{};
  value.struct_size = sizeof value;
  return value;
}

/// kvault_cache_options that borrow from `options`; the equaliser's size is checked.
inline Outcome<kvault_cache_options> to_c(const CacheOptions& options) {
  std::size_t n_equaliser = 0;
  for (const kvault_layer& layer : options.layers) {
    if (layer.kind != KVAULT_FULL_ATTENTION) continue;
    n_equaliser += std::size_t{layer.n_kv_head} * layer.key_head_dim;
  }
  if (options.equalise == KVAULT_EQUALISE_GIVEN && options.equaliser.size() != n_equaliser) {
    return make_error(KVAULT_SHAPE_MISMATCH, "the equaliser has %zu entries, not %zu",
                      options.equaliser.size(), n_equaliser);
  }
  auto c = sized<kvault_cache_options>();
  c.n_layer = static_cast<std::uint32_t>(options.layers.size());
  c.layers = options.layers.data();
  c.row_type = options.row_type;
  c.equalise = options.equalise;
  c.raw_pages = options.raw_pages;
  c.equaliser = options.equaliser.empty() ? nullptr : options.equaliser.data();
  c.n_token_max = options.n_token_max;
  if (!options.vulkan_device && !options.cuda_device) c.device = options.device.c_str();
  c.n_thread = options.n_thread;
  c.centre_values = options.centre_values ? 1 : 0;
  c.vulkan_device = options.vulkan_device;
  c.cuda_device = options.cuda_device;
  return c;
}

inline std::shared_ptr<const Shape> shape_of(const CacheOptions& options) {
  return std::make_shared<const Shape>(
      Shape{{options.layers.begin(), options.layers.end()}, options.row_type});
}

inline Outcome<> check_size(const char* what, std::size_t size, std::size_t expected) {
  if (size == expected) return {};
  return make_error(KVAULT_SHAPE_MISMATCH, "%s has %zu entries, not %zu", what, size, expected);
}

/// Dense rows must fill their span exactly; strided ones are the caller's promise.
inline Outcome<kvault_rows> to_c(const Rows& rows, const Shape& shape, const kvault_layer& layer,
                                 kvault_side side) {
  if (rows.token_stride_bytes == 0 && rows.head_stride_bytes == 0) {
    const std::uint32_t head_dim = side == KVAULT_KEY ? layer.key_head_dim : layer.value_head_dim;
    const std::size_t expected =
        std::size_t{rows.n_token} * layer.n_kv_head * head_dim * size_bytes_of(shape.row_type);
    if (rows.data.size() != expected) {
      return make_error(KVAULT_SHAPE_MISMATCH, "%s of %u tokens have %zu bytes, not %zu",
                        side == KVAULT_KEY ? "keys" : "values", rows.n_token, rows.data.size(),
                        expected);
    }
  }
  return kvault_rows{rows.data.data(), rows.n_token, 0, rows.token_stride_bytes,
                     rows.head_stride_bytes};
}

inline Outcome<kvault_attend_options> to_c(const AttendOptions& options,
                                           const kvault_layer& layer) {
  const std::size_t n_row = std::size_t{options.n_q} * layer.n_head;
  if (auto q = check_size("q", options.q.size(), n_row * layer.key_head_dim); !q.is_ok()) {
    return q.error();
  }
  if (auto out = check_size("out", options.out.size(), n_row * layer.value_head_dim);
      !out.is_ok()) {
    return out.error();
  }
  if (auto lse = check_size("lse", options.lse.size(), options.lse.empty() ? 0 : n_row);
      !lse.is_ok()) {
    return lse.error();
  }
  const bool has_mask = !options.mask.empty();
  if (has_mask &&
      (options.mask_stride == 0 || options.mask.size() / options.mask_stride < options.n_q)) {
    return make_error(KVAULT_SHAPE_MISMATCH, "mask has %zu entries, not %u x %llu",
                      options.mask.size(), options.n_q,
                      static_cast<unsigned long long>(options.mask_stride));
  }
  auto c = sized<kvault_attend_options>();
  c.n_q = options.n_q;
  c.q = options.q.data();
  c.out = options.out.data();
  c.lse = options.lse.empty() ? nullptr : options.lse.data();
  c.softmax_scale = options.softmax_scale;
  c.logit_softcap = options.logit_softcap;
  c.window = options.window;
  c.not_causal = options.causal ? 0 : 1;
  c.mask = has_mask ? options.mask.data() : nullptr;
  c.mask_stride = options.mask_stride;
  c.sparse_threshold = options.sparse_threshold;
  c.sparse_n_token_min = options.sparse_n_token_min;
  return c;
}

}  // namespace detail

class Cache;

/// A borrowed cache: the calls, without the ownership. Copies are the same cache.
class CacheView {
 public:
  CacheView(kvault_cache* handle, std::shared_ptr<const Shape> shape)
      : handle_(handle), shape_(std::move(shape)) {}

  /// For the C interface; still owned where it was.
  kvault_cache* handle() const noexcept { return handle_; }
  const Shape& shape() const noexcept { return *shape_; }
  std::uint64_t n_token() const noexcept { return kvault_cache_n_token(handle_); }

  Outcome<> append(std::uint32_t layer, const Rows& keys, const Rows& values) {
    auto spec = layer_at(layer);
    if (!spec.is_ok()) return spec.error();
    auto k = detail::to_c(keys, *shape_, spec.value(), KVAULT_KEY);
    if (!k.is_ok()) return k.error();
    auto v = detail::to_c(values, *shape_, spec.value(), KVAULT_VALUE);
    if (!v.is_ok()) return v.error();
    Error error{};
    return done(kvault_cache_append(handle_, layer, &k.value(), &v.value(), &error), error);
  }

  /// Attends with the newest n_q tokens' queries.
  Outcome<> attend(std::uint32_t layer, const AttendOptions& options) {
    auto spec = layer_at(layer);
    if (!spec.is_ok()) return spec.error();
    auto c = detail::to_c(options, spec.value());
    if (!c.is_ok()) return c.error();
    Error error{};
    return done(kvault_cache_attend(handle_, layer, &c.value(), &error), error);
  }

  /// Appends n_q tokens and attends with their queries.
  Outcome<> append_attend(std::uint32_t layer, const Rows& keys, const Rows& values,
                          const AttendOptions& options) {
    auto spec = layer_at(layer);
    if (!spec.is_ok()) return spec.error();
    auto k = detail::to_c(keys, *shape_, spec.value(), KVAULT_KEY);
    if (!k.is_ok()) return k.error();
    auto v = detail::to_c(values, *shape_, spec.value(), KVAULT_VALUE);
    if (!v.is_ok()) return v.error();
    auto c = detail::to_c(options, spec.value());
    if (!c.is_ok()) return c.error();
    Error error{};
    return done(
        kvault_cache_append_attend(handle_, layer, &k.value(), &v.value(), &c.value(), &error),
        error);
  }

  /// The state of a recurrent layer after its first `position` tokens.
  Outcome<> set_state(std::uint32_t layer, std::uint64_t position,
                      std::span<const std::byte> state) {
    Error error{};
    return done(
        kvault_cache_set_state(handle_, layer, position, state.data(), state.size(), &error),
        error);
  }
  /// Borrowed until the next set_state, rollback or the end of the cache.
  Outcome<std::span<const std::byte>> state(std::uint32_t layer) const {
    const void* bytes = nullptr;
    std::size_t size_bytes = 0;
    Error error{};
    if (kvault_cache_state(handle_, layer, &bytes, &size_bytes, &error) != KVAULT_OK) return error;
    return std::span(static_cast<const std::byte*>(bytes), size_bytes);
  }

  Outcome<kvault_kept> rollback(std::uint64_t n_token) {
    kvault_kept kept{};
    Error error{};
    if (kvault_cache_rollback(handle_, n_token, &kept, &error) != KVAULT_OK) return error;
    return kept;
  }
  /// A second cache with the first n_token tokens; `out_kept` may be null.
  Outcome<Cache> fork(std::uint64_t n_token, kvault_kept* out_kept = nullptr) const;

  /// out: [n_token][n_kv_head][head_dim] of options.type.
  Outcome<> read_rows(std::uint32_t layer, const ReadOptions& options,
                      std::span<std::byte> out) const {
    Error error{};
    return done(
        kvault_cache_read_rows(handle_, layer, options.side, options.first_token, options.n_token,
                               options.type, out.data(), out.size(), &error),
        error);
  }

  Outcome<Block> read_block(std::uint32_t layer, const BlockAddress& at) const {
    kvault_block head{};
    Error error{};
    kvault_status status = kvault_cache_read_block(handle_, layer, at.side, at.page, at.kv_head,
                                                   &head, nullptr, 0, &error);
    if (status != KVAULT_OK) return error;
    Block block{0, 0, std::vector<std::byte>(head.size_bytes)};
    status = kvault_cache_read_block(handle_, layer, at.side, at.page, at.kv_head, &head,
                                     block.bytes.data(), block.bytes.size(), &error);
    if (status != KVAULT_OK) return error;
    block.format = static_cast<std::uint8_t>(head.format);
    block.n_valid = head.n_valid;
    return block;
  }

  Outcome<kvault_cache_stats> stats() const {
    auto stats = detail::sized<kvault_cache_stats>();
    Error error{};
    if (kvault_cache_get_stats(handle_, &stats, &error) != KVAULT_OK) return error;
    return stats;
  }

 private:
  static Outcome<> done(kvault_status status, const Error& error) {
    if (status == KVAULT_OK) return {};
    return error;
  }
  Outcome<kvault_layer> layer_at(std::uint32_t layer) const {
    if (layer < shape_->layers.size()) return shape_->layers[layer];
    return make_error(KVAULT_OUT_OF_RANGE, "layer %u of %zu", layer, shape_->layers.size());
  }

  kvault_cache* handle_;
  std::shared_ptr<const Shape> shape_;
};

/// Owns a cache of this process. Move-only.
class Cache {
 public:
  static Outcome<Cache> create(const CacheOptions& options) {
    auto c = detail::to_c(options);
    if (!c.is_ok()) return c.error();
    kvault_cache* handle = nullptr;
    Error error{};
    if (kvault_cache_create(&c.value(), &handle, &error) != KVAULT_OK) return error;
    return Cache(handle, detail::shape_of(options));
  }

  /// The calls. The view must not outlive this cache.
  CacheView* operator->() noexcept { return &view_; }
  const CacheView* operator->() const noexcept { return &view_; }
  CacheView& view() noexcept { return view_; }
  const CacheView& view() const noexcept { return view_; }

 private:
  friend class CacheView;
  struct Destroy {
    void operator()(kvault_cache* handle) const noexcept { kvault_cache_destroy(handle); }
  };

  Cache(kvault_cache* handle, std::shared_ptr<const Shape> shape)
      : handle_(handle), view_(handle, std::move(shape)) {}

  std::unique_ptr<kvault_cache, Destroy> handle_;
  CacheView view_;
};

inline Outcome<Cache> CacheView::fork(std::uint64_t n_token, kvault_kept* out_kept) const {
  kvault_cache* handle = nullptr;
  kvault_kept kept{};
  Error error{};
  if (kvault_cache_fork(handle_, n_token, &handle, &kept, &error) != KVAULT_OK) return error;
  if (out_kept != nullptr) *out_kept = kept;
  return Cache(handle, shape_);
}

/// kvault_client_options; empty strings mean the default.
struct ClientOptions {
  bool auto_start = true;
  std::string socket_path = {};
  std::string data_directory = {};
  std::string daemon_path = {};
  std::string app_name = {};
  std::uint32_t timeout_ms = 0;  ///< of one request; 0 = 30000
  std::string namespace_name = {};
  std::string namespace_token = {};  ///< new_token()
  std::uint32_t namespace_create = 0;
};

/// kvault_new_token
inline Outcome<std::string> new_token() {
  std::array<char, 65> token{};
  Error error{};
  if (kvault_new_token(token.data(), &error) != KVAULT_OK) return error;
  return std::string(token.data());
}

/// Called with (done_bytes, total_bytes) during long work; false cancels. Must not throw.
using Progress = std::function<bool(std::uint64_t, std::uint64_t)>;

namespace detail {
/// kvault_progress of a Progress.
inline int report(std::uint64_t done_bytes, std::uint64_t total_bytes, void* user) noexcept {
  return (*static_cast<Progress*>(user))(done_bytes, total_bytes) ? 1 : 0;
}
}  // namespace detail

/// Owns a connection to kvaultd. Move-only; must outlive its sessions.
class Client {
 public:
  static Outcome<Client> connect(const ClientOptions& options) {
    const auto text = [](const std::string& s) { return s.empty() ? nullptr : s.c_str(); };
    auto c = detail::sized<kvault_client_options>();
    c.no_auto_start = options.auto_start ? 0 : 1;
    c.socket_path = text(options.socket_path);
    c.data_directory = text(options.data_directory);
    c.daemon_path = text(options.daemon_path);
    c.app_name = text(options.app_name);
    c.timeout_ms = options.timeout_ms;
    c.namespace_create = options.namespace_create;
    c.namespace_name = text(options.namespace_name);
    c.namespace_token = text(options.namespace_token);
    kvault_client* handle = nullptr;
    Error error{};
    if (kvault_client_connect(&c, &handle, &error) != KVAULT_OK) return error;
    return Client(handle);
  }

  /// For the C interface; still owned here.
  kvault_client* handle() const noexcept { return handle_.get(); }

  Outcome<std::vector<kvault_session_info>> list() {
    struct Found {
      std::vector<kvault_session_info> sessions;
      bool is_complete = true;
    } found;
    const auto visit = [](const kvault_session_info* info, void* user) noexcept -> int {
      auto& target = *static_cast<Found*>(user);
      try {
        target.sessions.push_back(*info);
      } catch (...) {
        target.is_complete = false;
      }
      return target.is_complete ? 1 : 0;
    };
    Error error{};
    if (kvault_client_list(handle(), visit, &found, &error) != KVAULT_OK) return error;
    if (found.is_complete) return std::move(found.sessions);
    return make_error(KVAULT_OUT_OF_MEMORY, "no memory after %zu sessions", found.sessions.size());
  }

  /// Deletes a session by its name or id.
  Outcome<> remove(const std::string& name_or_id) {
    Error error{};
    if (kvault_client_delete(handle(), name_or_id.c_str(), &error) != KVAULT_OK) return error;
    return {};
  }
  /// The same, and destroys its key: encrypted namespaces only.
  Outcome<> destroy(const std::string& name_or_id) {
    Error error{};
    if (kvault_client_destroy(handle(), name_or_id.c_str(), &error) != KVAULT_OK) return error;
    return {};
  }
  bool is_encrypted() const noexcept { return kvault_client_is_encrypted(handle()) != 0; }
  Outcome<std::vector<kvault_namespace_info>> namespaces() {
    std::vector<kvault_namespace_info> infos;
    const auto add = [](const kvault_namespace_info* info, void* user) {
      static_cast<std::vector<kvault_namespace_info>*>(user)->push_back(*info);
      return 1;
    };
    Error error{};
    if (kvault_client_namespaces(handle(), add, &infos, &error) != KVAULT_OK) return error;
    return infos;
  }
  /// Removes the namespace this client is in, with all that is in it. The connection ends with it.
  Outcome<> remove_namespace() {
    Error error{};
    if (kvault_client_remove_namespace(handle(), &error) != KVAULT_OK) return error;
    return {};
  }
  /// Renames, labels, pins, lets expire; start from KVAULT_SESSION_UPDATE_INIT.
  Outcome<> update(const std::string& name_or_id, const kvault_session_update& update) {
    Error error{};
    if (kvault_client_update(handle(), name_or_id.c_str(), &update, &error) != KVAULT_OK) {
      return error;
    }
    return {};
  }

  /// A new session of the first n_token tokens of another, or fewer; shares its pages.
  Outcome<kvault_kept> fork(const std::string& name_or_id, const std::string& new_name,
                            std::uint64_t n_token = UINT64_MAX) {
    kvault_kept kept{};
    Error error{};
    if (kvault_client_fork(handle(), name_or_id.c_str(), n_token, new_name.c_str(), &kept,
                           &error) != KVAULT_OK) {
      return error;
    }
    return kept;
  }

  Outcome<kvault_daemon_stats> stats() {
    auto stats = detail::sized<kvault_daemon_stats>();
    Error error{};
    if (kvault_client_stats(handle(), &stats, &error) != KVAULT_OK) return error;
    return stats;
  }

  /// Reads and checks every stored byte of one session, or of all.
  Outcome<kvault_verify_report> verify(const std::optional<std::string>& name_or_id = {}) {
    kvault_verify_report report{};
    Error error{};
    const char* which = name_or_id ? name_or_id->c_str() : nullptr;
    if (kvault_client_verify(handle(), which, &report, &error) != KVAULT_OK) return error;
    return report;
  }

  /// verify(), and takes a damaged session back to the newest position before the damage.
  Outcome<kvault_verify_report> repair(const std::string& name_or_id) {
    kvault_verify_report report{};
    Error error{};
    if (kvault_client_repair(handle(), name_or_id.c_str(), &report, &error) != KVAULT_OK) {
      return error;
    }
    return report;
  }

  /// Ends the daemon once it has finished what is queued.
  Outcome<> shutdown() {
    Error error{};
    if (kvault_client_shutdown(handle(), &error) != KVAULT_OK) return error;
    return {};
  }

  /// Writes a session to a file that import_session() reads on any machine; replaces nothing.
  Outcome<> export_session(const std::string& name_or_id, const std::string& path,
                           Progress progress = {}) {
    Error error{};
    if (kvault_client_export(handle(), name_or_id.c_str(), path.c_str(),
                             progress ? &detail::report : nullptr, &progress,
                             &error) != KVAULT_OK) {
      return error;
    }
    return {};
  }

  /// Makes a session of such a file, under its own name or another one.
  Outcome<kvault_session_info> import_session(const std::string& path,
                                              const std::optional<std::string>& new_name = {},
                                              Progress progress = {}) {
    kvault_session_info info{};
    Error error{};
    if (kvault_client_import(handle(), path.c_str(), new_name ? new_name->c_str() : nullptr,
                             progress ? &detail::report : nullptr, &progress, &info,
                             &error) != KVAULT_OK) {
      return error;
    }
    return info;
  }

 private:
  struct Disconnect {
    void operator()(kvault_client* handle) const noexcept { kvault_client_disconnect(handle); }
  };
  explicit Client(kvault_client* handle) : handle_(handle) {}

  std::unique_ptr<kvault_client, Disconnect> handle_;
};

struct IdentityField {
  std::string name;
  std::string value;
};

namespace detail {
/// Borrows the texts.
inline std::vector<kvault_identity_field> to_c(std::span<const IdentityField> fields) {
  std::vector<kvault_identity_field> identity;
  for (const IdentityField& field : fields) {
    identity.push_back({field.name.c_str(), field.value.c_str()});
  }
  return identity;
}
}  // namespace detail

/// kvault_session_options with owners.
struct SessionOptions {
  std::string name = {};
  std::span<const IdentityField> identity = {};
  CacheOptions cache = {};
  Progress progress = {};
  bool create = false;  ///< create it where there is none
  bool copy = false;    ///< copy the pages into memory instead of mapping the packs
  bool stream = false;  ///< load layers one by one, each when it is asked for or first used
  std::uint32_t deadline_ms = 0;  ///< for the last layer to be loaded, from open() on; 0 = none
};

/// The stored session of this model that begins most like these tokens; `options.name` is not used.
inline Outcome<kvault_match> match(Client& client, const SessionOptions& options,
                                   std::span<const std::uint32_t> token_ids) {
  auto cache = detail::to_c(options.cache);
  if (!cache.is_ok()) return cache.error();
  const std::vector<kvault_identity_field> identity = detail::to_c(options.identity);
  auto c = detail::sized<kvault_session_options>();
  c.n_identity = static_cast<std::uint32_t>(identity.size());
  c.identity = identity.data();
  c.cache = &cache.value();
  kvault_match match{};
  Error error{};
  if (kvault_client_match(client.handle(), &c, token_ids.data(), token_ids.size(), &match,
                          &error) != KVAULT_OK) {
    return error;
  }
  return match;
}

/// Owns an open session, which is a cache with a home on disk. Move-only; closing does not save.
class Session {
 public:
  static Outcome<Session> open(Client& client, const SessionOptions& options) {
    auto cache = detail::to_c(options.cache);
    if (!cache.is_ok()) return cache.error();
    const std::vector<kvault_identity_field> identity = detail::to_c(options.identity);
    std::unique_ptr<Progress> progress;
    if (options.progress) progress = std::make_unique<Progress>(options.progress);

    auto c = detail::sized<kvault_session_options>();
    c.n_identity = static_cast<std::uint32_t>(identity.size());
    c.name = options.name.c_str();
    c.identity = identity.data();
    c.cache = &cache.value();
    c.progress = progress ? &detail::report : nullptr;
    c.progress_user = progress.get();
    c.create = options.create ? 1 : 0;
    c.copy = options.copy ? 1 : 0;
    c.stream = options.stream ? 1 : 0;
    c.deadline_ms = options.deadline_ms;
    kvault_session* handle = nullptr;
    Error error{};
    if (kvault_session_open(client.handle(), &c, &handle, &error) != KVAULT_OK) return error;
    return Session(handle, std::move(progress), detail::shape_of(options.cache));
  }

  /// For the C interface; still owned here.
  kvault_session* handle() const noexcept { return handle_.get(); }

  /// Loads one layer of a streamed session, where it is not loaded.
  Outcome<> load_layer(std::uint32_t layer) {
    Error error{};
    if (kvault_session_load_layer(handle(), layer, &error) != KVAULT_OK) return error;
    return {};
  }
  /// Loads all layers that are not loaded.
  Outcome<> load_all() {
    Error error{};
    if (kvault_session_load_all(handle(), &error) != KVAULT_OK) return error;
    return {};
  }

  /// The session's cache; must not outlive the session.
  CacheView cache() const { return {kvault_session_cache(handle()), shape_}; }

  Outcome<kvault_session_info> info() const {
    kvault_session_info info{};
    Error error{};
    if (kvault_session_get_info(handle(), &info, &error) != KVAULT_OK) return error;
    return info;
  }

  /// Saves what was appended; returns once it is durable. The ids of the tokens since the last
  /// save.
  Outcome<kvault_save_info> save(std::span<const std::uint32_t> token_ids) {
    kvault_save_info info{};
    Error error{};
    if (kvault_session_save(handle(), token_ids.data(), token_ids.size(), &info, &error) !=
        KVAULT_OK) {
      return error;
    }
    return info;
  }

  /// The ids of the saved tokens; borrowed until the next call on the session.
  Outcome<std::span<const std::uint32_t>> tokens() const {
    const std::uint32_t* ids = nullptr;
    std::uint64_t n_token = 0;
    Error error{};
    if (kvault_session_tokens(handle(), &ids, &n_token, &error) != KVAULT_OK) return error;
    return std::span(ids, static_cast<std::size_t>(n_token));
  }

  Outcome<kvault_kept> rollback(std::uint64_t n_token) {
    kvault_kept kept{};
    Error error{};
    if (kvault_session_rollback(handle(), n_token, &kept, &error) != KVAULT_OK) return error;
    return kept;
  }

 private:
  struct Close {
    void operator()(kvault_session* handle) const noexcept { kvault_session_close(handle); }
  };
  Session(kvault_session* handle, std::unique_ptr<Progress> progress,
          std::shared_ptr<const Shape> shape)
      : progress_(std::move(progress)), shape_(std::move(shape)), handle_(handle) {}

  std::unique_ptr<Progress> progress_;  ///< outlives the handle, which calls it
  std::shared_ptr<const Shape> shape_;
  std::unique_ptr<kvault_session, Close> handle_;
};

}  // namespace kvault::sdk

#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/base/result.hpp"
#include "core/base/units.hpp"
#include "core/cache/cache_options.hpp"
#include "core/cache/layer_cache.hpp"
#include "core/cache/layer_source.hpp"
#include "core/cache/recurrent_state.hpp"
#include "core/cache/rows.hpp"
#include "core/device/device.hpp"

namespace kvault {

/// Where a rollback or fork landed. `exact`: a replay from here gives the bits of a fresh run; not
/// exact: the page before is no longer raw, so the first 128 replayed queries see it coded.
struct Kept {
  Tokens n_token;
  bool exact = true;
};

/// How much a cache holds.
struct CacheStats {
  std::uint64_t n_token = 0;
  std::uint64_t n_sealed_page = 0;
  std::uint64_t n_element = 0;
  std::uint64_t stored_size_bytes = 0;
  double bits_per_element() const {
    return n_element == 0 ? 0 : 8.0 * double(stored_size_bytes) / double(n_element);
  }
};

/// The memory of one chat: every layer of a model on one device. This is the safe layer: it checks
/// every argument and answers with an Error that names the numbers; devices below only assert.
/// One thread at a time. The device is borrowed and outlives the cache.
class Cache {
 public:
  static Result<Cache> create(Device& device, CacheOptions options);
  /// A cache to be restored: layers take their memory when set_source() says how they are loaded.
  static Result<Cache> create_empty(Device& device, CacheOptions options);

  const CacheOptions& options() const { return options_; }
  Device& device() const { return *device_; }
  std::uint32_t n_layer() const { return static_cast<std::uint32_t>(options_.shape.layers.size()); }
  /// Tokens that every layer holds.
  Tokens n_token() const;
  /// Whether all layers stand at n_token(): between steps of the model, not within one.
  bool is_level() const;
  /// Pages [0, n) are sealed in every layer; rows from page n on are raw.
  std::uint64_t n_sealed_page() const;

  Result<> append(LayerIndex layer, const RowsView& keys, const RowsView& values);
  Result<> attend(LayerIndex layer, const AttendRequest& request);
  Result<> append_attend(LayerIndex layer, const RowsView& keys, const RowsView& values,
                         const AttendRequest& request);

  Result<> set_state(LayerIndex layer, Tokens position, std::span<const std::byte> bytes);
  /// Empty where none is set.
  Result<std::span<const std::byte>> state(LayerIndex layer);
  /// Keeps the recurrent states of now as a position to come back to; the newest four stay.
  void keep_states();

  /// Back to 0 loads no layer: what is not loaded by then is not needed any more.
  Result<Kept> rollback(Tokens n_token);
  Result<Cache> fork(Tokens n_token, Kept* kept);

  /// Raw rows verbatim where their type is asked for; sealed ones reconstructed.
  Result<> read_rows(LayerIndex layer, const RowsRead& read);
  /// Rows [first, first + n) as floats [n, n_kv_head, head_dim].
  Result<> read_rows(LayerIndex layer, Side side, Tokens first, Tokens n, std::span<float> target) {
    return read_rows(layer, {side, first.raw, n.raw, RowType::f32, std::as_writable_bytes(target)});
  }
  Result<BlockFormat> read_block(LayerIndex layer, PageIndex page, Side side, std::uint32_t kv_head,
                                 std::vector<std::byte>& bytes);
  /// Elements and bytes are those of the layers that are loaded.
  CacheStats stats() const;

  /// Takes layers from `source` from now on. Their positions are set already, so that n_token()
  /// counts them; every call above loads the layers it uses. pre: made by create_empty()
  Result<> set_source(std::unique_ptr<LayerSource> source);
  bool is_loaded(LayerIndex layer) const;
  /// Loads a layer where it is not. Errc::out_of_range, and what the source answers.
  Result<> load_layer(LayerIndex layer);
  /// Loads what is not loaded, in order, and waits until it is on the device.
  Result<> load_all();

  /// For saving and restoring: the parts as they are, loaded or not. pre: the layer has attention
  const LayerCache& layer(LayerIndex layer) const;
  LayerCache& layer(LayerIndex layer);
  const RecurrentState& recurrent(LayerIndex layer) const;
  RecurrentState& recurrent(LayerIndex layer);

 private:
  Cache(Device& device, CacheOptions options) : device_(&device), options_(std::move(options)) {}

  Result<> check_layer(LayerIndex layer, bool wants_attention) const;
  Result<> check_append(LayerIndex layer, const RowsView& keys, const RowsView& values) const;
  Result<> check_rows(LayerIndex layer, Side side, const RowsView& rows) const;
  Result<> check_request(LayerIndex layer, const AttendRequest& request,
                         std::uint64_t n_token_then) const;
  Kept resumable_at(std::uint64_t n_token) const;
  void truncate(std::uint64_t n_token);
  Result<> allocate(std::uint32_t layer);
  Result<> fetch(LayerIndex layer);
  void forget_idle_source();
  std::uint64_t position_of(std::uint32_t layer) const;

  Device* device_;
  CacheOptions options_;
  std::vector<std::unique_ptr<LayerCache>> attention_;  ///< [layer], null for other kinds
  std::vector<RecurrentState> recurrent_;               ///< [layer], empty for other kinds
  std::unique_ptr<LayerSource> source_;                 ///< null once every layer is loaded
};

}  // namespace kvault

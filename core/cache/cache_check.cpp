#include <algorithm>
#include <cmath>

#include "core/cache/cache.hpp"
#include "core/layout/block_layout.hpp"

// What Cache refuses, and how it says so.

namespace kvault {
namespace {

constexpr std::uint32_t kCallTokensMax = 1U << 20U;

}  // namespace

Result<> Cache::check_layer(LayerIndex layer, bool wants_attention) const {
  if (layer.raw >= n_layer()) {
    return fail(Errc::out_of_range, message("layer ", layer.raw, " of ", n_layer()));
  }
  const LayerSpec& spec = options_.shape.layers[layer.raw];
  if (wants_attention && !spec.has_attention()) {
    return fail(Errc::invalid_argument, message("layer ", layer.raw, " has no keys and values"));
  }
  if (!wants_attention && spec.kind != LayerKind::recurrent) {
    return fail(Errc::invalid_argument, message("layer ", layer.raw, " is not recurrent"));
  }
  return {};
}

Result<> Cache::check_rows(LayerIndex layer, Side side, const RowsView& rows) const {
  const LayerSpec& spec = options_.shape.layers[layer.raw];
  const char* const name = side == Side::key ? "keys" : "values";
  const std::uint32_t dim = side == Side::key ? spec.key_head_dim : spec.value_head_dim;
  if (rows.data == nullptr && rows.n_token > 0) {
    return fail(Errc::invalid_argument, message("layer ", layer.raw, ": no ", name));
  }
  if (rows.type != options_.shape.row_type) {
    return fail(Errc::type_mismatch,
                message("layer ", layer.raw, ": ", name, " are ", name_of(rows.type),
                        ", the cache keeps ", name_of(options_.shape.row_type)));
  }
  if (rows.n_head != spec.n_kv_head || rows.head_dim != dim) {
    return fail(Errc::shape_mismatch,
                message("layer ", layer.raw, ": ", name, " are [", rows.n_token, ", ", rows.n_head,
                        ", ", rows.head_dim, "], not [n_token, ", spec.n_kv_head, ", ", dim, "]"));
  }
  return check_finite(*device_, rows, side);
}

Result<> Cache::check_append(LayerIndex layer, const RowsView& keys, const RowsView& values) const {
  KVAULT_CHECK(check_layer(layer, true));
  if (keys.n_token != values.n_token) {
    return fail(Errc::shape_mismatch, message("layer ", layer.raw, ": ", keys.n_token, " keys but ",
                                              values.n_token, " values"));
  }
  if (keys.n_token > kCallTokensMax) {
    return fail(Errc::limit_exceeded, message("layer ", layer.raw, ": ", keys.n_token,
                                              " tokens in one call, at most ", kCallTokensMax));
  }
  const std::uint64_t n_token = attention_[layer.raw]->n_token();
  if (keys.n_token > options_.n_token_max - std::min(n_token, options_.n_token_max)) {
    return fail(Errc::limit_exceeded,
                message("layer ", layer.raw, ": ", n_token, " + ", keys.n_token,
                        " tokens exceed the limit of ", options_.n_token_max));
  }
  KVAULT_CHECK(check_rows(layer, Side::key, keys));
  return check_rows(layer, Side::value, values);
}

Result<> Cache::check_request(LayerIndex layer, const AttendRequest& request,
                              std::uint64_t n_token_then) const {
  const LayerSpec& spec = options_.shape.layers[layer.raw];
  const std::size_t n_row = std::size_t{request.n_q} * spec.n_head;
  for (const std::uint32_t dim : {spec.key_head_dim, spec.value_head_dim}) {
    if (is_supported_head_dim(dim)) continue;
    return fail(Errc::unsupported, message("layer ", layer.raw, ": heads of ", dim,
                                           " channels are kept, but not attended"));
  }
  if (request.n_q > kCallTokensMax) {
    return fail(Errc::limit_exceeded, message("layer ", layer.raw, ": ", request.n_q,
                                              " queries, at most ", kCallTokensMax));
  }
  if (request.q.size() != n_row * spec.key_head_dim ||
      request.out.size() != n_row * spec.value_head_dim) {
    return fail(Errc::shape_mismatch,
                message("layer ", layer.raw, ": q has ", request.q.size(), " elements and out ",
                        request.out.size(), ", not ", n_row * spec.key_head_dim, " and ",
                        n_row * spec.value_head_dim));
  }
  if (!request.lse.empty() && request.lse.size() != n_row) {
    return fail(Errc::shape_mismatch, message("layer ", layer.raw, ": lse has ", request.lse.size(),
                                              " elements, not ", n_row));
  }
  if (!(request.softmax_scale >= 0) || !std::isfinite(request.softmax_scale) ||
      !(request.logit_softcap >= 0) || !std::isfinite(request.logit_softcap)) {
    return fail(
        Errc::invalid_argument,
        message("layer ", layer.raw, ": softmax_scale ", request.softmax_scale,
                " and logit_softcap ", request.logit_softcap, " must be finite and not negative"));
  }
  const float threshold = request.sparse_values.threshold;
  if (!(threshold >= 0 && threshold < 1)) {
    return fail(Errc::invalid_argument, message("layer ", layer.raw, ": the sparse threshold ",
                                                threshold, " is not in [0, 1)"));
  }
  if (!request.mask.empty() &&
      (request.mask_stride < n_token_then ||
       request.mask.size() < std::size_t{request.n_q} * request.mask_stride)) {
    return fail(
        Errc::shape_mismatch,
        message("layer ", layer.raw, ": the mask has ", request.mask.size(), " bytes in rows of ",
                request.mask_stride, ", but ", request.n_q, " x ", n_token_then, " are needed"));
  }
  // An engine's own memory is not read back for this.
  if (request.on_device) return {};
  const auto bad = std::find_if(request.q.begin(), request.q.end(),
                                [](float value) { return !std::isfinite(value); });
  if (bad != request.q.end()) {
    const auto index = static_cast<std::uint64_t>(bad - request.q.begin());
    return fail(Errc::not_finite,
                message("layer ", layer.raw, ": query ", index / (spec.n_head * spec.key_head_dim),
                        ", head ", index / spec.key_head_dim % spec.n_head, ", channel ",
                        index % spec.key_head_dim, " is NaN or infinite"));
  }
  return {};
}

}  // namespace kvault

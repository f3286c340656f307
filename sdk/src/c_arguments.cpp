#include "sdk/src/c_arguments.hpp"

#include "sdk/src/c_boundary.hpp"

namespace kvault::c {

Result<RowsView> to_rows(const kvault_cache& cache, const LayerSpec& spec, Side side,
                         const kvault_rows* rows) {
  KVAULT_CHECK(require(rows, side == Side::key ? "keys" : "values"));
  const std::uint32_t dim = side == Side::key ? spec.key_head_dim : spec.value_head_dim;
  RowsView view =
      RowsView::dense(static_cast<const std::byte*>(rows->data),
                      cache.cache.options().shape.row_type, rows->n_token, spec.n_kv_head, dim);
  if (rows->token_stride_bytes != 0) view.token_stride_bytes = rows->token_stride_bytes;
  if (rows->head_stride_bytes != 0) view.head_stride_bytes = rows->head_stride_bytes;
  return view;
}

Result<AttendRequest> to_request(const LayerSpec& spec, const kvault_attend_options* given) {
  KVAULT_TRY(const kvault_attend_options options, read_options(given));
  if (options.n_q > 0) {
    KVAULT_CHECK(require(options.q, "q"));
    KVAULT_CHECK(require(options.out, "out"));
  }
  const std::size_t n_row = std::size_t{options.n_q} * spec.n_head;
  AttendRequest request;
  request.n_q = options.n_q;
  request.q = {options.q, n_row * spec.key_head_dim};
  request.out = {options.out, n_row * spec.value_head_dim};
  if (options.lse != nullptr) request.lse = {options.lse, n_row};
  request.softmax_scale = options.softmax_scale;
  request.logit_softcap = options.logit_softcap;
  request.sparse_values = {options.sparse_threshold, options.sparse_n_token_min};
  request.window = options.window;
  request.causal = options.not_causal == 0;
  if (options.mask != nullptr) {
    if (options.mask_stride > (std::uint64_t{1} << 32U)) {
      return fail(Errc::limit_exceeded, message("mask_stride ", options.mask_stride));
    }
    request.mask = {options.mask, options.n_q * options.mask_stride};
    request.mask_stride = options.mask_stride;
  }
  return request;
}

}  // namespace kvault::c

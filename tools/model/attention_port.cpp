#include "tools/model/attention_port.hpp"

#include <cstring>

#include "core/base/assert.hpp"
#include "core/base/half.hpp"
#include "tools/model/sdk_result.hpp"

namespace kvault::tools {
namespace {

/// Rows of float as bytes of another element type.
void convert(std::span<const float> rows, kvault_row_type type, std::vector<std::byte>& out) {
  out.resize(rows.size() * sdk::size_bytes_of(type));
  if (rows.empty()) return;
  if (type == KVAULT_F32) {
    std::memcpy(out.data(), rows.data(), out.size());
    return;
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::uint16_t bits =
        type == KVAULT_F16 ? to_half(rows[i]).bits : to_bfloat16(rows[i]).bits;
    std::memcpy(out.data() + 2 * i, &bits, 2);
  }
}

}  // namespace

CacheAttention::CacheAttention(sdk::CacheView cache)
    : cache_(std::move(cache)), records_(cache_.shape().layers.size()) {}

Result<> CacheAttention::append_attend(std::uint32_t layer, const AttentionStep& step) {
  KVAULT_ASSERT(layer < records_.size() && step.n_token > 0);
  const kvault_row_type type = cache_.shape().row_type;
  convert(step.keys, type, keys_);
  convert(step.values, type, values_);
  const sdk::Rows keys{.data = keys_, .n_token = step.n_token};
  const sdk::Rows values{.data = values_, .n_token = step.n_token};
  const sdk::AttendOptions options{.n_q = step.n_token, .q = step.q, .out = step.out};
  KVAULT_CHECK(from_sdk(cache_.append_attend(layer, keys, values, options), "attention"));
  AttentionRecord& record = records_[layer];
  record.n_q = step.n_token;
  record.q.assign(step.q.begin(), step.q.end());
  record.out.assign(step.out.begin(), step.out.end());
  return {};
}

}  // namespace kvault::tools

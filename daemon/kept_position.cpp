#include "daemon/kept_position.hpp"

#include <algorithm>

namespace kvault {
namespace {

/// The first token of the rows that reach without a hole to the end.
std::uint64_t first_raw_token(const CommitMeta& meta) {
  std::uint64_t first = meta.n_token;
  for (auto record = meta.records.rbegin(); record != meta.records.rend(); ++record) {
    if (record->kind != RecordKind::tail) continue;
    if (record->first_token + record->n_token != first) break;
    first = record->first_token;
  }
  return first;
}

/// Where full attention can go on at or below n_token.
KeptPosition attention_position(const CommitMeta& meta, std::uint64_t n_token) {
  if (n_token == meta.n_token) return {n_token, meta.n_page, true};
  const std::uint64_t first_raw = first_raw_token(meta);
  const std::uint64_t page = n_token / kPageTokens;
  const auto is_raw = [&](std::uint64_t p) { return p * kPageTokens >= first_raw; };
  const std::uint64_t n_first =
      std::min<std::uint64_t>(meta.n_page, std::min<std::uint64_t>(1, page));
  if (is_raw(page) && (page == 0 || is_raw(page - 1) || (page == 1 && n_first == 1))) {
    const std::uint64_t n_sealed = page > 0 ? page - 1 : 0;
    return {n_token, std::min(meta.n_page, std::max(n_sealed, n_first)), true};
  }
  const std::uint64_t n_page = std::min(page, meta.n_page);
  return {n_page * kPageTokens, n_page, n_page <= 1};
}

/// The newest snapshot at or below n_token; 0 where there is none.
std::uint64_t snapshot_position(const CommitMeta& meta, std::uint64_t n_token) {
  std::uint64_t position = 0;
  for (const LiveRecord& record : meta.records) {
    if (record.kind != RecordKind::snapshot || record.first_token > n_token) continue;
    position = std::max(position, record.first_token);
  }
  return position;
}

bool has_layer(const CommitMeta& meta, LayerKind kind) {
  const auto& layers = meta.description.shape.layers;
  return std::any_of(layers.begin(), layers.end(),
                     [kind](const LayerSpec& layer) { return layer.kind == kind; });
}

/// Whether every window that ends at n_token has its rows.
Result<bool> has_windows(const CommitMeta& meta, std::uint64_t n_token,
                         const HasWindowRows& has_window_rows) {
  std::uint64_t window = 0;
  for (const LayerSpec& layer : meta.description.shape.layers) {
    if (layer.kind == LayerKind::sliding_window)
      window = std::max<std::uint64_t>(window, layer.window);
  }
  const std::uint64_t first = n_token + 1 > window ? n_token + 1 - window : 0;
  const std::uint64_t first_raw = first_raw_token(meta);
  for (std::uint64_t page = first / kPageTokens; page * kPageTokens < n_token; ++page) {
    if (page * kPageTokens >= first_raw) return true;
    if (page >= meta.n_page) return false;
    KVAULT_TRY(const bool has_rows, has_window_rows(page));
    if (!has_rows) return false;
  }
  return true;
}

}  // namespace

Result<KeptPosition> kept_position(const CommitMeta& meta, std::uint64_t n_token,
                                   const HasWindowRows& has_window_rows) {
  const bool is_recurrent = has_layer(meta, LayerKind::recurrent);
  const bool slides = has_layer(meta, LayerKind::sliding_window);
  std::uint64_t position = n_token;
  while (position > 0) {
    const KeptPosition kept = attention_position(meta, position);
    const std::uint64_t reached =
        is_recurrent ? snapshot_position(meta, kept.n_token) : kept.n_token;
    if (reached < kept.n_token) {
      position = reached;
      continue;
    }
    if (!slides) return kept;
    KVAULT_TRY(const bool is_whole, has_windows(meta, kept.n_token, has_window_rows));
    if (is_whole) return kept;
    position = kept.n_token == 0 ? 0 : (kept.n_token - 1) / kPageTokens * kPageTokens;
  }
  return KeptPosition{};
}

}  // namespace kvault

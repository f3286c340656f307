#include "tools/bench/daemon/save_bench.hpp"

#include <memory>
#include <span>
#include <utility>

#include "core/os/file.hpp"
#include "sdk/src/session.hpp"
#include "tools/bench/daemon/stopwatch.hpp"
#include "tools/bench/daemon/synthetic_session.hpp"
#include "tools/bench/random_block.hpp"

namespace kvault::tools {
namespace {

/// 64 tokens of 32 layers with 8 kv heads of 128 in K and V, f16: 8.4 MB.
constexpr std::uint32_t kTurnTokens = 64;

/// Rows of one turn, the same for every layer. Keys and values differ, as packing finds what does
/// not.
class Turn {
 public:
  explicit Turn(const LayerSpec& layer) : layer_(layer) {
    RandomBlocks blocks(layer.key_head_dim);
    for (std::vector<Half>* rows : {&keys_, &values_}) {
      rows->resize(std::size_t{kTurnTokens} * layer.n_kv_head * layer.key_head_dim);
      for (Half& entry : *rows) entry = blocks.normal();
    }
  }

  Result<> append_to(Cache& cache) const {
    const auto view = [this](const std::vector<Half>& rows) {
      return RowsView::dense(reinterpret_cast<const std::byte*>(rows.data()), RowType::f16,
                             kTurnTokens, layer_.n_kv_head, layer_.key_head_dim);
    };
    for (std::uint32_t layer = 0; layer < cache.n_layer(); ++layer) {
      KVAULT_CHECK(cache.append(LayerIndex(layer), view(keys_), view(values_)));
    }
    return {};
  }

 private:
  LayerSpec layer_;
  std::vector<Half> keys_;
  std::vector<Half> values_;
};

/// As many bytes, synced, then a last block as a commit has one, synced. The file stays, as a pack
/// does: the next one gets no memory of the system's that has just been in use.
Result<double> write_plainly(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  constexpr std::size_t kLastBytes = 4096;
  const Stopwatch watch;
  KVAULT_TRY(File file, File::create(path));
  KVAULT_CHECK(file.pwrite_all(0, bytes));
  KVAULT_CHECK(file.sync());
  KVAULT_CHECK(file.pwrite_all(bytes.size(), bytes.first(kLastBytes)));
  KVAULT_CHECK(file.sync());
  return watch.ms();
}

}  // namespace

Result<std::vector<Figure>> measure_saves(const SaveBench& bench) {
  SessionOptions options;
  options.description = describe_synthetic(bench.session);
  options.cache = synthetic_cache_options();
  KVAULT_TRY(const std::unique_ptr<StoredCache> stored,
             StoredCache::open(bench.client, bench.device, std::move(options)));
  const Turn turn(stored->cache().options().shape.layers[0]);
  const std::vector<std::uint32_t> ids(kTurnTokens, 1);
  Figure size = {"turn_MB", "a turn, as written", {}};
  Figure saved = {"save_ms", "save of a turn", {}};
  Figure plain = {"plain_write_ms", "plain write, two syncs", {}};
  Figure ratio = {"save_x", "save over plain write", {}, 0.5, Target{1.5}};
  for (std::uint32_t i = 0; i < bench.n_repetition; ++i) {
    KVAULT_CHECK(turn.append_to(stored->cache()));
    const Stopwatch watch;
    KVAULT_TRY(const SaveInfo info, stored->save(ids));
    const double save_ms = watch.ms();
    const std::vector<std::byte> bytes(info.written_bytes, std::byte{0x5A});
    KVAULT_TRY(const double plain_ms, write_plainly(bench.folder / message("plain-", i), bytes));
    size.samples.push_back(static_cast<double>(info.written_bytes) * 1e-6);
    saved.samples.push_back(save_ms);
    plain.samples.push_back(plain_ms);
    ratio.samples.push_back(save_ms / plain_ms);
  }
  return std::vector<Figure>{std::move(size), std::move(saved), std::move(plain), std::move(ratio)};
}

}  // namespace kvault::tools

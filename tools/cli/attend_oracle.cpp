#include "tools/cli/attend_oracle.hpp"

#include <algorithm>
#include <atomic>
#include <limits>
#include <mutex>
#include <thread>

#include "tools/cli/progress_bar.hpp"
#include "tools/model/sdk_result.hpp"

namespace kvault::tools {
namespace {

constexpr std::uint64_t kPage = oracle::kPageTokens;

/// Consecutive queries that see the same state: pages [sealed_begin, sealed_end) sealed, the
/// others raw, keys from n_token on not there.
struct QueryRun {
  std::uint32_t first_q = 0;
  std::uint32_t n_q = 0;
  std::uint64_t n_token = 0;
  std::uint64_t sealed_begin = 0;
  std::uint64_t sealed_end = 0;
};

/// One side of one kv head.
struct SideBlocks {
  std::vector<std::vector<std::byte>> raw;  ///< [n_page]
  std::vector<sdk::Block> sealed;           ///< [n_page], empty where not sealed
};

struct HeadBlocks {
  SideBlocks keys;
  SideBlocks values;
};

/// "State is a function of position", written once more: docs/format.md knows blocks, not which
/// page is sealed when.
std::vector<QueryRun> split_queries(const AttendJob& job) {
  std::vector<QueryRun> runs;
  const std::uint64_t n_full = job.n_valid / kPage;
  const bool by_position = job.causal && job.raw_pages == KVAULT_RAW_SINK_AND_TAIL;
  for (std::uint32_t query = 0; query < job.n_q;) {
    const std::int64_t position = job.first_q_position() + std::int64_t{query};
    QueryRun run{query, 1, job.n_valid, 0, n_full};
    std::int64_t end = job.first_q_position() + std::int64_t{job.n_q};
    if (by_position && position >= 0) {
      const std::uint64_t page = static_cast<std::uint64_t>(position) / kPage;
      run.n_token = std::min(job.n_valid, (page + 1) * kPage);
      run.sealed_begin = 1;
      run.sealed_end = page > 1 ? page - 1 : 1;
      end = static_cast<std::int64_t>(run.n_token);
    } else if (by_position) {
      run.n_token = run.sealed_end = 0;
      end = 0;
    } else {
      if (job.raw_pages == KVAULT_RAW_SINK_AND_TAIL) {
        run.sealed_begin = 1;
        run.sealed_end = n_full > 1 ? n_full - 1 : 1;
      }
      end = std::min(end, position + static_cast<std::int64_t>(kPage));  // a share for each thread
    }
    run.n_q = std::min(static_cast<std::uint32_t>(end - position), job.n_q - query);
    runs.push_back(run);
    query += run.n_q;
  }
  return runs;
}

/// Page `page` of a head's rows as a raw block; rows that do not exist are zero.
std::vector<std::byte> make_raw_block(const AttendJob& job, const NpyArray& array,
                                      std::uint32_t kv_head, std::uint64_t page) {
  const std::uint64_t row_bytes = array.shape[2] * size_bytes_of(array.type);
  std::vector<std::byte> block((kPage * row_bytes + 127) / 128 * 128);
  const std::uint64_t first = page * kPage;
  const std::uint64_t n_row = std::min(kPage, job.n_valid - first);
  const auto rows = std::span(array.bytes)
                        .subspan((kv_head * job.n_token + first) * row_bytes, n_row * row_bytes);
  std::copy(rows.begin(), rows.end(), block.begin());
  return block;
}

/// Reads what one head needs; sealed pages are the union of what all runs see sealed.
Result<SideBlocks> read_side(const AttendJob& job, const sdk::CacheView& cache, kvault_side side,
                             std::uint32_t kv_head, const std::vector<QueryRun>& runs) {
  const NpyArray& array = side == KVAULT_KEY ? job.keys.array : job.values.array;
  const std::uint64_t n_page = (job.n_valid + kPage - 1) / kPage;
  SideBlocks blocks;
  blocks.sealed.resize(n_page);
  for (std::uint64_t page = 0; page < n_page; ++page) {
    blocks.raw.push_back(make_raw_block(job, array, kv_head, page));
    const bool is_needed = std::any_of(runs.begin(), runs.end(), [page](const QueryRun& run) {
      return page >= run.sealed_begin && page < run.sealed_end;
    });
    if (!is_needed) continue;
    KVAULT_TRY(blocks.sealed[page],
               from_sdk(cache.read_block(0, {.side = side, .page = page, .kv_head = kv_head}),
                        message("block of page ", page)));
  }
  return blocks;
}

std::vector<oracle::BlockBytes> choose_blocks(const AttendJob& job, const SideBlocks& side,
                                              const QueryRun& run) {
  std::vector<oracle::BlockBytes> chosen;
  for (std::uint64_t page = 0; page * kPage < run.n_token; ++page) {
    if (page >= run.sealed_begin && page < run.sealed_end) {
      chosen.push_back({side.sealed[page].bytes, side.sealed[page].format});
    } else {
      chosen.push_back({side.raw[page], static_cast<std::uint8_t>(job.row_type)});
    }
  }
  return chosen;
}

/// Attends with one run's queries of one kv head's group.
Result<oracle::AttendOutput> attend_run(const AttendJob& job, const HeadBlocks& blocks,
                                        std::uint32_t kv_head, const QueryRun& run) {
  const std::uint32_t group = job.layer.n_head / job.layer.n_kv_head;
  const std::size_t dim = job.layer.key_head_dim;
  std::vector<float> q;
  for (std::uint32_t query = run.first_q; query < run.first_q + run.n_q; ++query) {
    const auto first =
        job.q.begin() +
        static_cast<std::ptrdiff_t>(
            (std::size_t{query} * job.layer.n_head + std::size_t{kv_head} * group) * dim);
    q.insert(q.end(), first, first + static_cast<std::ptrdiff_t>(group * dim));
  }
  std::vector<double> equaliser;
  for (std::size_t i = 0; i < (job.equaliser.empty() ? 0 : dim); ++i) {
    equaliser.push_back(oracle::from_f16(job.equaliser[kv_head * dim + i].bits));
  }
  const std::vector<oracle::BlockBytes> keys = choose_blocks(job, blocks.keys, run);
  const std::vector<oracle::BlockBytes> values = choose_blocks(job, blocks.values, run);
  oracle::AttendInput input;
  input.n_head = group;
  input.n_kv_head = 1;
  input.key_head_dim = job.layer.key_head_dim;
  input.value_head_dim = job.layer.value_head_dim;
  input.softmax_scale = double{job.softmax_scale};
  input.logit_softcap = double{job.logit_softcap};
  input.n_q = run.n_q;
  input.q = q;
  input.key_blocks = keys;
  input.value_blocks = values;
  input.n_token = run.n_token;
  input.first_q_position = job.first_q_position() + std::int64_t{run.first_q};
  input.causal = job.causal;
  input.window = job.window;
  if (!job.mask.empty()) {
    input.mask_bits = std::span(job.mask).subspan(run.first_q * job.n_token);
    input.mask_stride = job.n_token;
  }
  input.equaliser = equaliser;
  return oracle::attend(input, oracle::Tables::standard());
}

/// Puts a run's rows [n_q, group] where they belong in [n_q, n_head].
void place(const AttendJob& job, std::uint32_t kv_head, const QueryRun& run,
           const oracle::AttendOutput& part, oracle::AttendOutput& whole) {
  const std::uint32_t group = job.layer.n_head / job.layer.n_kv_head;
  const std::size_t dim = job.layer.value_head_dim;
  for (std::size_t row = 0; row < part.lse.size(); ++row) {
    const std::size_t target =
        (run.first_q + row / group) * job.layer.n_head + std::size_t{kv_head} * group + row % group;
    whole.lse[target] = part.lse[row];
    whole.error_scale[target] = part.error_scale[row];
    std::copy_n(part.out.begin() + static_cast<std::ptrdiff_t>(row * dim), dim,
                whole.out.begin() + static_cast<std::ptrdiff_t>(target * dim));
  }
}

}  // namespace

Result<oracle::AttendOutput> attend_by_oracle(const AttendJob& job, const sdk::CacheView& cache,
                                              bool show_progress) {
  const std::vector<QueryRun> runs = split_queries(job);
  std::vector<HeadBlocks> heads(job.layer.n_kv_head);
  for (std::uint32_t h = 0; h < job.layer.n_kv_head; ++h) {
    KVAULT_TRY(heads[h].keys, read_side(job, cache, KVAULT_KEY, h, runs));
    KVAULT_TRY(heads[h].values, read_side(job, cache, KVAULT_VALUE, h, runs));
  }
  const std::size_t n_row = std::size_t{job.n_q} * job.layer.n_head;
  oracle::AttendOutput whole;
  whole.out.resize(n_row * job.layer.value_head_dim);
  whole.lse.resize(n_row);
  whole.error_scale.resize(n_row);

  const std::size_t n_work = heads.size() * runs.size();
  ProgressBar bar("oracle", n_work, show_progress);
  std::mutex mutex;  // guards everything below
  std::size_t next = 0;
  std::size_t n_done = 0;
  Result<> outcome;
  const auto work = [&] {
    for (std::unique_lock lock(mutex); next < n_work && outcome;) {
      const std::size_t item = next++;
      const auto head = static_cast<std::uint32_t>(item / runs.size());
      const QueryRun& run = runs[item % runs.size()];
      lock.unlock();
      const Result<oracle::AttendOutput> part = attend_run(job, heads[head], head, run);
      lock.lock();
      if (part) {
        place(job, head, run, *part, whole);
      } else {
        outcome = tl::unexpected<Error>(part.error());
      }
      bar.show(++n_done);
    }
  };
  {
    std::vector<std::jthread> threads;
    const unsigned n_thread =
        job.n_thread > 0 ? job.n_thread : std::max(1U, std::thread::hardware_concurrency());
    for (unsigned i = 1; i < std::min<std::size_t>(n_thread, n_work); ++i) {
      threads.emplace_back(work);
    }
    work();
  }
  if (!outcome) return tl::unexpected<Error>(outcome.error());
  return whole;
}

}  // namespace kvault::tools

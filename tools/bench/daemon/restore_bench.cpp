#include "tools/bench/daemon/restore_bench.hpp"

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <utility>

#include "core/os/file.hpp"
#include "sdk/src/session.hpp"
#include "tools/bench/daemon/stopwatch.hpp"
#include "tools/bench/daemon/synthetic_session.hpp"

namespace kvault::tools {
namespace {

constexpr std::uint32_t kAttachments = 50;
constexpr std::size_t kReadBytes = std::size_t{1} << 20U;

using Stored = std::unique_ptr<StoredCache>;

/// Bytes [first, end) of a pack, for every pack of a session.
using PackRanges =
    std::map<std::filesystem::path, std::vector<std::pair<std::uint64_t, std::uint64_t>>>;

Result<Stored> open(const RestoreBench& bench, bool stream) {
  SessionOptions options;
  options.description = describe_synthetic(bench.session);
  options.cache = synthetic_cache_options();
  options.stream = stream;
  return StoredCache::open(bench.client, bench.device, std::move(options));
}

Result<PackRanges> find_ranges(const RestoreBench& bench, std::uint64_t* total_bytes) {
  KVAULT_TRY(const client::Session session,
             bench.client.open_session(bench.session, nullptr, client::OpenMode::read));
  KVAULT_TRY(const client::Attachment attachment, bench.client.attach(session.info.id));
  PackRanges ranges;
  *total_bytes = 0;
  for (const client::RecordPlace& place : attachment.records) {
    ranges[place.pack_path].push_back(
        {place.offset_bytes, place.offset_bytes + place.length_bytes});
    *total_bytes += place.length_bytes;
  }
  for (auto& [path, parts] : ranges) std::sort(parts.begin(), parts.end());
  return ranges;
}

Result<> drop_cached(const PackRanges& ranges) {
  for (const auto& [path, parts] : ranges) {
    KVAULT_TRY(File file, File::open_read_only(path));
    KVAULT_CHECK(file.sync());
    file.drop_cached();
  }
  return {};
}

/// Reads the ranges front to back, a piece at a time into the same memory.
Result<> read_plainly(const PackRanges& ranges) {
  std::vector<std::byte> piece(kReadBytes);
  for (const auto& [path, parts] : ranges) {
    KVAULT_TRY(const File file, File::open_read_only(path));
    for (const auto& [begin, end] : parts) {
      for (std::uint64_t offset = begin; offset < end; offset += kReadBytes) {
        const auto size =
            static_cast<std::size_t>(std::min<std::uint64_t>(kReadBytes, end - offset));
        KVAULT_CHECK(file.pread_all(offset, std::span(piece).first(size)));
      }
    }
  }
  return {};
}

Result<> measure_attach(const RestoreBench& bench, std::vector<Figure>& figures) {
  KVAULT_TRY(const client::Session session,
             bench.client.open_session(bench.session, nullptr, client::OpenMode::read));
  Figure figure = {"attach_ms", "attach", {}, 0.5, Target{5}};
  for (std::uint32_t i = 0; i < kAttachments; ++i) {
    const Stopwatch watch;
    KVAULT_TRY(const client::Attachment attachment, bench.client.attach(session.info.id));
    figure.samples.push_back(watch.ms());
  }
  figures.push_back(std::move(figure));
  return {};
}

Result<> measure_first_layer(const RestoreBench& bench, const PackRanges& ranges, bool is_cold,
                             std::vector<Figure>& figures) {
  const std::string name = is_cold ? "cold" : "warm";
  Figure opened = {name + "_open_ms", message("open to stream, ", name), {}};
  Figure first = {name + "_first_layer_ms", message("to the first layer, ", name), {}};
  if (!is_cold) first.target = Target{20};
  for (std::uint32_t i = 0; i < bench.n_repetition; ++i) {
    if (is_cold) KVAULT_CHECK(drop_cached(ranges));
    const Stopwatch watch;
    KVAULT_TRY(const Stored stored, open(bench, true));
    opened.samples.push_back(watch.ms());
    KVAULT_CHECK(stored->load_layer(LayerIndex(0)));
    first.samples.push_back(watch.ms());
  }
  figures.push_back(std::move(opened));
  figures.push_back(std::move(first));
  return {};
}

Result<> measure_whole(const RestoreBench& bench, const PackRanges& ranges, double gigabytes,
                       bool is_cold, std::vector<Figure>& figures) {
  const std::string name = is_cold ? "cold" : "warm";
  Figure whole = {name + "_restore_ms", message("whole restore, ", name), {}};
  Figure rate = {name + "_restore_GB/s", message("whole restore, ", name), {}};
  Figure plain = {name + "_read_GB/s", message("plain reading, ", name), {}};
  Figure share = {
      name + "_restore_%", message("restore of plain reading, ", name), {}, 0.5, Target{70, false}};
  for (std::uint32_t i = 0; i < bench.n_repetition; ++i) {
    if (is_cold) KVAULT_CHECK(drop_cached(ranges));
    const Stopwatch reading;
    KVAULT_CHECK(read_plainly(ranges));
    const double reading_s = reading.seconds();
    if (is_cold) KVAULT_CHECK(drop_cached(ranges));
    const Stopwatch restoring;
    KVAULT_TRY(const Stored stored, open(bench, false));
    const double restoring_s = restoring.seconds();
    whole.samples.push_back(restoring_s * 1e3);
    rate.samples.push_back(gigabytes / restoring_s);
    plain.samples.push_back(gigabytes / reading_s);
    share.samples.push_back(100 * reading_s / restoring_s);
  }
  for (Figure* figure : {&whole, &rate, &plain, &share}) figures.push_back(std::move(*figure));
  return {};
}

}  // namespace

Result<std::vector<Figure>> measure_restore(const RestoreBench& bench) {
  std::uint64_t total_bytes = 0;
  KVAULT_TRY(const PackRanges ranges, find_ranges(bench, &total_bytes));
  const double gigabytes = static_cast<double>(total_bytes) * 1e-9;
  std::vector<Figure> figures = {{"session_GB", "the session's records", {gigabytes}}};
  KVAULT_CHECK(read_plainly(ranges));
  KVAULT_CHECK(measure_attach(bench, figures));
  for (const bool is_cold : {false, true}) {
    KVAULT_CHECK(measure_first_layer(bench, ranges, is_cold, figures));
    KVAULT_CHECK(measure_whole(bench, ranges, gigabytes, is_cold, figures));
  }
  return figures;
}

}  // namespace kvault::tools

#include "tools/bench/bench_group.hpp"

#include <algorithm>

#include "tools/bench/dot_throughput.hpp"
#include "tools/bench/limits.hpp"
#include "tools/bench/read_bandwidth.hpp"

namespace kvault::tools {
namespace {

/// The probes that go round with the contestants; each serves every contestant it fits.
class Probes {
 public:
  /// The index of a bandwidth probe of this memory, or kNone.
  std::size_t add_bandwidth(std::span<const std::byte> memory, std::uint32_t n_thread) {
    if (memory.empty() || n_thread == 0) return kNone;
    return add({memory.data(), n_thread},
               [&] { return std::make_unique<ReadBandwidth>(memory, n_thread); });
  }
  /// The index of a probe of these dots, or kNone.
  std::size_t add_dots(cpu::InstructionSet set) {
    return add({nullptr, static_cast<std::uint32_t>(set)},
               [&] { return std::make_unique<DotThroughput>(set); });
  }
  std::span<const std::unique_ptr<Variant>> variants() const { return variants_; }

  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

 private:
  struct Key {
    const void* memory;
    std::uint32_t number;
    friend bool operator==(const Key&, const Key&) = default;
  };
  template <class Make>
  std::size_t add(const Key& key, const Make& make) {
    const auto found = std::find(keys_.begin(), keys_.end(), key);
    if (found != keys_.end()) return static_cast<std::size_t>(found - keys_.begin());
    keys_.push_back(key);
    variants_.push_back(make());
    return keys_.size() - 1;
  }

  std::vector<Key> keys_;
  std::vector<std::unique_ptr<Variant>> variants_;
};

}  // namespace

Result<std::vector<BenchRow>> measure_group(std::span<Contestant> contestants,
                                            const RoundLimit& limit, const std::string& label) {
  Probes probes;
  std::vector<std::size_t> bandwidth_of;
  std::vector<std::size_t> dots_of;
  std::vector<Variant*> variants;
  for (const Contestant& contestant : contestants) {
    bandwidth_of.push_back(probes.add_bandwidth(contestant.memory, contestant.row.n_thread));
    dots_of.push_back(contestant.n_dot > 0 ? probes.add_dots(contestant.dot_set) : Probes::kNone);
    variants.push_back(contestant.variant.get());
  }
  for (const auto& probe : probes.variants()) variants.push_back(probe.get());

  KVAULT_TRY(const std::vector<Samples> samples, measure_in_turn(variants, limit, label));
  const auto best_us = [&](std::size_t probe) {
    return probe == Probes::kNone ? 0 : samples[contestants.size() + probe].min_us();
  };
  std::vector<BenchRow> rows;
  for (std::size_t i = 0; i < contestants.size(); ++i) {
    rows.push_back(
        finish_row(contestants[i], samples[i], best_us(bandwidth_of[i]), best_us(dots_of[i])));
  }
  for (std::size_t i = 0; i < contestants.size(); ++i) {
    const std::size_t base = contestants[i].base;
    if (base != Contestant::kNoBase) {
      rows[i].speedup_over_f16 = rows[base].time_us / rows[i].time_us;
    }
  }
  return rows;
}

BenchRow finish_row(const Contestant& contestant, const Samples& samples, double bandwidth_us,
                    double dots_us) {
  BenchRow row = contestant.row;
  row.time_us = samples.median_us();
  row.time_min_us = samples.min_us();
  row.n_repetition = static_cast<std::uint32_t>(samples.times_us.size());
  row.stored_gb_per_s = gb_per_s(contestant.stored_size_bytes, row.time_us);
  if (bandwidth_us > 0) {
    row.read_bandwidth_gb_per_s = gb_per_s(ReadBandwidth::kTimedBytes, bandwidth_us);
    row.fraction_of_bandwidth = row.stored_gb_per_s / *row.read_bandwidth_gb_per_s;
  }
  if (contestant.n_dot > 0 && dots_us > 0) {
    const double dots_per_us = DotThroughput::kTimedDots / dots_us;
    row.port_limit_gb_per_s = port_limit_gb_per_s(contestant.stored_size_bytes, contestant.n_dot,
                                                  dots_per_us, row.n_thread);
    row.fraction_of_port_limit = row.stored_gb_per_s / *row.port_limit_gb_per_s;
  }
  const double f16_gb_per_s = gb_per_s(contestant.f16_size_bytes, row.time_us);
  if (row.op == "encode") row.input_gb_per_s = f16_gb_per_s;
  if (row.op == "reconstruct") row.output_gb_per_s = f16_gb_per_s;
  return row;
}

}  // namespace kvault::tools

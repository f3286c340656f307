#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "tools/bench/bench_device.hpp"
#include "tools/bench/bench_group.hpp"
#include "tools/bench/layer_set.hpp"
#include "tools/bench/shape.hpp"
#include "tools/bench/sparse_use.hpp"

namespace kvault::tools {

/// What is measured on one shape and device.
struct BenchEntry {
  BenchOp op = BenchOp::decode;
  std::uint32_t n_q = 1;  ///< of decode and prefill
  Preset preset;
  SparseUse sparse = SparseUse::off;
};

bool is_attention(BenchOp op);
/// Whether rows are held against those of the raw preset.
bool has_base(BenchOp op);

/// Makes the contestants of one shape. Its layers are filled when first needed and shared by all;
/// it must outlive the contestants.
class ShapeBench {
 public:
  ShapeBench(const BenchShape& shape, std::uint64_t set_size_bytes)
      : shape_(shape), set_size_bytes_(set_size_bytes) {}

  /// What is known of the entry's row before it is measured.
  BenchRow row_of(const BenchDevice& device, const BenchEntry& entry) const;
  Result<Contestant> enter(const BenchDevice& device, const BenchEntry& entry);

 private:
  struct KnownSet {
    Attention attention;
    std::unique_ptr<LayerSet> set;
  };
  const LayerSet& set_of(const Preset& preset, Attention attention);
  const LayerSet& source_of(const BenchEntry& entry);
  Result<std::unique_ptr<Variant>> make_variant(Device& device, const BenchEntry& entry);
  std::uint64_t stored_size_bytes(const BenchEntry& entry) const;
  void count_dots(const BenchEntry& entry, const LayerSet& source, Contestant& contestant) const;

  BenchShape shape_;
  std::uint64_t set_size_bytes_;
  std::vector<KnownSet> sets_;
};

}  // namespace kvault::tools

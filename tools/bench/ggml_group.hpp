#pragma once

#include <vector>

#include "tools/bench/bench_group.hpp"
#include "tools/bench/bench_options.hpp"
#include "tools/bench/ggml_layers.hpp"

namespace kvault::tools {

/// The layers of one shape in every type and layout that ggml has for its head_dim. The peer must
/// outlive them.
Result<std::vector<GgmlLayers>> build_ggml_layers(const GgmlPeer& peer, const BenchShape& shape,
                                                  std::uint32_t n_q, std::uint64_t set_size_bytes);

/// Adds a contestant for each of the layers and thread counts; its f16 is kvault's with as many
/// threads, where the group has one. The layers must outlive the contestants.
Result<> enter_ggml(const GgmlPeer& peer, BenchOp op, std::span<const GgmlLayers> layers,
                    std::span<const std::uint32_t> n_threads, std::vector<Contestant>& contestants);

}  // namespace kvault::tools

#include "tools/bench/report_plan.hpp"

namespace kvault::tools {
namespace {

constexpr const char* kPresets[] = {"raw", "k8v8", "k4v4", "k3v3", "k2v2"};
constexpr std::uint32_t kKvHeads = 8;

std::vector<BenchEntry> entries_of(BenchOp op, std::uint32_t n_q = 1) {
  std::vector<BenchEntry> entries;
  for (const char* name : kPresets) {
    const Preset preset = *find_preset(name);
    if (op == BenchOp::encode && preset.key == Scheme::raw) continue;
    entries.push_back({.op = op, .n_q = n_q, .preset = preset});
  }
  return entries;
}

/// Groups of a plan's newest section.
class Section {
 public:
  Section(ReportPlan& plan, const ReportSection& section) : plan_(plan) {
    plan.sections.push_back(section);
  }
  void add(std::string label, const BenchShape& shape, std::vector<BenchEntry> entries) {
    plan_.groups.push_back(
        {plan_.sections.size() - 1, std::move(label), shape, std::move(entries)});
  }

 private:
  ReportPlan& plan_;
};

void plan_lengths(ReportPlan& plan) {
  Section section(plan, {"Decode: one query, 32 heads over 8, head_dim 128", "tokens", true});
  for (const std::uint64_t n_token : plan.scale.lengths) {
    section.add(message(n_token), {.n_token = n_token}, entries_of(BenchOp::decode));
  }
}

void plan_queries(ReportPlan& plan) {
  const BenchShape shape = {.n_token = plan.scale.n_token};
  const std::uint32_t group = shape.n_head / shape.n_kv_head;
  Section section(plan, {message("Queries per call, ", shape.n_token,
                                 " tokens: decode, a few guessed tokens, prefill; causal"),
                         "queries (rows of one kv head)"});
  for (const std::uint32_t n_q : {1U, 4U, 16U, 128U, 512U}) {
    if (n_q > shape.n_token) continue;
    section.add(message(n_q, " (", n_q * group, ")"), shape,
                entries_of(n_q == 1 ? BenchOp::decode : BenchOp::prefill, n_q));
  }
}

void plan_heads(ReportPlan& plan) {
  Section section(plan, {message("Decode by head_dim and query heads per kv head (G), ",
                                 plan.scale.n_token, " tokens, 8 kv heads"),
                         "head_dim, G"});
  for (const std::uint32_t head_dim : {64U, 128U, 256U}) {
    for (const std::uint32_t group : {1U, 4U, 8U}) {
      section.add(message(head_dim, ", ", group),
                  {group * kKvHeads, kKvHeads, head_dim, plan.scale.n_token},
                  entries_of(BenchOp::decode));
    }
  }
}

void plan_blocks(ReportPlan& plan) {
  Section section(plan, {"Encode and reconstruct: one page, 8 kv heads, head_dim 128", "op"});
  const BenchShape shape = {.n_token = plan.scale.n_token};
  for (const BenchOp op : {BenchOp::encode, BenchOp::reconstruct}) {
    section.add(std::string(name_of(op)), shape, entries_of(op));
  }
}

void plan_sparse_values(ReportPlan& plan) {
  Section section(plan, {"Sparse values: decode, 32 heads over 8, head_dim 128", "tokens"});
  std::vector<BenchEntry> entries = {{.preset = *find_preset("raw")}};
  for (const SparseUse use : {SparseUse::off, SparseUse::none_left_out, SparseUse::all_left_out}) {
    entries.push_back({.preset = *find_preset("k4v4"), .sparse = use});
  }
  section.add(message(plan.scale.n_token), {.n_token = plan.scale.n_token}, entries);
}

}  // namespace

ReportPlan plan_report(const ReportScale& scale) {
  ReportPlan plan = {scale, {}, {}};
  plan_lengths(plan);
  plan_heads(plan);
  plan_blocks(plan);
  plan_sparse_values(plan);
  plan_queries(plan);  // last: on a slow device the rest would have no time left after it
  return plan;
}

}  // namespace kvault::tools

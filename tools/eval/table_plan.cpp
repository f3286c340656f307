#include "tools/eval/table_plan.hpp"

namespace kvault::eval {
namespace {

struct Group {
  const char* name;
  std::vector<const char*> schemes;
};

/// The schemes of the two tables.
std::vector<Group> table_groups() {
  return {
      {"preset", {"k8v8", "k8v4", "k4v4", "k4v3", "k3v3", "k3v2", "k2v2"}},
      {"trellis",
       {"trellis-k4v4", "trellis-k3v3", "trellis-k2v2", "k3v3,code=trellis,k.mean=none",
        "k2v2,code=trellis,k.mean=none"}},
      {"allocated",
       {"k8v8,k.transform=profile-matrix,v.mean=f16", "allocated-k4v4,bits=4.5", "allocated-k4v4",
        "allocated-k3v3", "allocated-k2v2", "allocated-k4v4,bits=3.875",
        "allocated-k3v3,bits=2.875", "allocated-k2v2,bits=1.875"}},
      {"TurboQuant", {"tq4-plain", "tq4", "tq3", "tq2"}},
      {"rival",
       {"q8_0", "q4_0", "q4_1", "rotated-q4_0", "vllm-k8v4", "vllm-4bit", "vllm-k3v4", "vllm-3bit",
        "vllm-4bit,edge-layers=2", "executorch-tq4", "kivi-2", "kivi-4", "kvarn-k4v4",
        "kvarn-k4v2"}},
  };
}

/// An option turned through its values, on a base.
struct Sweep {
  const char* option;
  const char* base;
  std::vector<const char*> variants;
  Mode mode = Mode::codec_only;
  std::vector<std::uint32_t> stresses = {0};
};

std::vector<Sweep> codec_sweeps() {
  return {
      {"mean of keys", "k3v3", {"k3v3,k.mean=none", "k3v3,k.mean=8bit"}, Mode::codec_only, {0, 1}},
      {"mean of values", "k3v3", {"k3v3,v.mean=f16", "k3v3,v.mean=8bit"}},
      {"scale rule",
       "k3v3",
       {"k3v3,scale=plain", "k3v3,scale=least-squares", "k3v3,scale=matched",
        "k3v3,renormalise=1"}},
      {"rotation",
       "k3v3",
       {"k3v3,rotation=unsigned", "k3v3,rotation=haar", "k3v3,rotation=none"},
       Mode::codec_only,
       {0, 1}},
      {"page size", "k3v3", {"k3v3,page=64", "k3v3,page=256"}},
      {"codebook", "k3v3", {"k3v3,code=uniform", "k3v3,code=sphere", "k3v3,code=trellis"}},
      {"equaliser of keys",
       "k3v3",
       {"k3v3,k.transform=none", "k3v3,k.learn=64", "k3v3,k.learn=1024", "k3v3,k.transform=weights",
        "k3v3,k.transform=profile", "k3v3,k.transform=matrix",
        "k3v3,k.transform=matrix,k.shrink=0.3", "k3v3,k.transform=matrix,k.learn=1024",
        "k3v3,k.transform=profile-matrix"},
       Mode::codec_only,
       {0, 1}},
      {"bits by axis",
       "k3v3,code=trellis,v.mean=f16",
       {"k3v3,code=trellis,v.mean=f16,k.transform=allocated",
        "k3v3,code=trellis,v.mean=f16,v.transform=allocated", "allocated-k3v3"}},
      {"axes without the trellis", "k3v3,v.mean=f16", {"k3v3,v.mean=f16,transform=allocated"}},
      {"fractional bits",
       "tq3",
       {"tq2", "tq2,loud=32,loud-bits=3", "tq3,loud=32,loud-bits=4", "tq3,loud=10",
        "allocated-k3v3,mean=none,code=lloyd,bits=2.5",
        "allocated-k3v3,mean=none,code=lloyd,bits=3.5"}},
      {"QJL", "tq3-plain", {"tq3", "tq2-plain,k.qjl=1,v.bits=3", "tq2,k.qjl=1,v.bits=3"}},
      {"layers left raw", "k3v3", {"k3v3,edge-layers=1", "k3v3,edge-layers=2"}},
      {"K and V apart",
       "k3v3",
       {"k3v3,v.raw=1", "k3v3,k.raw=1", "k4v4", "k4v3", "k3v3,v.bits=4", "k4v4,v.bits=2",
        "k4v4,k.bits=2", "k3v2", "k3v3,k.bits=2"}},
  };
}

std::vector<Sweep> live_sweeps() {
  return {
      {"sink", "k3v3", {"k3v3,sink=0", "k3v3,sink=4", "k3v3,sink=256"}, Mode::live},
      {"scale rule, live",
       "k3v3",
       {"k3v3,scale=plain", "k3v3,scale=least-squares", "k3v3,scale=matched"},
       Mode::live},
      {"tail", "k3v3", {"k3v3,tail-pages=1", "k3v3,tail-pages=3"}, Mode::live},
      {"layers left raw, live", "k3v3", {"k3v3,edge-layers=1", "k3v3,edge-layers=2"}, Mode::live},
  };
}

void add_sweep(const Sweep& sweep, std::vector<PlannedRun>& plan) {
  for (const std::uint32_t stress : sweep.stresses) {
    const PlannedRun base{.table = "options",
                          .group = sweep.option,
                          .scheme = sweep.base,
                          .mode = sweep.mode,
                          .stress = stress,
                          .base = sweep.base};
    plan.push_back(base);
    for (const char* const variant : sweep.variants) {
      plan.push_back(base);
      plan.back().scheme = variant;
    }
  }
}

void add_table(Mode mode, std::uint32_t stress, std::vector<PlannedRun>& plan) {
  for (const Group& group : table_groups()) {
    for (const char* const scheme : group.schemes) {
      plan.push_back({.table = mode == Mode::live ? "live" : "codec-only",
                      .group = group.name,
                      .scheme = scheme,
                      .mode = mode,
                      .stress = stress,
                      .base = {}});
    }
  }
}

}  // namespace

std::vector<PlannedRun> whole_plan() {
  std::vector<PlannedRun> plan;
  add_table(Mode::codec_only, 0, plan);
  add_table(Mode::live, 0, plan);
  add_table(Mode::codec_only, 4, plan);
  for (const Sweep& sweep : codec_sweeps()) add_sweep(sweep, plan);
  for (const Sweep& sweep : live_sweeps()) add_sweep(sweep, plan);
  add_table(Mode::codec_only, 1, plan);
  add_table(Mode::live, 4, plan);
  return plan;
}

}  // namespace kvault::eval

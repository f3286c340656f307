#include <array>

#include "tests/torture/parts/part.hpp"

namespace kvault::torture {
namespace {

constexpr std::array<Part, 8> kParts = {{{"crash", run_crash},
                                         {"fault", run_fault},
                                         {"flip", run_flip},
                                         {"quota", run_quota},
                                         {"simulate", run_simulate},
                                         {"fuzz", run_fuzz},
                                         {"kill", run_kill},
                                         {"soak", run_soak, false}}};

}  // namespace

std::span<const Part> parts() { return kParts; }

}  // namespace kvault::torture

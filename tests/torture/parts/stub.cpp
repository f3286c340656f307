#include "tests/torture/parts/part.hpp"
namespace kvault::torture {
void run_fuzz(const TortureOptions&, Report&) {}
void run_soak(const TortureOptions&, Report&) {}
}  // namespace kvault::torture

#pragma once

namespace kvault::eval {

/// TurboQuant's table of distortions (arXiv 2504.19874, after theorems 1 and 2), measured and exact
/// beside what is printed there, on stdout.
void print_paper_table(bool as_json);

}  // namespace kvault::eval

// write_tiny_model PATH [SEED]: a plain model of random weights that llama.cpp runs.
#include <cstdlib>

#include "tests/llama/support/tiny_model.hpp"

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  kvault::test::TinyShape shape;
  if (argc > 2) shape.seed = std::strtoull(argv[2], nullptr, 10);
  kvault::test::write_plain(argv[1], shape);
  return 0;
}

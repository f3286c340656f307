#include "core/cpu/row_kernels.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/layout/block_layout.hpp"
#include "tests/support/random.hpp"

namespace kvault::cpu {
namespace {

TEST_CASE("row kernels: every instruction set rotates as the codec does, however many rows") {
  for (const InstructionSet set : compiled_instruction_sets()) {
    if (!is_supported(set)) continue;
    CAPTURE(std::string(name_of(set)));
    const RowKernels& kernels = row_kernels(set);
    test::Random random(61);
    for (std::uint32_t dim = 1; dim <= KVAULT_HEAD_DIM_MAX; ++dim) {
      if (!is_supported_head_dim(dim)) continue;
      const Rotation rotation(dim);
      for (const std::size_t n_row : {1U, 3U, 17U}) {
        const std::size_t stride = dim + 5;
        const std::vector<float> given = random.normals(n_row * stride);
        std::vector<float> rows = given;
        kernels.rotate(rotation, rows.data(), n_row, stride);
        float worst = 0;
        for (std::size_t row = 0; row < n_row; ++row) {
          const auto begin = given.begin() + static_cast<std::ptrdiff_t>(row * stride);
          std::vector<float> expected(begin, begin + static_cast<std::ptrdiff_t>(dim));
          rotation.apply(expected);
          for (std::size_t i = 0; i < dim; ++i) {
            worst = std::max(worst, std::abs(rows[row * stride + i] - expected[i]));
          }
        }
        CHECK(worst < 5e-6F);
        kernels.rotate_inverse(rotation, rows.data(), n_row, stride);
        float back = 0;
        bool kept_gaps = true;
        for (std::size_t i = 0; i < rows.size(); ++i) {
          back = std::max(back, std::abs(rows[i] - given[i]));
          if (i % stride >= dim) kept_gaps = kept_gaps && rows[i] == given[i];
        }
        CHECK(back < 5e-6F);
        CHECK(kept_gaps);
      }
    }
  }
}

TEST_CASE("row kernels: a row's bits do not depend on the rows beside it") {
  for (const InstructionSet set : compiled_instruction_sets()) {
    if (!is_supported(set)) continue;
    const RowKernels& kernels = row_kernels(set);
    test::Random random(62);
    for (const std::uint32_t dim : {48U, 112U, 128U, 160U, 192U, 512U}) {
      const Rotation rotation(dim);
      const std::vector<float> given = random.normals(std::size_t{20} * dim);
      std::vector<float> together = given;
      std::vector<float> alone = given;
      kernels.rotate(rotation, together.data(), 20, dim);
      for (std::size_t row = 0; row < 20; ++row) {
        kernels.rotate(rotation, alone.data() + row * dim, 1, dim);
      }
      CHECK(together == alone);
    }
  }
}

}  // namespace
}  // namespace kvault::cpu

#include <cmath>
#include <cstddef>

#include "core/oracle/oracle.hpp"

namespace kvault::oracle {

Tables Tables::standard() {
  return Tables{
      .t4 = {0, 15, 26, 34, 41, 48, 54, 60, 67, 73, 79, 86, 93, 101, 112, 127},
      .t3 = {0, 24, 41, 56, 71, 86, 103, 127},
      .t2 = {0, 44, 83, 127},
      .s4 = 0.042764,
      .s3 = 0.033882,
      .s2 = 0.023747,
  };
}

double value_of(int code, std::uint32_t bits, const Tables& tables) {
  const auto index = static_cast<std::size_t>(code);
  switch (bits) {
    case 4:
      return tables.t4[index] - 63.5;
    case 3:
      return tables.t3[index] - 63.5;
    case 2:
      return tables.t2[index] - 63.5;
    default:
      return code;
  }
}

double step_of(std::uint32_t bits, std::uint32_t head_dim, const Tables& tables) {
  const double root = std::sqrt(static_cast<double>(head_dim));
  switch (bits) {
    case 4:
      return tables.s4 / root;
    case 3:
      return tables.s3 / root;
    case 2:
      return tables.s2 / root;
    default:
      return 1.0 / 127.0;
  }
}

}  // namespace kvault::oracle

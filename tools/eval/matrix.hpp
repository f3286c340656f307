#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace kvault::eval {

/// A square matrix in double, row-major.
class Matrix {
 public:
  explicit Matrix(std::size_t n) : n_(n), entries_(n * n) {}
  Matrix(std::size_t n, std::vector<double> entries);
  static Matrix identity(std::size_t n);
  static Matrix diagonal(std::span<const double> entries);

  std::size_t n() const { return n_; }
  double& at(std::size_t row, std::size_t column) { return entries_[row * n_ + column]; }
  double at(std::size_t row, std::size_t column) const { return entries_[row * n_ + column]; }
  double trace() const;
  Matrix transposed() const;
  Matrix times(const Matrix& other) const;

 private:
  std::size_t n_;
  std::vector<double> entries_;
};

/// A symmetric matrix as vectors^T diag(values) vectors; rows of `vectors` are orthonormal, values
/// descend.
struct Eigen {
  std::vector<double> values;
  Matrix vectors;

  /// vectors^T diag(values^exponent) vectors, values below `floor` times the highest lifted to it.
  Matrix power(double exponent, double floor = 1e-9) const;
};
/// Jacobi's rotations. pre: symmetric
Eigen eigen_of(const Matrix& symmetric);

/// A linear map of rows and its inverse, as float for speed.
class RowMap {
 public:
  /// pre: inverse is forward's
  RowMap(const Matrix& forward, const Matrix& inverse);

  /// rows [n][dim] to mapped [n][dim]; not in place.
  void forward(std::span<const float> rows, std::span<float> mapped) const;
  void inverse(std::span<const float> mapped, std::span<float> rows) const;

 private:
  std::size_t dim_;
  std::vector<float> forward_;
  std::vector<float> inverse_;
};

/// A random rotation, of Haar's measure but for its sign (TurboQuant, arXiv 2504.19874, algorithm
/// 1: the Q of a Gaussian matrix).
Matrix haar_rotation(std::size_t n, std::uint64_t seed);
/// H / sqrt(n) of Sylvester's, without signs. pre: n is a power of two
Matrix sylvester_rotation(std::size_t n);
/// The product's own rotation. pre: is_supported_head_dim(n)
Matrix signed_rotation(std::size_t n);

/// Second moments about the means of stretches of `n_stretch` rows, or about zero where that is 0;
/// rows [n][dim].
Matrix second_moment(std::span<const float> rows, std::size_t dim, std::size_t n_stretch);

}  // namespace kvault::eval

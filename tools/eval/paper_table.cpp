#include "tools/eval/paper_table.hpp"

#include <cmath>
#include <memory>
#include <numbers>
#include <numeric>

#include "tools/eval/codecs/code_shelf.hpp"
#include "tools/eval/codecs/qjl.hpp"
#include "tools/eval/codecs/turbo_codec.hpp"
#include "tools/eval/gaussian.hpp"
#include "tools/eval/matrix.hpp"
#include "tools/model/random.hpp"

namespace kvault::eval {
namespace {

constexpr std::uint64_t kSeed = 2504;

std::vector<float> unit_vectors(std::uint32_t dim, std::uint32_t n, tools::Random& random) {
  std::vector<float> rows(std::size_t{dim} * n);
  std::vector<double> row(dim);
  for (std::size_t v = 0; v < n; ++v) {
    double energy = 0;
    for (double& x : row) {
      x = random.normal();
      energy += x * x;
    }
    for (std::size_t i = 0; i < dim; ++i) {
      rows[v * dim + i] = static_cast<float>(row[i] / std::sqrt(energy));
    }
  }
  return rows;
}

std::vector<double> misses_of(std::span<const float> rows, std::span<const float> coded) {
  std::vector<double> misses(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) misses[i] = double{coded[i]} - double{rows[i]};
  return misses;
}

/// Mean over vectors of |x~ - x|^2.
double mean_square(std::span<const double> misses, std::uint32_t dim) {
  const double sum = std::inner_product(misses.begin(), misses.end(), misses.begin(), 0.0);
  return sum / (static_cast<double>(misses.size()) / dim);
}

/// Mean over vectors, and over several queries each, of <q, x~ - x>^2.
double mean_square_product(std::span<const double> misses, std::span<const float> queries,
                           std::uint32_t dim) {
  constexpr std::size_t kQueries = 16;
  const std::size_t n = misses.size() / dim;
  double sum = 0;
  for (std::size_t v = 0; v < n * kQueries; ++v) {
    const std::span<const double> miss = misses.subspan(v % n * dim, dim);
    const std::span<const float> query = queries.subspan((v % n + v / n) % n * dim, dim);
    double product = 0;
    for (std::size_t i = 0; i < dim; ++i) product += miss[i] * double{query[i]};
    sum += product * product;
  }
  return sum / static_cast<double>(n * kQueries);
}

std::shared_ptr<const TurboCodec> codec_of(std::uint32_t bits, std::uint32_t dim,
                                           CodeShelf& shelf) {
  TurboOptions options;
  options.bits = bits;
  options.code = CodeKind::sphere;
  options.rotation = RotationKind::none;  // the vectors are rotated already
  options.scale = ScaleRule::plain;
  options.scale_type = ScaleType::f32;
  return std::make_shared<TurboCodec>(options, shelf.code_of(options, dim));
}

/// No bits at all: what QJL's residual of one bit is put on.
class NothingCodec final : public SideCodec {
 public:
  double bits_per_element(std::uint32_t) const override { return 0; }
  void code(const HeadRows&, std::span<float> out) const override {
    for (float& x : out) x = 0;
  }
};

}  // namespace

std::vector<PaperRow> paper_table(std::uint32_t dim, std::uint32_t n_vector) {
  tools::Random random(kSeed);
  const Matrix rotation = haar_rotation(dim, kSeed + 100);
  const RowMap map(rotation, rotation.transposed());
  const std::vector<float> vectors = unit_vectors(dim, n_vector, random);
  const std::vector<float> queries = unit_vectors(dim, n_vector, random);
  std::vector<float> rows(vectors.size());
  map.forward(vectors, rows);
  HeadRows in;
  in.head_dim = dim;
  in.n_token = n_vector;
  in.rows = rows;
  CodeShelf shelf;
  std::vector<float> coded(rows.size());
  std::vector<PaperRow> table;
  std::shared_ptr<const SideCodec> less = std::make_shared<NothingCodec>();
  double less_mse = 1;
  constexpr std::uint64_t kSketches = 2;
  for (std::uint32_t bits = 1; bits <= 4; ++bits) {
    PaperRow row{.bits = bits};
    for (std::uint64_t seed = 1; seed <= kSketches; ++seed) {
      Qjl(less, kSeed + seed).code(in, coded);
      row.prod_times_dim +=
          dim * mean_square_product(misses_of(rows, coded), queries, dim) / kSketches;
    }
    row.exact_prod_times_dim = std::numbers::pi / 2 * less_mse;
    const std::shared_ptr<const TurboCodec> codec = codec_of(bits, dim, shelf);
    codec->code(in, coded);
    row.mse = mean_square(misses_of(rows, coded), dim);
    row.exact_mse = lloyd_max_on_sphere(bits, dim).mse;
    table.push_back(row);
    less = codec;
    less_mse = row.exact_mse;
  }
  return table;
}

}  // namespace kvault::eval

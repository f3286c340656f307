#include "tools/eval/paper_table.hpp"

#include <cmath>
#include <memory>
#include <numbers>

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

/// Mean over vectors of <q, x~ - x>^2, or of |x~ - x|^2 where there are no queries.
double mean_square(std::span<const float> rows, std::span<const float> coded,
                   std::span<const float> queries, std::uint32_t dim) {
  double sum = 0;
  const std::size_t n = rows.size() / dim;
  for (std::size_t v = 0; v < n; ++v) {
    double product = 0;
    double square = 0;
    for (std::size_t i = v * dim; i < (v + 1) * dim; ++i) {
      const double miss = double{coded[i]} - double{rows[i]};
      square += miss * miss;
      if (!queries.empty()) product += miss * double{queries[i]};
    }
    sum += queries.empty() ? square : product * product;
  }
  return sum / static_cast<double>(n);
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
      row.prod_times_dim += dim * mean_square(rows, coded, queries, dim) / kSketches;
    }
    row.exact_prod_times_dim = std::numbers::pi / 2 * less_mse;
    const std::shared_ptr<const TurboCodec> codec = codec_of(bits, dim, shelf);
    codec->code(in, coded);
    row.mse = mean_square(rows, coded, {}, dim);
    row.exact_mse = lloyd_max_on_sphere(bits, dim).mse;
    table.push_back(row);
    less = codec;
    less_mse = row.exact_mse;
  }
  return table;
}

}  // namespace kvault::eval

#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "tools/eval/evaluation.hpp"
#include "tools/eval/scheme_spec.hpp"
#include "tools/model/fineweb.hpp"

namespace kvault::eval {

/// How much is measured.
struct LabOptions {
  std::filesystem::path model_directory;
  std::uint64_t n_token = 4096;  ///< of all sequences together
  std::size_t n_recall = 8;      ///< as EvalSetup
  std::uint32_t n_thread = 0;    ///< 0: one per core
};

/// A model with its text, and per stress level what every scheme is compared with, made once.
/// Not copyable; one thread calls, several work inside.
class Lab {
 public:
  /// Errc::not_found and others of reading; invalid_argument where n_token cannot be cut.
  static Result<Lab> open(const LabOptions& options);

  /// Errc::invalid_argument for a scheme or level that does not exist.
  Result<EvalScores> run(const LabScheme& scheme, Mode mode, std::uint32_t stress_level,
                         const OnSequence& on_sequence);
  /// What the scheme was compared with.
  Result<const Reference*> reference(std::uint32_t stress_level);
  /// KL of the raw run under this stress to the raw run without: what f16 rows themselves lose.
  Result<double> raw_kl(std::uint32_t stress_level);

  /// scheme_of for this model; what is slow to make is made once.
  Result<LabScheme> scheme(std::string_view text) {
    return scheme_of(text, tools::FinewebModel::kHeadDim, shelf_);
  }
  const EvalSetup& setup() const { return setup_; }
  const tools::FinewebModel& model() const { return *model_; }

 private:
  struct Level {
    Stress stress;
    Reference reference;
    std::unique_ptr<ModelProfile> profile;
  };
  Lab() = default;
  Result<Level*> level(std::uint32_t stress_level, bool with_profile);

  std::unique_ptr<tools::FinewebModel> model_;
  std::vector<std::uint32_t> text_;
  EvalSetup setup_;
  double value_norm_ = 0;
  CodeShelf shelf_;
  std::map<std::uint32_t, std::unique_ptr<Level>> levels_;
};

}  // namespace kvault::eval

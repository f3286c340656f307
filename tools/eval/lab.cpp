#include "tools/eval/lab.hpp"

#include <algorithm>
#include <thread>

#include "core/base/assert.hpp"
#include "tools/eval/profile.hpp"
#include "tools/model/matmul.hpp"

namespace kvault::eval {
namespace {

/// The model was trained on contexts of this many tokens.
constexpr std::size_t kContext = 1024;
constexpr std::size_t kFirstScored = 256;
/// Of the end of the text, which nothing is scored on.
constexpr std::size_t kProfileTokens = 8 * kContext;
constexpr std::size_t kLeastTokens = 128;

}  // namespace

Result<Lab> Lab::open(const LabOptions& options) {
  Lab lab;
  if (options.n_token < kLeastTokens ||
      (options.n_token > kContext && options.n_token % kContext != 0)) {
    return fail(Errc::invalid_argument, message(options.n_token, " tokens; ", kLeastTokens, " to ",
                                                kContext, ", or a multiple of ", kContext));
  }
  KVAULT_TRY(lab.model_, tools::FinewebModel::open(options.model_directory));
  KVAULT_TRY(lab.text_, tools::read_tokens(options.model_directory));
  if (lab.text_.size() < options.n_token + 1 + kProfileTokens) {
    return fail(Errc::limit_exceeded, message(options.n_token, " tokens and ", kProfileTokens,
                                              " of the profile in a text of ", lab.text_.size()));
  }
  EvalSetup& setup = lab.setup_;
  setup.model = lab.model_.get();
  setup.text = std::span(lab.text_).first(lab.text_.size() - kProfileTokens);
  setup.n_context = std::min<std::size_t>(kContext, options.n_token);
  setup.n_sequence = options.n_token / setup.n_context;
  setup.first_scored = std::min(kFirstScored, setup.n_context / 2);
  setup.n_recall = std::min(options.n_recall, 2 * setup.n_sequence);
  setup.n_thread =
      options.n_thread == 0 ? std::max(1U, std::thread::hardware_concurrency()) : options.n_thread;
  // Sequences go beside each other; a product within one stays on its thread.
  tools::set_matmul_threads(1);
  KVAULT_TRY(lab.value_norm_, value_norm_of(*lab.model_, setup.text.first(setup.n_context)));
  return lab;
}

Result<Lab::Level*> Lab::level(std::uint32_t stress_level, bool with_profile) {
  std::unique_ptr<Level>& slot = levels_[stress_level];
  if (slot == nullptr) {
    auto made = std::make_unique<Level>();
    KVAULT_TRY(made->stress, Stress::at(stress_level, tools::FinewebModel::kHeadDim, value_norm_));
    EvalSetup setup = setup_;
    setup.stress = &made->stress;
    KVAULT_TRY(made->reference, run_reference(setup));
    slot = std::move(made);
  }
  if (with_profile && slot->profile == nullptr) {
    const auto text = std::span<const std::uint32_t>(text_).last(kProfileTokens);
    KVAULT_TRY(ModelProfile profile, profile_of(*model_, text, kContext, slot->stress));
    slot->profile = std::make_unique<ModelProfile>(std::move(profile));
  }
  return slot.get();
}

Result<EvalScores> Lab::run(const LabScheme& scheme, Mode mode, std::uint32_t stress_level,
                            const OnSequence& on_sequence) {
  KVAULT_TRY(Level* const at, level(stress_level, scheme.needs_profile));
  EvalSetup setup = setup_;
  setup.stress = &at->stress;
  setup.profile = at->profile.get();
  return run_scheme(setup, at->reference, scheme, mode, on_sequence);
}

Result<const Reference*> Lab::reference(std::uint32_t stress_level) {
  KVAULT_TRY(Level* const at, level(stress_level, false));
  return &at->reference;
}

Result<double> Lab::raw_kl(std::uint32_t stress_level) {
  KVAULT_TRY(Level* const plain, level(0, false));
  KVAULT_TRY(Level* const stressed, level(stress_level, false));
  constexpr std::size_t kVocab = tools::FinewebModel::kVocab;
  std::vector<double> divergence;
  for (std::size_t s = 0; s < setup_.n_sequence; ++s) {
    for (std::size_t t = setup_.first_scored; t < setup_.n_context; ++t) {
      const auto row = [t, s](const Reference& reference) {
        return std::span(reference.logits[s]).subspan(t * kVocab, kVocab);
      };
      divergence.push_back(tools::kl_divergence(row(plain->reference), row(stressed->reference)));
    }
  }
  return tools::mean_of(divergence);
}

}  // namespace kvault::eval

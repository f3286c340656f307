#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/base/result.hpp"
#include "tools/eval/bootstrap.hpp"
#include "tools/eval/lab_attention.hpp"
#include "tools/model/fineweb.hpp"
#include "tools/model/scores.hpp"

namespace kvault::eval {

/// What text a model is measured on, and how.
struct EvalSetup {
  const tools::FinewebModel* model = nullptr;
  std::span<const std::uint32_t> text;  ///< from the first scored token on
  std::size_t n_sequence = 4;
  std::size_t n_context = 1024;
  std::size_t first_scored = 256;  ///< scores count from this position of every sequence on
  std::size_t n_recall = 8;        ///< doubled texts per distance; 0: no recall
  const Stress* stress = nullptr;
  const ModelProfile* profile = nullptr;
  std::uint32_t n_thread = 1;
};

/// Text whose second half repeats its first: what of it comes out right, `distance` tokens apart.
struct Recall {
  std::size_t distance = 0;
  std::vector<double> right;  ///< 0 or 1 per token of second halves
  double nll = 0;             ///< of those tokens
  double share() const { return tools::mean_of(right); }
};

/// The run over raw rows that all others are compared with.
struct Reference {
  std::vector<std::vector<float>> logits;  ///< by sequence, [n_context][n_vocab]
  std::vector<double> nll;                 ///< as EvalScores::nll
  std::vector<Recall> recall;
};

/// What a scheme does to a model. Positions below first_scored are left out everywhere; vectors by
/// position run through sequence after sequence.
struct EvalScores {
  std::vector<double> nll;
  std::vector<double> kl;     ///< KL(raw || coded) of the next token, nats
  std::vector<double> agree;  ///< 1 where both think the same token likeliest
  std::vector<Recall> recall;
  /// Of the first sequence, [n_layer][n_head].
  std::vector<std::vector<HeadError>> head_errors;
  double bits_per_element = 0;      ///< all-in, at the end of a sequence
  double bits_per_element_32k = 0;  ///< all-in, of a session of 32,768 tokens
};

/// Called with the sequences that are done; from any thread, one at a time.
using OnSequence = std::function<void(std::size_t)>;

/// Errc::limit_exceeded where the text is too short.
Result<Reference> run_reference(const EvalSetup& setup);
Result<EvalScores> run_scheme(const EvalSetup& setup, const Reference& reference,
                              const LabScheme& scheme, Mode mode, const OnSequence& on_sequence);
/// Forwards that run_scheme makes, for a progress bar.
std::size_t n_forward_of(const EvalSetup& setup);

/// All-in bits per element of K and V of all layers of a session of n_token tokens: what the codec
/// stores, raw rows at 16 bits, what is stored once.
double all_in_bits(const LabScheme& scheme, Mode mode, std::uint64_t n_token,
                   std::uint32_t head_dim, std::uint32_t n_layer);

/// Mean of the values whose position mod 128 falls into each of 16 bins of 8. [16]
std::vector<double> by_page_position(const EvalSetup& setup, std::span<const double> values);

}  // namespace kvault::eval

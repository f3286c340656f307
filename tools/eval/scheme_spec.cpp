#include "tools/eval/scheme_spec.hpp"

#include <bit>
#include <charconv>
#include <cmath>
#include <memory>
#include <optional>

#include "core/layout/scheme.hpp"
#include "tools/eval/codecs/affine.hpp"
#include "tools/eval/codecs/ggml_block.hpp"
#include "tools/eval/codecs/kvarn.hpp"
#include "tools/eval/codecs/qjl.hpp"
#include "tools/eval/codecs/split_channels.hpp"
#include "tools/eval/codecs/turbo_codec.hpp"

namespace kvault::eval {
namespace {

/// One side while its text is read: a rival made at once, or options to make a codec of.
struct SideDraft {
  bool is_raw = false;
  std::shared_ptr<const SideCodec> rival;
  TurboOptions turbo;
  std::uint32_t n_loud = 0;
  double loud_bits = 16;
  bool qjl = false;
};

constexpr SchemeName kNames[] = {
    {"q8_0, q4_0, q4_1", "llama.cpp's cache types"},
    {"rotated-q4_0", "q4_0 behind a Hadamard transform of 64 channels"},
    {"vllm-k8v4, vllm-4bit, vllm-k3v4, vllm-3bit", "vLLM's TurboQuant presets"},
    {"executorch-tq4", "ExecuTorch's TQ4"},
    {"kivi-2, kivi-4", "keys by channel, values by token, groups of 32"},
    {"kvarn-k4v4, kvarn-k4v2", "after KVarN's description"},
    {"tq4, tq3, tq2", "TurboQuant, signed Hadamard, norm corrected, keys not centred"},
    {"tq4-plain, tq3-plain, tq2-plain", "the same with the paper's norm"},
    {"trellis-PRESET", "a preset with trellis codes, keys and values centred"},
    {"allocated-PRESET", "the same on principal axes of a profile, bits by axis"}};

struct Draft {
  SideDraft key;
  SideDraft value;
  std::uint32_t n_edge_layer = 0;
  RawRows live;
};

template <class T>
Result<T> one_of(std::string_view option, std::string_view text,
                 const std::vector<std::pair<std::string_view, T>>& values) {
  std::string all;
  for (const auto& [name, value] : values) {
    if (name == text) return value;
    all += (all.empty() ? "" : ", ") + std::string(name);
  }
  return fail(Errc::invalid_argument, message("option ", option, " is ", text, ", not ", all));
}

Result<double> number_of(std::string_view option, std::string_view text, double least,
                         double most) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value >= least) ||
      !(value <= most)) {
    return fail(Errc::invalid_argument, message("option ", option, " is ", text,
                                                ", not a number from ", least, " to ", most));
  }
  return value;
}

Result<std::uint32_t> count_of(std::string_view option, std::string_view text, double least,
                               double most) {
  KVAULT_TRY(const double value, number_of(option, text, least, most));
  return static_cast<std::uint32_t>(value);
}

/// The options that name a kind.
Result<bool> set_kind(TurboOptions& turbo, std::string_view option, std::string_view text) {
  if (option == "code") {
    KVAULT_TRY(turbo.code, one_of<CodeKind>(option, text,
                                            {{"lloyd", CodeKind::lloyd},
                                             {"trellis", CodeKind::trellis},
                                             {"uniform", CodeKind::uniform},
                                             {"sphere", CodeKind::sphere},
                                             {"q8", CodeKind::q8}}));
  } else if (option == "rotation") {
    KVAULT_TRY(turbo.rotation, one_of<RotationKind>(option, text,
                                                    {{"hadamard", RotationKind::signed_hadamard},
                                                     {"unsigned", RotationKind::plain_hadamard},
                                                     {"haar", RotationKind::haar},
                                                     {"none", RotationKind::none}}));
  } else if (option == "mean") {
    KVAULT_TRY(turbo.mean,
               one_of<MeanKind>(
                   option, text,
                   {{"none", MeanKind::none}, {"f16", MeanKind::f16}, {"8bit", MeanKind::bits8}}));
  } else if (option == "scale") {
    KVAULT_TRY(turbo.scale, one_of<ScaleRule>(option, text,
                                              {{"plain", ScaleRule::plain},
                                               {"matched", ScaleRule::matched},
                                               {"least-squares", ScaleRule::least_squares},
                                               {"unbiased", ScaleRule::unbiased}}));
  } else if (option == "transform") {
    KVAULT_TRY(turbo.transform,
               one_of<TransformKind>(option, text,
                                     {{"none", TransformKind::none},
                                      {"learned", TransformKind::learned},
                                      {"weights", TransformKind::weights},
                                      {"profile", TransformKind::profile},
                                      {"matrix", TransformKind::matrix},
                                      {"profile-matrix", TransformKind::profile_matrix},
                                      {"allocated", TransformKind::allocated}}));
  } else {
    return false;
  }
  return true;
}

Result<> set_option(SideDraft& side, std::string_view option, std::string_view text) {
  TurboOptions& turbo = side.turbo;
  if (side.rival != nullptr && option != "raw") {
    return fail(Errc::invalid_argument, message("a fixed format has no option ", option));
  }
  KVAULT_TRY(const bool is_kind, set_kind(turbo, option, text));
  if (is_kind) return {};
  if (option == "bits") {
    KVAULT_TRY(turbo.bits, number_of(option, text, 1, 6));
  } else if (option == "renormalise") {
    KVAULT_TRY(const std::uint32_t on, count_of(option, text, 0, 1));
    turbo.renormalise = on == 1;
    if (on == 1) turbo.scale = ScaleRule::plain;
  } else if (option == "raw") {
    KVAULT_TRY(const std::uint32_t on, count_of(option, text, 0, 1));
    side.is_raw = on == 1;
  } else if (option == "learn") {
    KVAULT_TRY(turbo.n_learn, count_of(option, text, 2, 1 << 20));
  } else if (option == "shrink") {
    KVAULT_TRY(turbo.shrinkage, number_of(option, text, 0, 1));
  } else if (option == "page") {
    KVAULT_TRY(turbo.page, count_of(option, text, 1, 1024));
  } else if (option == "loud") {
    KVAULT_TRY(side.n_loud, count_of(option, text, 0, 512));
  } else if (option == "loud-bits") {
    KVAULT_TRY(side.loud_bits, number_of(option, text, 1, 16));
  } else if (option == "qjl") {
    KVAULT_TRY(const std::uint32_t on, count_of(option, text, 0, 1));
    side.qjl = on == 1;
  } else {
    return fail(Errc::invalid_argument, message("there is no option ", option));
  }
  return {};
}

Result<> apply_option(Draft& draft, std::string_view item) {
  const std::size_t equals = item.find('=');
  if (equals == std::string_view::npos) {
    return fail(Errc::invalid_argument, message("'", item, "' is no OPTION=VALUE"));
  }
  std::string_view option = item.substr(0, equals);
  const std::string_view text = item.substr(equals + 1);
  if (option == "edge-layers") {
    KVAULT_TRY(draft.n_edge_layer, count_of(option, text, 0, 64));
    return {};
  }
  if (option == "sink") {
    KVAULT_TRY(draft.live.n_sink, count_of(option, text, 0, 1 << 20));
    return {};
  }
  if (option == "tail-pages") {
    KVAULT_TRY(draft.live.n_tail_page, count_of(option, text, 0, 1 << 20));
    return {};
  }
  const bool key_only = option.starts_with("k.");
  const bool value_only = option.starts_with("v.");
  if (key_only || value_only) option.remove_prefix(2);
  if (!value_only) KVAULT_CHECK(set_option(draft.key, option, text));
  if (!key_only) KVAULT_CHECK(set_option(draft.value, option, text));
  return {};
}

SideDraft product_side(Side side, Scheme scheme) {
  SideDraft draft;
  draft.is_raw = scheme == Scheme::raw;
  draft.turbo.code = scheme == Scheme::q8 ? CodeKind::q8 : CodeKind::lloyd;
  draft.turbo.bits = code_bits_of(scheme);
  if (side == Side::key) {
    draft.turbo.mean = MeanKind::f16;
    draft.turbo.transform = TransformKind::learned;
  }
  return draft;
}

template <class Codec, class... Args>
SideDraft rival(Args... args) {
  SideDraft draft;
  draft.rival = std::make_shared<Codec>(args...);
  return draft;
}

/// vLLM's keys: no signs in the Hadamard matrix, plain norms, codes brought to length 1.
SideDraft vllm_key(double bits) {
  SideDraft draft;
  draft.turbo.bits = bits;
  draft.turbo.rotation = RotationKind::plain_hadamard;
  draft.turbo.scale = ScaleRule::plain;
  draft.turbo.renormalise = true;
  return draft;
}

SideDraft plain_turbo(double bits, ScaleRule scale) {
  SideDraft draft;
  draft.turbo.bits = bits;
  draft.turbo.scale = scale;
  return draft;
}

SideDraft executorch() {
  SideDraft draft;
  draft.turbo.code = CodeKind::cut_at_3_sigma;
  draft.turbo.rotation = RotationKind::haar;
  draft.turbo.scale = ScaleRule::plain;
  draft.turbo.scale_type = ScaleType::bf16;
  return draft;
}

Draft both(const SideDraft& side) {
  return {.key = side, .value = side, .n_edge_layer = 0, .live = {}};
}

Draft pair(const SideDraft& key, const SideDraft& value) {
  return {.key = key, .value = value, .n_edge_layer = 0, .live = {}};
}

std::optional<Draft> find_rival(std::string_view name) {
  constexpr auto kChannels = Affine::Group::channels;
  constexpr auto kTokens = Affine::Group::tokens;
  if (name == "q8_0") return both(rival<GgmlBlock>(GgmlType::q8_0, false));
  if (name == "q4_0") return both(rival<GgmlBlock>(GgmlType::q4_0, false));
  if (name == "q4_1") return both(rival<GgmlBlock>(GgmlType::q4_1, false));
  if (name == "rotated-q4_0") return both(rival<GgmlBlock>(GgmlType::q4_0, true));
  if (name == "vllm-k8v4") return pair(rival<Fp8>(), rival<Affine>(4U, kChannels, 0U));
  if (name == "vllm-4bit") return pair(vllm_key(4), rival<Affine>(4U, kChannels, 0U));
  if (name == "vllm-k3v4") return pair(vllm_key(3), rival<Affine>(4U, kChannels, 0U));
  if (name == "vllm-3bit") return pair(vllm_key(3), rival<Affine>(3U, kChannels, 0U));
  if (name == "executorch-tq4") return both(executorch());
  if (name == "kivi-2") {
    return pair(rival<Affine>(2U, kTokens, 32U), rival<Affine>(2U, kChannels, 32U));
  }
  if (name == "kivi-4") {
    return pair(rival<Affine>(4U, kTokens, 32U), rival<Affine>(4U, kChannels, 32U));
  }
  if (name == "kvarn-k4v4") return both(rival<Kvarn>(4U));
  if (name == "kvarn-k4v2") return pair(rival<Kvarn>(4U), rival<Kvarn>(2U));
  for (const double bits : {2.0, 3.0, 4.0}) {
    const std::string tq = "tq" + std::to_string(static_cast<int>(bits));
    if (name == tq) return both(plain_turbo(bits, ScaleRule::matched));
    if (name == tq + "-plain") return both(plain_turbo(bits, ScaleRule::plain));
  }
  return std::nullopt;
}

std::optional<Draft> find_product(std::string_view name) {
  const std::optional<Preset> preset = find_preset(name);
  if (!preset) return std::nullopt;
  return pair(product_side(Side::key, preset->key), product_side(Side::value, preset->value));
}

/// "trellis-PRESET" and "allocated-PRESET": the preset with that much of it replaced.
std::optional<Draft> find_experiment(std::string_view name) {
  const bool is_trellis = name.starts_with("trellis-");
  const bool is_allocated = name.starts_with("allocated-");
  if (!is_trellis && !is_allocated) return std::nullopt;
  std::optional<Draft> draft = find_product(name.substr(name.find('-') + 1));
  if (!draft) return std::nullopt;
  for (SideDraft* side : {&draft->key, &draft->value}) {
    if (side->turbo.code == CodeKind::lloyd) side->turbo.code = CodeKind::trellis;
    side->turbo.mean = MeanKind::f16;
    if (is_allocated) side->turbo.transform = TransformKind::allocated;
  }
  return draft;
}

bool needs_profile(const SideDraft& draft) {
  switch (draft.turbo.transform) {
    case TransformKind::weights:
    case TransformKind::profile:
    case TransformKind::profile_matrix:
    case TransformKind::allocated:
      return true;
    case TransformKind::none:
    case TransformKind::learned:
    case TransformKind::matrix:
      break;
  }
  return false;
}

/// Whether the loud channels' count and bits, and what is left of the rows, can be coded.
Result<> check_loud(const SideDraft& draft, std::uint32_t dim) {
  if (draft.n_loud >= dim) {
    return fail(Errc::invalid_argument, message(draft.n_loud, " loud channels of ", dim));
  }
  const double bits = draft.loud_bits;
  if (bits < 16 && (bits > 6 || bits != std::floor(bits))) {
    return fail(Errc::invalid_argument, message(bits, " bits of loud channels; 1 to 6, or 16"));
  }
  const std::uint32_t n_quiet = dim - draft.n_loud;
  const bool is_small = n_quiet < 3 || (draft.n_loud > 0 && draft.n_loud < 3);
  if (draft.turbo.code == CodeKind::sphere && is_small) {
    return fail(Errc::invalid_argument,
                message("no sphere of ", draft.n_loud, " and ", n_quiet, " channels"));
  }
  const bool is_power =
      std::has_single_bit(n_quiet) && (draft.n_loud == 0 || std::has_single_bit(draft.n_loud));
  if (draft.turbo.rotation == RotationKind::plain_hadamard && !is_power) {
    return fail(Errc::invalid_argument, message("no plain Hadamard matrix of ", draft.n_loud,
                                                " and ", n_quiet, " channels"));
  }
  return {};
}

Result<std::shared_ptr<const SideCodec>> make_side(const SideDraft& draft, std::uint32_t dim,
                                                   CodeShelf& shelf) {
  if (draft.is_raw) return nullptr;
  if (draft.rival != nullptr) return draft.rival;
  const double bits = draft.turbo.bits;
  const bool is_allocated = draft.turbo.transform == TransformKind::allocated;
  if (draft.turbo.code != CodeKind::q8 && bits != std::floor(bits) && !is_allocated) {
    return fail(Errc::invalid_argument,
                message(bits, " bits: use loud=N and loud-bits=B, or transform=allocated"));
  }
  KVAULT_CHECK(check_loud(draft, dim));
  const auto make = [&shelf](const TurboOptions& options, std::uint32_t n_channel) {
    return std::make_shared<TurboCodec>(options, shelf.code_of(options, n_channel));
  };
  std::shared_ptr<const SideCodec> codec = make(draft.turbo, dim - draft.n_loud);
  if (draft.n_loud > 0) {
    std::shared_ptr<const SideCodec> loud;
    if (draft.loud_bits < 16) {
      TurboOptions options = draft.turbo;
      options.bits = draft.loud_bits;
      loud = make(options, draft.n_loud);
    }
    codec = std::make_shared<SplitChannels>(draft.n_loud, std::move(loud), std::move(codec));
  }
  if (draft.qjl) codec = std::make_shared<Qjl>(std::move(codec), 7);
  return codec;
}

}  // namespace

Result<LabScheme> scheme_of(std::string_view text, std::uint32_t head_dim, CodeShelf& shelf) {
  const std::string_view name = text.substr(0, text.find(','));
  std::optional<Draft> draft = find_product(name);
  if (!draft) draft = find_rival(name);
  if (!draft) draft = find_experiment(name);
  if (!draft) return fail(Errc::invalid_argument, message("there is no scheme '", name, "'"));
  std::string_view rest = text.substr(name.size());
  while (!rest.empty()) {
    rest.remove_prefix(1);
    const std::string_view item = rest.substr(0, rest.find(','));
    KVAULT_CHECK(apply_option(*draft, item));
    rest.remove_prefix(item.size());
  }
  LabScheme scheme;
  scheme.name = std::string(text);
  KVAULT_TRY(scheme.key, make_side(draft->key, head_dim, shelf));
  KVAULT_TRY(scheme.value, make_side(draft->value, head_dim, shelf));
  scheme.n_edge_layer = draft->n_edge_layer;
  scheme.live = draft->live;
  scheme.needs_profile = needs_profile(draft->key) || needs_profile(draft->value);
  return scheme;
}

std::span<const SchemeName> scheme_names() { return kNames; }

std::string scheme_options_help() {
  return "  code=lloyd|trellis|uniform|sphere|q8     bits=B\n"
         "  rotation=hadamard|unsigned|haar|none     mean=none|f16|8bit\n"
         "  scale=plain|matched|least-squares|unbiased   renormalise=0|1\n"
         "  transform=none|learned|weights|profile|matrix|profile-matrix|allocated\n"
         "  learn=TOKENS  shrink=SHARE  page=TOKENS  loud=CHANNELS  loud-bits=B  qjl=0|1\n"
         "  raw=0|1  edge-layers=N  sink=TOKENS  tail-pages=N";
}

}  // namespace kvault::eval

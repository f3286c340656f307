#include "sdk/adapters/llama/src/model.hpp"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>

namespace kvault::llama {
namespace {

constexpr std::size_t kSampleBytes = 4096;
constexpr std::int64_t kSplitsMax = 1024;

/// Architectures whose state has parts this build does not know (llama.cpp v0.5.0, src/llama-kv-
/// cache-{dsa,msa,dsv4}.cpp, llama-memory-hybrid-idx.cpp), or whose windows are chunks.
constexpr std::array<std::string_view, 9> kUnsupported = {
    "deepseek32", "deepseek4", "glm-dsa", "dots3note",      "minimax-m3",
    "qwen4exp",   "llama4",    "gemma3n", "gemma-embedding"};

class Hash {
 public:
  Hash() : state_(XXH3_createState()) { XXH3_128bits_reset(state_.get()); }
  void add(std::span<const std::byte> bytes) {
    XXH3_128bits_update(state_.get(), bytes.data(), bytes.size());
  }
  void add(std::uint64_t number) { add(std::as_bytes(std::span(&number, 1))); }
  std::string text() const {
    const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
    std::array<char, 33> digits{};
    std::snprintf(digits.data(), digits.size(), "%016llx%016llx",
                  static_cast<unsigned long long>(hash.high64),
                  static_cast<unsigned long long>(hash.low64));
    return digits.data();
  }

 private:
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Free> state_;
};

std::string text_of(float value) {
  std::array<char, 32> digits{};
  std::snprintf(digits.data(), digits.size(), "%.9g", static_cast<double>(value));
  return digits.data();
}

std::string text_of(const Rope& rope) {
  const auto given = [](float value, float none) {
    return value == none ? std::string("model") : text_of(value);
  };
  const auto at_least_0 = [&](float value) { return given(value < 0 ? -1 : value, -1); };
  return message("scaling ", rope.scaling_type < 0 ? "model" : std::to_string(rope.scaling_type),
                 ", base ", given(rope.freq_base, 0), ", scale ", given(rope.freq_scale, 0),
                 ", yarn ", at_least_0(rope.yarn_ext_factor), " ",
                 at_least_0(rope.yarn_attn_factor), " ", at_least_0(rope.yarn_beta_fast), " ",
                 at_least_0(rope.yarn_beta_slow), " ",
                 rope.yarn_orig_ctx == 0 ? "model" : std::to_string(rope.yarn_orig_ctx));
}

/// The other parts of a model in several files: "x-00001-of-00003.gguf".
Result<std::vector<std::filesystem::path>> parts_of(const Gguf& file) {
  const std::int64_t n = file.number("split.count").value_or(1);
  std::vector<std::filesystem::path> parts{file.path()};
  if (n <= 1) return parts;
  std::string name = file.path().native();
  const std::size_t at = name.rfind("-00001-of-");
  if (n > kSplitsMax || at == name.npos) {
    return fail(Errc::unknown_format,
                message(name, " is a part of ", n, "; open the one named -00001-of-..."));
  }
  for (std::int64_t i = 2; i <= n; ++i) {
    std::array<char, 8> digits{};
    std::snprintf(digits.data(), digits.size(), "%05d", static_cast<int>(i));
    parts.emplace_back(name.replace(at + 1, 5, digits.data()));
  }
  return parts;
}

}  // namespace

Result<std::string> fingerprint(const Gguf& file) {
  Hash hash;
  hash.add(file.head());
  hash.add(file.file_bytes());
  const std::vector<GgufTensor>& tensors = file.tensors();
  std::vector<std::uint64_t> ends;
  for (const GgufTensor& tensor : tensors) ends.push_back(tensor.offset_bytes);
  ends.push_back(file.file_bytes());
  std::sort(ends.begin(), ends.end());
  for (const GgufTensor& tensor : tensors) {
    const std::uint64_t begin = tensor.offset_bytes;
    const std::uint64_t end = *std::upper_bound(ends.begin(), ends.end() - 1, begin);
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(kSampleBytes, end - begin));
    for (const std::uint64_t at : {begin, begin + (end - begin - n) / 2, end - n}) {
      KVAULT_TRY(const std::vector<std::byte> sample, file.read(at, n));
      hash.add(sample);
    }
  }
  return hash.text();
}

Result<Model> Model::open(const ModelOptions& options) {
  Model model;
  KVAULT_TRY(model.file_, Gguf::open(options.path));
  KVAULT_CHECK(model.read_shape());
  KVAULT_CHECK(model.check_architecture());
  KVAULT_CHECK(model.read_identity(options));
  return model;
}

Result<> Model::read_shape() {
  const std::optional<std::string> architecture = file_.text("general.architecture");
  if (!architecture) {
    return fail(Errc::unknown_format, message(file_.path().native(), " names no architecture"));
  }
  architecture_ = *architecture;
  const std::string prefix = architecture_ + ".";
  const auto number = [&](const char* key, std::int64_t otherwise) {
    const std::int64_t value = file_.number(prefix + key).value_or(otherwise);
    return value < 0 || value > (1 << 24) ? 0U : static_cast<std::uint32_t>(value);
  };
  n_layer_ = number("block_count", 0);
  for (const std::int64_t n : file_.numbers(prefix + "attention.head_count")) {
    if (n > 0 && n <= 65536) n_head_ = std::max(n_head_, static_cast<std::uint32_t>(n));
  }
  const std::uint32_t n_embd = number("embedding_length", 0);
  const std::uint32_t head_dim = n_head_ > 0 ? n_embd / n_head_ : 0;
  key_head_dim_ = number("attention.key_length", head_dim);
  value_head_dim_ = number("attention.value_length", head_dim);
  window_ = number("attention.sliding_window", 0);
  return {};
}

Result<> Model::check_architecture() const {
  const auto is_unsupported =
      std::find(kUnsupported.begin(), kUnsupported.end(), architecture_) != kUnsupported.end();
  if (is_unsupported) {
    return fail(Errc::unsupported, message("the state of architecture ", architecture_,
                                           " has parts that this version does not know"));
  }
  if (file_.number(architecture_ + ".attention.kv_lora_rank").value_or(0) > 0) {
    return fail(Errc::unsupported,
                message("architecture ", architecture_, " keeps latent attention, without values"));
  }
  return {};
}

std::uint32_t Model::n_recurrent() const {
  std::set<std::uint64_t> layers;
  for (const GgufTensor& tensor : file_.tensors()) {
    const std::size_t dot = tensor.name.find('.', 4);
    if (!tensor.name.starts_with("blk.") || dot == tensor.name.npos) continue;
    const std::string_view part = std::string_view(tensor.name).substr(dot + 1);
    if (!part.starts_with("ssm_") && !part.starts_with("shortconv")) continue;
    layers.insert(std::strtoull(tensor.name.c_str() + 4, nullptr, 10));
  }
  return static_cast<std::uint32_t>(layers.size());
}

Result<> Model::read_identity(const ModelOptions& options) {
  KVAULT_TRY(const std::vector<std::filesystem::path> parts, parts_of(file_));
  std::string model;
  for (const std::filesystem::path& part : parts) {
    KVAULT_TRY(const Gguf file, Gguf::open(part));
    KVAULT_TRY(const std::string hash, fingerprint(file));
    model += model.empty() ? hash : "+" + hash;
  }
  if (parts.size() > 1) {  // a field has room for a few
    Hash hash;
    hash.add(std::as_bytes(std::span(model)));
    model = hash.text();
  }
  std::vector<std::string> loras;
  for (const Lora& lora : options.loras) {
    KVAULT_TRY(const Gguf file, Gguf::open(lora.path));
    KVAULT_TRY(const std::string hash, fingerprint(file));
    if (lora.scale != 0) loras.push_back(message(hash, " x ", text_of(lora.scale)));
  }
  std::sort(loras.begin(), loras.end());  // what they add up to has no order
  std::string lora = loras.empty() ? "none" : "";
  for (const std::string& one : loras) lora += lora.empty() ? one : ", " + one;
  identity_ = {{"llama.model", model},
               {"llama.architecture", architecture_},
               {"llama.lora", lora},
               {"llama.rope", text_of(options.rope)}};
  return {};
}

}  // namespace kvault::llama

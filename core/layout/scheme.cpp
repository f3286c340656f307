#include "core/layout/scheme.hpp"

#include <array>

namespace kvault {
namespace {

constexpr std::array<Preset, 8> kPresets = {{
    {"raw", Scheme::raw, Scheme::raw},
    {"k8v8", Scheme::q8, Scheme::q8},
    {"k8v4", Scheme::q8, Scheme::tq4},
    {"k4v4", Scheme::tq4, Scheme::tq4},
    {"k4v3", Scheme::tq4, Scheme::tq3},
    {"k3v3", Scheme::tq3, Scheme::tq3},
    {"k3v2", Scheme::tq3, Scheme::tq2},
    {"k2v2", Scheme::tq2, Scheme::tq2},
}};

/// Other names, for people; docs/quality.md has the figures behind them.
struct Alias {
  std::string_view name;
  std::string_view preset;
};
constexpr std::array<Alias, 4> kAliases = {
    {{"f16", "raw"}, {"near-lossless", "k8v8"}, {"balanced", "k4v4"}, {"small", "k3v3"}}};

}  // namespace

std::optional<BlockFormat> BlockFormat::from_byte(std::uint8_t byte) noexcept {
  if (byte >= KVAULT_FORMAT_RAW_F16 && byte <= KVAULT_FORMAT_RAW_F32) return BlockFormat(byte);
  const unsigned scheme = byte & ~static_cast<unsigned>(KVAULT_FORMAT_CENTRED);
  if (scheme >= KVAULT_FORMAT_Q8 && scheme <= KVAULT_FORMAT_TQ2) return BlockFormat(byte);
  return std::nullopt;
}

std::span<const Preset> presets() noexcept { return kPresets; }

std::optional<Preset> find_preset(std::string_view name) noexcept {
  for (const Alias& alias : kAliases) {
    if (alias.name == name) name = alias.preset;
  }
  for (const Preset& preset : kPresets) {
    if (preset.name == name) return preset;
  }
  return std::nullopt;
}

std::string_view name_of(Scheme scheme) noexcept {
  switch (scheme) {
    case Scheme::raw:
      return "raw";
    case Scheme::q8:
      return "q8";
    case Scheme::tq4:
      return "tq4";
    case Scheme::tq3:
      return "tq3";
    case Scheme::tq2:
      return "tq2";
  }
  return "?";
}

std::string_view name_of(RowType type) noexcept {
  switch (type) {
    case RowType::f16:
      return "f16";
    case RowType::bf16:
      return "bf16";
    case RowType::f32:
      return "f32";
  }
  return "?";
}

}  // namespace kvault

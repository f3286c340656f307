#include "tools/eval/codecs/code_shelf.hpp"

#include <vector>

#include "core/base/result.hpp"

namespace kvault::eval {
namespace {

std::shared_ptr<const NumberCode> make(CodeKind kind, std::span<const std::uint32_t> bits,
                                       std::uint32_t head_dim) {
  switch (kind) {
    case CodeKind::lloyd:
      return TableCode::lloyd(bits);
    case CodeKind::uniform:
      return TableCode::uniform(bits);
    case CodeKind::sphere:
      return TableCode::sphere(bits, head_dim);
    case CodeKind::cut_at_3_sigma:
      return TableCode::cut_at_3_sigma();
    case CodeKind::trellis:
      return std::make_shared<TrellisCode>(bits);
    case CodeKind::q8:
      break;
  }
  return nullptr;
}

}  // namespace

std::shared_ptr<const NumberCode> CodeShelf::code_of(const TurboOptions& options,
                                                     std::uint32_t head_dim) {
  std::vector<std::uint32_t> bits = {static_cast<std::uint32_t>(options.bits)};
  if (options.transform == TransformKind::allocated) bits = {1, 2, 3, 4, 5, 6};
  const std::string key =
      message(static_cast<int>(options.code), "/", bits.front(), "/", bits.size(), "/", head_dim);
  std::shared_ptr<const NumberCode>& code = made_[key];
  if (code == nullptr) code = make(options.code, bits, head_dim);
  return code;
}

}  // namespace kvault::eval

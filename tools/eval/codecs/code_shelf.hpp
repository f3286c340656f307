#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "tools/eval/codecs/number_code.hpp"
#include "tools/eval/codecs/turbo_options.hpp"

namespace kvault::eval {

/// Codes that take a while to make, each made once. One thread at a time; the codes themselves may
/// be used by any.
class CodeShelf {
 public:
  /// What `options` asks for at this head_dim; null for q8, which has no table.
  std::shared_ptr<const NumberCode> code_of(const TurboOptions& options, std::uint32_t head_dim);

 private:
  std::map<std::string, std::shared_ptr<const NumberCode>> made_;
};

}  // namespace kvault::eval

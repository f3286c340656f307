#pragma once

#include <doctest/doctest.h>

#include <memory>

#include "gpu_vulkan/context.hpp"

namespace kvault::test {

/// A context on this machine's first usable adapter; null, with a message, where there is none.
inline std::shared_ptr<const vulkan::Context> open_context() {
  Result<std::shared_ptr<const vulkan::Context>> context = vulkan::Context::open({});
  if (context) return *context;
  MESSAGE(context.error().message);
  if (context.error().code != Errc::device_absent) FAIL("the device cannot be opened");
  return nullptr;
}

}  // namespace kvault::test

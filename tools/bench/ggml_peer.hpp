#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "core/base/result.hpp"
#include "core/os/shared_library.hpp"
#include "tools/bench/ggml_api.hpp"

namespace kvault::tools {

/// The libraries of a llama.cpp build, loaded. Everything made with `api()` must be gone before it.
class GgmlPeer {
 public:
  /// `folder` holds libggml*.so and the one or several libggml-cpu*.so, of which the best for this
  /// processor is taken. Refuses libraries whose interface is not the one declared here.
  static Result<GgmlPeer> load(const std::filesystem::path& folder);

  const GgmlApi& api() const { return api_; }
  GgmlDevice* device() const { return device_; }
  /// ggml's own version number.
  std::string version() const { return api_.version(); }
  /// Which of the builds for different processors was taken: "sapphirerapids".
  const std::string& cpu_variant() const { return cpu_variant_; }

 private:
  GgmlPeer() = default;
  Result<> find_functions(const std::filesystem::path& path);
  Result<> check_types() const;
  Result<> load_cpu(const std::filesystem::path& folder);

  SharedLibrary library_;
  GgmlApi api_;
  GgmlDevice* device_ = nullptr;
  std::string cpu_variant_;
};

}  // namespace kvault::tools

#include "tools/bench/ggml_peer.hpp"

#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace kvault::tools {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kCpuPrefix = "libggml-cpu";

/// libggml.so, libggml.so.0, libggml.v0.5.0.so; not libggml-base.so.
bool is_main_library(const std::string& name) {
  return name.starts_with("libggml.") && name.find(".so") != std::string::npos;
}

bool is_cpu_library(const std::string& name) {
  return name.starts_with(kCpuPrefix) && name.ends_with(".so");
}

Result<std::vector<fs::path>> list_files(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> paths;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    paths.push_back(entry->path());
  }
  if (error) return fail(Errc::not_found, message(folder.native(), ": ", error.message()));
  return paths;
}

/// How well a build fits this processor by its own account; 0: it cannot run here. A build that
/// has no opinion is the only one of its folder.
int score_of(const fs::path& path) {
  const Result<SharedLibrary> library = SharedLibrary::open(path);
  if (!library) return 0;
  const auto score = library->find<int (*)()>("ggml_backend_score");
  return score != nullptr ? score() : 1;
}

}  // namespace

Result<GgmlPeer> GgmlPeer::load(const fs::path& folder) {
  KVAULT_TRY(const std::vector<fs::path> paths, list_files(folder));
  GgmlPeer peer;
  for (const fs::path& path : paths) {
    if (!is_main_library(path.filename().native())) continue;
    KVAULT_CHECK(peer.find_functions(path));
    peer.api_.log_set([](int, const char*, void*) {}, nullptr);  // stderr is ours
    KVAULT_CHECK(peer.check_types());
    KVAULT_CHECK(peer.load_cpu(folder));
    return peer;
  }
  return fail(Errc::not_found, message("no libggml.*so in ", folder.native()));
}

Result<> GgmlPeer::find_functions(const fs::path& path) {
  KVAULT_TRY(library_, SharedLibrary::open(path));
  std::string missing;
  const auto find = [&](auto& function, const char* name) {
    function = library_.find<std::remove_reference_t<decltype(function)>>(name);
    if (function == nullptr) missing += std::string(missing.empty() ? "" : ", ") + name;
  };
#define KVAULT_GGML_FIND(name, result, parameters) find(api_.name, "ggml_" #name);
  KVAULT_GGML_FUNCTIONS(KVAULT_GGML_FIND)
#undef KVAULT_GGML_FIND
  if (missing.empty()) return {};
  return fail(Errc::unsupported, message(path.native(), " has no ", missing));
}

Result<> GgmlPeer::check_types() const {
  constexpr std::pair<GgmlType, std::string_view> kTypes[] = {{GgmlType::f32, "f32"},
                                                              {GgmlType::f16, "f16"},
                                                              {GgmlType::q4_0, "q4_0"},
                                                              {GgmlType::q8_0, "q8_0"}};
  for (const auto& [type, name] : kTypes) {
    const char* const theirs = api_.type_name(type);
    if (theirs == nullptr || name != theirs) {
      return fail(Errc::unsupported,
                  message("ggml ", version(), " calls type ", static_cast<int>(type), " not ", name,
                          " but ", theirs != nullptr ? theirs : "nothing"));
    }
  }
  return {};
}

Result<> GgmlPeer::load_cpu(const fs::path& folder) {
  KVAULT_TRY(const std::vector<fs::path> paths, list_files(folder));
  fs::path best;
  int best_score = 0;
  for (const fs::path& path : paths) {
    if (!is_cpu_library(path.filename().native())) continue;
    const int score = score_of(path);
    if (score > best_score) {
      best = path;
      best_score = score;
    }
  }
  if (best.empty()) {
    return fail(Errc::not_found,
                message("no libggml-cpu*.so in ", folder.native(), " runs on this processor"));
  }
  const std::string stem = best.stem().native();
  cpu_variant_ = stem.size() > kCpuPrefix.size() ? stem.substr(kCpuPrefix.size() + 1) : "native";
  GgmlRegistry* const registry = api_.backend_load(best.c_str());
  device_ = registry != nullptr ? api_.backend_dev_by_type(kGgmlDeviceCpu) : nullptr;
  if (device_ == nullptr) {
    return fail(Errc::unsupported, message(best.native(), " is no backend of ggml ", version()));
  }
  api_.set_n_threads = reinterpret_cast<void (*)(GgmlBackend*, int)>(
      api_.backend_reg_get_proc_address(registry, "ggml_backend_set_n_threads"));
  if (api_.set_n_threads == nullptr) {
    return fail(Errc::unsupported, message(best.native(), " has no ggml_backend_set_n_threads"));
  }
  return {};
}

}  // namespace kvault::tools

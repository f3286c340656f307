#include "tests/torture/disk/file_tap.hpp"

#include <string_view>
#include <utility>

namespace kvault::torture {
namespace {

/// Neither durable nor of use to anyone after a crash.
bool is_shared_memory(std::string_view path) { return path.ends_with("-shm"); }

}  // namespace

FileTap& FileTap::instance() {
  static FileTap tap;
  return tap;
}

void FileTap::start(const std::filesystem::path& directory, std::map<std::string, int> files,
                    int next_file) {
  prefix_ = directory.native();
  journal_.clear();
  files_ = std::move(files);
  next_file_ = next_file;
  handles_.clear();
  set_fault(std::nullopt);
  is_listening_ = true;
}

Journal FileTap::stop() {
  is_listening_ = false;
  fault_.reset();
  handles_.clear();
  return std::exchange(journal_, {});
}

void FileTap::mark(std::uint64_t number) {
  journal_.push_back({.kind = EventKind::mark, .offset = number});
}

void FileTap::set_fault(std::optional<Fault> fault) {
  fault_ = fault;
  n_call_ = n_hit_ = 0;
  is_cutting_ = false;
}

int FileTap::fault_of(Call call, const std::string&) {
  is_cutting_ = false;
  if (!fault_ || fault_->call != call) return 0;
  ++n_call_;
  if (n_call_ < fault_->at || n_call_ - fault_->at >= fault_->n_failing) return 0;
  is_cutting_ = fault_->is_short_write && n_hit_ == 0;
  ++n_hit_;
  return is_cutting_ ? 0 : fault_->error_number;
}

std::optional<std::string> FileTap::relative(const char* path) const {
  if (!is_listening_ || path == nullptr) return std::nullopt;
  const std::string_view text(path);
  if (!text.starts_with(prefix_)) return std::nullopt;
  if (text.size() == prefix_.size()) return std::string();
  if (text[prefix_.size()] != '/') return std::nullopt;
  return std::string(text.substr(prefix_.size() + 1));
}

std::optional<std::string> FileTap::path_of(int descriptor) const {
  if (!is_listening_) return std::nullopt;
  const auto handle = handles_.find(descriptor);
  if (handle == handles_.end()) return std::nullopt;
  return handle->second.path;
}

void FileTap::opened(int descriptor, const std::string& path, bool is_new, bool is_directory) {
  if (is_directory) {
    handles_[descriptor] = {-1, path};
    return;
  }
  if (is_new || !files_.contains(path)) files_[path] = next_file_++;
  handles_[descriptor] = {files_[path], path};
  if (!is_new || is_shared_memory(path)) return;
  journal_.push_back({.kind = EventKind::create, .file = files_[path], .path = path});
}

void FileTap::closed(int descriptor) {
  if (is_listening_) handles_.erase(descriptor);
}

void FileTap::written(int descriptor, std::uint64_t offset, const void* data, std::size_t size) {
  const Handle& handle = handles_[descriptor];
  if (is_shared_memory(handle.path)) return;
  const auto* bytes = static_cast<const std::byte*>(data);
  journal_.push_back({.kind = EventKind::write,
                      .file = handle.file,
                      .offset = offset,
                      .path = handle.path,
                      .bytes = std::vector<std::byte>(bytes, bytes + size)});
}

void FileTap::truncated(int descriptor, std::uint64_t size) {
  const Handle& handle = handles_[descriptor];
  if (is_shared_memory(handle.path)) return;
  journal_.push_back(
      {.kind = EventKind::truncate, .file = handle.file, .offset = size, .path = handle.path});
}

void FileTap::synced(int descriptor, bool is_done) {
  const Handle& handle = handles_[descriptor];
  if (is_shared_memory(handle.path)) return;
  if (handle.file < 0) {
    if (is_done) journal_.push_back({.kind = EventKind::sync_directory, .path = handle.path});
    return;
  }
  journal_.push_back({.kind = is_done ? EventKind::sync : EventKind::sync_failed,
                      .file = handle.file,
                      .path = handle.path});
}

void FileTap::renamed(const std::string& from, const std::string& to) {
  if (files_.contains(from)) {
    const int file = files_[from];
    files_.erase(from);
    files_[to] = file;
  }
  if (is_shared_memory(from)) return;
  journal_.push_back({.kind = EventKind::rename, .path = from, .path_to = to});
}

void FileTap::unlinked(const std::string& path) {
  files_.erase(path);
  if (is_shared_memory(path)) return;
  journal_.push_back({.kind = EventKind::unlink, .path = path});
}

void FileTap::directory_made(const std::string& path) {
  journal_.push_back({.kind = EventKind::make_directory, .path = path});
}

}  // namespace kvault::torture

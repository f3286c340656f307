#include "tests/torture/disk/medium.hpp"

#include <algorithm>
#include <utility>

#include "core/format/record.hpp"
#include "core/os/file.hpp"

namespace kvault::torture {
namespace {

constexpr int kDirectory = -1;

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

}  // namespace

std::uint64_t Image::digest() const {
  std::vector<std::byte> bytes;
  const auto add = [&](std::span<const std::byte> more) {
    const std::uint64_t part = payload_checksum(more);
    const auto word = std::as_bytes(std::span(&part, 1));
    bytes.insert(bytes.end(), word.begin(), word.end());
  };
  for (const std::string& directory : directories) add(std::as_bytes(std::span(directory)));
  for (const auto& [path, content] : files) {
    add(std::as_bytes(std::span(path)));
    add(content);
  }
  return payload_checksum(bytes);
}

Result<> Image::write_to(const std::filesystem::path& directory) const {
  std::error_code error;
  std::filesystem::remove_all(directory, error);
  std::filesystem::create_directories(directory, error);
  std::filesystem::permissions(directory, std::filesystem::perms::owner_all, error);
  for (const std::string& path : directories) {
    std::filesystem::create_directory(directory / path, error);
    std::filesystem::permissions(directory / path, std::filesystem::perms::owner_all, error);
  }
  if (error) return fail(Errc::io, message("cannot make ", directory.native()));
  for (const auto& [path, content] : files) {
    KVAULT_TRY(File file, File::create(directory / path));
    KVAULT_CHECK(file.pwrite_all(0, content));
  }
  return {};
}

Medium::Medium(const Image& image) {
  for (const std::string& path : image.directories) names_[path] = kDirectory;
  for (const auto& [path, content] : image.files) {
    names_[path] = next_file_;
    cached_[next_file_] = content;
    files_[next_file_++] = content;
  }
}

void Medium::change_names(std::map<std::string, int>& names, const Event& event) {
  if (event.kind == EventKind::create) names[event.path] = event.file;
  if (event.kind == EventKind::make_directory) names[event.path] = kDirectory;
  if (event.kind == EventKind::unlink) names.erase(event.path);
  if (event.kind == EventKind::rename) {
    // `file`: what the old name stood for when it was renamed, known even if that name was lost.
    names.erase(event.path);
    names[event.path_to] = event.file;
  }
}

void Medium::change_bytes(Bytes& bytes, const Event& event, std::uint64_t begin,
                          std::uint64_t end) {
  if (event.kind == EventKind::truncate) return bytes.resize(event.offset);
  if (begin >= end) return;
  if (bytes.size() < event.offset + end) bytes.resize(event.offset + end);
  std::copy(event.bytes.begin() + static_cast<std::ptrdiff_t>(begin),
            event.bytes.begin() + static_cast<std::ptrdiff_t>(end),
            bytes.begin() + static_cast<std::ptrdiff_t>(event.offset + begin));
}

void Medium::apply(const Event& event) {
  switch (event.kind) {
    case EventKind::mark:
      return;
    case EventKind::sync:
      return sync_file(event.file);
    case EventKind::sync_directory:
      return sync_directory(event.path);
    case EventKind::sync_failed:
      for (Pending& pending : pending_) {
        if (!pending.is_of_directory() && pending.event.file == event.file) {
          pending.is_doomed = true;
        }
      }
      return;
    default:
      break;
  }
  Pending pending{event, false};
  if (event.kind == EventKind::create) next_file_ = std::max(next_file_, event.file + 1);
  if (event.kind == EventKind::rename) {
    const std::map<std::string, int> now = names();
    const auto found = now.find(event.path);
    if (found == now.end()) return;
    pending.event.file = found->second;
  }
  if (!pending.is_of_directory()) {
    change_bytes(cached_[event.file], event, 0, event.bytes.size());
  }
  pending_.push_back(std::move(pending));
}

void Medium::sync_file(int file) {
  std::erase_if(pending_, [&](const Pending& pending) {
    if (pending.is_of_directory() || pending.event.file != file || pending.is_doomed) return false;
    change_bytes(files_[file], pending.event, 0, pending.event.bytes.size());
    return true;
  });
}

void Medium::sync_directory(const std::string& directory) {
  std::erase_if(pending_, [&](const Pending& pending) {
    if (!pending.is_of_directory() || parent_of(pending.event.path) != directory) return false;
    change_names(names_, pending.event);
    return true;
  });
}

Image Medium::image(const Choice& choice) const {
  std::map<std::string, int> names = names_;
  std::map<int, Bytes> files = files_;
  for (std::size_t i = 0; i < pending_.size(); ++i) {
    const Event& event = pending_[i].event;
    const bool is_kept = choice.keep.at(i);
    if (pending_[i].is_of_directory()) {
      if (is_kept) change_names(names, event);
      continue;
    }
    Bytes& bytes = files[event.file];
    std::uint64_t begin = 0;
    std::uint64_t end = event.bytes.size();
    if (choice.torn == i) {
      begin = std::min(end, choice.torn_begin);
      end = std::min(end, choice.torn_end);
    }
    if (is_kept) change_bytes(bytes, event, begin, end);
    const std::uint64_t size = event.offset + event.bytes.size();
    if (choice.grows_with_zeros && event.kind == EventKind::write && bytes.size() < size) {
      bytes.resize(size);
    }
  }
  return tree(names, files);
}

Image Medium::tree(const std::map<std::string, int>& names, const std::map<int, Bytes>& files) {
  Image image;
  for (const auto& [path, file] : names) {
    if (file == kDirectory) image.directories.insert(path);
  }
  for (const auto& [path, file] : names) {
    const std::string parent = parent_of(path);
    const bool has_parent = parent.empty() || image.directories.contains(parent);
    if (file == kDirectory || !has_parent) continue;
    const auto content = files.find(file);
    image.files[path] = content == files.end() ? Bytes() : content->second;
  }
  return image;
}

/// As written, in order. What is pending on top of what was synced would be wrong: a write whose
/// sync failed may be older than one that was synced.
Image Medium::killed() const { return tree(names(), cached_); }

Image Medium::lost_power() const {
  return image({.keep = std::vector<bool>(pending_.size(), false), .torn = std::nullopt});
}

std::map<std::string, int> Medium::names() const {
  std::map<std::string, int> names = names_;
  for (const Pending& pending : pending_) {
    if (pending.is_of_directory()) change_names(names, pending.event);
  }
  return names;
}

}  // namespace kvault::torture

#include "tests/torture/disk/image_of.hpp"

#include <fstream>
#include <span>

namespace kvault::torture {

Image image_of(const std::filesystem::path& directory) {
  Image image;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    const std::string path = std::filesystem::relative(entry.path(), directory).native();
    if (entry.is_directory()) {
      image.directories.insert(path);
    } else if (!path.ends_with("-shm")) {
      std::ifstream stream(entry.path(), std::ios::binary);
      const std::vector<char> text{std::istreambuf_iterator<char>(stream), {}};
      const auto bytes = std::as_bytes(std::span(text));
      image.files[path].assign(bytes.begin(), bytes.end());
    }
  }
  return image;
}

}  // namespace kvault::torture

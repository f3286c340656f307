#include "tools/eval/quality_pages.hpp"

#include <fstream>

#include "tools/eval/quality_html.hpp"
#include "tools/eval/quality_tables.hpp"

namespace kvault::eval {

Result<> write_pages(const nlohmann::ordered_json& figures,
                     const std::filesystem::path& directory) {
  const auto write = [&directory](const char* name, const std::string& text) -> Result<> {
    std::ofstream stream(directory / name, std::ios::trunc);
    stream << text;
    stream.close();
    if (!stream) return fail(Errc::io, message((directory / name).native(), ": not written"));
    return {};
  };
  KVAULT_CHECK(write("quality.md", markdown_of(figures)));
  KVAULT_CHECK(write("quality.html", html_of(figures)));
  return {};
}

}  // namespace kvault::eval

#include "tools/cli/session_table.hpp"

#include <sstream>

#include "tools/cli/daemon_options.hpp"
#include "tools/cli/report.hpp"

namespace kvault::tools {

std::vector<std::string> labels_of(const kvault_session_info& info) {
  std::vector<std::string> labels;
  std::istringstream lines(info.labels);
  for (std::string label; std::getline(lines, label);) labels.push_back(label);
  return labels;
}

nlohmann::ordered_json json_of(const kvault_session_info& info) {
  return {{"name", info.name},
          {"id", info.id},
          {"commit_number", info.commit_number},
          {"n_token", info.n_token},
          {"n_page", info.n_page},
          {"stored_size_bytes", info.stored_size_bytes},
          {"last_used_unix_s", info.last_used_unix_s},
          {"is_pinned", info.is_pinned != 0},
          {"expires_unix_s", info.expires_unix_s},
          {"labels", labels_of(info)},
          {"forked_from", info.forked_from},
          {"forked_at_token", info.forked_at_token}};
}

std::vector<std::string> cells_of(const kvault_session_info& info) {
  return {info.name,
          message(info.n_token),
          message(info.n_page),
          format_size(info.stored_size_bytes),
          message(info.commit_number),
          format_time(info.last_used_unix_s),
          info.is_pinned != 0 ? "pinned" : "",
          info.id};
}

std::vector<std::string> session_heading() {
  return {"name", "tokens", "pages", "on disk", "commit", "last used (UTC)", "", "id"};
}

}  // namespace kvault::tools

#include "tools/bench/device_report.hpp"

#include <cctype>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>

#include "tools/bench/report_page.hpp"
#include "tools/bench/svg_plot.hpp"

namespace kvault::tools {
namespace {

using Json = nlohmann::ordered_json;

/// "AMD Radeon RX 7900 XTX (RADV NAVI31)": "amd-radeon-rx-7900-xtx".
std::string slug_of_name(const std::string& name) {
  std::string slug;
  int depth = 0;
  for (const char c : name) {
    depth += (c == '(') - (c == ')');
    const auto byte = static_cast<unsigned char>(c);
    if (depth == 0 && std::isalnum(byte) != 0) {
      slug += static_cast<char>(std::tolower(byte));
    } else if (!slug.empty() && slug.back() != '-') {
      slug += '-';
    }
  }
  while (slug.ends_with('-')) slug.pop_back();
  return slug.empty() ? "device" : slug;
}

Json json_of_left_out(const DeviceReport& report) {
  Json list = Json::array();
  for (const GroupOutcome& outcome : report.outcomes) {
    for (const LeftOutRow& left_out : outcome.left_out) {
      const BenchRow& row = left_out.row;
      list.push_back({{"op", row.op},
                      {"preset", row.preset},
                      {"sparse_values", row.sparse_values},
                      {"head_dim", row.head_dim},
                      {"n_head", row.n_head},
                      {"n_kv_head", row.n_kv_head},
                      {"n_token", row.n_token},
                      {"n_q", row.n_q},
                      {"why", left_out.why}});
    }
  }
  return list;
}

std::string figures_of(const DeviceReport& report) {
  std::vector<BenchRow> rows;
  for (const GroupOutcome& outcome : report.outcomes) {
    rows.insert(rows.end(), outcome.rows.begin(), outcome.rows.end());
  }
  const Json document = {{"backend", report.backend},
                         {"adapter", report.adapter.name},
                         {"adapter_kind", name_of(report.adapter.kind)},
                         {"driver", report.adapter.driver},
                         {"processor", report.facts.processor},
                         {"date", report.facts.date},
                         {"version", report.facts.version},
                         {"commit", report.facts.commit},
                         {"command", report.facts.command},
                         {"note", report.facts.note},
                         {"n_group", report.plan.groups.size()},
                         {"n_group_done", report.outcomes.size()},
                         {"end", report.end},
                         {"rows", Json::parse(to_json(rows))},
                         {"left_out", json_of_left_out(report)}};
  // A driver's name may hold any bytes.
  return document.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::vector<BenchRow> drawn_rows(const DeviceReport& report) {
  std::vector<BenchRow> rows;
  for (std::size_t i = 0; i < report.outcomes.size(); ++i) {
    if (!report.plan.sections[report.plan.groups[i].section].is_drawn) continue;
    rows.insert(rows.end(), report.outcomes[i].rows.begin(), report.outcomes[i].rows.end());
  }
  return rows;
}

Result<> write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream stream(path);
  stream << text;
  stream.close();
  if (!stream) return fail(Errc::io, message("cannot write ", path.native()));
  return {};
}

Result<> write_report(const ReportPaths& paths, const DeviceReport& report) {
  std::error_code error;
  std::filesystem::create_directories(paths.figures.parent_path(), error);
  if (error) {
    return fail(Errc::io, message("cannot make ", paths.figures.parent_path().native(), ": ",
                                  error.message()));
  }
  KVAULT_CHECK(write_text(paths.figures, figures_of(report)));
  KVAULT_CHECK(write_svg(paths.drawing, drawn_rows(report)));
  return write_text(paths.page, page_of(report, paths.drawing.parent_path().filename().native()));
}

/// The cpu device is known by its processor, and by the instructions it was opened with.
void describe_cpu(const DeviceCaps& caps, DeviceReport& report) {
  report.adapter.name = report.facts.processor;
  report.adapter.driver = message(caps.instruction_set, ", ", caps.n_thread, " used");
}

}  // namespace

std::string slug_of(const DeviceReport& report) {
  return message(report.backend, "-", slug_of_name(report.adapter.name));
}

ReportPaths ReportPaths::of(const std::filesystem::path& target, const DeviceReport& report) {
  const std::filesystem::path page =
      target.extension() == ".md" ? target : target / (slug_of(report) + ".md");
  const std::filesystem::path folder = page.parent_path() / page.stem();
  return {page, folder / "figures.json", folder / "decode.svg"};
}

Result<ReportPaths> report_device(const BenchDevice& device, const ReportPlan& plan,
                                  const std::filesystem::path& target, const RunFacts& facts) {
  DeviceReport report = {.facts = facts,
                         .backend = std::string(device.device->name()),
                         .adapter = device.adapter,
                         .is_software_gpu = is_software_gpu(device),
                         .plan = plan,
                         .outcomes = {},
                         .end = {}};
  if (report.backend == "cpu") describe_cpu(device.device->caps(), report);
  const ReportPaths paths = ReportPaths::of(target, report);
  KVAULT_CHECK(write_report(paths, report));  // now, not after minutes of measuring
  ReportRun run(device, report.plan);
  while (!run.is_done()) {
    report.outcomes.push_back(run.measure_next());
    if (run.end()) report.end = run.end()->message;
    KVAULT_CHECK(write_report(paths, report));
  }
  if (!run.end()) return paths;
  return fail(run.end()->code,
              message(run.end()->message, "; what was measured is in ", paths.page.native()));
}

}  // namespace kvault::tools

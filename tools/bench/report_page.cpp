#include "tools/bench/report_page.hpp"

#include <algorithm>
#include <optional>

#include "tools/cli/report.hpp"

namespace kvault::tools {
namespace {

/// Text in a cell or a line of Markdown, whatever a driver calls itself.
std::string plain(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    if (c == '|' || c == '<' || c == '*' || c == '_' || c == '`') safe += '\\';
    safe += c == '\n' ? ' ' : c;
  }
  return safe;
}

std::string line_of(const std::vector<std::string>& cells) {
  std::string line = "|";
  for (const std::string& cell : cells) line += " " + cell + " |";
  return line + "\n";
}

std::string variant_of(const std::string& preset, const std::string& sparse_values) {
  const std::string name = preset == "raw" ? "f16" : preset;
  return sparse_values.empty() ? name : name + ", " + sparse_values;
}

std::string format_time(double time_us) {
  return format_number(time_us < 100 ? "%.1f" : "%.0f", time_us);
}

/// "2152 (3.50)".
std::string time_cell(const BenchRow& row) {
  const std::string time = format_time(row.time_us);
  if (row.input_gb_per_s) return time + format_number(" (%.2f GB/s)", *row.input_gb_per_s);
  if (row.output_gb_per_s) return time + format_number(" (%.2f GB/s)", *row.output_gb_per_s);
  if (row.preset == "raw" || !row.speedup_over_f16) return time;
  return time + format_number(" (%.2f)", *row.speedup_over_f16);
}

std::string rate_cell(const BenchRow& row) {
  const double rate = row.stored_gb_per_s;
  return format_number(rate < 1 ? "%.3f" : rate < 100 ? "%.1f" : "%.0f", rate);
}

std::string head_of(const DeviceReport& report) {
  const RunFacts& facts = report.facts;
  std::string text =
      message("# ", plain(report.adapter.name), " (", report.backend, "): figures\n\n");
  if (report.is_software_gpu) {
    text +=
        "**This is not a GPU but a driver that computes on the processor.** The figures show that\n"
        "the report works; they say nothing about GPUs, nor about which preset is faster on "
        "one.\n\n";
  }
  if (!facts.note.empty()) text += plain(facts.note) + "\n\n";
  text += line_of({"", ""}) + line_of({"---", "---"});
  text += line_of({"device", message(plain(report.adapter.name), " (", report.backend, ")")});
  text += line_of({"kind", std::string(name_of(report.adapter.kind))});
  if (!report.adapter.driver.empty()) text += line_of({"driver", plain(report.adapter.driver)});
  text += line_of({"processor", plain(facts.processor)});
  text += line_of({"date", facts.date});
  text +=
      line_of({"kvault", facts.version + (facts.commit.empty() ? "" : ", commit " + facts.commit)});
  return text + message("\n    ", facts.command, "\n\n");
}

std::string explanation_of(const DeviceReport& report, const std::string& folder) {
  const std::string share =
      report.backend == "cpu"
          ? ""
          : "The calls begin and end on the host: queries go to the device and\n"
            "results come back within the time. ";
  return "Times are medians in us of one call on one layer, behind them in brackets how many "
         "times\n"
         "faster than attention over f16 rows it is. The variants of a line are measured in turn "
         "in one\n"
         "run; only ratios within a line compare. Every call works on the next of as many layers "
         "as\n" +
         message("fill ", format_size(report.plan.scale.set_size_bytes), ". ", share,
                 "All figures: [figures.json](", folder, "/figures.json).\n\n");
}

/// Where a run stands that has not come to its end.
std::string state_of(const DeviceReport& report) {
  if (!report.end.empty()) {
    return message("**The run ended early: ", plain(report.end), ".**\n\n");
  }
  if (report.outcomes.size() == report.plan.groups.size()) return {};
  return message("**Unfinished: ", report.outcomes.size(), " of ", report.plan.groups.size(),
                 " lines were measured.**\n\n");
}

std::vector<std::string> variants_of(const DeviceReport& report, std::size_t section) {
  std::vector<std::string> variants = {variant_of("raw", "")};  // every section has a row of it
  for (const ReportGroup& group : report.plan.groups) {
    if (group.section != section) continue;
    for (const BenchEntry& entry : group.entries) {
      const std::string variant =
          variant_of(std::string(entry.preset.name), std::string(name_of(entry.sparse)));
      if (std::find(variants.begin(), variants.end(), variant) == variants.end()) {
        variants.push_back(variant);
      }
    }
  }
  return variants;
}

template <class Cell>
std::string table_of_section(const DeviceReport& report, std::size_t section, const Cell& cell_of) {
  const std::vector<std::string> variants = variants_of(report, section);
  std::vector<std::string> heading = {report.plan.sections[section].heading};
  heading.insert(heading.end(), variants.begin(), variants.end());
  std::string text = line_of(heading) + line_of(std::vector<std::string>(heading.size(), "---"));
  for (std::size_t i = 0; i < report.outcomes.size(); ++i) {
    if (report.plan.groups[i].section != section) continue;
    std::vector<std::string> cells = {report.plan.groups[i].label};
    cells.resize(heading.size(), "-");
    for (const BenchRow& row : report.outcomes[i].rows) {
      const auto at =
          std::find(variants.begin(), variants.end(), variant_of(row.preset, row.sparse_values));
      if (at != variants.end()) cells[1 + (at - variants.begin())] = cell_of(row);
    }
    text += line_of(cells);
  }
  return text + "\n";
}

/// What stands for the bandwidth of a device's memory, which nothing here can measure.
std::string best_rate_of(const DeviceReport& report) {
  const BenchRow* best = nullptr;
  for (const GroupOutcome& outcome : report.outcomes) {
    for (const BenchRow& row : outcome.rows) {
      if (row.op != "decode" || !row.sparse_values.empty()) continue;
      if (best == nullptr || row.stored_gb_per_s > best->stored_gb_per_s) best = &row;
    }
  }
  if (best == nullptr || report.is_software_gpu) return {};
  const std::string rate =
      message("The fastest decode of this run reads ", format_number("%.1f", best->stored_gb_per_s),
              " GB/s (", variant_of(best->preset, ""), ", ", best->n_token, " tokens, ",
              best->n_head, " heads over ", best->n_kv_head, ",\nhead_dim ", best->head_dim, ")");
  if (best->read_bandwidth_gb_per_s) {
    return message(rate, "; plain reading of the same memory reaches ",
                   format_number("%.1f", *best->read_bandwidth_gb_per_s), " GB/s.\n\n");
  }
  return rate +
         ". That is a lower bound of what the device's memory gives, if its\n"
         "caches are smaller than the layers; there is no better one here, for a device has no "
         "verb\n"
         "that only copies in its own memory.\n\n";
}

std::string left_out_of(const DeviceReport& report) {
  std::string text;
  for (std::size_t i = 0; i < report.outcomes.size(); ++i) {
    const std::vector<LeftOutRow>& rows = report.outcomes[i].left_out;
    for (std::size_t from = 0; from < rows.size();) {
      const BenchRow& row = rows[from].row;
      std::string variants;
      std::size_t to = from;
      for (; to < rows.size() && rows[to].why == rows[from].why; ++to) {
        variants += message(to > from ? "; " : "",
                            variant_of(rows[to].row.preset, rows[to].row.sparse_values));
      }
      text += message("- ", row.op, row.n_q > 1 ? message(" of ", row.n_q) : "", ", ", row.n_token,
                      " tokens, ", row.n_head, " heads over ", row.n_kv_head, ", head_dim ",
                      row.head_dim, ": ", variants, ": ", plain(rows[from].why), "\n");
      from = to;
    }
  }
  return text.empty() ? "Every row of the plan was measured.\n" : "## Not measured\n\n" + text;
}

}  // namespace

std::string page_of(const DeviceReport& report, const std::string& folder) {
  std::string text = head_of(report) + state_of(report) + explanation_of(report, folder);
  for (std::size_t i = 0; i < report.plan.sections.size(); ++i) {
    const ReportSection& section = report.plan.sections[i];
    text += message("## ", section.title, "\n\n", table_of_section(report, i, time_cell));
    if (!section.is_drawn) continue;
    text += message("![Time against context](", folder, "/decode.svg)\n\nStored GB/s:\n\n",
                    table_of_section(report, i, rate_cell), best_rate_of(report));
  }
  return text + left_out_of(report);
}

}  // namespace kvault::tools

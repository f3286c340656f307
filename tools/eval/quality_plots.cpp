#include "tools/eval/quality_plots.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/base/result.hpp"
#include "tools/cli/report.hpp"

namespace kvault::eval {
namespace {

using nlohmann::ordered_json;
using tools::format_number;

constexpr double kWidth = 1100;
constexpr double kHeight = 520;
constexpr double kLeft = 80;
constexpr double kBottom = 50;
constexpr double kTop = 20;

std::string number(double value) { return format_number("%.1f", value); }

std::string text_at(double x, double y, const std::string& text, const char* anchor = "start") {
  return "<text x=\"" + number(x) + "\" y=\"" + number(y) + "\" text-anchor=\"" + anchor + "\">" +
         escaped(text) + "</text>\n";
}

std::string line_at(double x0, double y0, double x1, double y1, const char* colour) {
  return "<line x1=\"" + number(x0) + "\" y1=\"" + number(y0) + "\" x2=\"" + number(x1) +
         "\" y2=\"" + number(y1) + "\" stroke=\"" + colour + "\"/>\n";
}

std::string svg_of(double width, double height, const std::string& label,
                   const std::string& content) {
  return "<svg viewBox=\"0 0 " + number(width) + " " + number(height) +
         "\" role=\"img\" aria-label=\"" + label + "\">\n" + content + "</svg>\n";
}

const char* colour_of(const std::string& group) {
  if (group == "preset") return "#0969da";
  if (group == "trellis") return "#1a7f37";
  if (group == "allocated") return "#8250df";
  return group == "TurboQuant" ? "#bf8700" : "#cf222e";
}

/// Positive numbers on a logarithmic axis whose ends are powers of ten.
struct LogAxis {
  double low = 0;
  double high = 0;

  explicit LogAxis(const std::vector<double>& values) {
    const auto [least, most] = std::minmax_element(values.begin(), values.end());
    low = std::floor(std::log10(*least));
    high = std::max(low + 1, std::ceil(std::log10(*most)));
  }
  double y(double value) const {
    return kTop + (high - std::log10(value)) / (high - low) * (kHeight - kTop - kBottom);
  }
  std::string grid() const {
    std::string svg;
    for (double power = low; power <= high; ++power) {
      const double at = y(std::pow(10, power));
      svg += line_at(kLeft, at, kWidth - 20, at, "#d8dee4");
      svg += text_at(kLeft - 8, at + 4, format_number("%.0e", std::pow(10, power)), "end");
    }
    return svg;
  }
};

/// Puts names beside marks where they cover no other; a name without room is left to the mark's
/// tooltip.
class Labels {
 public:
  std::string place(double x, double y, const std::string& text) {
    const double width = 6.6 * static_cast<double>(text.size());
    const std::pair<double, double> tries[] = {{x + 8, y + 4},
                                               {x - 8 - width, y + 4},
                                               {x + 6, y - 8},
                                               {x + 6, y + 17},
                                               {x - width, y - 8}};
    for (const auto& [left, base] : tries) {
      const Box box{left, base - 10, left + width, base + 2};
      if (!is_free(box)) continue;
      boxes_.push_back(box);
      return text_at(left, base, text);
    }
    return {};
  }
  void add_mark(double x, double y) { boxes_.push_back({x - 5, y - 5, x + 5, y + 5}); }

 private:
  struct Box {
    double left, top, right, bottom;
  };
  bool is_free(const Box& box) const {
    return std::ranges::none_of(boxes_, [&box](const Box& other) {
      return box.left < other.right && other.left < box.right && box.top < other.bottom &&
             other.top < box.bottom;
    });
  }
  std::vector<Box> boxes_;
};

/// Whose marks have which colour.
std::string legend() {
  std::string svg;
  double y = kTop + 20;
  for (const char* const group : {"preset", "trellis", "allocated", "TurboQuant", "rival"}) {
    svg += "<circle cx=\"" + number(kWidth - 130) + "\" cy=\"" + number(y - 4) +
           "\" r=\"5\" fill=\"" + colour_of(group) + "\"/>\n" + text_at(kWidth - 118, y, group);
    y += 18;
  }
  return svg;
}

std::vector<const ordered_json*> rows_of(const ordered_json& figures, const std::string& table) {
  std::vector<const ordered_json*> rows;
  for (const ordered_json& row : figures.at("rows")) {
    if (row.at("table") == table && row.at("stress") == 0 && row.at("kl_mean").get<double>() > 0) {
      rows.push_back(&row);
    }
  }
  return rows;
}

/// White to dark red between 0 and `highest`.
std::string heat(double value, double highest) {
  const double share = highest > 0 ? std::min(1.0, value / highest) : 0;
  const auto channel = [share](double from, double to) {
    return std::to_string(static_cast<int>(from + share * (to - from)));
  };
  return "rgb(" + channel(255, 130) + "," + channel(250, 7) + "," + channel(240, 30) + ")";
}

std::string heat_map(const ordered_json& row, double left, double highest) {
  constexpr double kCell = 26;
  const ordered_json& layers = row.at("details").at("attention_error");
  std::string svg = text_at(left, 16, row.at("preset"));
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    const double y = 26 + kCell * static_cast<double>(layer);
    svg += text_at(left - 6, y + 17, std::to_string(layer), "end");
    for (std::size_t head = 0; head < layers[layer].size(); ++head) {
      const double error = layers[layer][head];
      svg +=
          "<rect x=\"" + number(left + kCell * static_cast<double>(head)) + "\" y=\"" + number(y) +
          "\" width=\"25\" height=\"25\" fill=\"" + heat(error, highest) + "\"><title>" +
          escaped(message("layer ", layer, ", head ", head, ": ", format_number("%.4f", error))) +
          "</title></rect>\n";
    }
  }
  return svg;
}

constexpr const char* kMapped[] = {"k4v4", "rotated-q4_0", "k3v3", "trellis-k3v3"};

}  // namespace

std::string escaped(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    if (c == '<') {
      safe += "&lt;";
    } else if (c == '&') {
      safe += "&amp;";
    } else if (c == '"') {
      safe += "&quot;";
    } else {
      safe += c;
    }
  }
  return safe;
}

std::string quality_against_bits(const ordered_json& figures, const std::string& table) {
  const std::vector<const ordered_json*> rows = rows_of(figures, table);
  if (rows.empty()) return "<p>Nothing was measured.</p>\n";
  std::vector<double> kl;
  std::vector<double> bits;
  for (const ordered_json* const row : rows) {
    kl.push_back(row->at("kl_mean"));
    bits.push_back(row->at("bits_per_element"));
  }
  const double low = std::floor(*std::min_element(bits.begin(), bits.end()));
  const double high = std::ceil(*std::max_element(bits.begin(), bits.end()) + 0.01);
  const LogAxis axis(kl);
  const auto x = [low, high](double b) {
    return kLeft + (b - low) / (high - low) * (kWidth - kLeft - 120);
  };
  std::string svg = axis.grid();
  for (double b = low; b <= high; b += 1) {
    svg += line_at(x(b), kTop, x(b), kHeight - kBottom, "#eef1f4");
    svg += text_at(x(b), kHeight - kBottom + 18, format_number("%.0f", b), "middle");
  }
  svg += text_at(kWidth / 2, kHeight - 8, "bits per element, all-in", "middle");
  svg += text_at(kLeft, 14, "mean KL (nats)");
  svg += legend();
  Labels labels;
  for (std::size_t i = 0; i < rows.size(); ++i) labels.add_mark(x(bits[i]), axis.y(kl[i]));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto group = rows[i]->at("group").get<std::string>();
    const auto name = rows[i]->at("preset").get<std::string>();
    svg += "<circle cx=\"" + number(x(bits[i])) + "\" cy=\"" + number(axis.y(kl[i])) +
           "\" r=\"5\" fill=\"" + colour_of(group) + "\"><title>" +
           escaped(message(name, ": ", format_number("%.3f", bits[i]), " bits, KL ",
                           format_number("%.5f", kl[i]))) +
           "</title></circle>\n";
    if (name.find(',') == std::string::npos) {
      svg += labels.place(x(bits[i]), axis.y(kl[i]), name);
    }
  }
  return svg_of(kWidth, kHeight, "mean KL against bits, " + table, svg);
}

std::string error_heat_maps(const ordered_json& figures) {
  std::vector<const ordered_json*> mapped;
  double highest = 0;
  for (const char* const name : kMapped) {
    for (const ordered_json* const row : rows_of(figures, "codec-only")) {
      if (row->at("preset") == name) mapped.push_back(row);
    }
  }
  for (const ordered_json* const row : mapped) {
    for (const ordered_json& layer : row->at("details").at("attention_error")) {
      for (const ordered_json& error : layer) highest = std::max(highest, error.get<double>());
    }
  }
  std::string svg;
  double left = 40;
  for (const ordered_json* const row : mapped) {
    svg += heat_map(*row, left, highest);
    left += 260;
  }
  return "<p class=\"note\">Rows are layers, columns query heads; white is 0, the darkest " +
         format_number("%.3f", highest) +
         " of the length of the raw output. Same queries, keys and values.</p>\n" +
         svg_of(kWidth, 350, "attention error by layer and head", svg);
}

std::string error_by_position(const ordered_json& figures) {
  struct Curve {
    const char* table;
    const char* scheme;
    const char* colour;
  };
  constexpr Curve kCurves[] = {{"codec-only", "k4v4", "#0969da"},
                               {"codec-only", "k3v3", "#1a7f37"},
                               {"codec-only", "rotated-q4_0", "#cf222e"},
                               {"live", "k4v4", "#54aeff"},
                               {"live", "k3v3", "#4ac26b"},
                               {"live", "rotated-q4_0", "#ff8182"}};
  std::vector<std::pair<Curve, std::vector<double>>> curves;
  std::vector<double> all;
  for (const Curve& curve : kCurves) {
    for (const ordered_json* const row : rows_of(figures, curve.table)) {
      if (row->at("preset") != curve.scheme) continue;
      auto values = row->at("details").at("kl_by_page_position").get<std::vector<double>>();
      all.insert(all.end(), values.begin(), values.end());
      curves.emplace_back(curve, std::move(values));
    }
  }
  std::erase_if(all, [](double value) { return value <= 0; });
  if (all.empty()) return "<p>Nothing was measured.</p>\n";
  const LogAxis axis(all);
  const auto x = [](std::size_t bin) {
    return kLeft + (static_cast<double>(bin) + 0.5) / 16 * (kWidth - kLeft - 220);
  };
  std::string svg = axis.grid() + text_at(kLeft, 14, "mean KL (nats)");
  for (std::size_t bin = 0; bin < 16; bin += 2) {
    svg += text_at(x(bin), kHeight - kBottom + 18, std::to_string(8 * bin), "middle");
  }
  svg += text_at(kWidth / 2, kHeight - 8, "position mod 128", "middle");
  for (const auto& [curve, values] : curves) {
    std::string points;
    for (std::size_t bin = 0; bin < values.size(); ++bin) {
      if (values[bin] > 0) points += number(x(bin)) + "," + number(axis.y(values[bin])) + " ";
    }
    svg += "<polyline fill=\"none\" stroke-width=\"2\" stroke=\"" + std::string(curve.colour) +
           "\" points=\"" + points + "\"/>\n";
    svg += text_at(x(15) + 10, axis.y(std::max(values.back(), 1e-12)) + 4,
                   message(curve.scheme, ", ", curve.table));
  }
  return svg_of(kWidth, kHeight, "mean KL by position in the page", svg);
}

}  // namespace kvault::eval

#include "tools/bench/svg_plot.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <utility>

#include "tools/cli/report.hpp"

namespace kvault::tools {
namespace {

constexpr double kWidth = 960;
constexpr double kHeight = 540;
constexpr double kLeft = 80;
constexpr double kRight = 330;  // of it the legend
constexpr double kTop = 40;
constexpr double kBottom = 60;
constexpr double kLegendStep = 18;
constexpr std::array kColours = {"#1b6ca8", "#d1495b", "#3a7d44", "#8f5fbf", "#c77d0a",
                                 "#2f9c95", "#7a4419", "#c2185b", "#5c6b73", "#222222"};

struct Line {
  std::string label;
  std::vector<std::pair<double, double>> points;  ///< tokens, us
};

/// A logarithmic axis from a power of its base to another.
struct Axis {
  double base;
  double first;
  double last;
  double from_pixel;
  double to_pixel;

  static Axis covering(double base, double least, double most, double from, double to) {
    const auto exponent = [&](double value) { return std::log(value) / std::log(base); };
    Axis axis{base, std::floor(exponent(least) + 1e-9), std::ceil(exponent(most) - 1e-9), from, to};
    if (axis.last <= axis.first) axis.last = axis.first + 1;
    return axis;
  }
  double pixel(double value) const {
    const double part = (std::log(value) / std::log(base) - first) / (last - first);
    return from_pixel + part * (to_pixel - from_pixel);
  }
};

std::vector<Line> lines_of(const std::vector<BenchRow>& rows) {
  std::vector<Line> lines;
  for (const BenchRow& row : rows) {
    if (!(row.time_us > 0) || row.n_token == 0) continue;
    const std::string n_q = row.n_q > 1 ? message(" n_q ", row.n_q) : "";
    const std::string label = message(row.op, n_q, " ", row.head_dim, " ", label_of(row));
    auto line = std::find_if(lines.begin(), lines.end(),
                             [&](const Line& known) { return known.label == label; });
    if (line == lines.end()) line = lines.insert(lines.end(), Line{label, {}});
    line->points.emplace_back(static_cast<double>(row.n_token), row.time_us);
  }
  for (Line& line : lines) std::sort(line.points.begin(), line.points.end());
  return lines;
}

std::string escape(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      default:
        safe += c;
    }
  }
  return safe;
}

std::string pixels(double value) { return format_number("%.1f", value); }

std::string text_at(double x, double y, const char* anchor, const std::string& text) {
  return "<text x=\"" + pixels(x) + "\" y=\"" + pixels(y) + "\" text-anchor=\"" + anchor + "\">" +
         escape(text) + "</text>\n";
}

std::string segment(double x1, double y1, double x2, double y2, const std::string& style) {
  return "<line x1=\"" + pixels(x1) + "\" y1=\"" + pixels(y1) + "\" x2=\"" + pixels(x2) +
         "\" y2=\"" + pixels(y2) + "\" " + style + "/>\n";
}

std::string format_tokens(double n_token) {
  const auto whole = static_cast<std::uint64_t>(std::llround(n_token));
  return whole >= 1024 ? message(whole / 1024, " Ki") : message(whole);
}

std::string format_us(double time_us) {
  if (time_us >= 1e6) return format_number("%.0f s", time_us / 1e6);
  return time_us >= 1e3 ? format_number("%.0f ms", time_us / 1e3)
                        : format_number("%.0f µs", time_us);
}

std::string draw_axes(const Axis& x, const Axis& y) {
  const std::string grid = "stroke=\"#dddddd\"";
  std::string svg;
  const double step = std::max(1.0, std::ceil((x.last - x.first) / 12));
  for (double exponent = x.first; exponent <= x.last; exponent += step) {
    const double value = std::pow(x.base, exponent);
    svg += segment(x.pixel(value), y.from_pixel, x.pixel(value), y.to_pixel, grid);
    svg += text_at(x.pixel(value), y.from_pixel + 18, "middle", format_tokens(value));
  }
  for (double exponent = y.first; exponent <= y.last; ++exponent) {
    const double value = std::pow(y.base, exponent);
    svg += segment(x.from_pixel, y.pixel(value), x.to_pixel, y.pixel(value), grid);
    svg += text_at(x.from_pixel - 8, y.pixel(value) + 4, "end", format_us(value));
  }
  svg += text_at((x.from_pixel + x.to_pixel) / 2, y.from_pixel + 42, "middle", "tokens of context");
  return svg + text_at(x.from_pixel, kTop - 16, "start", "median time of one call");
}

std::string draw_line(const Line& line, std::size_t index, const Axis& x, const Axis& y) {
  const std::string colour = kColours[index % kColours.size()];
  // The colours repeat; the dashes tell the rounds apart.
  const std::string dash = index < kColours.size() ? "" : " stroke-dasharray=\"6 3\"";
  const std::string style = "stroke=\"" + colour + "\" stroke-width=\"2\"" + dash;
  std::string points;
  std::string svg;
  for (const auto& [n_token, time_us] : line.points) {
    points += pixels(x.pixel(n_token)) + "," + pixels(y.pixel(time_us)) + " ";
    svg += "<circle cx=\"" + pixels(x.pixel(n_token)) + "\" cy=\"" + pixels(y.pixel(time_us)) +
           "\" r=\"3\" fill=\"" + colour + "\"/>\n";
  }
  svg += "<polyline points=\"" + points + "\" fill=\"none\" " + style + "/>\n";
  const double legend_x = kWidth - kRight + 20;
  const double legend_y = kTop + 8 + kLegendStep * static_cast<double>(index);
  svg += segment(legend_x, legend_y, legend_x + 24, legend_y, style);
  return svg + text_at(legend_x + 30, legend_y + 4, "start", line.label);
}

}  // namespace

std::string svg_of(const std::vector<BenchRow>& rows) {
  const std::vector<Line> lines = lines_of(rows);
  double token_min = 1e300;
  double token_max = 1;
  double time_min = 1e300;
  double time_max = 1;
  for (const Line& line : lines) {
    for (const auto& [n_token, time_us] : line.points) {
      token_min = std::min(token_min, n_token);
      token_max = std::max(token_max, n_token);
      time_min = std::min(time_min, time_us);
      time_max = std::max(time_max, time_us);
    }
  }
  const double height =
      std::max(kHeight, kTop + kBottom + kLegendStep * static_cast<double>(lines.size()));
  const Axis x =
      Axis::covering(2, std::min(token_min, token_max), token_max, kLeft, kWidth - kRight);
  const Axis y = Axis::covering(10, std::min(time_min, time_max), time_max, height - kBottom, kTop);
  std::string svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + pixels(kWidth) +
                    "\" height=\"" + pixels(height) +
                    "\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#222222\">\n"
                    "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n";
  svg += draw_axes(x, y);
  for (std::size_t i = 0; i < lines.size(); ++i) svg += draw_line(lines[i], i, x, y);
  return svg + "</svg>\n";
}

Result<> write_svg(const std::filesystem::path& path, const std::vector<BenchRow>& rows) {
  std::ofstream stream(path);
  stream << svg_of(rows);
  stream.close();
  if (!stream) return fail(Errc::io, message("cannot write ", path.native()));
  return {};
}

}  // namespace kvault::tools

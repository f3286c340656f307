#include "tools/bench/device_report.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "tests/support/temporary_directory.hpp"

namespace kvault::tools {
namespace {

using Json = nlohmann::json;

/// What a cpu device plays to fail.
struct Faults {
  std::uint32_t n_q_max = 1024;                    ///< more queries are unsupported
  std::uint64_t n_token_lost = ~std::uint64_t{0};  ///< at as many tokens the device is lost
};

class FaultyDevice final : public Device {
 public:
  FaultyDevice(std::unique_ptr<Device> device, const Faults& faults)
      : device_(std::move(device)), faults_(faults) {}
  std::string_view name() const noexcept override { return "faulty"; }
  const DeviceCaps& caps() const noexcept override { return device_->caps(); }
  Result<std::unique_ptr<Buffer>> allocate(const BufferOptions& options) override {
    return device_->allocate(options);
  }
  Result<Ticket> upload(Buffer& target, std::uint64_t offset,
                        std::span<const std::byte> source) override {
    return device_->upload(target, offset, source);
  }
  Result<Ticket> download(const Buffer& source, std::uint64_t offset,
                          std::span<std::byte> target) override {
    return device_->download(source, offset, target);
  }
  Result<Ticket> encode(const EncodeArgs& args) override { return device_->encode(args); }
  Result<Ticket> attend(const AttendArgs& args) override {
    if (args.sequences[0].n_q > faults_.n_q_max) return fail(Errc::unsupported, "too many queries");
    is_lost_ = is_lost_ || args.sequences[0].n_token >= faults_.n_token_lost;
    if (is_lost_) return fail(Errc::device_lost, "it fell off the bus");
    return device_->attend(args);
  }
  Result<Ticket> reconstruct(const ReconstructArgs& args) override {
    return device_->reconstruct(args);
  }
  Result<> wait(Ticket ticket) override { return device_->wait(ticket); }

 private:
  std::unique_ptr<Device> device_;
  Faults faults_;
  bool is_lost_ = false;
};

BenchDevice faulty_device(const Faults& faults) {
  auto opened = open_bench_device("cpu", {.n_thread = 1});
  REQUIRE(opened);
  opened->device = std::make_unique<FaultyDevice>(std::move(opened->device), faults);
  opened->adapter.name = "Model T (Rev. 2) | x_y";
  opened->adapter.driver = "tin 1.0";
  return std::move(*opened);
}

/// The first two lines of every section, of short contexts.
ReportPlan small_plan(double time_limit_s = 300) {
  ReportPlan plan = plan_report({{128, 256}, 256, 1U << 20U, 0, time_limit_s});
  std::vector<std::size_t> n_group(plan.sections.size());
  std::erase_if(plan.groups,
                [&](const ReportGroup& group) { return ++n_group[group.section] > 2; });
  return plan;
}

std::size_t count_entries(const ReportPlan& plan) {
  std::size_t n = 0;
  for (const ReportGroup& group : plan.groups) n += group.entries.size();
  return n;
}

std::string text_of(const std::filesystem::path& path) {
  std::ifstream stream(path);
  REQUIRE(stream);
  return std::string(std::istreambuf_iterator<char>(stream), {});
}

bool has(const std::string& text, const std::string& part) {
  CAPTURE(part);
  CAPTURE(text);
  return text.find(part) != std::string::npos;
}

const RunFacts kFacts = {"2026-01-02", "0.1", "abc", "a processor", "kvault-bench --x", "A note."};

/// The figures and the page of a run into `folder`.
struct Written {
  Json figures;
  std::string page;
};

Written read_report(const std::filesystem::path& folder) {
  const std::string name = "faulty-model-t-x-y";
  const std::string page = text_of(folder / (name + ".md"));
  const std::string drawing = text_of(folder / name / "decode.svg");
  CHECK(has(drawing, "</svg>"));
  for (const char* nonsense : {"nan", "inf ", " inf"}) {
    CHECK(page.find(nonsense) == std::string::npos);
    CHECK(drawing.find(nonsense) == std::string::npos);
  }
  CHECK(has(page, "2026-01-02"));
  CHECK(has(page, "commit abc"));
  CHECK(has(page, "    kvault-bench --x\n"));
  CHECK(has(page, "A note."));
  CHECK(has(page, "Model T (Rev. 2) \\| x\\_y"));
  return {Json::parse(text_of(folder / name / "figures.json"), nullptr, false), page};
}

TEST_CASE("bench report: every row of the plan is measured and is in the page and the figures") {
  const test::TemporaryDirectory folder;
  const ReportPlan plan = small_plan();
  const auto paths = report_device(faulty_device({}), plan, folder.path(), kFacts);
  REQUIRE(paths);
  const Written written = read_report(folder.path());
  REQUIRE(written.figures["rows"].size() == count_entries(plan));
  CHECK(written.figures["left_out"].empty());
  for (const Json& row : written.figures["rows"]) {
    CAPTURE(row.dump());
    CHECK(row["time_us"].get<double>() > 0);
    CHECK(row["speedup_over_f16"].is_number() == (row["op"] != "encode"));
    CHECK(row["adapter"] == "Model T (Rev. 2) | x_y");
    CHECK(row["driver"] == "tin 1.0");
  }
  for (const ReportSection& section : plan.sections) CHECK(has(written.page, section.title));
  CHECK(has(written.page, "| k4v4, none left out |"));
  CHECK(has(written.page, "Every row of the plan was measured."));
  const auto rows = read_rows(paths->figures);  // as --compare does
  REQUIRE(rows);
  CHECK(rows->size() == count_entries(plan));
}

TEST_CASE("bench report: what a device cannot do is named, the rest is measured") {
  const test::TemporaryDirectory folder;
  const ReportPlan plan = small_plan();
  REQUIRE(report_device(faulty_device({.n_q_max = 1}), plan, folder.path(), kFacts));
  const Written written = read_report(folder.path());
  CHECK(written.figures["left_out"].size() == 5);  // n_q = 4
  CHECK(written.figures["rows"].size() == count_entries(plan) - 5);
  CHECK(has(written.page,
            "- prefill of 4, 256 tokens, 32 heads over 8, head_dim 128: f16; k8v8; "
            "k4v4; k3v3; k2v2: too many queries\n"));
}

TEST_CASE("bench report: a lost device ends the run with what was measured so far") {
  const test::TemporaryDirectory folder;
  const ReportPlan plan = small_plan();
  const auto outcome =
      report_device(faulty_device({.n_token_lost = 256}), plan, folder.path(), kFacts);
  REQUIRE_FALSE(outcome);
  CHECK(outcome.error().code == Errc::device_lost);
  CHECK(has(outcome.error().message, "it fell off the bus"));
  CHECK(has(outcome.error().message, "faulty-model-t-x-y.md"));
  const Written written = read_report(folder.path());
  CHECK(written.figures["rows"].size() + written.figures["left_out"].size() == count_entries(plan));
  CHECK(written.figures["rows"].size() == 5);  // decode of 128 tokens, the first line
  CHECK(has(written.page, "**The run ended early: it fell off the bus.**"));
  CHECK(has(written.page, "the run had ended: it fell off the bus"));
}

TEST_CASE("bench report: what does not fit into the time limit is named") {
  const test::TemporaryDirectory folder;
  const ReportPlan plan = small_plan(1e-6);
  REQUIRE(report_device(faulty_device({}), plan, folder.path(), kFacts));
  const Written written = read_report(folder.path());
  CHECK(written.figures["rows"].empty());
  CHECK(written.figures["left_out"].size() == count_entries(plan));
  CHECK(has(written.page, "the time limit of 0 s was reached"));
}

TEST_CASE("bench report: a page is named after its device, or as asked") {
  DeviceReport report;
  report.backend = "vulkan";
  const auto slug = [&](const std::string& name) {
    report.adapter.name = name;
    return slug_of(report);
  };
  CHECK(slug("llvmpipe (LLVM 15.0.6, 256 bits)") == "vulkan-llvmpipe");
  CHECK(slug("AMD Radeon RX 7900 XTX (RADV NAVI31)") == "vulkan-amd-radeon-rx-7900-xtx");
  CHECK(slug("Intel(R) Arc(tm) A770 Graphics") == "vulkan-intel-arc-a770-graphics");
  CHECK(slug("../(") == "vulkan-device");
  CHECK(ReportPaths::of("a/b", report).page == "a/b/vulkan-device.md");
  CHECK(ReportPaths::of("a/b.md", report).page == "a/b.md");
  CHECK(ReportPaths::of("a/b.md", report).figures == "a/b/figures.json");
}

}  // namespace
}  // namespace kvault::tools

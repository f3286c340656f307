#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include "tests/support/skip.hpp"

namespace kvault::test {

int& skip_count() noexcept {
  static int count = 0;
  return count;
}

namespace {

/// What ctest takes for "skipped" (SKIP_RETURN_CODE in cmake/KvaultListTests.cmake).
constexpr int kSkipped = 77;

unsigned& run_count() noexcept {
  static unsigned count = 0;
  return count;
}

/// Counts the cases that ran: a run is skipped only if each of them was.
struct RunCounter : doctest::IReporter {
  explicit RunCounter(const doctest::ContextOptions&) {}
  void test_run_end(const doctest::TestRunStats& stats) override {
    run_count() = stats.numTestCasesPassingFilters;
  }
  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_case_start(const doctest::TestCaseData&) override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
};

DOCTEST_REGISTER_LISTENER("run_counter", 1, RunCounter);

}  // namespace
}  // namespace kvault::test

int main(int argc, char** argv) {
  doctest::Context context(argc, argv);
  const int status = context.run();
  const int skipped = kvault::test::skip_count();
  if (status == 0 && skipped > 0 && static_cast<unsigned>(skipped) == kvault::test::run_count()) {
    return kvault::test::kSkipped;
  }
  return status;
}

#include "daemon/request_state.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <thread>

namespace kvault {

TEST_CASE("request state: who waits for ever is never late") {
  const std::uint64_t year_ms = std::uint64_t{366} * 24 * 3600 * 1000;
  // Among these are some whose nanoseconds are more than 64 bits hold.
  for (const std::uint64_t patience_ms :
       {std::uint64_t{0}, std::uint64_t{3'600'000}, year_ms, year_ms + 1, UINT64_MAX / 1'000'000,
        UINT64_MAX / 1'000'000 + 1, UINT64_MAX / 2 + 1, UINT64_MAX}) {
    CAPTURE(patience_ms);
    const RequestState state(patience_ms);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    CHECK(state.check());
  }
}

TEST_CASE("request state: late is who has waited longer than it said, and not before") {
  const RequestState state(40);
  const auto begin = std::chrono::steady_clock::now();
  while (state.check()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK(std::chrono::steady_clock::now() - begin >= std::chrono::milliseconds(39));
  const Error error = state.check().error();
  CHECK(error.code == Errc::timeout);
  CHECK(error.message.find("40 ms") != std::string::npos);
}

TEST_CASE("request state: cancelled is cancelled, also for who is late, and on another thread") {
  RequestState patient(0);
  RequestState late(1);
  std::this_thread::sleep_for(std::chrono::milliseconds(3));
  for (RequestState* const state : {&patient, &late}) {
    std::thread([state] { state->cancel(); }).join();
    CHECK(state->check().error().code == Errc::cancelled);
    state->cancel();
    CHECK(state->check().error().code == Errc::cancelled);
  }
}

}  // namespace kvault

#pragma once

#include <optional>

#include "tests/torture/model/operation.hpp"

/// Plans of what changes no session's tokens: forks, matches, names and times, housekeeping.
namespace kvault::torture {

std::optional<Step> plan_fork(const World& world, test::Random& random);
std::optional<Step> plan_update(const World& world, test::Random& random);
std::optional<Step> plan_match(const World& world, test::Random& random);
std::optional<Step> plan_maintain(const World& world, test::Random& random);
std::optional<Step> plan_expire(const World& world, test::Random& random);
std::optional<Step> plan_outlive(const World& world, test::Random& random);
std::optional<Step> plan_repair(const World& world, test::Random& random);

}  // namespace kvault::torture

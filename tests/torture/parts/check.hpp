#pragma once

#include <string>
#include <vector>

#include "tests/torture/model/store_target.hpp"
#include "tests/torture/model/world.hpp"

namespace kvault::torture {

/// What the target serves, against the truth. kvaultd may empty and delete a pack after it has said
/// where its records lie; then they are asked for anew, as every reader does.
Verdict check_served(Target& target, World& world, std::vector<ServedSession>& out_served);

/// Opens nothing and closes nothing: everything the target serves against the world, and what its
/// own verify() says. A clean verdict settles what was in doubt.
Verdict check_target(Target& target, World& world);

/// The whole examination of a store that was left in some state: it opens, serves what it must,
/// verifies, takes a new session with tokens, has it after another opening,
/// and what was written to every session since, after one without the catalog.
Verdict check_store(StoreTarget& target, World& world);

/// Ends the run where the harness itself cannot go on.
void require(const Result<>& result, const std::string& what);

/// A verdict on an error where there should be none.
Verdict broken(const std::string& what, const Error& error);

}  // namespace kvault::torture

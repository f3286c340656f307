#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/random.hpp"
#include "tests/torture/model/target.hpp"
#include "tests/torture/model/world.hpp"

namespace kvault::torture {

/// One operation with its parameters, and what it must do to the world.
struct Step {
  std::string name{};    ///< of the session; empty: no session changes
  World::State after{};  ///< once acknowledged
  /// States on the way that an error may leave.
  std::vector<World::State> between{};
  /// The name that the session had before; empty: no renaming.
  std::string name_before{};
  /// The one code with which it must be refused; empty: it must succeed on a healthy machine.
  std::optional<Errc> refusal{};
  /// May set what only the store knows (the id of a new session).
  std::function<Result<>(Target&, World::State& after)> perform{};
};

/// A kind of operation. A new verb of the store is one more entry of operations() and nothing else.
struct Operation {
  std::string_view name;
  std::uint32_t weight = 1;
  /// Chooses parameters; empty where the world has no room for it now.
  std::optional<Step> (*plan)(const World& world, test::Random& random);
};
std::span<const Operation> operations();

/// Some new tokens behind a session's last: their tail, pages of what is full, a snapshot where the
/// model has recurrent layers.
CommitPlan plan_append(const SessionTruth& session, test::Random& random);

/// Chooses an operation by weight and plans it; the one that is always possible is create.
std::pair<const Operation*, Step> next_step(const World& world, test::Random& random);

}  // namespace kvault::torture

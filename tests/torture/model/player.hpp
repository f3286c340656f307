#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tests/torture/model/operation.hpp"

namespace kvault::torture {

/// Plays random programs against a target and keeps the world's books: what was asked for before
/// it is asked, what was acknowledged after. Errors that the model did not predict leave the
/// session in doubt; `complaints` names answers that no healthy target gives.
class Player {
 public:
  Player(Target& target, std::uint64_t seed) : target_(target), random_(seed) {}

  /// From now on the target is never reopened, so that its logs grow.
  void stay_open() { stays_open_ = true; }

  /// One step; its error, if it had one that was not predicted.
  Result<> step();

  World& world() { return world_; }
  const World& world() const { return world_; }
  test::Random& random() { return random_; }
  std::uint64_t n_step() const { return n_step_; }
  const std::string& last_operation() const { return last_operation_; }
  const std::vector<std::string>& complaints() const { return complaints_; }

  /// Called after every change of the world's books: before a request, and after its answer.
  std::function<void(const World&)> on_change;

 private:
  void intend(const Step& step);
  void changed() const {
    if (on_change) on_change(world_);
  }
  Target& target_;
  test::Random random_;
  World world_;
  bool stays_open_ = false;
  std::uint64_t n_step_ = 0;
  std::string last_operation_;
  std::vector<std::string> complaints_;
};

}  // namespace kvault::torture

#include "tests/torture/model/player.hpp"

#include <tuple>

namespace kvault::torture {

Result<> Player::step() {
  ++n_step_;
  auto [operation, step] = next_step(world_, random_);
  while (stays_open_ && operation->name == "reopen") {
    std::tie(operation, step) = next_step(world_, random_);
  }
  last_operation_ = message(operation->name, " '", step.name, "'");
  const bool changes = !step.name.empty() && !step.refusal;
  if (changes) intend(step);
  changed();
  const Result<> done = step.perform(target_, step.after);
  if (done) {
    if (step.refusal) {
      complaints_.push_back(message(
          last_operation_, " was taken; it should have been refused: ", name_of(*step.refusal)));
    }
    if (changes) {
      if (!step.name_before.empty()) world_.settle(step.name_before, std::nullopt);
      world_.settle(step.name, std::move(step.after));
    }
    changed();
    return {};
  }
  if (step.refusal && done.error().code == *step.refusal) return {};
  if (done.error().message.empty() || done.error().code == Errc::internal) {
    complaints_.push_back(message(last_operation_, ": an error without a name"));
  }
  return tl::unexpected<Error>(done.error());
}

void Player::intend(const Step& step) {
  for (const World::State& state : step.between) world_.intend(step.name, state);
  if (step.name_before.empty()) {
    world_.intend(step.name, step.after);
  } else {
    world_.intend_renaming(step.name_before, step.name, step.after);
  }
}

}  // namespace kvault::torture

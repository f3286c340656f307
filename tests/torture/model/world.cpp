#include "tests/torture/model/world.hpp"

#include <algorithm>

#include "core/base/result.hpp"

namespace kvault::torture {
namespace {

const ServedSession* find_served(const std::vector<ServedSession>& served,
                                 const std::string& name) {
  const auto found = std::find_if(served.begin(), served.end(), [&](const ServedSession& session) {
    return session.description.name == name;
  });
  return found == served.end() ? nullptr : &*found;
}

Comparison compare_state(const World::State& state, const ServedSession* served) {
  if (!state && served == nullptr) return {};
  if (!state) {
    return {Difference::wrong,
            message("'", served->description.name, "' is there and should not be")};
  }
  if (served == nullptr) {
    return {Difference::lost, message("'", state->description.name, "' is not there")};
  }
  return compare(*state, *served);
}

}  // namespace

const SessionTruth* World::find(const std::string& name) const {
  const auto slot = slots_.find(name);
  return slot == slots_.end() || !slot->second.current ? nullptr : &*slot->second.current;
}

std::vector<std::string> World::names() const {
  std::vector<std::string> names;
  for (const auto& [name, slot] : slots_) {
    if (slot.current) names.push_back(name);
  }
  return names;
}

bool World::is_in_doubt() const {
  return std::any_of(slots_.begin(), slots_.end(),
                     [](const auto& slot) { return !slot.second.maybe.empty(); });
}

void World::intend(const std::string& name, State after) {
  slots_[name].maybe.push_back(std::move(after));
}

void World::settle(const std::string& name, State after) { slots_[name] = {std::move(after), {}}; }

void World::withdraw(const std::string& name) {
  Slot& slot = slots_[name];
  if (!slot.maybe.empty()) slot.maybe.pop_back();
}

Comparison World::check_slot(const Slot& slot, const ServedSession* served) const {
  Comparison best = compare_state(slot.current, served);
  for (const State& state : slot.maybe) {
    if (best.difference == Difference::none) break;
    const Comparison other = compare_state(state, served);
    if (other.difference == Difference::none) return other;
    best.sentence += message("; or ", other.sentence);
  }
  return best;
}

Verdict World::check(const std::vector<ServedSession>& served) const {
  Verdict verdict;
  const auto note = [&](const Comparison& comparison) {
    if (comparison.difference == Difference::none) return;
    ++(comparison.difference == Difference::lost ? verdict.n_lost : verdict.n_wrong);
    verdict.sentences.push_back(comparison.sentence);
  };
  for (const auto& [name, slot] : slots_) note(check_slot(slot, find_served(served, name)));
  for (const ServedSession& session : served) {
    if (slots_.contains(session.description.name)) continue;
    note({Difference::wrong, message("nobody made '", session.description.name, "'")});
  }
  return verdict;
}

void World::settle_as(const std::vector<ServedSession>& served) {
  for (auto& [name, slot] : slots_) {
    const ServedSession* session = find_served(served, name);
    std::vector<State> states = std::move(slot.maybe);
    states.insert(states.begin(), std::move(slot.current));
    slot = {};
    for (State& state : states) {
      if (compare_state(state, session).difference != Difference::none) continue;
      if (state) state->id = session->id;
      slot.current = std::move(state);
      break;
    }
  }
}

}  // namespace kvault::torture

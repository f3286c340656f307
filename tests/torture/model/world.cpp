#include "tests/torture/model/world.hpp"

#include <algorithm>
#include <iterator>

#include "core/base/result.hpp"
#include "daemon/clock.hpp"

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

bool has_expired(const World::State& state) {
  const std::uint64_t at_s = state ? state->attributes.expires_at_s : 0;
  return at_s > 0 && at_s <= seconds_since_1970();
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

bool World::is_in_doubt(const std::string& name) const {
  const auto slot = slots_.find(name);
  return slot != slots_.end() && !slot->second.maybe.empty();
}

bool World::may_be_free(const std::string& name) const {
  return find(name) != nullptr && is_in_doubt(name);
}

bool World::is_description_in_doubt(const std::string& name) const {
  const auto found = slots_.find(name);
  if (found == slots_.end() || !found->second.current) return false;
  const Slot& slot = found->second;
  return std::any_of(slot.maybe.begin(), slot.maybe.end(),
                     [&](const State& state) {
                       return state && state->commit_number == slot.current->commit_number;
                     }) ||
         std::any_of(renamings_.begin(), renamings_.end(),
                     [&](const auto& names) { return names.first == name; });
}

void World::intend(const std::string& name, State after) {
  slots_[name].maybe.push_back(std::move(after));
}

void World::intend_renaming(const std::string& from, const std::string& to, State after) {
  intend(from, std::nullopt);
  intend(to, std::move(after));
  renamings_.emplace_back(from, to);
}

void World::forget_renaming(const std::string& name) {
  std::erase_if(renamings_,
                [&](const auto& names) { return names.first == name || names.second == name; });
}

void World::settle(const std::string& name, State after) {
  slots_[name] = {std::move(after), {}};
  forget_renaming(name);
}

void World::withdraw(const std::string& name) {
  Slot& slot = slots_[name];
  if (!slot.maybe.empty()) slot.maybe.pop_back();
}

Comparison World::check_slot(const Slot& slot, const ServedSession* served) const {
  // Its time may have been set by what failed later: any housekeeping since may have removed it.
  if (served == nullptr && has_expired(slot.current)) return {};
  Comparison best = compare_state(slot.current, served);
  for (const State& state : slot.maybe) {
    if (best.difference == Difference::none) break;
    const Comparison other = compare_state(state, served);
    if (other.difference == Difference::none) return other;
    best.sentence += message("; or ", other.sentence);
  }
  return best;
}

void World::doubt_missing_again(const World& before) {
  for (const auto& [name, slot] : before.slots_) {
    if (slot.maybe.empty() || slots_[name].current) continue;
    slots_[name].maybe = slot.maybe;
    if (slot.current) slots_[name].maybe.push_back(slot.current);
  }
  for (const auto& [name, states] : ghosts_) {
    Slot& slot = slots_[name];
    if (slot.current) continue;
    slot.maybe.insert(slot.maybe.end(), states.begin(), states.end());
  }
}

Verdict World::check(const std::vector<ServedSession>& served) const {
  Verdict verdict;
  const auto note = [&](const Comparison& comparison) {
    if (comparison.difference == Difference::none) return;
    ++(comparison.difference == Difference::lost ? verdict.n_lost : verdict.n_wrong);
    verdict.sentences.push_back(comparison.sentence);
  };
  for (const auto& [name, slot] : slots_) note(check_slot(slot, find_served(served, name)));
  for (const auto& [from, to] : renamings_) {
    const bool has_old = find_served(served, from) != nullptr;
    if (has_old != (find_served(served, to) != nullptr)) continue;
    note({has_old ? Difference::wrong : Difference::lost,
          message("'", from, "' was to become '", to, "', and ",
                  has_old ? "both are there" : "neither is there")});
  }
  for (const ServedSession& session : served) {
    if (slots_.contains(session.description.name)) continue;
    note({Difference::wrong, message("nobody made '", session.description.name, "'")});
  }
  return verdict;
}

void World::settle_as(const std::vector<ServedSession>& served) {
  renamings_.clear();
  for (auto& [name, slot] : slots_) {
    const ServedSession* session = find_served(served, name);
    std::vector<State> states = std::move(slot.maybe);
    states.insert(states.begin(), std::move(slot.current));
    slot = {};
    if (session == nullptr) {
      std::copy_if(states.begin(), states.end(), std::back_inserter(ghosts_[name]),
                   [&](const State& state) { return state && states.size() > 1; });
    }
    for (State& state : states) {
      if (compare_state(state, session).difference != Difference::none) continue;
      if (state) state->id = session->id;
      slot.current = std::move(state);
      break;
    }
    // Where faults kept it from being removed, it goes as soon as it can.
    if (slot.current && slot.current->is_over()) slot.maybe.push_back(std::nullopt);
  }
}

}  // namespace kvault::torture

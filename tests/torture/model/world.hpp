#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/torture/model/truth.hpp"

namespace kvault::torture {

/// What was found of what must be there.
struct Verdict {
  std::uint64_t n_lost = 0;
  std::uint64_t n_wrong = 0;
  std::vector<std::string> sentences{};
  bool is_clean() const { return n_lost == 0 && n_wrong == 0; }
};

/// All sessions as their clients know them, by name. A session whose last change was neither
/// acknowledged nor refused for sure may be in any of several states.
class World {
 public:
  using State = std::optional<SessionTruth>;  ///< empty: there is no such session

  /// The acknowledged state; empty for a name that nobody has.
  const SessionTruth* find(const std::string& name) const;
  std::vector<std::string> names() const;
  bool is_in_doubt() const;

  /// A change is asked for: from now on either state is right.
  void intend(const std::string& name, State after);
  /// It was acknowledged: only this state is right.
  void settle(const std::string& name, State after);
  /// It was refused for a reason that cannot have changed anything.
  void withdraw(const std::string& name);

  Verdict check(const std::vector<ServedSession>& served) const;
  /// What was served settles what was open. pre: check() was clean.
  void settle_as(const std::vector<ServedSession>& served);

 private:
  struct Slot {
    State current;
    std::vector<State> maybe;
  };
  Comparison check_slot(const Slot& slot, const ServedSession* served) const;

  std::map<std::string, Slot> slots_;
};

}  // namespace kvault::torture

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
  bool is_in_doubt(const std::string& name) const;
  /// Whether what has this name may be gone: it is not known if the name can be given again.
  bool may_be_free(const std::string& name) const;
  /// Whether its next commit would not settle what is in doubt: its name, labels, pin or expiry.
  bool is_description_in_doubt(const std::string& name) const;

  /// A change is asked for: from now on either state is right.
  void intend(const std::string& name, State after);
  /// The session of one name gets another one: it has the one or the other.
  void intend_renaming(const std::string& from, const std::string& to, State after);
  /// It was acknowledged: only this state is right.
  void settle(const std::string& name, State after);
  /// It was refused for a reason that cannot have changed anything.
  void withdraw(const std::string& name);

  /// Sessions whose making was ever in doubt and that are not there: a rebuild may find them, as
  /// docs/format.md says (section 5).
  void doubt_missing_again(const World& before);

  Verdict check(const std::vector<ServedSession>& served) const;
  /// What was served settles what was open. pre: check() was clean.
  void settle_as(const std::vector<ServedSession>& served);

 private:
  struct Slot {
    State current;
    std::vector<State> maybe;
  };
  Comparison check_slot(const Slot& slot, const ServedSession* served) const;

  void forget_renaming(const std::string& name);

  std::map<std::string, Slot> slots_;
  /// What a session might have been that was found missing: its records may lie in a log pack.
  std::map<std::string, std::vector<State>> ghosts_;
  std::vector<std::pair<std::string, std::string>> renamings_;  ///< in doubt: from, to
};

}  // namespace kvault::torture

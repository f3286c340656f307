#include "core/format/description.hpp"
#include "tests/torture/fuzz/fuzz_target.hpp"
#include "tests/torture/model/upload.hpp"

namespace kvault::torture {

FuzzTarget description_target() {
  FuzzTarget target{.name = "description", .seeds = nullptr, .run = nullptr, .mend = nullptr};
  target.seeds = [] {
    std::vector<std::vector<std::byte>> seeds;
    for (const bool is_recurrent : {false, true}) {
      SessionDescription description = small_session("seed", is_recurrent);
      description.identity.push_back({"rope_freq_base", "10000"});
      seeds.push_back(serialise_description(description).value());
    }
    return seeds;
  };
  target.run = [](std::span<const std::byte> bytes) {
    const Result<SessionDescription> description = parse_description(bytes);
    if (!description) return;
    must(check_description(*description).has_value(), "a description is parsed and not sound");
    const Result<std::vector<std::byte>> again = serialise_description(*description);
    must(again.has_value(), "a parsed description cannot be written");
    const Result<SessionDescription> twice = parse_description(*again);
    must(twice && *twice == *description, "a description changes when it is written and read");
    must(check_identity(*description, *twice).has_value(), "a description is not itself");
  };
  return target;
}

}  // namespace kvault::torture

#include "core/format/description.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

namespace kvault {
namespace {

SessionDescription example() {
  SessionDescription description;
  description.name = "Chat with a caf\xC3\xA9 owner";
  description.identity = {{"weights", "sha256:abc"}, {"rope_freq_base", "10000"}, {"lora", ""}};
  description.shape.row_type = RowType::bf16;
  description.shape.layers = {
      {.kind = LayerKind::full_attention,
       .n_head = 8,
       .n_kv_head = 2,
       .key_head_dim = 64,
       .value_head_dim = 128,
       .key_scheme = Scheme::tq4,
       .value_scheme = Scheme::tq3},
      {.kind = LayerKind::sliding_window,
       .n_head = 4,
       .n_kv_head = 4,
       .key_head_dim = 100,
       .value_head_dim = 40,
       .window = 512},
      {.kind = LayerKind::recurrent},
      {.kind = LayerKind::none},
  };
  return description;
}

Errc code_of_check(const SessionDescription& description) {
  const Result<> checked = check_description(description);
  REQUIRE_FALSE(checked);
  CHECK_FALSE(serialise_description(description));
  return checked.error().code;
}

TEST_CASE("short: description: bytes and back, fields sorted by name") {
  const SessionDescription description = example();
  const Result<std::vector<std::byte>> bytes = serialise_description(description);
  REQUIRE(bytes);
  Result<SessionDescription> back = parse_description(*bytes);
  REQUIRE(back);
  CHECK(back->name == description.name);
  CHECK(back->shape == description.shape);
  REQUIRE(back->identity.size() == 3);
  CHECK(back->identity[0].name == "lora");
  CHECK(back->identity[1] == IdentityField{"rope_freq_base", "10000"});
  CHECK(*serialise_description(*back) == *bytes);

  SessionDescription renamed = description;
  renamed.name = "Another";
  std::swap(renamed.identity[0], renamed.identity[2]);
  CHECK(*serialise_identity(renamed) == *serialise_identity(description));
}

TEST_CASE("short: description: cut or changed bytes are refused, never believed") {
  const std::vector<std::byte> bytes = *serialise_description(example());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    CAPTURE(size);
    CHECK_FALSE(parse_description(std::span(bytes).first(size)));
  }
  std::vector<std::byte> longer = bytes;
  longer.push_back(std::byte{0});
  CHECK_FALSE(parse_description(longer));
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (const unsigned value : {0U, 1U, 0x7FU, 0x80U, 0xFFU}) {
      std::vector<std::byte> changed = bytes;
      changed[i] = static_cast<std::byte>(value);
      const Result<SessionDescription> parsed = parse_description(changed);
      if (parsed) CHECK(*serialise_description(*parsed) == changed);  // valid, so canonical
    }
  }
}

TEST_CASE("short: description: names are printable UTF-8 of 1 to 255 bytes") {
  CHECK(check_session_name("a"));
  CHECK(check_session_name(std::string(255, 'x')));
  CHECK(check_session_name("\xE6\x97\xA5\xE6\x9C\xAC \xF0\x9F\x99\x82"));
  for (const std::string name : {"", "a\nb", "\x7F", "\xC2\x85", "\xC0\xAF", "\xED\xA0\x80",
                                 "\xF4\x90\x80\x80", "\xE6\x97", "\x80", "\xFF"}) {
    CAPTURE(name);
    CHECK_FALSE(check_session_name(name));
  }
  CHECK_FALSE(check_session_name(std::string(256, 'x')));
  CHECK_FALSE(check_session_name(std::string_view("a\0b", 3)));
}

TEST_CASE("short: description: shapes that cannot be stored are refused by layer and number") {
  const auto change = [](auto edit) {
    SessionDescription description = example();
    edit(description);
    return code_of_check(description);
  };
  using D = SessionDescription;
  CHECK(change([](D& d) { d.shape.layers.clear(); }) == Errc::invalid_argument);
  CHECK(change([](D& d) { d.shape.layers.resize(1025); }) == Errc::invalid_argument);
  CHECK(change([](D& d) { d.shape.layers[0].n_kv_head = 0; }) == Errc::invalid_argument);
  CHECK(change([](D& d) { d.shape.layers[0].n_head = 7; }) == Errc::invalid_argument);
  CHECK(change([](D& d) { d.shape.layers[0].key_head_dim = 100; }) == Errc::invalid_argument);
  CHECK(change([](D& d) { d.shape.layers[0].value_head_dim = 513; }) == Errc::invalid_argument);
  CHECK(change([](D& d) { d.shape.layers[0].window = 5; }) == Errc::invalid_argument);
  CHECK(change([](D& d) { d.shape.layers[1].window = 0; }) == Errc::invalid_argument);
  CHECK(change([](D& d) { d.shape.layers[1].key_scheme = Scheme::q8; }) == Errc::invalid_argument);
  CHECK(change([](D& d) { d.shape.layers[2].n_head = 1; }) == Errc::invalid_argument);
  CHECK(change([](D& d) { d.shape.row_type = static_cast<RowType>(9); }) == Errc::invalid_argument);
  CHECK(change([](D& d) { d.shape.layers = {{.kind = LayerKind::none}}; }) ==
        Errc::invalid_argument);
  CHECK(change([](D& d) { d.identity.push_back(d.identity[0]); }) == Errc::invalid_argument);
  CHECK(change([](D& d) { d.identity[0].value.assign(4097, 'x'); }) == Errc::invalid_argument);
}

TEST_CASE("short: identity: a mismatch names every field and layer that differs") {
  const SessionDescription session = example();
  SessionDescription app = session;
  app.name = "the name is not identity";
  app.identity.erase(app.identity.begin() + 2);  // an empty field and none are the same
  CHECK(check_identity(session, app));

  app.identity[1].value = "1000000";
  Result<> checked = check_identity(session, app);
  REQUIRE_FALSE(checked);
  CHECK(checked.error().code == Errc::identity_mismatch);
  CHECK(checked.error().message == "rope_freq_base: session 10000, app 1000000");

  app = session;
  app.identity.push_back({"projector", "p1"});
  app.shape.row_type = RowType::f16;
  app.shape.layers[0].key_head_dim = 128;
  app.shape.layers[2].kind = LayerKind::none;
  checked = check_identity(session, app);
  REQUIRE_FALSE(checked);
  CHECK(checked.error().message ==
        "projector: session (none), app p1; row_type: session bf16, app f16; "
        "layer 0 key_head_dim: session 64, app 128; layer 2 kind: session recurrent, app none");

  app = session;
  app.shape.layers.pop_back();
  checked = check_identity(session, app);
  REQUIRE_FALSE(checked);
  CHECK(checked.error().message == "n_layer: session 4, app 3");
}

TEST_CASE("short: identity: many and long differences stay readable") {
  SessionDescription session = example();
  SessionDescription app = session;
  session.identity[0].value = std::string(79, 'x') + "\xE6\x97\xA5\xE6\x97\xA5";
  for (std::size_t i = 0; i < 40; ++i) {
    app.identity.push_back({message("field", i), "1"});
  }
  const Result<> checked = check_identity(session, app);
  REQUIRE_FALSE(checked);
  CHECK(checked.error().message.find("and 33 more") != std::string::npos);
  CHECK(checked.error().message.size() < 1000);
  const Result<> long_value = check_identity(session, example());
  REQUIRE_FALSE(long_value);
  CHECK(long_value.error().message ==
        message("weights: session ", std::string(79, 'x'), "..., app sha256:abc"));
}

}  // namespace
}  // namespace kvault

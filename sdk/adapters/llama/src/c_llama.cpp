#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "sdk/adapters/llama/src/chat.hpp"
#include "sdk/src/c_boundary.hpp"

// The C interface of the adapter.

using kvault::Errc;
using kvault::fail;
using kvault::message;
using kvault::Result;
using kvault::c::guard;
using kvault::c::read_options;
using kvault::c::require;
namespace llama = kvault::llama;

struct kvault_llama_model {
  llama::Model model;
  std::vector<kvault_identity_field> identity;
};

struct kvault_llama_chat {
  std::unique_ptr<llama::Chat> chat;
  kvault_llama_functions functions{};
  bool has_functions = false;

  const kvault_llama_functions* engine() const { return has_functions ? &functions : nullptr; }
};

namespace {

Result<> check_functions(const kvault_llama_functions& functions) {
  const bool is_whole =
      functions.n_ctx != nullptr && functions.n_seq_max != nullptr &&
      functions.get_memory != nullptr && functions.memory_seq_rm != nullptr &&
      functions.memory_seq_cp != nullptr && functions.memory_seq_pos_max != nullptr &&
      functions.state_seq_get_size != nullptr && functions.state_seq_get_data != nullptr &&
      functions.state_seq_set_data != nullptr;
  if (is_whole) return {};
  return fail(Errc::invalid_argument, "one of llama.cpp's functions is NULL");
}

std::uint32_t n_thread_beside_engine() {
  return std::max(2U, std::thread::hardware_concurrency()) - 1;
}

template <class Function>
Result<> find(void* library, const char* name, Function*& function) {
  void* const symbol = ::dlsym(library, name);
  if (symbol == nullptr) return fail(Errc::not_found, message("the library has no ", name));
  function = reinterpret_cast<Function*>(symbol);
  return {};
}

Result<std::span<const std::int32_t>> to_tokens(const std::int32_t* tokens, std::size_t n) {
  if (n > 0) KVAULT_CHECK(require(tokens, "tokens"));
  return std::span(tokens, n);
}

Result<std::optional<std::span<const std::int32_t>>> to_prompt(const std::int32_t* tokens,
                                                               std::size_t n) {
  if (tokens == nullptr && n == 0) return std::optional<std::span<const std::int32_t>>();
  KVAULT_TRY(const std::span<const std::int32_t> given, to_tokens(tokens, n));
  return std::optional(given);
}

template <class Info>
void hand_out(const Info& info, Info* out) {
  if (out == nullptr) return;
  const std::size_t n = std::min<std::size_t>(out->struct_size, sizeof info);
  const auto struct_size = out->struct_size;
  std::memcpy(out, &info, n);
  out->struct_size = struct_size;
}

Result<llama::Sequence> open_sequence(const kvault_llama_chat& chat,
                                      const kvault_llama_sequence* sequence) {
  KVAULT_TRY(const kvault_llama_sequence given, read_options(sequence, "sequence"));
  return llama::Sequence::open(chat.engine(), given);
}

}  // namespace

extern "C" {

kvault_status kvault_llama_find_functions(void* library, kvault_llama_functions* out_functions,
                                          kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(out_functions, "out_functions"));
    void* const from = library != nullptr ? library : RTLD_DEFAULT;
    kvault_llama_functions found{};
    found.struct_size = sizeof found;
    KVAULT_CHECK(find(from, "llama_n_ctx", found.n_ctx));
    KVAULT_CHECK(find(from, "llama_n_seq_max", found.n_seq_max));
    KVAULT_CHECK(find(from, "llama_get_memory", found.get_memory));
    KVAULT_CHECK(find(from, "llama_memory_seq_rm", found.memory_seq_rm));
    KVAULT_CHECK(find(from, "llama_memory_seq_cp", found.memory_seq_cp));
    KVAULT_CHECK(find(from, "llama_memory_seq_pos_max", found.memory_seq_pos_max));
    KVAULT_CHECK(find(from, "llama_state_seq_get_size", found.state_seq_get_size));
    KVAULT_CHECK(find(from, "llama_state_seq_get_data", found.state_seq_get_data));
    KVAULT_CHECK(find(from, "llama_state_seq_set_data", found.state_seq_set_data));
    *out_functions = found;
    return {};
  });
}

kvault_status kvault_llama_model_open(const kvault_llama_model_options* options,
                                      kvault_llama_model** out_model, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(out_model, "out_model"));
    *out_model = nullptr;
    KVAULT_TRY(const kvault_llama_model_options given, read_options(options));
    KVAULT_CHECK(require(given.path, "path"));
    llama::ModelOptions converted;
    converted.path = given.path;
    for (std::uint32_t i = 0; i < given.n_lora; ++i) {
      KVAULT_CHECK(require(given.lora, "lora"));
      KVAULT_CHECK(require(given.lora[i].path, "lora path"));
      converted.loras.push_back({given.lora[i].path, given.lora[i].scale});
    }
    converted.rope = {given.rope_scaling_type, given.rope_freq_base,   given.rope_freq_scale,
                      given.yarn_ext_factor,   given.yarn_attn_factor, given.yarn_beta_fast,
                      given.yarn_beta_slow,    given.yarn_orig_ctx};
    KVAULT_TRY(llama::Model model, llama::Model::open(converted));
    auto result = std::make_unique<kvault_llama_model>(kvault_llama_model{std::move(model), {}});
    for (const llama::Model::Field& field : result->model.identity()) {
      result->identity.push_back({field.name.c_str(), field.value.c_str()});
    }
    *out_model = result.release();
    return {};
  });
}

void kvault_llama_model_close(kvault_llama_model* model) { delete model; }

const kvault_identity_field* kvault_llama_model_identity(const kvault_llama_model* model,
                                                         uint32_t* out_n) {
  *out_n = static_cast<std::uint32_t>(model->identity.size());
  return model->identity.data();
}

kvault_status kvault_llama_chat_open(const kvault_llama_chat_options* options,
                                     kvault_llama_chat** out_chat, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(out_chat, "out_chat"));
    *out_chat = nullptr;
    KVAULT_TRY(const kvault_llama_chat_options given, read_options(options));
    KVAULT_CHECK(require(given.client, "client"));
    KVAULT_CHECK(require(given.model, "model"));
    KVAULT_CHECK(require(given.name, "name"));
    auto result = std::make_unique<kvault_llama_chat>();
    if (given.functions != nullptr) {
      KVAULT_TRY(result->functions, read_options(given.functions, "functions"));
      KVAULT_CHECK(check_functions(result->functions));
      result->has_functions = true;
    }
    llama::ChatOptions converted;
    converted.create = given.create != 0;
    kvault_error unknown{};
    KVAULT_CHECK(
        llama::to_result(kvault_preset(given.preset == nullptr ? "k8v4" : given.preset,
                                       &converted.key_scheme, &converted.value_scheme, &unknown),
                         unknown));
    converted.place = {
        given.client,        given.name,
        &given.model->model, given.progress,
        given.progress_user, given.n_thread != 0 ? given.n_thread : n_thread_beside_engine()};
    KVAULT_TRY(result->chat, llama::Chat::open(std::move(converted)));
    *out_chat = result.release();
    return {};
  });
}

void kvault_llama_chat_close(kvault_llama_chat* chat) { delete chat; }

const char* kvault_llama_chat_name(const kvault_llama_chat* chat) {
  return chat == nullptr ? "" : chat->chat->name().c_str();
}

kvault_status kvault_llama_chat_tokens(kvault_llama_chat* chat, const int32_t** out_tokens,
                                       uint64_t* out_n_token, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(chat, "chat"));
    KVAULT_CHECK(require(out_tokens, "out_tokens"));
    KVAULT_CHECK(require(out_n_token, "out_n_token"));
    KVAULT_TRY(const std::span<const std::int32_t> tokens, chat->chat->tokens());
    *out_tokens = tokens.data();
    *out_n_token = tokens.size();
    return {};
  });
}

kvault_status kvault_llama_save(kvault_llama_chat* chat, const kvault_llama_sequence* sequence,
                                const int32_t* tokens, size_t n_token,
                                kvault_llama_save_info* out_info, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(chat, "chat"));
    KVAULT_TRY(const std::span<const std::int32_t> ids, to_tokens(tokens, n_token));
    KVAULT_TRY(const llama::Sequence opened, open_sequence(*chat, sequence));
    KVAULT_TRY(const kvault_llama_save_info info, chat->chat->save(opened, ids));
    hand_out(info, out_info);
    return {};
  });
}

kvault_status kvault_llama_resume(kvault_llama_chat* chat, const kvault_llama_sequence* sequence,
                                  const int32_t* tokens, size_t n_token,
                                  kvault_llama_resume_info* out_info, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(chat, "chat"));
    KVAULT_TRY(const auto prompt, to_prompt(tokens, n_token));
    KVAULT_TRY(const llama::Sequence opened, open_sequence(*chat, sequence));
    KVAULT_TRY(const kvault_llama_resume_info info, chat->chat->resume(opened, prompt));
    hand_out(info, out_info);
    return {};
  });
}

kvault_status kvault_llama_save_state(kvault_llama_chat* chat, const void* state,
                                      size_t state_bytes, const int32_t* tokens, size_t n_token,
                                      kvault_llama_save_info* out_info, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(chat, "chat"));
    KVAULT_CHECK(require(state, "state"));
    KVAULT_TRY(const std::span<const std::int32_t> ids, to_tokens(tokens, n_token));
    const std::span bytes(static_cast<const std::byte*>(state), state_bytes);
    KVAULT_TRY(const kvault_llama_save_info info, chat->chat->save_state(bytes, ids));
    hand_out(info, out_info);
    return {};
  });
}

kvault_status kvault_llama_make_state(kvault_llama_chat* chat, const kvault_llama_target* target,
                                      const int32_t* tokens, size_t n_token, const void** out_state,
                                      size_t* out_state_bytes, kvault_llama_resume_info* out_info,
                                      kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(chat, "chat"));
    KVAULT_CHECK(require(out_state, "out_state"));
    KVAULT_CHECK(require(out_state_bytes, "out_state_bytes"));
    *out_state = nullptr;
    *out_state_bytes = 0;
    KVAULT_TRY(const kvault_llama_target given, read_options(target, "target"));
    KVAULT_TRY(const auto prompt, to_prompt(tokens, n_token));
    KVAULT_TRY(const kvault_llama_resume_info info, chat->chat->make(given, prompt));
    *out_state = chat->chat->made_state().data();
    *out_state_bytes = chat->chat->made_state().size();
    hand_out(info, out_info);
    return {};
  });
}

kvault_status kvault_llama_match(kvault_client* client, const kvault_llama_model* model,
                                 const int32_t* tokens, size_t n_token, kvault_match* out_match,
                                 kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(out_match, "out_match"));
    *out_match = {};
    KVAULT_CHECK(require(client, "client"));
    KVAULT_CHECK(require(model, "model"));
    KVAULT_TRY(const std::span<const std::int32_t> ids, to_tokens(tokens, n_token));
    KVAULT_TRY(*out_match, llama::find_match(client, model->model, ids));
    return {};
  });
}

}  // extern "C"

#include "sdk/adapters/llama/src/sequence.hpp"

#include "sdk/adapters/llama/src/state.hpp"

namespace kvault::llama {

Result<Sequence> Sequence::open(const kvault_llama_functions* functions,
                                const kvault_llama_sequence& given) {
  if (functions == nullptr) {
    return fail(Errc::invalid_argument, "the chat was opened without llama.cpp's functions");
  }
  if (given.context == nullptr) return fail(Errc::invalid_argument, "sequence.context is NULL");
  Sequence sequence(functions, given);
  if (sequence.memory() == nullptr) {
    return fail(Errc::unsupported, "the llama_context has no memory");
  }
  const std::uint32_t n_seq = functions->n_seq_max(given.context);
  const auto is_one = [n_seq](std::int32_t id) {
    return id >= 0 && static_cast<std::uint32_t>(id) < n_seq;
  };
  if (!is_one(given.seq_id)) {
    return fail(Errc::out_of_range,
                message("sequence ", given.seq_id, " of a context with ", n_seq));
  }
  if (given.scratch_seq_id != -1 &&
      (!is_one(given.scratch_seq_id) || given.scratch_seq_id == given.seq_id)) {
    return fail(Errc::out_of_range,
                message("scratch sequence ", given.scratch_seq_id, " beside sequence ",
                        given.seq_id, " of a context with ", n_seq));
  }
  return sequence;
}

std::int32_t Sequence::last_position() const {
  return functions_->memory_seq_pos_max(memory(), given_.seq_id);
}

/// The scratch sequence is empty, and its state says how many streams there are.
bool Sequence::can_copy_parts() const {
  if (given_.scratch_seq_id < 0) return false;
  if (functions_->memory_seq_pos_max(memory(), given_.scratch_seq_id) >= 0) return false;
  const Result<Blob> empty = read(given_.scratch_seq_id);
  if (!empty) return false;
  const Result<std::uint32_t> n_stream = read_n_stream(empty->bytes());
  return n_stream && *n_stream == 1;
}

Result<Blob> Sequence::read_from(std::int32_t position) const {
  functions_->memory_seq_cp(memory(), given_.seq_id, given_.scratch_seq_id, position, -1);
  Result<Blob> blob = read(given_.scratch_seq_id);
  functions_->memory_seq_rm(memory(), given_.scratch_seq_id, -1, -1);
  return blob;
}

Result<Blob> Sequence::read(std::int32_t seq_id) const {
  Blob blob(functions_->state_seq_get_size(given_.context, seq_id));
  const std::span<std::byte> bytes = blob.bytes();
  const std::size_t n = functions_->state_seq_get_data(
      given_.context, reinterpret_cast<std::uint8_t*>(bytes.data()), bytes.size(), seq_id);
  if (n == 0 || n != bytes.size()) {
    return fail(Errc::incomplete, message("llama.cpp gave ", n, " bytes of a state of ",
                                          bytes.size(), ", sequence ", seq_id));
  }
  return blob;
}

void Sequence::clear() const { functions_->memory_seq_rm(memory(), given_.seq_id, -1, -1); }

bool Sequence::write(std::span<const std::byte> blob, std::int32_t seq_id) const {
  const std::size_t n = functions_->state_seq_set_data(
      given_.context, reinterpret_cast<const std::uint8_t*>(blob.data()), blob.size(), seq_id);
  return n == blob.size();
}

bool Sequence::write(std::span<const std::byte> blob) const {
  if (write(blob, given_.seq_id)) return true;
  clear();
  return false;
}

bool Sequence::write_behind(std::span<const std::byte> blob) const {
  const bool is_taken = write(blob, given_.scratch_seq_id);
  if (is_taken) {
    functions_->memory_seq_cp(memory(), given_.scratch_seq_id, given_.seq_id, -1, -1);
  } else {
    clear();
  }
  functions_->memory_seq_rm(memory(), given_.scratch_seq_id, -1, -1);
  return is_taken;
}

}  // namespace kvault::llama

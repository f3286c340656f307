#include "gpu_cuda/cuda_buffer.hpp"

namespace kvault::cuda {

CudaBuffer::~CudaBuffer() {
  if (memory_ == 0) return;
  if (state_ != State::settled) {
    // The stream gives it back: not before the copy queue is done with it. A filling that failed
    // may have begun.
    const Context::Scope scope(runtime_->context());
    Stream& copies = runtime_->copies();
    const std::uint64_t value = state_ == State::arriving ? arrival_ : copies.open_value();
    if (!runtime_->stream().follow(copies, value)) copies.drain();
  }
  runtime_->release(memory_);
}

Result<> CudaBuffer::allocate(bool is_zeroed) {
  if (!is_zeroed) {
    KVAULT_TRY(memory_, runtime_->allocate(size_bytes_, runtime_->copies()));
    state_ = State::to_be_filled;
    return {};
  }
  KVAULT_TRY(memory_, runtime_->allocate(size_bytes_));
  return runtime_->fill_zero(memory_, size_bytes_);
}

Result<> CudaBuffer::fill(std::span<const std::byte> source) {
  KVAULT_ASSERT(state_ == State::to_be_filled && source.size() == size_bytes_);
  KVAULT_CHECK(runtime_->copy_staging().upload(memory_, source));
  KVAULT_TRY(arrival_, runtime_->copies().mark());
  state_ = State::arriving;
  return {};
}

Result<> CudaBuffer::settle() const {
  if (state_ == State::settled) return {};
  KVAULT_ASSERT(state_ == State::arriving);
  KVAULT_CHECK(runtime_->stream().follow(runtime_->copies(), arrival_));
  state_ = State::settled;
  return {};
}

}  // namespace kvault::cuda

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/base/half.hpp"
#include "core/base/result.hpp"
#include "core/codec/scale_rule.hpp"
#include "core/layout/scheme.hpp"

namespace kvault {

/// Memory of a device. Owned by the caller; must outlive every ticket that uses it.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  virtual ~Buffer() = default;
  virtual std::uint64_t size_bytes() const noexcept = 0;
};

class EngineMemory;

/// A point on a device's timeline: the work handed in up to then.
enum class Ticket : std::uint64_t {};

/// What a device can do, fixed when it is opened.
struct DeviceCaps {
  /// allocate() can adopt host memory (a mapped pack) without copying it.
  bool adopts_host_memory = false;
  /// A GPU backend on a driver that runs on the CPU: correct, and slow.
  bool is_emulated = false;
  /// Upper bound of the scratch an attend may use, in bytes; never a function of the context.
  std::uint64_t scratch_size_bytes = 0;
  /// The instructions the cpu device runs on ("scalar", "avx2", "avx_vnni", "avx512", "amx",
  /// "neon"); else empty.
  std::string_view instruction_set = {};
  std::uint32_t n_thread = 0;  ///< of the cpu device, the caller's included; else 0
};

/// How to open a device. Zero means: the device decides.
struct DeviceOptions {
  std::uint32_t n_thread = 0;
  /// Of the cpu device; empty: the best this processor has. Absent or unknown ones are errors.
  std::string_view instruction_set = {};
  /// Of a GPU backend: which of the machine's devices, by its index, its UUID or part of its name;
  /// empty: the backend's choice.
  std::string_view adapter = {};
};

/// What to allocate: fresh memory, or memory of the caller's to adopt.
struct BufferOptions {
  std::uint64_t size_bytes = 0;
  /// Fresh memory is zeros. If false anything stands in it, and it must not be used for anything
  /// before one upload of all of it: a device may bring that in while it does other work.
  bool is_zeroed = true;
  /// If not empty: adopt these bytes, read-only, 128-byte aligned; they must outlive the Buffer.
  /// Needs caps().adopts_host_memory.
  std::span<const std::byte> host_memory = {};
};

/// A block in one of a call's buffers.
struct BlockRef {
  std::uint64_t offset_bytes = 0;
  std::uint32_t buffer = 0;  ///< index into the call's list of buffers
  BlockFormat format;
};

/// What became of a block that was to be encoded.
enum class EncodeOutcome : std::uint8_t {
  coded,         ///< written
  does_not_fit,  ///< a scale or mean exceeds binary16: nothing was written, keep it raw
};

/// One raw block [128][head_dim] to be sealed into a coded block.
struct EncodeBlock {
  BlockRef source;  ///< raw; 128 valid, finite rows
  BlockRef target;  ///< coded; 128-byte aligned room for its layout
};

/// Seals blocks of one side of one layer.
struct EncodeArgs {
  Side side = Side::key;
  std::uint32_t head_dim = 0;
  ScaleRule scale_rule = kDefaultScaleRule;
  std::span<Buffer* const> buffers;
  std::span<const EncodeBlock> blocks;  ///< [n_block]
  std::span<const Half> equaliser;      ///< [n_block, head_dim], or empty: all ones
  std::span<EncodeOutcome> outcomes;    ///< [n_block], valid once waited for
};

/// K and V of one page and kv head.
struct PageRef {
  BlockRef key;
  BlockRef value;
};

/// Which keys a query sees. All conditions hold together.
struct AttendMask {
  bool causal = false;                 ///< key position <= query position
  std::uint32_t window = 0;            ///< if > 0: key position > query position - window
  std::span<const std::uint8_t> bits;  ///< [n_q, bits_stride] nonzero = visible, or empty: all;
                                       ///< column 0 is position 0
  std::uint64_t bits_stride = 0;
};

/// The queries of one sequence over its pages.
struct AttendSequence {
  std::uint32_t n_q = 0;
  std::span<const float> q;        ///< [n_q, n_head, key head_dim]
  std::span<const PageRef> pages;  ///< [n_page, n_kv_head]; page i holds positions
                                   ///< [128 * (first_page + i), 128 * (first_page + i + 1))
  std::uint64_t first_page = 0;
  std::uint64_t n_token = 0;          ///< keys at positions >= n_token do not exist
  std::int64_t first_q_position = 0;  ///< query i stands at first_q_position + i; may be negative
  AttendMask mask;
  std::span<const Half> equaliser;  ///< [n_kv_head, key head_dim], or empty: all ones
  std::span<float> out;             ///< [n_q, n_head, value head_dim]
  std::span<float> lse;             ///< [n_q, n_head], or empty
  /// q, out and lse are addresses of an engine's in the device's memory (engine_memory()); results
  /// are there for what is enqueued afterwards, and nothing has to be waited for.
  bool on_device = false;
};

/// Leaves out values that provably cannot matter: where a page's keys hold less than
/// threshold * 128 / n_token of a row's probability mass, the page's values are not read, so that
/// at most `threshold` of the mass is lost. 0: off.
struct SparseValues {
  float threshold = 0;            ///< in [0, 1)
  std::uint64_t n_token_min = 0;  ///< sequences with fewer tokens are attended whole
};

/// softmax(scale * q.K^T, masked) V over raw and coded pages in one pass; grouped heads: query head
/// h reads kv head h / (n_head / n_kv_head). With a logit_softcap c > 0 a logit s becomes
/// c * tanh(s / c). A row that sees no key gives zeros and LSE = -infinity.
struct AttendArgs {
  std::uint32_t n_head = 0;
  std::uint32_t n_kv_head = 0;
  std::uint32_t key_head_dim = 0;
  std::uint32_t value_head_dim = 0;
  float softmax_scale = 0;
  float logit_softcap = 0;
  SparseValues sparse_values = {};
  std::span<const Buffer* const> buffers;
  std::span<const AttendSequence> sequences;
};

/// Blocks back to rows, rotation and equalisation undone. Blocks of n_head heads come one after the
/// other, page by page; their rows lie side by side, token by token.
struct ReconstructArgs {
  Side side = Side::key;
  std::uint32_t head_dim = 0;
  std::uint32_t n_head = 1;  ///< n_block is a multiple; 1: every block's rows are dense
  std::span<const Buffer* const> buffers;
  std::span<const BlockRef> blocks;  ///< [n_block]
  std::span<const Half> equaliser;   ///< [n_block, head_dim], or empty: all ones
  RowType row_type = RowType::f16;   ///< of the rows, whatever the blocks hold
  std::span<std::byte> rows;         ///< [n_block / n_head, 128, n_head, head_dim], aligned for
                                     ///< their type
};

/// A device holds compressed pages, fills them and attends over them.
///
/// Contract of every verb: arguments were validated by core/cache, a device asserts and never
/// repairs. Errors are only what the caller cannot foresee: out_of_memory, device_lost,
/// unsupported. Work is enqueued in call order on one timeline; spans and buffers stay valid and
/// untouched until the ticket has been waited for. The same input gives the same bits. A Device is
/// used by one thread at a time; different Devices are independent.
class Device {
 public:
  Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  virtual ~Device() = default;

  virtual std::string_view name() const noexcept = 0;
  virtual const DeviceCaps& caps() const noexcept = 0;
  virtual Result<std::unique_ptr<Buffer>> allocate(const BufferOptions& options) = 0;
  /// Copies bytes in; `source` may be reused when the call returns.
  virtual Result<Ticket> upload(Buffer& target, std::uint64_t offset_bytes,
                                std::span<const std::byte> source) = 0;
  virtual Result<Ticket> download(const Buffer& source, std::uint64_t offset_bytes,
                                  std::span<std::byte> target) = 0;
  virtual Result<Ticket> encode(const EncodeArgs& args) = 0;
  virtual Result<Ticket> attend(const AttendArgs& args) = 0;
  virtual Result<Ticket> reconstruct(const ReconstructArgs& args) = 0;
  /// Returns when the work up to `ticket` is done.
  virtual Result<> wait(Ticket ticket) = 0;
  /// Null where the device is not one that an engine lends with its memory.
  virtual EngineMemory* engine_memory() noexcept { return nullptr; }
};

}  // namespace kvault

#pragma once

#include <cstddef>
#include <cstdint>

// The few functions of ggml's C interface that attention needs, under our own declarations: ggml is
// no dependency of kvault, its libraries are found at run time or not at all.

namespace kvault::tools {

struct GgmlContext;
struct GgmlTensor;
struct GgmlGraph;
struct GgmlBackend;
struct GgmlBuffer;
struct GgmlDevice;
struct GgmlRegistry;

/// Passed by value: the layout is part of ggml's interface.
struct GgmlInit {
  std::size_t mem_size;
  void* mem_buffer;
  bool no_alloc;
};

/// Numbers of the interface; load_ggml compares the names that the library has for them.
enum class GgmlType : int { f32 = 0, f16 = 1, q4_0 = 2, q8_0 = 8 };
inline constexpr int kGgmlPrecisionF32 = 10;
inline constexpr int kGgmlDeviceCpu = 0;
inline constexpr int kGgmlStatusSuccess = 0;

/// X(member, result, parameters): the symbol is "ggml_" and the member.
#define KVAULT_GGML_FUNCTIONS(X)                                                             \
  X(version, const char*, ())                                                                \
  X(log_set, void, (void (*)(int, const char*, void*), void*))                               \
  X(type_name, const char*, (GgmlType))                                                      \
  X(row_size, std::size_t, (GgmlType, std::int64_t))                                         \
  X(quantize_chunk, std::size_t,                                                             \
    (GgmlType, const float*, void*, std::int64_t, std::int64_t, std::int64_t, const float*)) \
  X(tensor_overhead, std::size_t, ())                                                        \
  X(graph_overhead_custom, std::size_t, (std::size_t, bool))                                 \
  X(init, GgmlContext*, (GgmlInit))                                                          \
  X(free, void, (GgmlContext*))                                                              \
  X(new_tensor_3d, GgmlTensor*,                                                              \
    (GgmlContext*, GgmlType, std::int64_t, std::int64_t, std::int64_t))                      \
  X(view_3d, GgmlTensor*,                                                                    \
    (GgmlContext*, GgmlTensor*, std::int64_t, std::int64_t, std::int64_t, std::size_t,       \
     std::size_t, std::size_t))                                                              \
  X(get_data, void*, (const GgmlTensor*))                                                    \
  X(nbytes, std::size_t, (const GgmlTensor*))                                                \
  X(flash_attn_ext, GgmlTensor*,                                                             \
    (GgmlContext*, GgmlTensor*, GgmlTensor*, GgmlTensor*, GgmlTensor*, float, float, float)) \
  X(flash_attn_ext_set_prec, void, (GgmlTensor*, int))                                       \
  X(new_graph_custom, GgmlGraph*, (GgmlContext*, std::size_t, bool))                         \
  X(build_forward_expand, void, (GgmlGraph*, GgmlTensor*))                                   \
  X(backend_load, GgmlRegistry*, (const char*))                                              \
  X(backend_dev_by_type, GgmlDevice*, (int))                                                 \
  X(backend_dev_init, GgmlBackend*, (GgmlDevice*, const char*))                              \
  X(backend_reg_get_proc_address, void*, (GgmlRegistry*, const char*))                       \
  X(backend_alloc_ctx_tensors, GgmlBuffer*, (GgmlContext*, GgmlBackend*))                    \
  X(backend_buffer_get_base, void*, (GgmlBuffer*))                                           \
  X(backend_buffer_get_size, std::size_t, (GgmlBuffer*))                                     \
  X(backend_buffer_free, void, (GgmlBuffer*))                                                \
  X(backend_graph_compute, int, (GgmlBackend*, GgmlGraph*))                                  \
  X(backend_free, void, (GgmlBackend*))

/// Pointers into the libraries of a GgmlPeer, all of them set.
struct GgmlApi {
#define KVAULT_GGML_MEMBER(name, result, parameters) result(*name) parameters = nullptr;
  KVAULT_GGML_FUNCTIONS(KVAULT_GGML_MEMBER)
#undef KVAULT_GGML_MEMBER
  /// Not a symbol: the cpu backend hands it out.
  void (*set_n_threads)(GgmlBackend*, int) = nullptr;
};

/// Ends what ggml has made; for std::unique_ptr.
template <class Object>
struct GgmlEnd {
  void (*end)(Object*) = nullptr;
  void operator()(Object* object) const { end(object); }
};

}  // namespace kvault::tools

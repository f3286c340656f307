/* kvault for engines that own a CUDA context: caches in that context, on the engine's stream, with
 * rows, queries and results in the engine's device memory. To be read after kvault.h, whose
 * conventions hold here too.
 *
 * Nothing of CUDA is included: a CUcontext and a CUstream (or cudaStream_t) stand here as void*,
 * and a CUdeviceptr as a pointer, as the CUDA runtime has it.
 *
 *   kvault_cuda_device lent = KVAULT_CUDA_DEVICE_INIT;
 *   lent.stream = stream;
 *   options.cuda_device = &lent;                                   kvault_cache_options
 *   kvault_cache_create(&options, &cache, &error);                 or kvault_session_open
 *   kvault_cuda_append(cache, layer, &keys, &values, &error);
 *   kvault_cuda_attend(cache, layer, &attend, &error);
 *   ... the engine enqueues on `stream` what reads attend.out ...
 *
 * In a build without the CUDA backend all of this is there and fails with UNSUPPORTED.
 */
#ifndef KVAULT_CUDA_H
#define KVAULT_CUDA_H

#include <kvault/kvault.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- 1. Lending a context and a stream ---------------------------------------------------- */

/* The engine vouches that every element of the rows it appends is finite: kvault_cuda_append does
 * not look, and does not wait. Should one be NaN or infinite all the same, what later calls on that
 * layer give is worth nothing; no memory is harmed. */
#define KVAULT_CUDA_ROWS_ARE_FINITE 1U

/* A context, and the stream that all work of the cache is enqueued on.
 *
 * The struct is copied. Context and stream outlive every cache and session made with them, and
 * every fork. Each of these has memory (of a pool of its own), kernels and pinned host memory in
 * the context, and gives them back when it is destroyed, which waits for the stream.
 *
 * Every call makes the context the calling thread's while it lasts, and then restores the one
 * before. A stream may be shared by caches, and by whatever else the engine does on it.
 *
 * INVALID_ARGUMENT: there is no context, or the stream is of another one. UNSUPPORTED: the device
 * is older than compute capability 7.5, or has no memory pools. DEVICE_ABSENT: no driver. */
struct kvault_cuda_device {
  uint32_t struct_size;
  uint32_t flags; /* KVAULT_CUDA_ROWS_ARE_FINITE, or 0 */
  void* context;  /* CUcontext; NULL: the calling thread's current one, which with the CUDA runtime
                     is the primary context of its device */
  void* stream;   /* CUstream of that context; NULL: its legacy default stream */
};
#define KVAULT_CUDA_DEVICE_INIT \
  { sizeof(kvault_cuda_device), 0, NULL, NULL }

/* ---- 2. Rows, queries and results in device memory ---------------------------------------- */

/* The functions below do what those of kvault.h do, with the same bits, for caches whose
 * cuda_device was given (UNSUPPORTED for others), their forks and their sessions' caches. The
 * structs are the same; `data`, `q`, `out` and `lse` are addresses of device memory of the lent
 * context, aligned to their elements. A mask is host memory.
 *
 * Order: everything is enqueued on the stream. What the engine enqueued there before is done when
 * rows and queries are read; results are there for what it enqueues afterwards; rows, queries and
 * results may be overwritten by what it enqueues after the call. Nothing of them goes by way of the
 * host.
 *
 * What waits for the stream: kvault_cuda_append, once to look for NaN and infinity (unless
 * KVAULT_CUDA_ROWS_ARE_FINITE), and where a page is sealed: every 128 tokens of a layer. Attending
 * does not, but while the equaliser learns (KVAULT_EQUALISE_LEARN): queries of the first 256 tokens
 * are read back. What changes of page tables goes through a few chunks of pinned memory; a thread
 * that is further ahead of the device than 24 MB of it waits for the oldest.
 *
 * Checked are strides, alignment, overlap, and that every range is memory of the device and the
 * context, within one allocation or in adjacent ones (INVALID_ARGUMENT, OUT_OF_RANGE). Queries are
 * not looked at: what one that is not finite gives is worth nothing. A failure of the device is
 * reported by a later call (DEVICE_LOST).
 *
 * The stream may not be capturing (UNSUPPORTED): lengths and page tables are those of the call.
 * Section 3 has what can be captured. */

/* kvault_cache_append: rows of the cache's row type in device memory. Strides are not negative, and
 * multiples of the element's size; 0 means dense. */
KVAULT_API kvault_status kvault_cuda_append(kvault_cache* cache, uint32_t layer,
                                            const kvault_rows* keys, const kvault_rows* values,
                                            kvault_error* error);

/* kvault_cache_attend: q, out and lse (or NULL) in device memory, float32, not overlapping. */
KVAULT_API kvault_status kvault_cuda_attend(kvault_cache* cache, uint32_t layer,
                                            const kvault_attend_options* options,
                                            kvault_error* error);

/* kvault_cache_append_attend. */
KVAULT_API kvault_status kvault_cuda_append_attend(kvault_cache* cache, uint32_t layer,
                                                   const kvault_rows* keys,
                                                   const kvault_rows* values,
                                                   const kvault_attend_options* options,
                                                   kvault_error* error);

/* ---- 3. Graphs: an attend that comes again for every token -------------------------------- */

/* An attend of one query, the newest token's, with a full-attention layer of a cache that grows to
 * n_token_max tokens. What it launches is planned for that many; how many there are, and where
 * their pages stand, is read from device memory, where an update puts it. So the launches can be
 * captured once and replayed for the tokens that follow:
 *
 *   kvault_cuda_plan_create(cache, layer, &attend, n_token_max, &plan, &error);
 *   kvault_cuda_plan_update(plan, &error);                         takes memory the first time
 *   cuStreamBeginCapture(stream, ...);
 *   kvault_cuda_plan_attend(plan, &error);                         enqueues kernels, nothing else
 *   cuStreamEndCapture(stream, &graph);
 *   for every token:
 *     kvault_cuda_append(cache, layer, &keys, &values, &error);
 *     kvault_cuda_plan_update(plan, &error);
 *     cuGraphLaunch(exec, stream);                                 reads q, writes out and lse
 *
 * Its bits are those of kvault_cuda_attend wherever both cut the context alike: at up to 65024
 * tokens of n_token_max they do. */
typedef struct kvault_cuda_plan kvault_cuda_plan;

/* n_q is 1; no mask and no sparse values (UNSUPPORTED). Addresses in `options` are kept and stay
 * valid; the cache outlives the plan. n_token_max: 1 to the cache's own. */
KVAULT_API kvault_status kvault_cuda_plan_create(kvault_cache* cache, uint32_t layer,
                                                 const kvault_attend_options* options,
                                                 uint64_t n_token_max, kvault_cuda_plan** out_plan,
                                                 kvault_error* error);
/* The stream's graphs that hold its launches are not used any more. */
KVAULT_API void kvault_cuda_plan_destroy(kvault_cuda_plan* plan);

/* Enqueues what has changed since the last update; is due after every append, rollback and load.
 * Not while the stream is capturing (UNSUPPORTED), nor while the layer's equaliser learns, which
 * ends when the first page is sealed (UNSUPPORTED: attend with kvault_cuda_attend until then).
 * OUT_OF_RANGE: the layer is empty, or longer than n_token_max. Waits for nothing. */
KVAULT_API kvault_status kvault_cuda_plan_update(kvault_cuda_plan* plan, kvault_error* error);

/* Enqueues the attend as of the last update (INVALID_ARGUMENT: there was none). The stream may be
 * capturing: nothing is allocated, copied or waited for. */
KVAULT_API kvault_status kvault_cuda_plan_attend(kvault_cuda_plan* plan, kvault_error* error);

#ifdef __cplusplus
}
#endif

#endif /* KVAULT_CUDA_H */

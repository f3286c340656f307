/* kvault for engines that own a VkDevice: caches on that device, and rows, queries and results in
 * the engine's own VkBuffers. To be read after kvault.h, whose conventions hold here too.
 *
 * Nothing of Vulkan is included. Dispatchable handles (VkInstance, VkPhysicalDevice, VkDevice,
 * VkQueue) stand here as void*, the others (VkBuffer, VkSemaphore) as uint64_t, which in C is
 * (uint64_t)(uintptr_t)buffer where a VkBuffer is a pointer.
 *
 *   kvault_vulkan_device lent = KVAULT_VULKAN_DEVICE_INIT;
 *   lent.get_instance_proc_addr = (kvault_vulkan_function)vkGetInstanceProcAddr;
 *   lent.instance = instance, lent.physical_device = physical_device;
 *   lent.device = device, lent.queue = queue, lent.queue_family = 0;
 *   options.vulkan_device = &lent;                                 kvault_cache_options
 *   kvault_cache_create(&options, &cache, &error);                 or kvault_session_open
 *   kvault_vulkan_append(cache, layer, &keys, &values, NULL, &error);
 *   kvault_vulkan_attend(cache, layer, &attend, &buffers, NULL, &error);
 *
 * In a build without the Vulkan backend all of this is there and fails with UNSUPPORTED.
 */
#ifndef KVAULT_VULKAN_H
#define KVAULT_VULKAN_H

#include <kvault/kvault.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- 1. Lending a device ----------------------------------------------------------------- */

/* Any function; Vulkan's PFN_vkVoidFunction. */
typedef void (*kvault_vulkan_function)(void);

/* What of the optional things the engine has enabled on its device. kvault cannot ask, and uses
 * none that is not named: both are for speed alone. */
#define KVAULT_VULKAN_DOT_PRODUCT 1U /* the feature shaderIntegerDotProduct */
/* The extension VK_EXT_external_memory_host: on devices that share the host's memory a session's
 * packs are then read where they are mapped. Whether the driver can is tried first, on a device of
 * kvault's own. */
#define KVAULT_VULKAN_HOST_IMPORT 2U

/* A device of Vulkan 1.2 or later, of an instance made for 1.2 or later, and one of its queues.
 *
 * Must be enabled on it: bufferDeviceAddress and timelineSemaphore. Checked are the handles that
 * are NULL, the physical device (one of the instance's, that supports both features and has what
 * the shaders need), the queue's family (with compute) and the functions of the device; an error
 * says which is wrong. That a supported feature was enabled cannot be checked.
 *
 * The struct is copied. The device, its instance and the lock outlive every cache and session made
 * with it, and every fork. Each of them has memory, pipelines and a command pool of its own on the
 * device, and gives them back when it is destroyed.
 *
 * kvault submits to the queue from the thread that calls it, in most functions that take a cache,
 * kvault_cache_destroy included. Where other threads submit to the queue as well, lock_queue and
 * unlock_queue, both given, are called around each vkQueueSubmit of kvault's, and around nothing
 * else; they do not call kvault. Without them the queue is the calling thread's alone during a
 * call. kvault never waits for the queue or the device to be idle. */
struct kvault_vulkan_device {
  uint32_t struct_size;
  uint32_t queue_family;
  kvault_vulkan_function get_instance_proc_addr; /* NULL: that of the system's loader */
  void* instance;
  void* physical_device;
  void* device;
  void* queue;
  void (*lock_queue)(void* queue_user); /* NULL, as is the other: one thread at a time submits */
  void (*unlock_queue)(void* queue_user);
  void* queue_user;
  uint32_t enabled; /* KVAULT_VULKAN_DOT_PRODUCT | KVAULT_VULKAN_HOST_IMPORT */
  uint32_t reserved;
};
#define KVAULT_VULKAN_DEVICE_INIT \
  { sizeof(kvault_vulkan_device), 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0 }

/* ---- 2. Rows and results in buffers ------------------------------------------------------- */

/* The functions below do what those of kvault.h do, with the same bits, for caches whose
 * vulkan_device was given (UNSUPPORTED for others), their forks and their sessions' caches.
 *
 * What it costs: in this version everything goes by way of host memory. An append copies rows from
 * the buffers to the host, checks them there (a NaN or infinity is NOT_FINITE) and copies them to
 * the device again; queries and results go the same way. So every call adds a submission and a wait
 * of the host for each direction, and on a discrete GPU rows cross the bus twice. It saves the
 * engine its own staging, no more; an engine that has rows in host memory better calls
 * kvault_cache_append. Pages, once appended, do stay on the device.
 *
 * Buffers belong to the lent device and to the queue's family, or to several (concurrent). They are
 * complete when the call is made, or once `wait` is fulfilled; and what was written is there, for
 * the host's eyes and for what is submitted afterwards, when the call returns. */

/* A place in a buffer. Bounds are checked against size_bytes, which is not. */
typedef struct kvault_vulkan_buffer {
  uint64_t handle;       /* VkBuffer */
  uint64_t size_bytes;   /* the buffer was created with */
  uint64_t offset_bytes; /* of the first element; of any alignment */
} kvault_vulkan_buffer;

/* kvault_rows in a buffer of usage VK_BUFFER_USAGE_TRANSFER_SRC_BIT: [n_token][n_kv_head][head_dim]
 * of the cache's row type. A stride of 0 means dense; the elements of a row always are. */
typedef struct kvault_vulkan_rows {
  kvault_vulkan_buffer buffer;
  uint32_t n_token;
  uint32_t reserved;
  uint64_t token_stride_bytes;
  uint64_t head_stride_bytes;
} kvault_vulkan_rows;

/* What kvault_attend_options has in q, out and lse: dense float32. out and lse do not overlap. */
typedef struct kvault_vulkan_attend_buffers {
  kvault_vulkan_buffer q;   /* TRANSFER_SRC: [n_q][n_head][key_head_dim] */
  kvault_vulkan_buffer out; /* TRANSFER_DST: [n_q][n_head][value_head_dim] */
  kvault_vulkan_buffer lse; /* TRANSFER_DST: [n_q][n_head], or handle 0: not wanted */
} kvault_vulkan_attend_buffers;

/* A timeline semaphore of the lent device, which the host waits for before anything is read, for as
 * long as it takes: its signal must be under way, and must not need the calling thread. NULL, or a
 * semaphore of 0: there is nothing to wait for. */
typedef struct kvault_vulkan_wait {
  uint64_t semaphore; /* VkSemaphore */
  uint64_t value;
} kvault_vulkan_wait;

/* kvault_cache_append. */
KVAULT_API kvault_status kvault_vulkan_append(kvault_cache* cache, uint32_t layer,
                                              const kvault_vulkan_rows* keys,
                                              const kvault_vulkan_rows* values,
                                              const kvault_vulkan_wait* wait, kvault_error* error);

/* kvault_cache_attend. In `options` q, out and lse are NULL; a mask is in host memory. */
KVAULT_API kvault_status kvault_vulkan_attend(kvault_cache* cache, uint32_t layer,
                                              const kvault_attend_options* options,
                                              const kvault_vulkan_attend_buffers* buffers,
                                              const kvault_vulkan_wait* wait, kvault_error* error);

/* kvault_cache_append_attend. Should only the results' way back fail (OUT_OF_MEMORY, DEVICE_LOST),
 * the rows are appended. */
KVAULT_API kvault_status kvault_vulkan_append_attend(kvault_cache* cache, uint32_t layer,
                                                     const kvault_vulkan_rows* keys,
                                                     const kvault_vulkan_rows* values,
                                                     const kvault_attend_options* options,
                                                     const kvault_vulkan_attend_buffers* buffers,
                                                     const kvault_vulkan_wait* wait,
                                                     kvault_error* error);

#ifdef __cplusplus
}
#endif

#endif /* KVAULT_VULKAN_H */

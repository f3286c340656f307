#include <kvault/kvault.h>
#include <kvault/kvault_cuda.h>
#include <kvault/kvault_vulkan.h>
#include <stdio.h>

int main(void) {
  const kvault_vulkan_device lent = KVAULT_VULKAN_DEVICE_INIT;
  const kvault_layer layer = {KVAULT_FULL_ATTENTION, 2, 1, 32, 32, 0, KVAULT_TQ4, KVAULT_TQ4};
  kvault_cache_options options = KVAULT_CACHE_OPTIONS_INIT;
  kvault_cache* cache = NULL;
  kvault_error error;
  options.n_layer = 1;
  options.layers = &layer;
  options.vulkan_device = &lent;
  /* With the backend a device without handles, without it any device: both say why. */
  if (kvault_cache_create(&options, &cache, &error) == KVAULT_OK || error.message[0] == '\0') {
    return 1;
  }
  if (kvault_vulkan_append(NULL, 0, NULL, NULL, NULL, NULL) == KVAULT_OK ||
      kvault_vulkan_attend(NULL, 0, NULL, NULL, NULL, NULL) == KVAULT_OK ||
      kvault_vulkan_append_attend(NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL) == KVAULT_OK) {
    return 1;
  }
  /* Likewise of a context: none is current here. */
  const kvault_cuda_device context = KVAULT_CUDA_DEVICE_INIT;
  options.vulkan_device = NULL;
  options.cuda_device = &context;
  if (kvault_cache_create(&options, &cache, &error) == KVAULT_OK || error.message[0] == '\0') {
    return 1;
  }
  if (kvault_cuda_append(NULL, 0, NULL, NULL, NULL) == KVAULT_OK ||
      kvault_cuda_attend(NULL, 0, NULL, NULL) == KVAULT_OK ||
      kvault_cuda_append_attend(NULL, 0, NULL, NULL, NULL, NULL) == KVAULT_OK ||
      kvault_cuda_plan_create(NULL, 0, NULL, 1, NULL, NULL) == KVAULT_OK ||
      kvault_cuda_plan_update(NULL, NULL) == KVAULT_OK ||
      kvault_cuda_plan_attend(NULL, NULL) == KVAULT_OK) {
    return 1;
  }
  printf("kvault %s\n", kvault_version_string());
  return 0;
}

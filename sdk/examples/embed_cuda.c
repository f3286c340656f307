/* An engine with a CUDA stream: keys, values, queries and results stay in its device memory, and
 * its thread waits once, at the end. Run: embed_cuda */
#include <cuda.h>
#include <kvault/kvault_cuda.h>
#include <stdio.h>

enum { N_HEAD = 4, N_KV_HEAD = 2, HEAD_DIM = 64, N_TOKEN = 20, ROW = N_KV_HEAD * HEAD_DIM };

#define CU(call) \
  if ((call) != CUDA_SUCCESS) return fprintf(stderr, "%s failed\n", #call), 1
#define KV(call) \
  if ((call) != KVAULT_OK) return fprintf(stderr, "%s\n", error.message), 1

/* Stands for a model's projections. */
static float host[N_TOKEN * N_HEAD * HEAD_DIM];
static CUresult fill(CUdeviceptr target, size_t n, unsigned state, CUstream stream) {
  for (size_t i = 0; i < n; ++i) {
    state = state * 1664525U + 1013904223U;
    host[i] = (float)(state >> 8U) / 8388608.0F - 1.0F;
  }
  return cuMemcpyHtoDAsync(target, host, n * sizeof(float), stream);
}

int main(void) {
  CUcontext context;
  CUstream stream;
  CUdeviceptr rows, q, out;
  float result[N_HEAD * HEAD_DIM];
  CU(cuInit(0));
  CU(cuDevicePrimaryCtxRetain(&context, 0));
  CU(cuCtxPushCurrent(context));
  CU(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  CU(cuMemAlloc(&rows, N_TOKEN * 2 * ROW * sizeof(float)));
  CU(cuMemAlloc(&q, sizeof host));
  CU(cuMemAlloc(&out, sizeof host));

  kvault_error error;
  kvault_cache* cache = NULL;
  const kvault_layer layer = {
      KVAULT_FULL_ATTENTION, N_HEAD, N_KV_HEAD, HEAD_DIM, HEAD_DIM, 0, KVAULT_TQ4, KVAULT_TQ4};
  kvault_cuda_device lent = KVAULT_CUDA_DEVICE_INIT; /* in the current context */
  lent.stream = stream;
  lent.flags = KVAULT_CUDA_ROWS_ARE_FINITE;
  kvault_cache_options options = KVAULT_CACHE_OPTIONS_INIT;
  options.n_layer = 1;
  options.layers = &layer;
  options.row_type = KVAULT_F32;
  options.equalise = KVAULT_EQUALISE_NONE;
  options.cuda_device = &lent;
  KV(kvault_cache_create(&options, &cache, &error));

  for (unsigned step = 0; step < 4; ++step) {
    /* Keys of a token, then its values: one array, told apart by address and stride. */
    CU(fill(rows, N_TOKEN * 2 * ROW, 2 * step, stream));
    CU(fill(q, N_TOKEN * N_HEAD * HEAD_DIM, 2 * step + 1, stream));
    const int64_t stride_bytes = 2 * ROW * sizeof(float);
    const kvault_rows keys = {(void*)rows, N_TOKEN, 0, stride_bytes, 0};
    const kvault_rows values = {(void*)(rows + ROW * sizeof(float)), N_TOKEN, 0, stride_bytes, 0};
    kvault_attend_options attend = KVAULT_ATTEND_OPTIONS_INIT;
    attend.n_q = N_TOKEN;
    attend.q = (const float*)q;
    attend.out = (float*)out;
    KV(kvault_cuda_append_attend(cache, 0, &keys, &values, &attend, &error));
  }
  CU(cuMemcpyDtoHAsync(result, out, sizeof result, stream));
  CU(cuStreamSynchronize(stream));
  printf("%llu tokens, first of the result: %g\n", (unsigned long long)kvault_cache_n_token(cache),
         (double)result[0]);

  kvault_cache_destroy(cache);
  CU(cuMemFree(rows));
  CU(cuMemFree(q));
  CU(cuMemFree(out));
  CU(cuStreamDestroy(stream));
  CU(cuDevicePrimaryCtxRelease(0));
  return result[0] > -1.0F && result[0] < 1.0F ? 0 : 1;
}

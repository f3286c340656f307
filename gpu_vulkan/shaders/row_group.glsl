// A block is worked on in groups of rows, each by a workgroup of its own: so many rows as shared
// memory has room for, a power of two and at least a quad; gpu_vulkan/row_group.hpp. Of a group a
// thread has either every KVAULT_THREADS-th value, or, where sums over rows are made, a share of
// one row.

#define KVAULT_THREADS 128
#define KVAULT_GROUP_FLOATS 2048

layout(local_size_x = KVAULT_THREADS) in;
layout(constant_id = 0) const uint kHeadDim = KVAULT_HEAD_DIM_MAX;
layout(constant_id = 1) const uint kGroupRows = KVAULT_GROUP_FLOATS / KVAULT_HEAD_DIM_MAX;

const uint kGroups = KVAULT_PAGE_N_TOKEN / kGroupRows;
const uint kGroupValues = kGroupRows * kHeadDim;
const uint kPaddedDim = (kHeadDim + KVAULT_HEAD_DIM_ALIGNMENT - 1) / KVAULT_HEAD_DIM_ALIGNMENT *
                        KVAULT_HEAD_DIM_ALIGNMENT;

// Among the codes of a group's rows, in the order in which they are packed, the place of one.
uint place_of_code(bool is_value, uint row, uint dim) {
  if (!is_value) return row * kPaddedDim + dim;
  const uint quad = row / KVAULT_QUAD_N_TOKEN;
  return (quad * kPaddedDim + dim) * KVAULT_QUAD_N_TOKEN + row % KVAULT_QUAD_N_TOKEN;
}

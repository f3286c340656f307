// The rotation y = H S x and its inverse S H^T y of rows in shared memory (docs/format.md, "The
// rotation"). Before including this a shader declares
//
//   KVAULT_THREADS         threads of its workgroup
//   KVAULT_ROTATE_FLOATS   floats of `rotated`
//
// All threads of the workgroup take part in every call; each call ends with a barrier.

shared float rotated[KVAULT_ROTATE_FLOATS];

// Order of the Paley factor: 1, 12, 20 or 28; core/codec/hadamard.cpp.
uint paley_order(uint head_dim) {
  switch (head_dim) {
    case 48:
    case 96:
    case 192:
      return 12;
    case 80:
    case 160:
      return 20;
    case 112:
      return 28;
    default:
      return 1;
  }
}

// The Sylvester transform of every run of `order` among the first n_value values.
void transform_runs(uint n_value, uint order) {
  for (uint half_run = 1; half_run < order; half_run *= 2) {
    for (uint i = gl_LocalInvocationIndex; i < n_value / 2; i += KVAULT_THREADS) {
      const uint low = (i & ~(half_run - 1)) * 2 + (i & (half_run - 1));
      const float a = rotated[low];
      const float b = rotated[low + half_run];
      rotated[low] = a + b;
      rotated[low + half_run] = a - b;
    }
    barrier();
  }
}

// P_m times the rows, or its transpose. `signs`: [m][m], from `first_sign` on.
void multiply_paley(uint n_value, uint head_dim, bool is_transposed, Floats signs,
                    uint first_sign) {
  const uint m = paley_order(head_dim);
  if (m == 1) return;
  const uint order = head_dim / m;
  float sums[KVAULT_ROTATE_FLOATS / KVAULT_THREADS];
  uint n_sum = 0;
  for (uint i = gl_LocalInvocationIndex; i < n_value; i += KVAULT_THREADS) {
    const uint first = i / head_dim * head_dim + i % order;
    const uint row = i % head_dim / order;
    float sum = 0;
    for (uint column = 0; column < m; ++column) {
      const uint entry = is_transposed ? column * m + row : row * m + column;
      sum += signs.at[first_sign + entry] * rotated[first + column * order];
    }
    sums[n_sum++] = sum;
  }
  barrier();
  n_sum = 0;
  for (uint i = gl_LocalInvocationIndex; i < n_value; i += KVAULT_THREADS) {
    rotated[i] = sums[n_sum++];
  }
  barrier();
}

// H, without its norm, of n_row rows that were multiplied by scaled_signs[dim] before. `table`:
// Runtime::rotation.
void rotate_rows(uint n_row, uint head_dim, Floats table) {
  const uint n_value = n_row * head_dim;
  transform_runs(n_value, head_dim / paley_order(head_dim));
  multiply_paley(n_value, head_dim, false, table, head_dim);
}

// H^T likewise; rows are to be multiplied by scaled_signs[dim] afterwards.
void rotate_rows_back(uint n_row, uint head_dim, Floats table) {
  const uint n_value = n_row * head_dim;
  multiply_paley(n_value, head_dim, true, table, head_dim);
  transform_runs(n_value, head_dim / paley_order(head_dim));
}

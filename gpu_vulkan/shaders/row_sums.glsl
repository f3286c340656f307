// Sums over the rows of a group: kRowThreads threads share a row, each has kRowSteps of its dims.

const uint kRowThreads = KVAULT_THREADS / kGroupRows;
const uint kRowSteps = kHeadDim / kRowThreads;

shared vec2 row_sum_parts[KVAULT_THREADS];
shared uint row_max_parts[KVAULT_THREADS];

uint row_of_thread() { return gl_LocalInvocationIndex / kRowThreads; }

// The dims of a thread. Threads of neighbouring rows begin at different ones, so that no two of
// them want the same bank of shared memory.
uint dim_of_step(uint step) {
  const uint turned = (step + row_of_thread()) % kRowSteps;
  return gl_LocalInvocationIndex % kRowThreads + kRowThreads * turned;
}

// The sums of two numbers over the threads of a row, known to all of them.
vec2 sum_over_row(vec2 part) {
  row_sum_parts[gl_LocalInvocationIndex] = part;
  barrier();
  const uint first = row_of_thread() * kRowThreads;
  vec2 sum = vec2(0);
  for (uint i = 0; i < kRowThreads; ++i) sum += row_sum_parts[first + i];
  barrier();
  return sum;
}

// The largest of the row's, likewise. Magnitudes of floats travel as their bits, whose order is
// that of the magnitudes; NaN and infinity come last.
uint max_over_row(uint part) {
  row_max_parts[gl_LocalInvocationIndex] = part;
  barrier();
  const uint first = row_of_thread() * kRowThreads;
  uint largest = 0;
  for (uint i = 0; i < kRowThreads; ++i) largest = max(largest, row_max_parts[first + i]);
  barrier();
  return largest;
}

uint magnitude_bits(float value) { return floatBitsToUint(value) & 0x7FFFFFFFu; }

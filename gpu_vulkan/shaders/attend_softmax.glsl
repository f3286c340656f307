// The softmax of a page's logits, over all pages so far; for attend.glsl.

uint own_column() { return gl_LocalInvocationIndex / kColumnThreads; }
uint own_token(uint k) { return gl_LocalInvocationIndex % kColumnThreads + k * kColumnThreads; }

bool is_visible(uint query, uint page_position, uint token) {
  const int key = int(page_position + token);
  const int behind = sequence.first_q_position + int(query) - key;
  if (uint(key) >= sequence.n_token) return false;
  if (sequence.is_causal != 0 && behind < 0) return false;
  if (sequence.window != 0 && behind >= int(sequence.window)) return false;
  if ((sequence.mask.x | sequence.mask.y) == 0) return true;
  const uint at = query * sequence.mask_stride + uint(key);
  return ((Words(sequence.mask).at[at / 4] >> (8 * (at % 4))) & 0xFFu) != 0;
}

float sum_of_column(uint column) {
  float total = 0;
  for (uint i = 0; i < kColumnThreads; ++i) total += column_part[column * kColumnThreads + i];
  return total;
}

// Turns the products of this thread's tokens into logits, kNothing where invisible. Returns the
// greatest of them.
float finish_logits(uint page_position) {
  const uint column = own_column();
  float mean = 0;
  for (uint i = 0; i < kColumnThreads; ++i) mean += mean_part[column * kColumnThreads + i];
  const uint query = (tile.first_row + column) / (push.n_head / push.n_kv_head);
  float greatest = kNothing;
  for (uint k = 0; k < kOwnTokens; ++k) {
    const uint token = own_token(k);
    float logit = weights[column * kTokens + token] + mean;
    if (sequence.softcap > 0) logit = sequence.softcap * tanh(logit / sequence.softcap);
    if (column >= tile.n_row || !is_visible(query, page_position, token)) logit = kNothing;
    weights[column * kTokens + token] = logit;
    greatest = max(greatest, logit);
  }
  return greatest;
}

// Takes the page into the running softmax and leaves p * token_factor in `weights`, what earlier
// sums are multiplied by, and the page's mass.
void take_page(uint page_position) {
  const uint column = own_column();
  column_part[gl_LocalInvocationIndex] = finish_logits(page_position);
  barrier();
  float greatest = maximum;
  for (uint i = 0; i < kColumnThreads; ++i) {
    greatest = max(greatest, column_part[column * kColumnThreads + i]);
  }
  barrier();
  const bool coded = !is_raw(page.value_format);
  const uint scheme = scheme_of(page.value_format, kValueScheme);
  const float step = coded ? level_step(scheme, value_dim()) : 1.0;
  const uint scale_offset = coded ? scale_offset_bytes(scheme, value_dim()) : 0;
  Words scales = Words(address_add(page.value, scale_offset));
  float mass = 0;
  for (uint k = 0; k < kOwnTokens; ++k) {
    const uint token = own_token(k);
    const float logit = weights[column * kTokens + token];
    const float p = logit > kNothing ? exp(logit - greatest) : 0.0;
    mass += p;
    // A scale past the valid length may be anything.
    float weight = p;
    if (coded && p > 0) weight = p * (load_half(scales, token) * step);
    weights[column * kTokens + token] = weight;
  }
  column_part[gl_LocalInvocationIndex] = mass;
  barrier();
  mass = sum_of_column(column);
  const float rescale = maximum > kNothing ? exp(maximum - greatest) : 0.0;
  maximum = greatest;
  sum = sum * rescale + mass;
  column_rescale[column] = rescale;
  column_mass[column] = mass;
}

// Whether a row of this thread's column needs the page's values; the page's mass is known, what it
// is a part of is at least this run's sum and at least the floor.
bool needs_values(uint tile_index) {
  if (sequence.is_sparse == 0) return true;
  const uint column = own_column();
  const float mass = column_mass[column];
  if (mass <= sequence.sparse_share * sum) return false;
  const uint at = (tile_index * kColumns + column) * 2;
  const float floor_maximum = Floats(push.floors).at[at];
  const float floor_sum = Floats(push.floors).at[at + 1];
  // The same mass relative to the floor's maximum; what overflows is kept.
  const float relative = min(maximum - floor_maximum, 80.0);
  return !(mass * exp(relative) <= sequence.sparse_share * floor_sum);
}

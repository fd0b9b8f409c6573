/* What happens to one row of a layer, forwards and backwards. */

/* sin u and cos u, off by less than 1e-7 while |u| < 1e5; of numbers beyond 1e6 only the range is right. The multiple of pi/2 is
   taken off in three parts, the polynomials are minimax ones on [-pi/4, pi/4] (Cephes). */
INLINE float wave(float u, float *cosine) {
  union { float number; int bits; } shifted, sine_, cosine_;
  shifted.number = u * 0.636619772f + 12582912.0f; /* 1.5 * 2^23: the multiple's last bits are the number's */
  float multiple = shifted.number - 12582912.0f;
  float x = u - multiple * 1.57079637e+00f;
  x = x + multiple * 4.37113883e-08f;
  x = x + multiple * 1.71512489e-15f;
  x = x > 0.7855f ? 0.7855f : x;
  x = x < -0.7855f ? -0.7855f : x;
  float z = x * x;
  float s = x + x * z * (-1.6666654611e-1f + z * (8.3321608736e-3f + z * -1.9515295891e-4f));
  float c = 1.0f + z * (-0.5f + z * (4.166664568298827e-2f + z * (-1.388731625493765e-3f + z * 2.443315711809948e-5f)));
  int turns = shifted.bits;
  sine_.number = turns & 1 ? c : s;
  cosine_.number = turns & 1 ? s : c;
  sine_.bits ^= (int)((unsigned)(turns & 2) << 30);
  cosine_.bits ^= (int)((unsigned)((turns + 1) & 2) << 30);
  *cosine = cosine_.number;
  return sine_.number;
}

/* a, h = sin u [+ h below] and cos u from a product; `a` is u where nothing scales it, and may be the product's memory. */
INLINE void sine_row(
    long width, const float *product, const float *add, const float *scale, const float *shift, const float *below, float *a,
    float *h, float *cosine) {
  if (scale) {
    INDEPENDENT for (long j = 0; j < width; j++) {
      a[j] = product[j] + add[j];
      h[j] = wave(a[j] * scale[j] + shift[j], cosine + j);
    }
  } else {
    INDEPENDENT for (long j = 0; j < width; j++) {
      a[j] = product[j] + add[j];
      h[j] = wave(a[j], cosine + j);
    }
  }
  if (below) add_to(width, h, below);
}

/* g_a, with g_u added to the shift's sum and g_u a to the scale's. */
INLINE void gradient_row(
    long width, const float *g, const float *cosine, const float *a, const float *scale, float *shift_sum, float *scale_sum,
    float *g_a) {
  INDEPENDENT for (long j = 0; j < width; j++) g_a[j] = g[j] * cosine[j];
  if (shift_sum) add_to(width, shift_sum, g_a);
  if (scale) {
    INDEPENDENT for (long j = 0; j < width; j++) {
      scale_sum[j] += g_a[j] * a[j];
      g_a[j] *= scale[j];
    }
  }
}

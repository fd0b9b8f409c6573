/* Matrix products whose rows are points: with weights laid out in panels, and sums over points. */

/* out (rows, width) = x (rows, width) times a matrix in panels; `rows` is known to the compiler. */
INLINE void product_of(int rows, long width, const float *x, const float *panels, float *out) {
  for (long first = 0; first < width; first += PANEL, panels += width * PANEL) {
    Vector sum[ROWS][2];
    UNROLL for (int r = 0; r < rows; r++) sum[r][0] = sum[r][1] = (Vector){0};
    for (long k = 0; k < width; k++) {
      Vector left = *(const Vector *)(panels + k * PANEL), right = *(const Vector *)(panels + k * PANEL + LANES);
      UNROLL for (int r = 0; r < rows; r++) {
        float factor = x[r * width + k];
        sum[r][0] += factor * left;
        sum[r][1] += factor * right;
      }
    }
    UNROLL for (int r = 0; r < rows; r++) {
      *(Vector *)(out + r * width + first) = sum[r][0];
      *(Vector *)(out + r * width + first + LANES) = sum[r][1];
    }
  }
}

/* The same for 1 to ROWS rows: all of them, or the last third or two thirds of a block, rounded up. */
static void block_product(long rows, long width, const float *x, const float *panels, float *out) {
  if (rows > ROWS * 2 / 3)
    product_of(ROWS, width, x, panels, out);
  else if (rows > ROWS / 3)
    product_of(ROWS * 2 / 3, width, x, panels, out);
  else
    product_of(ROWS / 3, width, x, panels, out);
}

INLINE void gram_block(long rows, long width, const float *g, const float *panel, Vector sum[GRAM][2]) {
  for (long r = 0; r < rows; r++) {
    Vector left = *(const Vector *)(panel + r * PANEL), right = *(const Vector *)(panel + r * PANEL + LANES);
    UNROLL for (int i = 0; i < GRAM; i++) {
      float factor = g[r * width + i];
      sum[i][0] += factor * left;
      sum[i][1] += factor * right;
    }
  }
}

INLINE void copy_panel(long rows, long width, const float *x, float *panel) {
  for (long r = 0; r < rows; r++) {
    *(Vector *)(panel + r * PANEL) = *(const Vector *)(x + r * width);
    *(Vector *)(panel + r * PANEL + LANES) = *(const Vector *)(x + r * width + LANES);
  }
}

/* into (width, width) += g^T x + dg^T dx, sums over rows; the second pair is left out where dx is null. */
static void add_gram(long rows, long width, const float *g, const float *x, const float *dg, const float *dx, float *panel, float *into) {
  float *second = panel + rows * PANEL;
  for (long first = 0; first < width; first += PANEL) {
    copy_panel(rows, width, x + first, panel);
    if (dx) copy_panel(rows, width, dx + first, second);
    for (long i = 0; i < width; i += GRAM) {
      Vector sum[GRAM][2];
      float *at = into + i * width + first;
      UNROLL for (int r = 0; r < GRAM; r++) {
        sum[r][0] = *(Vector *)(at + r * width);
        sum[r][1] = *(Vector *)(at + r * width + LANES);
      }
      gram_block(rows, width, g + i, panel, sum);
      if (dx) gram_block(rows, width, dg + i, second, sum);
      UNROLL for (int r = 0; r < GRAM; r++) {
        *(Vector *)(at + r * width) = sum[r][0];
        *(Vector *)(at + r * width + LANES) = sum[r][1];
      }
    }
  }
}

INLINE float dot(long width, const float *x, const float *y) {
  Vector sum = {0};
  for (long j = 0; j < width; j += LANES) sum += *(const Vector *)(x + j) * *(const Vector *)(y + j);
  float total = 0;
  for (int i = 0; i < LANES; i++) total += sum[i];
  return total;
}

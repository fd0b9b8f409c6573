/* One core's share of a field's passes on a CPU: values, gradients and Hessian-vector products, tile by tile.

   The formulas and their names are those of fields/tiles.py and fields/duals.py, its twins in PyTorch; float32 throughout. Every
   product takes ROWS points at a time, and what follows it (modulation, sine and cosine, residual) is done while these lie in
   the first cache. Rows are points, `width` numbers each, a multiple of PANEL; products read blocks of up to ROWS
   rows, so buffers have room for the last one, and what stands in rows that are not points is never used.

   Weights come in panels, (panels, inner, PANEL), which are read in order. No header but our own is included, so that a bare
   compiler is enough. */

#include "basics.h"

#include "products.h"
#include "rows.h"
#include "tiles.h"

long panel_width(void) { return PANEL; }
long block_rows(void) { return ROWS; }
long most_layers(void) { return MOST_LAYERS; }

void pass_values(const Network *f, const Pass *p, long first, long end) {
  Tile t = {0};
  for (long number = first; number < end; number++) {
    open_tile(f, p, number, VALUES, &t);
    forward(f, p, &t, 0);
    last_layer(f, &t, p->values + (t.signal * p->points + t.start) * f->channels);
  }
}

/* Losses and gradients; the own parameters' where `weight_sum` is there, and a tape is filled where there is one. */
void pass_gradient(const Network *f, const Pass *p, long first, long end) {
  Tile t = {0};
  for (long number = first; number < end; number++) {
    open_tile(f, p, number, GRADIENT, &t);
    forward(f, p, &t, 0);
    last_layer(f, &t, t.y);
    compare(f, p, &t);
    backward(f, p, &t, p->weight_sum != 0);
  }
}

/* Hessian products; from a tape where there is one, else the gradients in the modulations are computed again and added too. */
void pass_hessian(const Network *f, const Pass *p, long first, long end) {
  Tile t = {0};
  for (long number = first; number < end; number++) {
    open_tile(f, p, number, HESSIAN, &t);
    forward(f, p, &t, p->tape != 0);
    last_layer(f, &t, t.y);
    compare(f, p, &t);
    if (!p->tape) backward(f, p, &t, 0);
    tangent(f, p, &t);
    dual(f, p, &t);
  }
}

/* How values depend on one layer's modulations: a block's g_u, which becomes g_a, written out of the padded rows. */
static void jacobian_rows(
    const Network *f, const Pass *p, const Tile *t, long k, long channel, long first, long rows, float omega, long used, float *out) {
  long width = f->width, modulated = f->layers - f->first_modulated, m = k - f->first_modulated;
  const float *scale = of_layer(f, p->scale, t->signal, k);
  long kinds = (p->shift != 0) + (p->scale != 0), row_floats = kinds * modulated * used;
  for (long r = first; r < first + rows; r++) {
    const float *g = t->g[k] + r * width, *cosine = t->cosine[k] + r * width, *a = t->a[k] + r * width;
    float *g_a = t->g_a + r * width;
    float *at = out + ((t->signal * p->points + t->start + r) * f->channels + channel) * row_floats + m * used;
    float *at_scale = at + (kinds - 1) * modulated * used;
    INDEPENDENT for (long j = 0; j < width; j++) g_a[j] = g[j] * cosine[j];
    if (p->shift)
      INDEPENDENT for (long j = 0; j < used; j++) at[j] = omega * g_a[j];
    if (!scale) continue;
    INDEPENDENT for (long j = 0; j < used; j++) at_scale[j] = g_a[j] * a[j];
    INDEPENDENT for (long j = 0; j < width; j++) g_a[j] *= scale[j];
  }
}

/* Every value's gradient in the modulations as they are without omega: out (signals, points, channels, kinds, modulated, used).

   `omegas` are those of the modulated layers, `used` the width without what fills it up to whole panels. */
void pass_jacobian(const Network *f, const Pass *p, const float *omegas, long used, float *out, long first, long end) {
  Tile t = {0};
  for (long number = first; number < end; number++) {
    open_tile(f, p, number, GRADIENT, &t);
    forward(f, p, &t, 0);
    for (long c = 0; c < f->channels; c++) {
      float *top = t.g[f->layers - 1];
      for (long r = 0; r < t.count; r++)
        for (long j = 0; j < f->width; j++) top[r * f->width + j] = f->last_weight[c * f->width + j];
      for (long k = f->layers - 1; k >= f->first_modulated; k--)
        for (long i = 0; i < t.count; i += ROWS) {
          long rows = smaller(ROWS, t.count - i), at = i * f->width;
          jacobian_rows(f, p, &t, k, c, i, rows, omegas[k - f->first_modulated], used, out);
          if (k > f->first_modulated) pass_below(f, k, rows, t.g_a + at, t.g[k] + at, t.g[k - 1] + at);
        }
    }
  }
}

/* The first layer, and the second one's product, at points that all signals share. */
void share_first(const Network *f, const Pass *p, float *h, float *cosine, float *product) {
  long width = f->width, end = p->points;
  for (long i = 0; i < end; i += ROWS) {
    for (long r = i; r < smaller(i + ROWS, end); r++) {
      float *row = product + r * width;
      first_row(f, p->coords + r * f->coords, row);
      sine_row(width, row, f->biases, 0, 0, 0, row, h + r * width, cosine + r * width);
    }
    if (f->layers > 1) block_product(smaller(ROWS, end - i), width, h + i * width, f->ahead, product + i * width);
  }
}

/* Gradients of the layers that signals share, from what all of them have left in the tail. */
void pass_tail(const Network *f, const Pass *p) {
  long width = f->width, rows = p->rows < ROWS ? ROWS : p->rows / ROWS * ROWS;
  float *g_a = p->scratch, *panel = g_a + array_floats(f, rows);
  for (long start = 0; start < p->points; start += rows) {
    long count = smaller(rows, p->points - start);
    for (long i = 0; i < count; i += ROWS) {
      long at = (start + i) * width, block = smaller(ROWS, count - i);
      pass_below(f, 1, block, p->tail + at, p->tail_g ? p->tail_g + at : 0, g_a + i * width);
      INDEPENDENT for (long j = 0; j < block * width; j++) g_a[i * width + j] *= p->first_cosine[at + j];
    }
    add_gram(count, width, p->tail + start * width, p->first_h + start * width, 0, 0, panel, p->weight_sum);
    add_first_layer(f, p, count, p->coords + start * f->coords, g_a);
    for (long r = 0; r < count; r++) add_to(width, p->bias_sum, g_a + r * width);
  }
}

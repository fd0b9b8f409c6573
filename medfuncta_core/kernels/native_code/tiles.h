/* One tile through all layers: forwards, backwards, along a tangent and back. */

INLINE long tiles_of_signal(const Pass *p) { return (p->points + p->rows - 1) / p->rows; }

/* Floats of one array of a tile, of its arrays of layers, and of everything that a pass needs. */
INLINE long array_floats(const Network *f, long rows) { return whole_blocks(rows) * f->width; }

long tape_floats(const Network *f, const Pass *p) {
  return p->signals * tiles_of_signal(p) * 2 * f->layers * array_floats(f, p->rows);
}

/* Arrays of a scratch that values, gradients or Hessian products need. */
enum { VALUES, GRADIENT, HESSIAN };

/* Where nothing scales the product a, it is not needed once sin u is there, and sin(u) du takes its place. */
INLINE long layer_arrays(const Pass *p, long kind) { return kind == GRADIENT ? 4 : p->scale ? 7 : 5; }

long scratch_floats(const Network *f, const Pass *p, long kind) {
  long arrays = kind == VALUES ? 4 : f->layers * layer_arrays(p, kind) + 5;
  long rows = whole_blocks(p->rows);
  return arrays * array_floats(f, rows) + 2 * rows * PANEL + 2 * f->width + 3 * rows * f->channels;
}

/* The same of `pass_tail`. */
long tail_floats(const Network *f, const Pass *p) { return array_floats(f, p->rows) + 2 * whole_blocks(p->rows) * PANEL; }

static void open_tile(const Network *f, const Pass *p, long number, long kind, Tile *t) {
  long span = p->rows, tiles = tiles_of_signal(p), size = array_floats(f, span), layers = f->layers;
  t->number = number;
  t->signal = number / tiles;
  t->start = number % tiles * span;
  t->count = smaller(span, p->points - t->start);
  t->coords = p->coords + t->signal * p->coords_stride + t->start * f->coords;
  t->targets = p->targets ? p->targets + (t->signal * p->points + t->start) * f->channels : 0;
  float *free_ = p->scratch;
#define TAKE(n) (free_ += (n), free_ - (n))
  if (kind == VALUES) {
    float *h[2] = {TAKE(size), TAKE(size)}, *a = TAKE(size), *cosine = TAKE(size);
    for (long k = 0; k < layers; k++) t->h[k + 1] = h[k & 1], t->a[k] = a, t->cosine[k] = cosine;
  } else {
    float *da = TAKE(size), *tape = p->tape ? p->tape + number * 2 * layers * size : 0;
    for (long k = 0; k < layers; k++) {
      t->h[k + 1] = TAKE(size);
      t->cosine[k] = TAKE(size);
      t->a[k] = tape ? tape + k * size : TAKE(size);
      t->g[k] = tape ? tape + (layers + k) * size : TAKE(size);
      if (kind == HESSIAN) {
        t->dh[k + 1] = TAKE(size);
        t->da[k] = p->scale ? TAKE(size) : da;
        t->sine_du[k] = p->scale ? TAKE(size) : t->a[k];
      }
    }
    t->g_a = TAKE(size), t->dg_a = TAKE(size), t->dg[0] = TAKE(size), t->dg[1] = TAKE(size);
  }
  t->panel = TAKE(2 * whole_blocks(span) * PANEL);
  t->add = TAKE(f->width), t->zeros = TAKE(f->width);
  t->y = TAKE(span * f->channels), t->g_y = TAKE(span * f->channels), t->dg_y = TAKE(span * f->channels);
#undef TAKE
  clear(f->width, t->zeros);
  if (p->first_h) {
    t->h[1] = (float *)p->first_h + t->start * f->width;
    t->cosine[0] = (float *)p->first_cosine + t->start * f->width;
  }
}

/* A layer's row of `(signals, modulated layers, width)`, null where there is none. */
INLINE float *of_layer(const Network *f, const float *modulation, long signal, long k) {
  long m = k - f->first_modulated, modulated = f->layers - f->first_modulated;
  return modulation && m >= 0 ? (float *)modulation + (signal * modulated + m) * f->width : 0;
}

static void first_row(const Network *f, const float *coords, float *out) {
  clear(f->width, out);
  for (long d = 0; d < f->coords; d++) add_scaled(f->width, out, coords[d], f->first_weight + d * f->width);
}

/* All layers of a tile; from a tape, the products are there already. */
static void forward(const Network *f, const Pass *p, Tile *t, int from_tape) {
  long width = f->width;
  for (long k = p->first_h ? 1 : 0; k < f->layers; k++) {
    const float *shift = of_layer(f, p->shift, t->signal, k), *scale = of_layer(f, p->scale, t->signal, k);
    if (from_tape) clear(width, t->add);
    for (long j = 0; !from_tape && j < width; j++) t->add[j] = f->biases[k * width + j] + (shift && !scale ? shift[j] : 0);
    for (long i = 0; i < t->count; i += ROWS) {
      float *a = t->a[k] + i * width;
      const float *product = a, *below = f->residual && k > 0 ? t->h[k] + i * width : 0;
      long rows = smaller(ROWS, t->count - i);
      if (!from_tape && k == 0)
        for (long r = 0; r < rows; r++) first_row(f, t->coords + (i + r) * f->coords, a + r * width);
      else if (!from_tape && k == 1 && p->first_product)
        product = p->first_product + (t->start + i) * width;
      else if (!from_tape)
        block_product(rows, width, t->h[k] + i * width, f->ahead + (k - 1) * width * width, a);
      for (long r = 0; r < rows; r++) {
        long at = r * width;
        sine_row(width, product + at, t->add, scale, shift ? shift : t->zeros, below ? below + at : 0, a + at,
                 t->h[k + 1] + i * width + at, t->cosine[k] + i * width + at);
      }
    }
  }
}

static void last_layer(const Network *f, Tile *t, float *y) {
  for (long r = 0; r < t->count; r++)
    for (long c = 0; c < f->channels; c++)
      y[r * f->channels + c] = dot(f->width, t->h[f->layers] + r * f->width, f->last_weight + c * f->width) + f->last_bias[c];
}

/* g (rows, width) = g_y times the last layer's weight. */
static void from_values(const Network *f, long rows, const float *g_y, float *g) {
  for (long r = 0; r < rows; r++) {
    clear(f->width, g + r * f->width);
    for (long c = 0; c < f->channels; c++)
      add_scaled(f->width, g + r * f->width, g_y[r * f->channels + c], f->last_weight + c * f->width);
  }
}

static void add_last_layer(const Network *f, const Pass *p, const Tile *t, const float *g_y, const float *h) {
  for (long r = 0; r < t->count; r++)
    for (long c = 0; c < f->channels; c++)
      add_scaled(f->width, p->last_weight_sum + c * f->width, g_y[r * f->channels + c], h + r * f->width);
}

static void add_last_bias(const Network *f, const Pass *p, const Tile *t, const float *g_y) {
  for (long r = 0; r < t->count; r++) add_to(f->channels, p->last_bias_sum, g_y + r * f->channels);
}

static void add_first_layer(const Network *f, const Pass *p, long rows, const float *coords, const float *g_a) {
  for (long r = 0; r < rows; r++)
    for (long d = 0; d < f->coords; d++)
      add_scaled(f->width, p->first_weight_sum + d * f->width, coords[r * f->coords + d], g_a + r * f->width);
}

/* Gradients in a layer's input from those in its product, `rows` of one block. */
INLINE void pass_below(const Network *f, long k, long rows, const float *g_a, const float *g, float *below) {
  block_product(rows, f->width, g_a, f->back + (k - 1) * f->width * f->width, below);
  if (f->residual) add_to(rows * f->width, below, g);
}

/* Losses of a tile, and the gradient in its values. */
static void compare(const Network *f, const Pass *p, Tile *t) {
  double sum = 0, clamped_sum = 0, share = 1.0 / ((double)p->points * f->channels);
  for (long i = 0; i < t->count * f->channels; i++) {
    float y = t->y[i], target = t->targets[i], error = y - target;
    float clamped = (y < 0 ? 0 : y > 1 ? 1 : y) - target;
    sum += (double)error * error;
    clamped_sum += (double)clamped * clamped;
    t->g_y[i] = (float)(2 * share) * error;
  }
  p->loss[t->signal] += sum * share;
  p->loss[p->signals + t->signal] += clamped_sum * share;
}

/* Gradients in the modulations, and with `own` in the field's own parameters. */
static void backward(const Network *f, const Pass *p, Tile *t, int own) {
  long width = f->width, lowest = own ? 0 : f->first_modulated;
  if (own) {
    add_last_layer(f, p, t, t->g_y, t->h[f->layers]);
    add_last_bias(f, p, t, t->g_y);
  }
  from_values(f, t->count, t->g_y, t->g[f->layers - 1]);
  for (long k = f->layers - 1; k >= lowest; k--) {
    const float *scale = of_layer(f, p->scale, t->signal, k);
    float *shift_sum = of_layer(f, p->shift_sum, t->signal, k), *scale_sum = of_layer(f, p->scale_sum, t->signal, k);
    int at_tail = own && p->tail && k == 1;
    for (long i = 0; i < t->count; i += ROWS) {
      long rows = smaller(ROWS, t->count - i), at = i * width;
      for (long r = 0; r < rows; r++, at += width)
        gradient_row(width, t->g[k] + at, t->cosine[k] + at, t->a[k] + at, scale, shift_sum, scale_sum, t->g_a + at);
      at = i * width;
      if (k > lowest && !at_tail) pass_below(f, k, rows, t->g_a + at, t->g[k] + at, t->g[k - 1] + at);
    }
    if (!own) continue;
    for (long r = 0; r < t->count; r++) add_to(width, p->bias_sum + k * width, t->g_a + r * width);
    if (at_tail) {
      add_to(t->count * width, p->tail + t->start * width, t->g_a);
      if (f->residual) add_to(t->count * width, p->tail_g + t->start * width, t->g[k]);
      break;
    }
    if (k > 0)
      add_gram(t->count, width, t->g_a, t->h[k], 0, 0, t->panel, p->weight_sum + (k - 1) * width * width);
    else
      add_first_layer(f, p, t->count, t->coords, t->g_a);
  }
}

/* The tangent of a tile: dh, sin(u) du, and da where a scale multiplies it. */
static void tangent(const Network *f, const Pass *p, Tile *t) {
  long width = f->width;
  for (long k = f->first_modulated; k < f->layers; k++) {
    const float *scale = of_layer(f, p->scale, t->signal, k), *d_scale = of_layer(f, p->d_scale, t->signal, k);
    const float *d_shift = of_layer(f, p->d_shift, t->signal, k);
    int first = k == f->first_modulated, residual = f->residual && k > 0;
    if (!d_shift) d_shift = t->zeros;
    for (long i = 0; i < t->count; i += ROWS) {
      long rows = smaller(ROWS, t->count - i);
      if (!first) block_product(rows, width, t->dh[k] + i * width, f->ahead + (k - 1) * width * width, t->da[k] + i * width);
      for (long r = 0; r < rows; r++) {
        long at = (i + r) * width;
        float *da = t->da[k] + at, *dh = t->dh[k + 1] + at, *sine_du = t->sine_du[k] + at;
        const float *cosine = t->cosine[k] + at, *above = t->h[k + 1] + at, *a = t->a[k] + at;
        const float *below = t->h[k] ? t->h[k] + at : 0, *d_below = t->dh[k] + at;
        if (first) clear(width, da);
        if (scale)
          INDEPENDENT for (long j = 0; j < width; j++) sine_du[j] = da[j] * scale[j] + (a[j] * d_scale[j] + d_shift[j]);
        else
          INDEPENDENT for (long j = 0; j < width; j++) sine_du[j] = da[j] + d_shift[j];
        INDEPENDENT for (long j = 0; j < width; j++) dh[j] = cosine[j] * sine_du[j];
        if (residual) {
          INDEPENDENT for (long j = 0; j < width; j++) sine_du[j] *= above[j] - below[j];
          if (!first) add_to(width, dh, d_below);
        } else {
          INDEPENDENT for (long j = 0; j < width; j++) sine_du[j] *= above[j];
        }
      }
    }
  }
}

/* One row of the dual backward pass: dg_a, and g_a where a product with dh follows. */
INLINE void dual_row(
    long width, const float *dg, const float *g, const float *cosine, const float *sine_du, const float *a, const float *da,
    const float *scale, const float *d_scale, float *shift_sum, float *scale_sum, float *dg_a, float *g_a) {
  INDEPENDENT for (long j = 0; j < width; j++) {
    dg_a[j] = cosine[j] * dg[j] - sine_du[j] * g[j];
    g_a[j] = cosine[j] * g[j];
  }
  if (shift_sum) add_to(width, shift_sum, dg_a);
  if (scale) {
    INDEPENDENT for (long j = 0; j < width; j++) {
      scale_sum[j] += dg_a[j] * a[j] + g_a[j] * da[j];
      dg_a[j] = dg_a[j] * scale[j] + g_a[j] * d_scale[j];
      g_a[j] *= scale[j];
    }
  }
}

static void dual(const Network *f, const Pass *p, Tile *t) {
  long width = f->width, last = f->layers;
  float factor = (float)(2.0 / ((double)p->points * f->channels));
  for (long r = 0; r < t->count; r++)
    for (long c = 0; c < f->channels; c++)
      t->dg_y[r * f->channels + c] = factor * dot(width, t->dh[last] + r * width, f->last_weight + c * width);
  add_last_layer(f, p, t, t->dg_y, t->h[last]);
  add_last_layer(f, p, t, t->g_y, t->dh[last]);
  add_last_bias(f, p, t, t->dg_y);
  from_values(f, t->count, t->dg_y, t->dg[(last - 1) & 1]);
  for (long k = last - 1; k >= 0; k--) {
    const float *scale = of_layer(f, p->scale, t->signal, k), *d_scale = of_layer(f, p->d_scale, t->signal, k);
    float *shift_sum = of_layer(f, p->d_shift_sum, t->signal, k), *scale_sum = of_layer(f, p->d_scale_sum, t->signal, k);
    float *dg = t->dg[k & 1], *dg_below = t->dg[(k + 1) & 1];
    int modulated = k >= f->first_modulated, has_dh = k > f->first_modulated, at_tail = p->tail && k == 1;
    for (long i = 0; i < t->count; i += ROWS) {
      long rows = smaller(ROWS, t->count - i), at = i * width;
      for (long r = 0; r < rows; r++, at += width) {
        if (modulated)
          dual_row(width, dg + at, t->g[k] + at, t->cosine[k] + at, t->sine_du[k] + at, t->a[k] + at, t->da[k] + at, scale,
                   d_scale, shift_sum, scale_sum, t->dg_a + at, t->g_a + at);
        else
          gradient_row(width, dg + at, t->cosine[k] + at, 0, 0, 0, 0, t->dg_a + at);
        add_to(width, p->bias_sum + k * width, t->dg_a + at);
      }
      at = i * width;
      if (k > 0 && !at_tail) pass_below(f, k, rows, t->dg_a + at, dg + at, dg_below + at);
    }
    if (at_tail) {
      add_to(t->count * width, p->tail + t->start * width, t->dg_a);
      if (f->residual) add_to(t->count * width, p->tail_g + t->start * width, dg);
      break;
    }
    if (k > 0)
      add_gram(t->count, width, t->dg_a, t->h[k], t->g_a, has_dh ? t->dh[k] : 0, t->panel,
               p->weight_sum + (k - 1) * width * width);
    else
      add_first_layer(f, p, t->count, t->coords, t->dg_a);
  }
}

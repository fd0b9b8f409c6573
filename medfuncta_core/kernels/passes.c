/* One core's share of a field's passes on a CPU: values, gradients and Hessian-vector products, tile by tile.

   The formulas and their names are those of fields/tiles.py and fields/duals.py, its twins in PyTorch; float32 throughout. Every
   product takes ROWS points at a time, and what follows it (modulation, sine and cosine, residual) is done while these lie in
   the first cache. Rows are points, `width` numbers each, a multiple of PANEL; products read whole blocks of ROWS rows, so
   buffers have room for the last one, and what stands in rows that are not points is never used.

   Weights come in panels, (panels, inner, PANEL), which are read in order. No header is included and no library called, so that
   a bare compiler is enough. */

#if defined(__AVX512F__)
#define LANES 16 /* floats of a vector register */
#define ROWS 12  /* 24 sums, 2 columns and the broadcast ones fill 32 registers */
#define GRAM 8
#elif defined(__AVX2__) && defined(__FMA__)
#define LANES 8
#define ROWS 6
#define GRAM 4
#else
#define LANES 4
#define ROWS 4
#define GRAM 4
#endif
#define PANEL (2 * LANES)
#define MOST_LAYERS 64

typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#define INDEPENDENT _Pragma("GCC ivdep")

/* Parameters of a field; omega is folded into weights and biases. */
typedef struct {
  long layers; /* sine layers, K - 1 */
  long width, coords, channels;
  long first_modulated; /* 0 or 1 */
  long residual;
  const float *first_weight; /* (coords, width) */
  const float *biases;       /* (layers, width) */
  const float *ahead;        /* panels of W^T, (layers - 1, width * width) */
  const float *back;         /* panels of W */
  const float *last_weight;  /* (channels, width) */
  const float *last_bias;    /* (channels) */
} Network;

/* What one pass reads, and where one core adds up what it finds; a null pointer is something that is not there. */
typedef struct {
  long signals, points;
  long rows;           /* points of a tile, fewer in a signal's last one */
  const float *coords; /* (points, coords), of signal s at s * coords_stride */
  long coords_stride;
  const float *targets;                                      /* (signals, points, channels) */
  const float *shift, *scale, *d_shift, *d_scale;            /* (signals, modulated layers, width), omega folded in */
  const float *first_h, *first_cosine, *first_product;       /* (points, width), where all signals share them */
  float *values;                                             /* (signals, points, channels) */
  float *tape;                                               /* (tiles, 2, layers, rows, width): a, and the gradient g */
  double *loss;                                              /* (2, signals): as it is, and of clamped values */
  float *shift_sum, *scale_sum, *d_shift_sum, *d_scale_sum;  /* gradients, like the modulations */
  float *first_weight_sum, *weight_sum, *bias_sum;           /* like their parameters, W as (layers - 1, width, width) */
  float *last_weight_sum, *last_bias_sum;
  float *tail, *tail_g; /* (points, width): what the shared first layers get, summed over signals */
  float *scratch;
} Pass;

/* One tile: points of one signal, with the activations that its passes leave to each other. */
typedef struct {
  long number, signal, start, count;
  const float *coords, *targets;
  float *h[MOST_LAYERS + 1], *cosine[MOST_LAYERS], *a[MOST_LAYERS], *g[MOST_LAYERS];  /* h[k] is layer k's input */
  float *dh[MOST_LAYERS + 1], *sine_du[MOST_LAYERS], *da[MOST_LAYERS];
  float *g_a, *dg_a, *dg[2], *panel, *add, *zeros;
  float *y, *g_y, *dg_y;
} Tile;

long panel_width(void) { return PANEL; }
long block_rows(void) { return ROWS; }
long most_layers(void) { return MOST_LAYERS; }

INLINE long whole_blocks(long rows) { return (rows + ROWS - 1) / ROWS * ROWS; }
INLINE long smaller(long a, long b) { return a < b ? a : b; }
INLINE void clear(long n, float *x) {
  for (long j = 0; j < n; j++) x[j] = 0;
}
INLINE void add_to(long n, float *sum, const float *x) {
  INDEPENDENT for (long j = 0; j < n; j++) sum[j] += x[j];
}
INLINE void add_scaled(long n, float *sum, float factor, const float *x) {
  INDEPENDENT for (long j = 0; j < n; j++) sum[j] += factor * x[j];
}

/* ---- products ---- */

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

/* ---- one row of a layer ---- */

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

/* ---- tiles ---- */

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

/* ---- passes over tiles [first, end), and what signals share ---- */

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

/* The first layer, and the second one's product, at points that all signals share: rows [first, end), `first` whole blocks. */
void share_first(const Network *f, const Pass *p, float *h, float *cosine, float *product, long first, long end) {
  long width = f->width;
  for (long i = first; i < end; i += ROWS) {
    for (long r = i; r < smaller(i + ROWS, end); r++) {
      float *row = product + r * width;
      first_row(f, p->coords + r * f->coords, row);
      sine_row(width, row, f->biases, 0, 0, 0, row, h + r * width, cosine + r * width);
    }
    if (f->layers > 1) block_product(smaller(ROWS, end - i), width, h + i * width, f->ahead, product + i * width);
  }
}

/* Gradients of the layers that signals share, from what all of them have left in the tail: rows [first, end), whole blocks. */
void pass_tail(const Network *f, const Pass *p, long first, long end) {
  long width = f->width, rows = p->rows < ROWS ? ROWS : p->rows / ROWS * ROWS;
  float *g_a = p->scratch, *panel = g_a + array_floats(f, rows);
  for (long start = first; start < end; start += rows) {
    long count = smaller(rows, end - start);
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

/* Registers, records and the smallest loops. */

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

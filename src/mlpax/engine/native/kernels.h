// Vectors, elementary functions and the matrix product.
//
// This file and those it is included with are compiled once for each instruction set, with NS (a namespace),
// L (floats in a vector) and CMAX (vectors across a tile) defined. They hold no intrinsics: the compiler's
// vector types become the machine's.

namespace mlpax::NS {

typedef float V __attribute__((vector_size(4 * L)));
typedef int32_t I __attribute__((vector_size(4 * L)));
typedef uint32_t N __attribute__((vector_size(4 * L)));
typedef float U __attribute__((vector_size(4 * L), aligned(4), may_alias));  // anywhere in memory

static inline V load(const float *p) { return *(const U *)p; }
static inline void store(float *p, V v) { *(U *)p = v; }
static inline V all(float x) { return x - V{}; }
static inline V pick(I mask, V yes, V no) { return mask ? yes : no; }
static inline V least(V a, V b) { return pick(a < b, a, b); }
static inline V most(V a, V b) { return pick(a > b, a, b); }

static inline I numbers(int first) {  // first, first + 1, ...
    I n;
    for (int i = 0; i < L; i++) n[i] = first + i;
    return n;
}

static inline V root(V x) {
    V y = {};
    for (int i = 0; i < L; i++) y[i] = __builtin_sqrtf(x[i]);
    return y;
}

// The lanes' sum or maximum, by halves.
template <int W> struct Lanes { typedef float V __attribute__((vector_size(4 * W))); };
template <int W = L, class F> static inline float fold(typename Lanes<W>::V v, F both) {
    if constexpr (W == 2) return both(v[0], v[1]);
    else {
        typename Lanes<W / 2>::V half[2];
        memcpy(half, &v, sizeof v);
        return fold<W / 2>(both(half[0], half[1]), both);
    }
}

// The sum of a[i] * b[i] over n, a multiple of UNIT, in one order for every instruction set.
static inline float dot(const float *a, const float *b, int n) {
    V sum[UNIT / L] = {};
    for (int i = 0; i < n; i += UNIT)
        for (int k = 0; k < UNIT / L; k++) sum[k] += load(a + i + k * L) * load(b + i + k * L);
    for (int half = UNIT / L / 2; half; half /= 2)
        for (int k = 0; k < half; k++) sum[k] += sum[k + half];
    return fold(sum[0], [](auto x, auto y) { return x + y; });
}

// To 2 units in the last place: 2^n times a polynomial on +-log(2) / 2 (Cephes). NaN stays NaN.
static inline V exp(V x) {
    V within = pick(x < -87.3f, all(-87.3f), pick(x > 88.3f, all(88.3f), x));  // where the result is normal
    V n = within * 1.44269504f + 12582912.0f - 12582912.0f;                    // rounded to nearest
    V r = within - n * 0.693359375f + n * 2.12194440e-4f;
    V p = all(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    I e = (__builtin_convertvector(n, I) + 127) << 23;
    return pick(x == x, p * (V)e, x);
}

static inline V tanh(V x) {
    V z = x * x;  // a polynomial near 0, where the quotient would cancel (Cephes)
    V p = all(-5.70498872745e-3f);
    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    p = p * z * x + x;
    V q = 1.0f - 2.0f / (exp(2.0f * x) + 1.0f);
    return pick(z < 0.390625f, p, q);
}

static inline V logistic(V x) { return 1.0f / (1.0f + exp(-x)); }

// A quotient of polynomials, beyond 4 equal to 1 in float32 (the approximation of Eigen and XLA).
static inline V erf(V x) {
    x = pick(x < -4.0f, all(-4), pick(x > 4.0f, all(4), x));
    V z = x * x;
    V p = all(-2.72614225801306e-10f);
    p = p * z + 2.77068142495902e-08f;
    p = p * z - 2.10102402082508e-06f;
    p = p * z - 5.69250639462346e-05f;
    p = p * z - 7.34990630326855e-04f;
    p = p * z - 2.95459980854025e-03f;
    p = p * z - 1.60960333262415e-02f;
    V q = all(-1.45660718464996e-05f);
    q = q * z - 2.13374055278905e-04f;
    q = q * z - 1.68282697438203e-03f;
    q = q * z - 7.37332916720468e-03f;
    q = q * z - 1.42647390514189e-02f;
    return x * p / q;
}

// out = init + scale * (a @ b), or a @ b where init is null; a[r, k] lies at a[r * ra + k * ka]. A tile of R
// rows and C vectors stays in registers. Every output is one sum over k in ascending order, whatever the tile,
// the thread or the length of the vectors: results do not depend on how the work is split.
template <int R, int C>
static void tile(int K, const float *a, long ra, long ka, const float *b, long ldb, const float *init, long ldi,
                 float scale, float *out, long ldo) {
    V sum[R][C] = {};
    for (int k = 0; k < K; k++, a += ka, b += ldb) {
        V w[C];
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) w[c] = load(b + c * L);
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) {
            V x = all(a[r * ra]);
#pragma GCC unroll 8
            for (int c = 0; c < C; c++) sum[r][c] += x * w[c];
        }
    }
    if (init)  // two loops, so that each has one way to round
#pragma GCC unroll 16
        for (int r = 0; r < R; r++)
#pragma GCC unroll 8
            for (int c = 0; c < C; c++)
                store(out + r * ldo + c * L, load(init + r * ldi + c * L) + scale * sum[r][c]);
    else
#pragma GCC unroll 16
        for (int r = 0; r < R; r++)
#pragma GCC unroll 8
            for (int c = 0; c < C; c++) store(out + r * ldo + c * L, sum[r][c]);
}

typedef void (*Tile)(int, const float *, long, long, const float *, long, const float *, long, float, float *, long);
template <int C, int... R> static constexpr std::array<Tile, sizeof...(R)> tiles_of(std::integer_sequence<int, R...>) {
    return {tile<R + 1, C>...};
}
static constexpr auto wide = tiles_of<CMAX>(std::make_integer_sequence<int, 6>());
static constexpr auto middle = tiles_of<(CMAX > 2 ? 2 : 1)>(std::make_integer_sequence<int, 12>());
static constexpr auto narrow = tiles_of<1>(std::make_integer_sequence<int, 12>());

// The same for any number of rows and `cols` a multiple of L.
static void matmul(int rows, int cols, int K, const float *a, long ra, long ka, const float *b, long ldb,
                   const float *init, long ldi, float scale, float *out, long ldo) {
    for (int c = 0, C; c < cols; c += C * L) {
        const int left = (cols - c) / L;
        C = left >= CMAX ? CMAX : left >= 2 ? 2 : 1;
        const Tile *tiles = C == CMAX ? wide.data() : C == 2 ? middle.data() : narrow.data();
        const int most = C == CMAX ? wide.size() : 12, count = (rows + most - 1) / most;
        for (int i = 0; i < count; i++) {  // tiles of nearly equal height
            const long r = (long)rows * i / count, R = (long)rows * (i + 1) / count - r;
            tiles[R - 1](K, a + r * ra, ra, ka, b + c, ldb, init ? init + r * ldi + c : init, ldi, scale,
                         out + r * ldo + c, ldo);
        }
    }
}

}  // namespace mlpax::NS

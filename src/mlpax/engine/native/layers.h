// Activations with their derivatives, dropout, and rows as the network sees them.

namespace mlpax::NS {

// a = act(z) and d = act'(z).
static inline void activation(int kind, V z, V &a, V &d) {
    switch (kind) {
    case RELU:  // half the slope at 0, as JAX has it: a layer whose inputs are all 0 stands there
        a = most(z, V{});
        d = pick(z > 0.0f, all(1), pick(z == 0.0f, all(0.5f), V{}));
        break;
    case TANH: a = tanh(z); d = 1.0f - a * a; break;
    case LOGISTIC: a = logistic(z); d = a * (1.0f - a); break;
    case GELU: {
        const V below = 0.5f + 0.5f * erf(z * 0.7071067811865476f);  // of the normal distribution
        a = z * below;
        d = below + z * 0.3989422804014327f * exp(-0.5f * z * z);
        break;
    }
    case SILU: {
        const V s = logistic(z);
        a = z * s;
        d = s + a * (1.0f - s);
        break;
    }
    case SELU: {
        const V e = 1.6732632423543772f * exp(least(z, V{}));
        a = 1.0507009873554805f * pick(z > 0.0f, z, e - 1.6732632423543772f);
        d = 1.0507009873554805f * pick(z > 0.0f, all(1), e);
        break;
    }
    case MISH: {  // z tanh(log(1 + e^z)), as a quotient; beyond 20 it is z
        const V e = exp(least(z, all(20))), n = e * (e + 2.0f), q = n / (n + 2.0f);
        a = z * q;
        d = q + z * 4.0f * e * (e + 1.0f) / ((n + 2.0f) * (n + 2.0f));
        break;
    }
    default: a = z; d = all(1);
    }
}

// Which units a dropout keeps: a hash of the unit's number within the minibatch and two keys (Wellons'
// `lowbias32`, twice). It depends on nothing else, so that any split of the work draws the same units.
struct Dropout {
    uint32_t key[2], threshold;
    float scale;
    Dropout(const Settings &s, int64_t step, int layer) {
        uint64_t x = s.seed + 0x9e3779b97f4a7c15u * (uint64_t)(step * MAX_LAYERS + layer + 1);
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;  // SplitMix64
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
        x ^= x >> 31;
        key[0] = (uint32_t)x, key[1] = (uint32_t)(x >> 32);
        threshold = (uint32_t)((double)s.dropout * 16777216);
        scale = 1 / (1 - s.dropout);
    }
    static N hash(N x) {
        x = (x ^ (x >> 16)) * 0x7feb352du;
        x = (x ^ (x >> 15)) * 0x846ca68bu;
        return x ^ (x >> 16);
    }
    void apply(uint32_t first, V &a, V &d) const {
        const N unit = (N)numbers((int)first);
        const I kept = (I)((hash(hash(unit ^ key[0]) ^ key[1]) >> 8) >= threshold);
        a = pick(kept, a * scale, V{});
        d = pick(kept, d * scale, V{});
    }
};

// z <- act(z) and d <- act'(z) on rows of `cols` columns at stride ld; `first` is the number of the first unit.
static void activate(int kind, const Dropout *dropout, uint32_t first, float *z, float *d, int rows, int cols, long ld) {
    for (int r = 0; r < rows; r++, z += ld, d += ld, first += ld)
        for (int c = 0; c < cols; c += L) {
            V a, slope;
            activation(kind, load(z + c), a, slope);
            if (dropout) dropout->apply(first + c, a, slope);
            store(z + c, a);
            store(d + c, slope);
        }
}

// x <- (X[row] - shift) * scale, and behind it the rows of the embeddings that the last columns name.
static void read_row(const Network &net, const Rows &rows, int columns, float *const *E, long row, float *x) {
    const int n = columns - net.embeddings;
    const float *shift = rows.shift, *scale = rows.scale;
    auto read = [&](auto *p) {
        if (rows.per_feature)
            for (int j = 0; j < n; j++) x[j] = ((float)p[j] - shift[j]) * scale[j];
        else
            for (int j = 0; j < n; j++) x[j] = ((float)p[j] - *shift) * *scale;
    };
    rows.bytes ? read((const uint8_t *)rows.X + row * columns) : read((const float *)rows.X + row * columns);
    x += n;
    for (int e = 0; e < net.embeddings; x += net.widths[e], e++)
        memcpy(x, E[e] + (long)code_of(net, rows, row, e) * net.widths[e], 4l * net.widths[e]);
}

}  // namespace mlpax::NS

// The loss of a row, and its gradient by the outputs.

namespace mlpax::NS {

// Cross-entropy of a label under smoothing: the target is 1 - e on the label plus e / n on each class. The
// padding holds LOWEST, of which exp is as good as 0.
static float cross_entropy(float *z, int n, int label, float smoothing, float share) {
    const int wide = padded(n);
    const float off = smoothing / n, at = z[label];
    float mean = 0;
    if (off)
        for (int j = 0; j < n; j++) mean += z[j];
    V top = all(LOWEST), sum = {};
    for (int j = 0; j < wide; j += L) top = most(top, load(z + j));
    const float largest = fold(top, [](auto a, auto b) { return a > b ? a : b; });
    for (int j = 0; j < wide; j += L) {
        const V v = exp(load(z + j) - largest);
        store(z + j, v);
        sum += v;
    }
    const float total = fold(sum, [](auto a, auto b) { return a + b; }), scale = share / total;
    for (int j = 0; j < wide; j += L) {
        const I class_ = numbers(j);
        const V g = load(z + j) * scale - share * off, right = g - share * (1 - smoothing);
        store(z + j, pick(class_ == label, right, pick(class_ < n, g, V{})));
    }
    return logf(total) - (1 - smoothing) * (at - largest) - off * (mean - n * largest);
}

// The mean over several targets of the cross-entropy of each one's own classes; `part` has room for one target's.
static float cross_entropies(float *z, int n, const Rows &rows, long row, float smoothing, float share, float *part) {
    const int32_t *labels = (const int32_t *)rows.y + row * rows.targets;
    float loss = 0, *own = z;
    for (int k = 0; k < rows.targets; own += rows.classes[k++]) {
        const int classes = rows.classes[k];
        memcpy(part, own, 4l * classes);
        std::fill(part + classes, part + padded(classes), LOWEST);
        loss += cross_entropy(part, classes, labels[k], smoothing, share / rows.targets);
        memcpy(own, part, 4l * classes);
    }
    std::fill(z + n, z + padded(n), 0.0f);
    return loss / rows.targets;
}

// One output: its loss, and in z its gradient.
static inline float of_output(int loss, float smoothing, float &z, float y) {
    switch (loss) {
    case BINARY_CROSS_ENTROPY: {
        y = y * (1 - smoothing) + smoothing / 2;
        const float e = expf(-fabsf(z)), value = fmaxf(z, 0) + log1pf(e) - y * z;
        z = (z >= 0 ? 1 : e) / (1 + e) - y;
        return value;
    }
    case ABSOLUTE_ERROR: {
        const float error = z - y;
        z = (error > 0) - (error < 0);
        return fabsf(error);
    }
    case HUBER: {
        const float error = z - y, size = fabsf(error);
        z = size <= 1 ? error : copysignf(1, error);
        return size <= 1 ? error * error / 2 : size - 0.5f;
    }
    case POISSON: {
        const float rate = expf(z), value = rate - y * z;
        z = rate - y;
        return value;
    }
    case POISSON_DEVIANCE: {
        const float rate = expf(z), value = (y > 0 ? y * logf(y) : 0) - y * z - y + rate;
        z = rate - y;
        return value;
    }
    default: {
        const float error = z - y;
        z = error;
        return error * error / 2;
    }
    }
}

// The loss of a row; its outputs z become the gradient times `share`, and 0 in the padding.
static float row_loss(const Settings &s, int n, float *z, const Rows &rows, long row, float share, float *part) {
    if (s.summed) share *= n;
    if (s.loss == CROSS_ENTROPY && rows.targets > 1) return cross_entropies(z, n, rows, row, s.smoothing, share, part);
    if (s.loss == CROSS_ENTROPY) return cross_entropy(z, n, ((const int32_t *)rows.y)[row], s.smoothing, share);
    const float *y = (const float *)rows.y + row * n;
    const bool mean = s.loss != BINARY_CROSS_ENTROPY && s.loss != POISSON_DEVIANCE;
    float loss = 0;
    for (int j = 0; j < n; j++) {
        loss += of_output(s.loss, s.smoothing, z[j], y[j]);
        z[j] *= mean ? share / n : share;
    }
    for (int j = n; j < padded(n); j++) z[j] = 0;
    return mean ? loss / n : loss;
}

}  // namespace mlpax::NS

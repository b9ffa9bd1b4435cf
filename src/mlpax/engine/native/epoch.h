// What one thread does in an epoch, and in answering.
//
// A thread owns the same columns of a layer in every product. Of a network with one hidden layer the weights
// so never leave its core's cache, and two barriers a step are enough, or more with a penalty or clipping.

namespace mlpax::NS {

// Which part of each matrix is a thread's own.
struct Share {
    int i0, i1;                // rows of a minibatch whose outputs and losses it works out
    bool apart;                // whether threads read what others own, so that more barriers are needed
    Block own[MAX_LAYERS];     // of the weights
    Block acts[MAX_LAYERS];    // of the outputs

    Share(const Network &net, int batch, int t, int T) {
        const int layers = net.layers;
        bool holds_last = true;  // one of the threads that share columns of the last hidden layer updates the rest
        i0 = (long)batch * t / T, i1 = (long)batch * (t + 1) / T;
        apart = layers != 2;
        for (int l = 0; l < layers; l++) {
            const int units = padded(net.sizes[l + 1]) / UNIT, across = T < units ? T : units, down = T / across;
            const int tc = t % across, tr = t / across, m = net.sizes[l];
            const bool idle = tr >= down;
            auto part = [&](int n, int i, int of) { return idle ? 0 : (int)((long)n * i / of); };
            auto down_to = [&](int i) { return std::min(m, UNIT * part(padded(m) / UNIT, i, down)); };
            const int c0 = UNIT * part(units, tc, across), c1 = UNIT * part(units, tc + 1, across);
            own[l] = {down_to(tr), down_to(tr + 1), c0, c1};
            acts[l] = {part(batch, tr, down), part(batch, tr + 1, down), c0, c1};
            if (l + 1 < layers) holds_last = tr == 0, apart |= down > 1;
        }
        // Of the last layer the rows are split: those of the hidden units that are its own.
        const int last = layers - 1, m = net.sizes[last], n = padded(net.sizes[layers]);
        auto within = [&](int unit) { return std::min(m, UNIT * unit); };
        const int units = padded(m) / UNIT;
        if (layers == 1) own[0] = {within((long)units * t / T), within((long)units * (t + 1) / T), 0, n};
        else if (holds_last) own[last] = {within(acts[last - 1].c0 / UNIT), within(acts[last - 1].c1 / UNIT), 0, n};
        else own[last] = {0, 0, 0, 0};
    }
};

// The outputs of rows [from, to), some at a time; `scratch` has room for two layers' values of SOME rows.
static void answer(const Network &net, const Rows &rows, const Inputs &of, long from, long to, float *scratch,
                   float *out) {
    const int N = net.layers, outputs = net.sizes[N], columns = columns_of(net);
    for (long first = from; first < to; first += SOME) {
        const int count = (int)std::min<long>(SOME, to - first);
        float *x = scratch, *next = scratch + (long)SOME * widest(net);
        for (int i = 0; i < count; i++) read_row(net, rows, columns, of.E.data(), first + i, x + (long)i * net.sizes[0]);
        for (int l = 0; l < N; l++) {
            const long m = l ? padded(net.sizes[l]) : net.sizes[0], n = padded(net.sizes[l + 1]);
            matmul(count, n, net.sizes[l], x, m, 1, of.W[l], n, of.b[l], 0, net.gain[l], next, n);
            for (long i = 0; l + 1 < N && i < count * n; i += L) {
                V a, d;
                activation(net.activation[l], load(next + i), a, d);
                store(next + i, a);
            }
            std::swap(x, next);
        }
        for (int i = 0; i < count; i++) memcpy(out + (first + i) * outputs, x + (long)i * padded(outputs), 4l * outputs);
    }
}

struct Trainer {
    const Network &net;
    const Rows &rows;
    const Settings &s;
    const Course &course;
    Work &w;
    const int t, T, N, inputs, columns;
    int B;       // rows of this step: the padding at its end is left out
    Share mine;

    Trainer(const Network &net, const Rows &rows, const Settings &s, const Course &course, Work &w, int t, int T)
        : net(net), rows(rows), s(s), course(course), w(w), t(t), T(T), N(net.layers), inputs(net.sizes[0]),
          columns(columns_of(net)), B(s.batch), mine(net, B, t, T) {}

    void wait() { w.barrier.wait(T); }
    long stride(int l) const { return l ? padded(net.sizes[l]) : inputs; }  // of the inputs of layer l
    long row(int epoch, long i) const { return course.order ? course.order[epoch * course.orders + i] : i; }
    float weight(int epoch, long i) const { return rows.weight ? rows.weight[row(epoch, i)] : 1.0f; }

    // The rows of a step. Each thread reads all of them for itself: that costs less than lines of memory that
    // move from core to core.
    const float *minibatch(int epoch, int step) const {
        const long first = (long)step * s.batch;
        if (w.direct) return (const float *)rows.X + first * inputs;
        for (int i = 0; i < B; i++)
            read_row(net, rows, columns, w.inputs.E.data(), row(epoch, first + i), w.x[t] + (long)i * inputs);
        return w.x[t];
    }

    void transpose(int l) {
        const long n = padded(net.sizes[l + 1]), m = padded(net.sizes[l]);
        const Block &at = mine.own[l];
        const int last = std::min(at.c1, net.sizes[l + 1]);
        for (int c = at.c0; c < last; c += UNIT)
            for (int r = at.r0; r < at.r1; r++)
                for (int j = c; j < std::min(c + UNIT, last); j++) w.WT[l][j * m + r] = w.W[l][r * n + j];
    }

    void forward(const float *x, int64_t update) {
        for (int l = 0; l + 1 < N; l++) {
            const long m = stride(l), n = padded(net.sizes[l + 1]);
            const Block &at = mine.acts[l];
            const long q = at.r0 * n + at.c0;
            const Dropout dropout(s, update, l);
            matmul(at.r1 - at.r0, at.c1 - at.c0, net.sizes[l], (l ? w.A[l] : x) + at.r0 * m, m, 1, w.inputs.W[l] + at.c0, n,
                   w.inputs.b[l] + at.c0, 0, net.gain[l], w.A[l + 1] + q, n);
            activate(net.activation[l], s.dropout ? &dropout : nullptr, (uint32_t)q, w.A[l + 1] + q, w.D[l + 1] + q,
                     at.r1 - at.r0, at.c1 - at.c0, n);
            wait();
        }
    }

    // Outputs and losses of its own rows, and the gradient by the outputs; `each` is 1 over the sum of weights.
    void outputs(const float *x, int epoch, int step, float each) {
        const long m = stride(N - 1), n = padded(net.sizes[N]), first = (long)step * s.batch;
        if (N > 1 && net.sizes[N] <= 2)
            for (int i = mine.i0; i < mine.i1; i++) {
                memcpy(w.G[N] + i * n, w.inputs.b[N - 1], 4 * n);
                for (int j = 0; j < net.sizes[N]; j++)
                    w.G[N][i * n + j] += net.gain[N - 1] * dot(w.A[N - 1] + i * m, w.WT[N - 1] + j * m, (int)m);
            }
        else
            matmul(mine.i1 - mine.i0, n, net.sizes[N - 1], (N > 1 ? w.A[N - 1] : x) + mine.i0 * m, m, 1, w.inputs.W[N - 1],
                   n, w.inputs.b[N - 1], 0, net.gain[N - 1], w.G[N] + mine.i0 * n, n);
        for (int i = mine.i0; i < mine.i1; i++) {
            const float of_row = weight(epoch, first + i);
            const float loss = row_loss(s, net.sizes[N], w.G[N] + i * n, rows, row(epoch, first + i), of_row * each,
                                        w.part[t]);
            w.losses[i] = of_row * loss;
        }
    }

    void backward() {
        for (int l = N - 1; l > 0; l--) {
            const long m = padded(net.sizes[l]), n = padded(net.sizes[l + 1]);
            const Block &at = mine.acts[l - 1];
            float *g = w.G[l] + at.r0 * m + at.c0;
            const float *d = w.D[l] + at.r0 * m + at.c0;
            const int count = at.r1 - at.r0, cols = at.c1 - at.c0;
            const float gain = net.gain[l];
            matmul(count, cols, net.sizes[l + 1], w.G[l + 1] + at.r0 * n, n, 1, w.WT[l] + at.c0, m, nullptr, 0, 1, g, m);
            for (int r = 0; r < count; r++)
                for (int c = 0; c < cols; c += L)
                    store(g + r * m + c, gain * load(g + r * m + c) * load(d + r * m + c));
            if (mine.apart) wait();
        }
    }

    // The sum of the squares of `count` rows of a unit, in one order for every instruction set and split.
    static double squares(const float *p, long ld, int count) {
        float lanes[UNIT] = {};
        for (int r = 0; r < count; r++, p += ld)
            for (int c = 0; c < UNIT; c++) lanes[c] += p[c] * p[c];
        double sum = 0;
        for (float lane : lanes) sum += lane;
        return sum;
    }

    // Whether a layer has so few outputs that they would leave most of a vector empty.
    bool narrow(int l) const { return l && net.sizes[l + 1] <= UNIT / 2; }

    // Gradients of its own weights of layer l, some rows at a time: `then(row, rows, gradient, stride)`.
    template <class F> void gradients(int l, const float *a, F then) {
        const long n = padded(net.sizes[l + 1]), lda = stride(l);
        const Block &at = mine.own[l];
        const int cols = at.c1 - at.c0, most = std::max(1, CACHED / std::max(cols, 1) / UNIT) * UNIT;
        for (int r = at.r0; r < at.r1; r += most) {
            const int some = std::min(most, at.r1 - r);
            if (narrow(l)) {  // the same sums as a product whose columns are the layer's inputs, turned over
                const int outs = net.sizes[l + 1], wide = padded(some);
                float *turned = w.grad[t] + (long)some * cols;
                matmul(outs, wide, B, w.G[l + 1], 1, n, a + r, lda, nullptr, 0, 1, turned, wide);
                memset(w.grad[t], 0, 4l * some * cols);
                for (int j = 0; j < outs; j++)
                    for (int i = 0; i < some; i++) w.grad[t][i * cols + j] = turned[j * wide + i];
            } else
                matmul(some, cols, B, a + r, 1, lda, w.G[l + 1] + at.c0, n, nullptr, 0, 1, w.grad[t], cols);
            then(r, some, w.grad[t], cols);
        }
        if (at.r0 == 0 && at.r1 > 0) {  // the biases, as the row after the last
            for (int c = 0; c < cols; c += L) {
                V sum = {};
                for (int i = 0; i < B; i++) sum += load(w.G[l + 1] + i * n + at.c0 + c);
                store(w.grad[t] + c, sum);
            }
            then(net.sizes[l], 1, w.grad[t], cols);
        }
    }

    // Update some rows of its own columns by a gradient.
    void learn(int l, const Pace &pace, float shrink, float pull, int r, int some, const float *g, long ldg) {
        const long n = padded(net.sizes[l + 1]);
        const Block &at = mine.own[l];
        const int cols = at.c1 - at.c0;
        const bool bias = r == net.sizes[l];
        const int k = 2 * l + bias;
        for (int i = 0; i < some; i++) {
            const long q = (bias ? 0 : (r + i) * n) + at.c0;
            float *p = bias ? w.b[l] : w.W[l], *m = w.moment[0][k], *v = w.moment[1][k];
            update(s, pace, shrink, bias ? 0 : pull, bias ? 0 : s.decay, g + i * ldg, p + q, m ? m + q : m, v ? v + q : v, cols);
        }
    }

    // The partial sums of the squares of its own weights, for the penalty in the loss.
    void sum_weights(int l, int r, int some) {
        const long n = padded(net.sizes[l + 1]);
        const Block &at = mine.own[l];
        for (int i = 0; i < some && r < net.sizes[l]; i += UNIT)
            for (int c = at.c0; c < at.c1; c += UNIT)
                w.square(l, (r + i) / UNIT, c / UNIT) = squares(w.W[l] + (r + i) * n + c, n, std::min(UNIT, some - i));
    }

    void updates(int epoch, int step, const float *x, const Pace &pace, float each) {
        const bool beside = s.optimizer == ADAMW || s.optimizer == LION;  // these decay beside the gradient
        const float pull = s.penalty * each + (beside ? 0 : s.decay);
        if (net.scale) learn_inputs(epoch, step, x, pace, pull);
        for (int l = net.scale ? 1 : 0; l < N; l++) {
            const float *a = l ? w.A[l] : x;
            if (s.optimizer == SGD && !pull && !narrow(l)) {  // the update in the product itself
                const long n = padded(net.sizes[l + 1]);
                const Block &at = mine.own[l];
                float *W = w.W[l] + at.r0 * n + at.c0;
                matmul(at.r1 - at.r0, at.c1 - at.c0, B, a + at.r0, 1, stride(l), w.G[l + 1] + at.c0, n, W, n,
                       -pace.rate * net.gain[l], W, n);
                if (at.r0 == 0 && at.r1 > 0)
                    for (int c = at.c0; c < at.c1; c += L) {
                        V sum = {};
                        for (int i = 0; i < B; i++) sum += load(w.G[l + 1] + i * n + c);
                        store(w.b[l] + c, load(w.b[l] + c) - pace.rate * net.bias_gain[l] * sum);
                    }
            } else
                gradients(l, a, [&](int r, int some, const float *g, long ldg) {
                    if (s.penalty) sum_weights(l, r, some);
                    learn(l, pace, r == net.sizes[l] ? net.bias_gain[l] : net.gain[l], pull, r, some, g, ldg);
                });
            if (l) transpose(l);
        }
        if (net.scale) w.inputs.fold(net, w.W, w.b);
    }

    // Update what a table's network has before its second layer: the scale, the first layer and the embeddings.
    // One product gives two gradients. Let P = x' G. The gradient by row r of W is scale[r] * P[r], and the
    // gradient by scale[r] is the sum of W[r] * P[r].
    void learn_inputs(int epoch, int step, const float *x, const Pace &pace, float pull) {
        const int m = net.sizes[0], n = padded(net.sizes[1]);
        learn_embeddings(epoch, step, pace, pull);
        gradients(0, x, [&](int r, int some, const float *g, long ldg) {
            if (s.penalty) sum_weights(0, r, some);
            if (r == m) return learn(0, pace, net.bias_gain[0], pull, r, some, g, ldg);
            for (int i = 0; i < some; i++, g += ldg) {
                w.scale_grad[r + i] = net.gain[0] * net.scale_gain * dot(w.W[0] + (long)(r + i) * n, g, n);
                learn(0, pace, net.gain[0] * net.scale_gain * w.inputs.scale[r + i], pull, r + i, 1, g, ldg);
            }
        });
        update(s, pace, 1, 0, 0, w.scale_grad, w.inputs.scale, w.scale_moment[0], w.scale_moment[1], padded(m));
    }

    // The gradient by a row of an embedding adds up over the rows of the minibatch that have its code.
    void learn_embeddings(int epoch, int step, const Pace &pace, float pull) {
        const int n = padded(net.sizes[1]);
        int column = columns_of(net) - net.embeddings;
        for (int e = 0; e < net.embeddings; e++) {
            const int width = net.widths[e], numbers = padded(net.codes[e] * width);
            memset(w.E_grad[e], 0, 4l * numbers);
            for (int i = 0; i < B; i++) {
                const int code = code_of(net, rows, row(epoch, (long)step * s.batch + i), e);
                for (int c = 0; c < width; c++)
                    w.E_grad[e][(long)code * width + c] +=
                        net.gain[0] * dot(w.G[1] + (long)i * n, w.inputs.W[0] + (long)(column + c) * n, n);
            }
            update(s, pace, 1, pull, s.decay, w.E_grad[e], w.inputs.E[e], w.E_moment[0][e], w.E_moment[1][e], numbers);
            column += width;
        }
    }

    // The same where the norm of the whole gradient is needed first.
    void clipped_updates(const float *x, const Pace &pace, float each) {
        const bool beside = s.optimizer == ADAMW || s.optimizer == LION;
        for (int l = 0; l < N; l++) {
            const long n = padded(net.sizes[l + 1]);
            const Block &at = mine.own[l];
            gradients(l, l ? w.A[l] : x, [&](int r, int some, const float *g, long ldg) {
                if (s.penalty) sum_weights(l, r, some);
                for (int i = 0; i < some; i++)
                    for (int c = 0; c < at.c1 - at.c0; c += L) {
                        const long q = (r + i) * n + at.c0 + c;
                        const V pull = r < net.sizes[l] ? s.penalty * each * load(w.W[l] + q) : V{};
                        store(w.whole[l] + q, load(g + i * ldg + c) + pull);
                    }
                for (int i = 0; i < some; i += UNIT)
                    for (int c = at.c0; c < at.c1; c += UNIT)
                        w.norm(l, r == net.sizes[l] ? padded(r) / UNIT : (r + i) / UNIT, c / UNIT) =
                            squares(w.whole[l] + (r + i) * n + c, n, std::min(UNIT, some - i));
            });
        }
        wait();
        const float norm = (float)std::sqrt(w.total(net, w.norms, true));
        const float shrink = norm < s.clip ? 1 : s.clip / norm;
        for (int l = 0; l < N; l++) {
            const long n = padded(net.sizes[l + 1]);
            const Block &at = mine.own[l];
            learn(l, pace, shrink, beside ? 0 : s.decay, at.r0, at.r1 - at.r0, w.whole[l] + at.r0 * n + at.c0, n);
            if (at.r0 == 0 && at.r1 > 0) learn(l, pace, shrink, 0, net.sizes[l], 1, w.whole[l] + net.sizes[l] * n + at.c0, n);
            if (l) transpose(l);
        }
        wait();  // before the norms are written again
    }

    // One step; false if the caller wants to stop.
    bool step(int epoch, int step, const Pace &pace, const volatile int32_t *stop) {
        float total = 0;
        int count = 0;
        for (int i = 0; i < s.batch; i++) {
            const float of_row = weight(epoch, (long)step * s.batch + i);
            total += of_row;
            if (of_row != 0) count = i + 1;
        }
        if (count != B) mine = Share(net, B = count, t, T);
        const float each = total > 0 ? 1 / total : 0, *x = minibatch(epoch, step);
        forward(x, pace.update);
        outputs(x, epoch, step, each);
        if (t == 0 && stop && *stop) w.halted = true;
        wait();
        if (w.halted) return false;  // read between two barriers, so that all threads agree
        backward();
        if (t == 0) {  // before the weights change, of which the penalty is
            double sum = 0;
            for (int i = 0; i < B; i++) sum += w.losses[i];
            w.loss += sum;
            w.weight += total;
            w.penalty = total > 0 ? (double)s.penalty / 2 : 0;  // times total / total
        }
        s.clip ? clipped_updates(x, pace, each) : updates(epoch, step, x, pace, each);
        if (mine.apart || s.penalty) wait();
        if (t == 0 && s.penalty) w.loss += w.penalty * w.total(net, w.squares, false);
        return true;
    }

    // What a member of several networks leaves after an epoch: its parameters, and its answers to measured rows.
    void report(int epoch, const Member &member, const Measured *measured) {
        if (!w.scratch) w.scratch = w.make(2l * SOME * widest(net));
        if (member.kept) w.keep(net, member.kept + epoch * parameters(net));
        for (int k = 0; k < 2; k++)
            if (const long count = measured[k].count)
                answer(net, *measured[k].rows, w.inputs, 0, count, w.scratch,
                       member.outputs[k] + epoch * count * net.sizes[N]);
    }

    void epochs(const volatile int32_t *stop, double *losses, const Member *member, const Measured *measured) {
        for (int l = 1; l < N; l++) transpose(l);
        for (int epoch = 0; epoch < course.epochs; epoch++) {
            if (t == 0) w.loss = w.weight = 0;
            wait();
            for (int k = 0; k < course.steps; k++)
                if (!step(epoch, k, Pace(s, course, (int64_t)epoch * course.steps + k), stop)) return;
            wait();
            if (t == 0) {
                const double loss = w.weight > 0 ? w.loss / w.weight : 0;
                losses[epoch] = std::isfinite(loss) && !w.finite(net) ? INFINITY : loss;
                if (!std::isfinite(losses[epoch])) w.halted = true;
            }
            wait();
            if (member) report(epoch, *member, measured);
            if (w.halted) return;
        }
    }
};

static void train(const Network &net, const Rows &rows, const Settings &s, const Course &course, Work &w, int t, int T,
                  const volatile int32_t *stop, double *losses, const Member *member, const Measured *measured) {
    Trainer(net, rows, s, course, w, t, T).epochs(stop, losses, member, measured);
}

}  // namespace mlpax::NS

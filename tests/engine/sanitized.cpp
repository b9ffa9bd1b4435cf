// Train and answer with random networks, settings and rows in arrays of the exact size: for the sanitizers.
//
// g++ -std=c++20 -g -O1 -fsanitize=address,undefined -I src/mlpax/engine/native sanitized.cpp native.cpp
#include "native.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

static std::mt19937 rng;
static int below(int n) { return (int)(rng() % (unsigned)n); }
static volatile float sum;
static float number() { return (float)below(2001) / 1000 - 1; }

template <class T> struct Array {  // of the exact size: a read or a write beyond it is seen
    std::unique_ptr<T[]> p;
    long count;
    Array(long n) : p(new T[n]), count(n) {}
    template <class F> Array(long n, F value) : Array(n) {
        for (long i = 0; i < n; i++) p[i] = value();
    }
};

struct Case {
    Network net{};
    Rows rows{};
    Settings s{};
    Course course{};
    std::vector<Array<float>> W, b, moment[2];
    int n, threads;

    Case() {
        net.layers = 1 + below(4);
        for (int l = 0; l <= net.layers; l++) net.sizes[l] = 1 + below(below(2) ? 40 : below(8) ? 6 : 300);
        for (int l = 0; l < net.layers; l++) {
            const long m = net.sizes[l], k = net.sizes[l + 1];
            net.activation[l] = l + 1 < net.layers ? below(8) : IDENTITY;
            W.emplace_back(m * k, [&] { return number() / std::sqrt((float)m); });
            b.emplace_back(k, [] { return 0.0f; });
            net.W[l] = W.back().p.get(), net.b[l] = b.back().p.get();
        }
        const int steps = 1 + below(4);
        s.batch = 1 + below(40), n = s.batch * steps, threads = 1 + below(5);
        s.loss = below(7), s.optimizer = below(7), s.summed = below(2), s.epsilon_hat = below(2), s.sums_steps = below(2);
        s.momentum = .9f, s.beta_1 = .9f, s.beta_2 = .99f, s.epsilon = 1e-8f, s.seed = rng();
        s.decay = below(2) * .01f, s.penalty = below(2) * .01f, s.smoothing = below(2) * .1f;
        s.clip = (float)below(2), s.dropout = below(2) * .3f;
        course.epochs = 1 + below(3), course.steps = steps, course.orders = n;
        for (int k = 0; k < 2; k++)
            for (int l = 0; l < net.layers; l++)
                for (const long size : {W[l].count, b[l].count}) {
                    moment[k].emplace_back(size, [] { return 0.0f; });
                    course.moment[k][moment[k].size() - 1] = moment[k].back().p.get();
                }
    }

    void run() {
        const int features = net.sizes[0], outputs = net.sizes[net.layers];
        const long values = (long)n * features;
        Array<float> X(values, number), y(s.loss == CROSS_ENTROPY ? 0 : (long)n * outputs, [] { return (float)below(2); });
        Array<uint8_t> bytes(values, [] { return (uint8_t)below(256); });
        Array<int32_t> labels(n, [&] { return below(outputs); }), order((long)course.epochs * n, [&] { return below(n); });
        Array<float> weight(n, [] { return (float)below(3); }), rates((long)course.epochs * course.steps, [] { return .01f; });
        rows.bytes = below(2), rows.per_feature = below(2);
        Array<float> shift(rows.per_feature ? features : 1, number), scale(shift.count, number);
        rows.X = rows.bytes ? (const void *)bytes.p.get() : X.p.get();
        rows.y = s.loss == CROSS_ENTROPY ? (const void *)labels.p.get() : y.p.get();
        rows.weight = below(2) ? weight.p.get() : nullptr;
        rows.shift = shift.p.get(), rows.scale = scale.p.get();
        if (!rows.bytes && !rows.per_feature && below(2)) shift.p[0] = 0, scale.p[0] = 1;  // used as they lie
        course.rates = rates.p.get(), course.order = below(2) ? order.p.get() : nullptr;

        Array<double> losses(course.epochs);
        const int32_t stop = 0;
        if (mlpax_train(&net, &rows, &s, &course, threads, &stop, losses.p.get()) != DONE) exit(3);
        const int count = 1 + below(n);
        Array<float> found((long)count * outputs);
        if (mlpax_outputs(&net, &rows, count, threads, found.p.get()) != DONE) exit(4);
        for (long i = 0; i < found.count; i++) sum = sum + found.p[i];  // reads what was written
    }
};

int main(int, char **arguments) {
    for (int seed = 0; seed < atoi(arguments[1]); seed++) {
        rng.seed((unsigned)seed);
        Case().run();
    }
    printf("%s networks by %s\n", arguments[1], mlpax_instructions());
}

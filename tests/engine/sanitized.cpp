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
    std::vector<Array<float>> W, b, moment[2], E, E_moment[2];
    std::vector<float *> E_at, E_moment_at[2];
    std::vector<Array<float>> scales;
    std::vector<int32_t> codes, widths, classes;
    int n, threads, columns;

    Case() {
        net.layers = 1 + below(4);
        for (int l = 0; l <= net.layers; l++) net.sizes[l] = 1 + below(below(2) ? 40 : below(8) ? 6 : 300);
        for (int l = 0; l < net.layers; l++) {
            const long m = net.sizes[l], k = net.sizes[l + 1];
            net.activation[l] = l + 1 < net.layers ? below(8) : IDENTITY;
            W.emplace_back(m * k, [&] { return number() / std::sqrt((float)m); });
            b.emplace_back(k, [] { return 0.0f; });
            net.W[l] = W.back().p.get(), net.b[l] = b.back().p.get();
            net.gain[l] = net.bias_gain[l] = 1;
        }
        columns = net.sizes[0];
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
        if (below(3) == 0) table();
    }

    // A network for tables: with a scale of the inputs, and embeddings behind some that are none.
    void table() {
        threads = 1, s.clip = 0;
        const auto zeros = [] { return 0.0f; };
        for (int k = 0; k < 3; k++) scales.emplace_back(net.sizes[0], zeros);
        for (long j = 0; j < net.sizes[0]; j++) scales[0].p[j] = .2f;
        net.scale = scales[0].p.get(), net.scale_gain = 6;
        for (int k = 0; k < 2; k++) course.scale_moment[k] = scales[k + 1].p.get();
        for (int l = 0; l < net.layers; l++) net.gain[l] = 1 / std::sqrt((float)net.sizes[l]), net.bias_gain[l] = .1f;
        for (int left = net.sizes[0]; below(3) && left > 0; left -= widths.back()) {
            codes.push_back(1 + below(20)), widths.push_back(1 + below(left));
            const long size = (long)codes.back() * widths.back();
            E.emplace_back(size, number);
            for (int k = 0; k < 2; k++) E_moment[k].emplace_back(size, zeros);
        }
        for (size_t e = 0; e < E.size(); e++) {
            columns -= widths[e] - 1;
            E_at.push_back(E[e].p.get());
            for (int k = 0; k < 2; k++) E_moment_at[k].push_back(E_moment[k][e].p.get());
        }
        net.embeddings = (int)E.size(), net.codes = codes.data(), net.widths = widths.data(), net.E = E_at.data();
        for (int k = 0; k < 2; k++) course.E_moment[k] = E_moment_at[k].data();
    }

    // Codes in the last columns.
    void encode(Array<float> &X) {
        for (long i = 0; i < n; i++)
            for (int e = 0; e < net.embeddings; e++) X.p[(i + 1) * columns - net.embeddings + e] = (float)below(codes[e]);
    }

    void run() {
        const int features = columns, outputs = net.sizes[net.layers];
        const long values = (long)n * features;
        Array<float> X(values, number), y(s.loss == CROSS_ENTROPY ? 0 : (long)n * outputs, [] { return (float)below(2); });
        Array<uint8_t> bytes(values, [] { return (uint8_t)below(256); });
        for (int left = outputs; left > 0 && (below(2) || !classes.empty()); left -= classes.back())
            classes.push_back(1 + below(left));
        if (classes.empty()) classes.push_back(outputs);
        rows.targets = (int)classes.size(), rows.classes = classes.data();
        long label = 0;
        Array<int32_t> labels((long)n * rows.targets, [&] { return below(classes[label++ % classes.size()]); });
        Array<int32_t> order((long)course.epochs * n, [&] { return below(n); });
        Array<float> weight(n, [] { return (float)below(3); }), rates((long)course.epochs * course.steps, [] { return .01f; });
        rows.bytes = !net.embeddings && below(2), rows.per_feature = below(2);
        encode(X);
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
        members(count);
        Array<float> found((long)count * outputs);
        if (mlpax_outputs(&net, &rows, count, threads, found.p.get()) != DONE) exit(4);
        for (long i = 0; i < found.count; i++) sum = sum + found.p[i];  // reads what was written
    }

    // The same network three times on several threads, each in arrays of its own.
    void members(int count) {
        long parameters = net.scale ? net.sizes[0] : 0;
        for (const auto *of : {&W, &b, &E})
            for (const auto &one : *of) parameters += one.count;
        std::vector<Array<float>> all, kept, found;
        std::vector<Array<double>> losses;
        std::vector<std::vector<float *>> tables;
        all.reserve(1000), tables.reserve(9);
        std::vector<Network> nets(3, net);
        std::vector<Course> courses(3, course);
        std::vector<Member> each;
        auto copy = [&](float *from, long size) {
            if (!from) return from;
            all.emplace_back(size);
            for (long i = 0; i < size; i++) all.back().p[i] = from[i];
            return all.back().p.get();
        };
        auto copies = [&](float *const *from) {
            tables.emplace_back();
            for (size_t e = 0; e < E.size(); e++) tables.back().push_back(copy(from[e], E[e].count));
            return tables.back().data();
        };
        for (int k = 0; k < 3; k++) {
            for (int l = 0; l < net.layers; l++) {
                nets[k].W[l] = copy(net.W[l], W[l].count), nets[k].b[l] = copy(net.b[l], b[l].count);
                for (int i = 0; i < 2; i++) {
                    courses[k].moment[i][2 * l] = copy(course.moment[i][2 * l], W[l].count);
                    courses[k].moment[i][2 * l + 1] = copy(course.moment[i][2 * l + 1], b[l].count);
                }
            }
            nets[k].scale = copy(net.scale, net.sizes[0]);
            if (net.scale) nets[k].E = copies(net.E);
            for (int i = 0; net.scale && i < 2; i++) {
                courses[k].scale_moment[i] = copy(course.scale_moment[i], net.sizes[0]);
                courses[k].E_moment[i] = copies(course.E_moment[i]);
            }
            losses.emplace_back(course.epochs);
            kept.emplace_back(course.epochs * parameters);
            found.emplace_back((long)course.epochs * count * net.sizes[net.layers]);
            each.push_back({&nets[k], &s, &courses[k], losses[k].p.get(), kept[k].p.get(), {found[k].p.get(), nullptr}});
        }
        const Measured measured[2] = {{&rows, count}, {nullptr, 0}};
        if (mlpax_train_members(3, each.data(), &rows, measured, 2, nullptr) != DONE) exit(5);
        for (const auto &one : found)
            if (std::isfinite(losses[0].p[course.epochs - 1])) sum = sum + one.p[one.count - 1];
    }
};

int main(int, char **arguments) {
    for (int seed = 0; seed < atoi(arguments[1]); seed++) {
        rng.seed((unsigned)seed);
        Case().run();
    }
    printf("%s networks by %s\n", arguments[1], mlpax_instructions());
}

// Memory, threads, the choice of the instruction set at run time, and the interface.
#include "native.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

namespace mlpax {

constexpr int UNIT = 16;        // columns are padded to a multiple of it, and split between threads in such units
constexpr int CACHED = 3072;    // numbers of a gradient that stay in a core's first cache
constexpr int SOME = 48;        // rows that are answered at a time
constexpr float LOWEST = -1e30f;
constexpr int padded(int n) { return (n + UNIT - 1) & ~(UNIT - 1); }

// The units of the widest layer, with the padding.
int widest(const Network &net) {
    int most = net.sizes[0];
    for (int l = 0; l < net.layers; l++) most = std::max(most, padded(net.sizes[l + 1]));
    return most;
}

long parameters(const Network &net) {
    long count = net.scale ? net.sizes[0] : 0;
    for (int l = 0; l < net.layers; l++) count += (net.sizes[l] + 1l) * net.sizes[l + 1];
    for (int e = 0; e < net.embeddings; e++) count += (long)net.codes[e] * net.widths[e];
    return count;
}

// The columns of X, and the code in one of its last ones.
int columns_of(const Network &net) {
    int columns = net.sizes[0];
    for (int e = 0; e < net.embeddings; e++) columns -= net.widths[e] - 1;
    return columns;
}
int code_of(const Network &net, const Rows &rows, long row, int e) {
    const int columns = columns_of(net);
    return (int)((const float *)rows.X)[row * columns + columns - net.embeddings + e];
}

struct Block {  // of a matrix
    int r0, r1, c0, c1;
};

struct Pace {  // what changes from step to step
    float rate, unbias_1 = 1, unbias_2 = 1, hat = 1;
    int64_t update;
    Pace(const Settings &s, const Course &course, int64_t step) : rate(course.rates[step]), update(course.updates + step) {
        if (s.optimizer != ADAM && s.optimizer != ADAMW) return;
        const double t = (double)(update + 1);
        const double left_1 = 1 - std::pow((double)s.beta_1, t), left_2 = 1 - std::pow((double)s.beta_2, t);
        unbias_1 = (float)(1 / left_1), unbias_2 = (float)(1 / left_2), hat = (float)(std::sqrt(left_2) / left_1);
    }
};

// Threads that wait spin for some microseconds, then let others have the core each time they look, then sleep.
class Barrier {
    std::atomic<int> arrived{0}, phase{0};

    static void pause() {
#if defined(__x86_64__)
        _mm_pause();
#elif defined(__aarch64__)
        asm volatile("yield");
#endif
    }

  public:
    void wait(int threads) {
        if (threads == 1) return;
        const int now = phase.load(std::memory_order_relaxed);
        if (arrived.fetch_add(1, std::memory_order_acq_rel) == threads - 1) {
            arrived.store(0, std::memory_order_relaxed);
            phase.store(now + 1, std::memory_order_release);
            phase.notify_all();
            return;
        }
        for (int i = 0; i < 2000; i++) {
            if (phase.load(std::memory_order_acquire) != now) return;
            i < 300 ? pause() : std::this_thread::yield();
        }
        while (phase.load(std::memory_order_acquire) == now) phase.wait(now, std::memory_order_acquire);
    }
};

// Numbers below 1e-38 cost a hundred times as much as others. They count as 0 here, as in XLA.
class FlushDenormals {
#if defined(__x86_64__)
    const unsigned before = _mm_getcsr();

  public:
    FlushDenormals() { _mm_setcsr(before | 0x8040); }
    ~FlushDenormals() { _mm_setcsr(before); }
#elif defined(__aarch64__)
    uint64_t before;

  public:
    FlushDenormals() {
        asm volatile("mrs %0, fpcr" : "=r"(before));
        asm volatile("msr fpcr, %0" ::"r"(before | (1ul << 24)));
    }
    ~FlushDenormals() { asm volatile("msr fpcr, %0" ::"r"(before)); }
#endif
};

// Arrays that start at a cache line. Rows whose length is no multiple of UNIT are copied with zeros behind.
class Memory {
    struct Copy {
        float *own, *given;
        int rows, cols;
    };
    std::vector<std::unique_ptr<void, decltype(&std::free)>> all;
    std::vector<Copy> copies;

  public:
    template <class T = float> T *make(long count) {
        const size_t bytes = (sizeof(T) * count + 127) / 64 * 64;
        void *p = std::aligned_alloc(64, bytes);
        if (!p) throw std::bad_alloc();
        all.emplace_back(p, &std::free);
        memset(p, 0, bytes);
        return (T *)p;
    }
    float *place(float *given, int rows, int cols) {
        if (!given || cols % UNIT == 0) return given;
        float *own = make((long)rows * padded(cols));
        for (int r = 0; r < rows; r++) memcpy(own + (long)r * padded(cols), given + (long)r * cols, 4l * cols);
        copies.push_back({own, given, rows, cols});
        return own;
    }
    void give_back() const {
        for (auto &[own, given, rows, cols] : copies)
            for (int r = 0; r < rows; r++) memcpy(given + (long)r * cols, own + (long)r * padded(cols), 4l * cols);
    }
};

// What a network for tables has besides its layers, and the weights and biases that rows meet.
struct Inputs {
    float *scale = nullptr;
    std::vector<float *> E;
    float *W[MAX_LAYERS], *b[MAX_LAYERS];  // those of the first layer with the scale, those of all with their gain
    void place(Memory &memory, const Network &net) {
        scale = memory.place(net.scale, 1, net.sizes[0]);
        for (int e = 0; e < net.embeddings; e++) E.push_back(memory.place(net.E[e], 1, net.codes[e] * net.widths[e]));
        if (net.scale) W[0] = memory.make((long)net.sizes[0] * padded(net.sizes[1]));
        for (int l = 0; net.scale && l < net.layers; l++) b[l] = memory.make(padded(net.sizes[l + 1]));
    }
    void fold(const Network &net, float *const *of_W, float *const *of_b) {
        for (int l = 0; l < net.layers; l++) {
            const int n = padded(net.sizes[l + 1]);
            if (!net.scale || l) W[l] = of_W[l];
            if (!net.scale) b[l] = of_b[l];
            for (int c = 0; net.scale && c < n; c++) b[l][c] = net.bias_gain[l] * of_b[l][c];
        }
        const int n = padded(net.sizes[1]);
        for (long j = 0; net.scale && j < net.sizes[0]; j++)
            for (int c = 0; c < n; c++) W[0][j * n + c] = net.scale_gain * scale[j] * of_W[0][j * n + c];
    }
};

// What the threads of a call share: a minibatch, the values and gradients of each layer, and the parameters.
struct Work : Memory {
    bool direct;                             // the data's rows are used as they lie
    float *A[MAX_LAYERS + 1] = {};           // outputs of each layer after its activation
    float *D[MAX_LAYERS + 1] = {};           // the activation's derivative
    float *G[MAX_LAYERS + 1] = {};           // gradient by what the activation sees
    float *W[MAX_LAYERS], *b[MAX_LAYERS], *WT[MAX_LAYERS] = {};
    float *moment[2][2 * MAX_LAYERS];
    Inputs inputs;                           // of a network for tables
    float *scale_moment[2] = {};
    std::vector<float *> E_moment[2], E_grad;
    float *scale_grad = nullptr, *scratch = nullptr;  // the second for answers, once there are any
    float *whole[MAX_LAYERS] = {};           // a gradient that is clipped: of the weights, then of the biases
    double *squares[MAX_LAYERS] = {}, *norms[MAX_LAYERS] = {};  // partial sums, one a unit of 16 x 16
    long units[MAX_LAYERS];                  // of a row of those
    float *losses;
    std::vector<float *> x, grad, part;      // of each thread: a minibatch, rows of a gradient, a target's outputs
    double loss = 0, weight = 0, penalty = 0;
    bool halted = false;
    Barrier barrier;

    Work(const Network &net, const Rows &rows, const Settings &s, const Course &course, int threads) {
        const bool plain = !rows.bytes && !rows.per_feature && *rows.shift == 0 && *rows.scale == 1;
        direct = plain && !course.order && !net.embeddings;
        losses = make(s.batch);
        int widest = 0;
        for (int l = 0; l < net.layers; l++) {
            const int m = net.sizes[l], n = net.sizes[l + 1];
            const long values = (long)s.batch * padded(n);
            G[l + 1] = make(values);
            if (l + 1 < net.layers) A[l + 1] = make(values), D[l + 1] = make(values);
            if (l) WT[l] = make((long)padded(m) * padded(n));
            W[l] = place(net.W[l], m, n), b[l] = place(net.b[l], 1, n);
            for (int k = 0; k < 2; k++) {
                moment[k][2 * l] = place(course.moment[k][2 * l], m, n);
                moment[k][2 * l + 1] = place(course.moment[k][2 * l + 1], 1, n);
            }
            units[l] = padded(n) / UNIT;
            if (s.penalty) squares[l] = make<double>((padded(m) / UNIT + 1) * units[l]);
            if (s.clip) norms[l] = make<double>((padded(m) / UNIT + 1) * units[l]), whole[l] = make((m + 1l) * padded(n));
            widest = std::max(widest, padded(n));
        }
        if (const int n = net.sizes[net.layers]; s.loss == CROSS_ENTROPY && n % UNIT)
            std::fill(b[net.layers - 1] + n, b[net.layers - 1] + padded(n), LOWEST);
        inputs.place(*this, net);
        if (net.scale) {
            scale_grad = make(padded(net.sizes[0]));
            for (int k = 0; k < 2; k++) scale_moment[k] = place(course.scale_moment[k], 1, net.sizes[0]);
        }
        for (int e = 0; e < net.embeddings; e++) {
            const int numbers = net.codes[e] * net.widths[e];
            E_grad.push_back(make(padded(numbers)));
            for (int k = 0; k < 2; k++)
                E_moment[k].push_back(course.E_moment[k] ? place(course.E_moment[k][e], 1, numbers) : nullptr);
        }
        inputs.fold(net, W, b);
        for (int t = 0; t < threads; t++) {
            if (!direct) x.push_back(make((long)s.batch * net.sizes[0]));
            grad.push_back(make(2l * std::max(CACHED, UNIT * widest)));
            part.push_back(rows.targets > 1 ? make(padded(net.sizes[net.layers])) : nullptr);
        }
    }
    double &square(int l, long r, long c) { return squares[l][r * units[l] + c]; }
    double &norm(int l, long r, long c) { return norms[l][r * units[l] + c]; }
    // The sum of partial sums, in one order.
    double total(const Network &net, double *const *of, bool biases) const {
        double sum = 0;
        for (int l = 0; l < net.layers; l++)
            for (long i = 0; i < (padded(net.sizes[l]) / UNIT + biases) * units[l]; i++) sum += of[l][i];
        return sum;
    }
    bool finite(const Network &net) const {
        float sum = 0;  // 0 times what is not finite is NaN
        for (int l = 0; l < net.layers; l++)
            for (int r = 0; r <= net.sizes[l]; r++) {
                const float *p = r < net.sizes[l] ? W[l] + (long)r * padded(net.sizes[l + 1]) : b[l];
                for (int c = 0; c < net.sizes[l + 1]; c++) sum += 0 * p[c];
            }
        for (int j = 0; net.scale && j < net.sizes[0]; j++) sum += 0 * inputs.scale[j];
        for (int e = 0; e < net.embeddings; e++)
            for (int i = 0; i < net.codes[e] * net.widths[e]; i++) sum += 0 * inputs.E[e][i];
        return sum == 0;
    }
    // Copy the parameters to one vector.
    void keep(const Network &net, float *to) const {
        auto copy = [&](const float *from, long count) { memcpy(to, from, 4 * count), to += count; };
        for (int l = 0; l < net.layers; l++) {
            for (int r = 0; r < net.sizes[l]; r++) copy(W[l] + (long)r * padded(net.sizes[l + 1]), net.sizes[l + 1]);
            copy(b[l], net.sizes[l + 1]);
        }
        if (net.scale) copy(inputs.scale, net.sizes[0]);
        for (int e = 0; e < net.embeddings; e++) copy(inputs.E[e], net.codes[e] * net.widths[e]);
    }
};

}  // namespace mlpax

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,fma,prefer-vector-width=512")
#define NS avx512
#define L 16
#define CMAX 4
#include "instructions.h"
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define NS avx2
#define L 8
#define CMAX 2
#include "instructions.h"
#pragma GCC pop_options
#endif
#define NS generic
#define L 4
#if defined(__aarch64__)
#define CMAX 4
#else
#define CMAX 2
#endif
#include "instructions.h"

namespace mlpax {

struct Set {
    const char *name;
    decltype(&generic::train) train;
    decltype(&generic::answer) answer;
};

Set choose() {
#if defined(__x86_64__)
    const char *wish = getenv("MLPAX_INSTRUCTIONS");
    auto may = [&](const char *name) { return !wish || !strcmp(wish, name); };
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        may("avx512"))
        return {"avx512", avx512::train, avx512::answer};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && may("avx2"))
        return {"avx2", avx2::train, avx2::answer};
#endif
    return {"generic", generic::train, generic::answer};
}

const Set &chosen() {
    static const Set set = choose();
    return set;
}

// Move the calling thread to the t-th of this process's cores after `core`; later the system may move it again.
// By itself it often begins on the core of the thread that made it, and there the two take turns.
void spread([[maybe_unused]] int core, [[maybe_unused]] int t) {
#if defined(__linux__)
    cpu_set_t all, one;
    if (core < 0 || sched_getaffinity(0, sizeof all, &all) || CPU_COUNT(&all) < 2) return;
    for (int left = t % CPU_COUNT(&all); left; left -= CPU_ISSET(core, &all)) core = (core + 1) % CPU_SETSIZE;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    if (!sched_setaffinity(0, sizeof one, &one)) sched_setaffinity(0, sizeof all, &all);
#endif
}

int core_of_caller() {
#if defined(__linux__)
    return sched_getcpu();
#else
    return -1;
#endif
}

// Call work(t, T) on up to `wanted` threads, the caller's among them. If the system refuses a thread, there are
// fewer; the results are the same.
template <class F> void on_threads(int wanted, F work) {
    std::atomic<int> team{0};
    std::vector<std::thread> others;
    const int core = core_of_caller();
    try {
        for (int t = 1; t < wanted; t++)
            others.emplace_back([&, t] {
                spread(core, t);
                team.wait(0);
                const FlushDenormals flush;
                work(t, team.load());
            });
    } catch (const std::exception &) {
    }
    team.store((int)others.size() + 1);
    team.notify_all();
    {
        const FlushDenormals flush;
        work(0, team.load());
    }
    for (auto &other : others) other.join();
}

}  // namespace mlpax

using namespace mlpax;

extern "C" {

int32_t mlpax_version() { return MLPAX_VERSION; }
const char *mlpax_instructions() { return chosen().name; }

int32_t mlpax_train(const Network *net, const Rows *rows, const Settings *settings, const Course *course, int32_t threads,
                    const volatile int32_t *stop, double *losses) try {
    threads = std::clamp(threads, 1, settings->batch);
    Work work(*net, *rows, *settings, *course, threads);
    on_threads(threads, [&](int t, int T) {
        chosen().train(*net, *rows, *settings, *course, work, t, T, stop, losses, nullptr, nullptr);
    });
    work.give_back();
    return stop && *stop ? STOPPED : DONE;
} catch (const std::bad_alloc &) {
    return NO_MEMORY;
}

int32_t mlpax_train_members(int32_t members, const Member *all, const Rows *rows, const Measured measured[2],
                            int32_t threads, const volatile int32_t *stop) try {
    std::atomic<int> next{0};
    std::atomic<bool> lacking{false};
    on_threads(std::min(threads, members), [&](int, int) {
        for (int k; (k = next++) < members && !lacking;) try {
                const Member &m = all[k];
                Work work(*m.net, *rows, *m.settings, *m.course, 1);
                chosen().train(*m.net, *rows, *m.settings, *m.course, work, 0, 1, stop, m.losses, &m, measured);
                work.give_back();
            } catch (const std::bad_alloc &) {
                lacking = true;
            }
    });
    return lacking ? NO_MEMORY : stop && *stop ? STOPPED : DONE;
} catch (const std::bad_alloc &) {
    return NO_MEMORY;
}

int32_t mlpax_outputs(const Network *net, const Rows *rows, int64_t count, int32_t threads, float *outputs) try {
    Memory memory;
    Inputs inputs;
    float *W[MAX_LAYERS], *b[MAX_LAYERS];
    for (int l = 0; l < net->layers; l++) {
        W[l] = memory.place(net->W[l], net->sizes[l], net->sizes[l + 1]);
        b[l] = memory.place(net->b[l], 1, net->sizes[l + 1]);
    }
    inputs.place(memory, *net);
    inputs.fold(*net, W, b);
    const int blocks = (int)std::min<int64_t>((count + SOME - 1) / SOME, 1 << 20);
    threads = std::clamp(threads, 1, std::max(blocks, 1));
    std::vector<float *> scratch;
    for (int t = 0; t < threads; t++) scratch.push_back(memory.make(2l * SOME * widest(*net)));
    on_threads(threads, [&](int t, int T) {
        chosen().answer(*net, *rows, inputs, count * t / T, count * (t + 1) / T, scratch[t], outputs);
    });
    return DONE;
} catch (const std::bad_alloc &) {
    return NO_MEMORY;
}

}

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

// What the threads of a call share: a minibatch, the values and gradients of each layer, and the parameters.
struct Work : Memory {
    bool direct;                             // the data's rows are used as they lie
    float *A[MAX_LAYERS + 1] = {};           // outputs of each layer after its activation
    float *D[MAX_LAYERS + 1] = {};           // the activation's derivative
    float *G[MAX_LAYERS + 1] = {};           // gradient by what the activation sees
    float *W[MAX_LAYERS], *b[MAX_LAYERS], *WT[MAX_LAYERS] = {};
    float *moment[2][2 * MAX_LAYERS];
    float *whole[MAX_LAYERS] = {};           // a gradient that is clipped: of the weights, then of the biases
    double *squares[MAX_LAYERS] = {}, *norms[MAX_LAYERS] = {};  // partial sums, one a unit of 16 x 16
    long units[MAX_LAYERS];                  // of a row of those
    float *losses;
    std::vector<float *> x, grad;            // of each thread: a minibatch, and some rows of a gradient
    double loss = 0, weight = 0, penalty = 0;
    bool halted = false;
    Barrier barrier;

    Work(const Network &net, const Rows &rows, const Settings &s, const Course &course, int threads) {
        const bool plain = !rows.bytes && !rows.per_feature && *rows.shift == 0 && *rows.scale == 1;
        direct = plain && !course.order;
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
        for (int t = 0; t < threads; t++) {
            if (!direct) x.push_back(make((long)s.batch * net.sizes[0]));
            grad.push_back(make(2l * std::max(CACHED, UNIT * widest)));
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
        return sum == 0;
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
    on_threads(threads, [&](int t, int T) { chosen().train(*net, *rows, *settings, *course, work, t, T, stop, losses); });
    work.give_back();
    return stop && *stop ? STOPPED : DONE;
} catch (const std::bad_alloc &) {
    return NO_MEMORY;
}

int32_t mlpax_outputs(const Network *net, const Rows *rows, int64_t count, int32_t threads, float *outputs) try {
    Memory memory;
    float *W[MAX_LAYERS], *b[MAX_LAYERS];
    int widest = net->sizes[0];
    for (int l = 0; l < net->layers; l++) {
        W[l] = memory.place(net->W[l], net->sizes[l], net->sizes[l + 1]);
        b[l] = memory.place(net->b[l], 1, net->sizes[l + 1]);
        widest = std::max(widest, padded(net->sizes[l + 1]));
    }
    const int blocks = (int)std::min<int64_t>((count + SOME - 1) / SOME, 1 << 20);
    threads = std::clamp(threads, 1, std::max(blocks, 1));
    std::vector<float *> scratch;
    for (int t = 0; t < threads; t++) scratch.push_back(memory.make(2l * SOME * widest));
    on_threads(threads, [&](int t, int T) {
        chosen().answer(*net, *rows, W, b, count * t / T, count * (t + 1) / T, scratch[t], widest, outputs);
    });
    return DONE;
} catch (const std::bad_alloc &) {
    return NO_MEMORY;
}

}

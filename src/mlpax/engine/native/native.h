// Training of a multi-layer perceptron in float32, whole epochs a call: the interface for C and for Python.
//
// Nothing is checked here. `library.py` checks sizes, labels and row numbers before it calls.
#pragma once
#include <cstdint>

constexpr int MLPAX_VERSION = 3;  // of this interface
constexpr int MAX_LAYERS = 64;

enum Activation { IDENTITY, RELU, TANH, LOGISTIC, GELU, SILU, SELU, MISH };
enum Loss { CROSS_ENTROPY, BINARY_CROSS_ENTROPY, SQUARED_ERROR, ABSOLUTE_ERROR, HUBER, POISSON, POISSON_DEVIANCE };
enum Optimizer { SGD, MOMENTUM, NESTEROV, ADAM, ADAMW, RMSPROP, LION };
enum Outcome { DONE, STOPPED, NO_MEMORY };

#pragma GCC visibility push(default)
extern "C" {

struct Network {
    int32_t layers;
    int32_t sizes[MAX_LAYERS + 1];    // units, the inputs first
    int32_t activation[MAX_LAYERS];   // of each layer; of the last one IDENTITY
    float *W[MAX_LAYERS];             // (sizes[l], sizes[l + 1])
    float *b[MAX_LAYERS];             // (sizes[l + 1],)
    // A layer is gain * x W + bias_gain * b. Both gains are 1, but in a network for tables.
    float gain[MAX_LAYERS], bias_gain[MAX_LAYERS];
    // Such a network is trained by one thread, without clipping. It multiplies its inputs by scale_gain * scale.
    float *scale;                     // (sizes[0],), or null
    float scale_gain;
    int32_t embeddings;               // the last columns of X are codes: row numbers of so many embeddings,
    const int32_t *codes, *widths;    // whose rows are the last inputs
    float *const *E;                  // (codes, width) each
};

struct Rows {
    const void *X;         // (rows, columns): float32, or uint8 where `bytes`
    const void *y;         // (rows, targets) int32 labels, or (rows, outputs) float32
    const float *weight;   // (rows,), or null for 1 each
    const float *shift;    // the network sees (X - shift) * scale: one number, or one a feature
    const float *scale;
    const int32_t *classes;  // of each target of labels: their outputs stand beside each other
    int32_t targets;
    int32_t bytes, per_feature;
};

struct Settings {
    int32_t loss, optimizer, batch;
    int32_t summed;       // the gradient adds up the losses of several outputs, instead of averaging them
    int32_t epsilon_hat;  // Adam adds epsilon outside the bias correction, as scikit-learn does
    int32_t sums_steps;   // momentum sums up steps, as scikit-learn does, not gradients
    float momentum, beta_1, beta_2, epsilon;
    float decay;          // of the weights, times the weight; ADAMW and LION apply it beside the gradient
    float penalty;        // scikit-learn's alpha: penalty / 2 * sum(W^2) / sum(weight) is part of the loss
    float smoothing;      // of labels
    float clip;           // largest norm of a gradient; 0 for none
    float dropout;        // share of hidden units
    uint64_t seed;        // of the dropout
};

struct Course {
    int32_t epochs, steps;    // steps of each epoch
    int64_t updates;          // before the first
    const float *rates;       // (epochs, steps)
    const int32_t *order;     // (epochs, orders), of which the first steps * batch count; or null
    int64_t orders;
    float *moment[2][2 * MAX_LAYERS];  // of W0, b0, W1, ...: what the update rule remembers, or null
    float *scale_moment[2];
    float *const *E_moment[2];
};

// One of several networks that are trained on the same rows, each by one thread.
struct Member {
    const Network *net;
    const Settings *settings;
    const Course *course;
    double *losses;        // (epochs,)
    float *kept;           // (epochs, parameters): W0, b0, W1, ..., scale, E0, ... after each epoch; or null
    float *outputs[2];     // (epochs, count, outputs) of the measured rows after each epoch
};

struct Measured {
    const Rows *rows;
    int64_t count;         // of the first rows; 0 for none
};

int32_t mlpax_version();
const char *mlpax_instructions();  // "avx512", "avx2" or "generic"

// Train in place. `losses`, (epochs,), are the weighted means over each epoch; infinite where a parameter is
// not finite after it, and then the epochs that follow are not run. A thread of the caller's may set `stop`.
int32_t mlpax_train(const Network *, const Rows *, const Settings *, const Course *, int32_t threads,
                    const volatile int32_t *stop, double *losses);

// Train several networks, as many at a time as there are threads.
int32_t mlpax_train_members(int32_t members, const Member *, const Rows *, const Measured measured[2], int32_t threads,
                            const volatile int32_t *stop);

// The outputs of the last layer, (count, outputs), for the first `count` rows.
int32_t mlpax_outputs(const Network *, const Rows *, int64_t count, int32_t threads, float *outputs);

}
#pragma GCC visibility pop

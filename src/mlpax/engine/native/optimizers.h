// What a gradient becomes: the update rules of optax, and scikit-learn's forms of momentum and Adam.

namespace mlpax::NS {

// p, m and v after a step by gradient g. Each line rounds in one way, so that all copies of it agree.
static inline void rule(const Settings &s, const Pace &pace, float decay, V g, V &p, V &m, V &v) {
    switch (s.optimizer) {
    case SGD: p -= pace.rate * g; break;
    case MOMENTUM:
    case NESTEROV: {
        const V step = s.sums_steps ? -pace.rate * g : g;
        m = s.momentum * m + step;
        const V by = s.optimizer == NESTEROV ? step + s.momentum * m : m;
        p = s.sums_steps ? p + by : p - pace.rate * by;
        break;
    }
    case RMSPROP:
        v += (1 - s.beta_2) * (g * g - v);
        p -= pace.rate * (g / root(v + s.epsilon));
        break;
    case LION: {
        const V c = m + (1 - s.beta_1) * (g - m), sign = pick(c > 0.0f, all(1), pick(c < 0.0f, all(-1), V{}));
        m += (1 - s.beta_2) * (g - m);
        p -= pace.rate * (sign + decay * p);
        break;
    }
    default: {  // Adam and AdamW
        m += (1 - s.beta_1) * (g - m);
        v += (1 - s.beta_2) * (g * g - v);
        const V step = s.epsilon_hat ? pace.hat * m / (root(v) + s.epsilon)
                                     : m * pace.unbias_1 / (root(v * pace.unbias_2) + s.epsilon);
        p -= pace.rate * (s.optimizer == ADAMW ? step + decay * p : step);
    }
    }
}

// Update n parameters, a multiple of L. The gradient is `shrink * g + pull * p`.
static void update(const Settings &s, const Pace &pace, float shrink, float pull, float decay, const float *g, float *p,
                   float *m, float *v, int n) {
    for (int i = 0; i < n; i += L) {
        V q = load(p + i), a = m ? load(m + i) : V{}, b = v ? load(v + i) : V{};
        rule(s, pace, decay, shrink * load(g + i) + pull * q, q, a, b);
        store(p + i, q);
        if (m) store(m + i, a);
        if (v) store(v + i, b);
    }
}

}  // namespace mlpax::NS

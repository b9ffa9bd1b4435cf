"""scikit-learn's solvers as compiled programs: its rules of stopping around passes over the rows."""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.scipy.special import xlogy
from jaxtyping import Array

from mlpax.engine.xla.batches import Data, inputs
from mlpax.engine.xla.losses import LOSSES, binary_cross_entropy, correct, cross_entropy, weighted_mean
from mlpax.engine.xla.network import Params, forward
from mlpax.engine.xla.optimizers import TICKS, schedule
from mlpax.engine.xla.passes import one_pass
from mlpax.recipes import Recipe

__all__ = [
    "Held",
    "Knobs",
    "Optimizer",
    "Orders",
    "Plan",
    "Progress",
    "advance",
    "judge",
    "layers_of",
    "loss_and_gradient",
    "start",
    "unpack",
]

PyTree = Any  # of arrays

SMALLEST_RATE = 1e-6  # at which "adaptive" gives up


class Knobs(NamedTuple):
    """The traced settings, named as the estimators' parameters; changing one never recompiles."""

    alpha: float
    learning_rate_init: float
    power_t: float
    momentum: float
    beta_1: float
    beta_2: float
    epsilon: float
    weight_decay: float
    label_smoothing: float
    dropout: float | None
    tol: float
    n_iter_no_change: float
    max_iter: int


@dataclass(frozen=True)
class Plan:
    """The static settings: what shapes the program."""

    loss: str  # of losses.LOSSES
    activation: tuple[str, ...]  # of each hidden layer
    solver: Any  # "sgd", "adam", "adamw", or an optax transformation
    learning_rate: str = "constant"  # or "invscaling", "adaptive", or one of optimizers.schedule
    nesterov: bool = True
    batch_size: int = 200
    flat: bool = False  # all parameters as one vector in the update, which is quicker for small networks
    watch: str = (
        "loss"  # what stops a fit: "loss", "score", "validation_loss", or "host" for a figure from outside
    )


class Held(NamedTuple):
    """Validation rows, and the variance of each output's targets, for R²."""

    data: Data
    variance: Array  # (outputs,)


class Progress(NamedTuple):
    """What a fit carries from epoch to epoch."""

    params: Params
    opt_state: PyTree
    key: Any  # (2,) uint32, of the dropout
    step: Any  # () int32, updates done
    rate: Any  # () of the coming epoch
    seen: Any  # () rows seen, over all fits
    epoch: Any  # () int32, epochs of this fit
    best: Any  # () lowest loss, or highest score
    best_params: Params  # of the highest score
    waited: Any  # () int32, epochs that brought less than `tol`
    stopped: Any  # () bool


def adam(beta_1: Any, beta_2: Any, epsilon: Any) -> optax.GradientTransformation:
    """Adam as at the end of section 2 of Kingma & Ba 2015: epsilon outside the bias correction."""

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        t = state.count + 1
        mu = optax.tree.update_moment(updates, state.mu, beta_1, 1)
        nu = optax.tree.update_moment(updates, state.nu, beta_2, 2)
        pace = jnp.sqrt(1 - beta_2 ** (1.0 * t)) / (1 - beta_1 ** (1.0 * t))
        steps = jax.tree.map(lambda m, v: pace * m / (jnp.sqrt(v) + epsilon), mu, nu)
        return steps, optax.ScaleByAdamState(t, mu, nu)

    return optax.GradientTransformation(optax.scale_by_adam().init, update)


def rule(plan: Plan, rate: Any, knobs: Knobs) -> optax.GradientTransformationExtraArgs:
    """The update rule at this rate; of momentum, the velocity holds the rates as they were."""
    if not isinstance(plan.solver, str):
        return optax.with_extra_args_support(plan.solver)
    pace = optax.scale(-1.0 * rate)
    flatten = optax.flatten if plan.flat else lambda rule: rule
    if plan.solver == "sgd":
        steps = flatten(optax.chain(pace, optax.trace(knobs.momentum, plan.nesterov)))
    else:
        steps = flatten(adam(knobs.beta_1, knobs.beta_2, knobs.epsilon))
        if plan.solver == "adamw":
            weights = partial(jax.tree.map, lambda p: jnp.ndim(p) > 1)  # not the biases
            steps = optax.chain(steps, optax.add_decayed_weights(knobs.weight_decay, weights))
        steps = optax.chain(steps, pace)
    return optax.with_extra_args_support(steps)


def start(plan: Plan, params: Params, knobs: Knobs) -> PyTree:
    """The update rule's state before the first step, on the host."""
    if not isinstance(plan.solver, str):
        return jax.device_get(rule(plan, 0.0, knobs).init(params))
    return _zeros(plan, params[0][0].dtype, *(W.shape for W, _ in params))


@functools.cache  # a trace costs as much as the fit of a small table
def _zeros(plan: Plan, dtype: Any, *shapes: tuple[int, int]) -> PyTree:
    """The state that all of ours start from: zeros, for which nothing is compiled."""
    knobs: Any = Knobs._make([0.5] * len(Knobs._fields))  # whose values do not matter here
    params = [(np.zeros((m, n), dtype), np.zeros(n, dtype)) for m, n in shapes]
    state = jax.eval_shape(rule(plan, 0.0, knobs).init, params)
    return jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), state)


def per_example(plan: Plan, outputs: Array, y: Array, smoothing: Any) -> Array:
    """scikit-learn's loss of each row, (batch,), of its value and of its gradient.

    Those differ for a regression of several outputs: its value is their mean, its gradient that of the sum.
    """
    if plan.loss == "cross_entropy":
        return cross_entropy(outputs, y, smoothing)
    if plan.loss == "binary_cross_entropy":
        return binary_cross_entropy(outputs, y * (1 - smoothing) + smoothing / 2)
    mean = LOSSES[plan.loss](outputs, y)
    total = outputs.shape[1] * mean
    if plan.loss == "poisson":
        return total + jnp.sum(xlogy(y, y) - y, axis=1)  # half the deviance
    return total + lax.stop_gradient(mean - total)


def penalised(
    plan: Plan, knobs: Knobs, params: Params, X: Array, y: Array, w: Array, key: Array | None = None
) -> Array:
    """Mean loss of a minibatch, and the squared weights' share of it: `alpha / 2 ‖W‖² / sum(w)`."""
    outputs = forward(params, X, activation=plan.activation, dropout=knobs.dropout, key=key)
    total = jnp.sum(w)
    each = jnp.where(total > 0, 1 / jnp.maximum(total, jnp.finfo(w.dtype).tiny), 0)
    squares = sum(jnp.vdot(W, W) for W, _ in params)
    return weighted_mean(per_example(plan, outputs, y, knobs.label_smoothing), w) + (
        knobs.alpha * each * (0.5 * squares)
    )


def measured(plan: Plan, params: Params, held: Held) -> dict[str, Array]:
    """Accuracy or R², and the loss without its penalty, of the validation rows."""
    y, w = held.data.y, held.data.weight
    outputs = forward(params, inputs(held.data, held.data.X), activation=plan.activation)
    loss = weighted_mean(per_example(plan, outputs, y, 0.0), w)
    if plan.loss == "cross_entropy":
        score = weighted_mean(correct(outputs, y).astype(w.dtype), w)
    elif plan.loss == "binary_cross_entropy":
        right = jnp.all((outputs > 0) == (y > 0.5), axis=1)
        score = weighted_mean(right.astype(w.dtype), w)
    else:
        predicted = jnp.exp(outputs) if plan.loss == "poisson" else outputs
        error = jax.vmap(weighted_mean, (1, None))((predicted - y) ** 2, w)  # (outputs,)
        varied = held.variance > 0  # else scikit-learn's R² is 1 if all is right, and 0
        score = jnp.mean(jnp.where(varied, 1 - error / jnp.where(varied, held.variance, 1), error == 0))
    return {"score": score, "validation_loss": loss}


def followed(plan: Plan, knobs: Knobs, progress: Progress, value: Array) -> Progress:
    """After an epoch of this value of what is watched: best so far, epochs waited, rate, whether to stop."""
    sign = -1 if plan.watch in ("loss", "validation_loss") else 1
    gain, best = sign * value, sign * progress.best
    # As scikit-learn has it: a loss must fall by more than tol, a score rise by tol; NaN resets.
    short = gain < best + knobs.tol
    better = gain > best
    waited = jnp.where(short, progress.waited + 1, 0)
    best_params = progress.best_params
    if plan.watch != "loss":
        best_params = jax.tree.map(partial(jnp.where, better), progress.params, best_params)
    rate = progress.rate
    if plan.learning_rate == "invscaling":
        rate = knobs.learning_rate_init / (progress.seen + 1) ** knobs.power_t
    stopped = waited > knobs.n_iter_no_change
    if plan.learning_rate == "adaptive":
        again = stopped & (rate > SMALLEST_RATE)
        rate, waited, stopped = (
            jnp.where(again, rate / 5, rate),
            jnp.where(again, 0, waited),
            stopped & ~again,
        )
    return progress._replace(
        best=jnp.where(better, value, progress.best),
        best_params=best_params,
        waited=waited,
        rate=1.0 * rate,
        stopped=stopped.astype(bool),  # not weakly typed: the next call is the same program's
    )


judge = jax.jit(followed, static_argnums=0)


@partial(jax.jit, static_argnames=("plan", "epochs"))
def advance(
    progress: Progress,
    data: Data,
    held: Held | None,
    orders: Array | None,
    knobs: Knobs,
    *,
    plan: Plan,
    epochs: int,
) -> tuple[Progress, dict[str, Array]]:
    """Up to `epochs` epochs and scikit-learn's stopping rule, in one program.

    Parameters
    ----------
    progress : Progress
    data : Data
        The training rows (`place`).
    held : Held, optional
        Rows to measure after each epoch.
    orders : array of shape (epochs, bucket), int32, or None
        The rows' order in each epoch; None takes them as they lie.
    knobs, plan
        Traced and static settings.

    Returns
    -------
    progress : Progress
    curves : dict of arrays of shape (epochs,)
        `loss`, and of `held` `score` and `validation_loss`; NaN for the epochs not run.
    """
    factor, first = _factor(plan), progress.epoch
    total = 1.0 * knobs.max_iter * data.steps

    def run(carry: Any) -> Any:
        progress, curves = carry
        k = progress.epoch - first  # epochs of this call

        def mean_loss(params: Params, X: Array, y: Array, w: Array, step: Array) -> Array:
            key = None if knobs.dropout is None else jax.random.fold_in(progress.key, step)
            return penalised(plan, knobs, params, X, y, w, key)

        def rule_at(step: Array) -> Any:
            return rule(plan, progress.rate * factor((step + 0.5) * (TICKS / total)), knobs)

        params, opt_state, step, loss = one_pass(
            progress.params, progress.opt_state, progress.step, data,
            None if orders is None else orders[k], plan.batch_size, mean_loss, rule_at,
        )  # fmt: skip
        progress = progress._replace(
            params=params,
            opt_state=opt_state,
            step=step,
            seen=progress.seen + data.n,
            epoch=progress.epoch + 1,
        )
        figures = {"loss": loss} | ({} if held is None else measured(plan, params, held))
        if plan.watch != "host":
            progress = followed(plan, knobs, progress, figures[plan.watch])
        return progress, {name: curves[name].at[k].set(value) for name, value in figures.items()}

    def due(carry: Any) -> Array:
        progress, _ = carry
        return (progress.epoch < first + epochs) & (progress.epoch < knobs.max_iter) & ~progress.stopped

    names = ("loss",) if held is None else ("loss", "score", "validation_loss")
    curves = {name: jnp.full(epochs, jnp.nan, data.weight.dtype) for name in names}
    return lax.while_loop(due, run, (progress, curves))


def _factor(plan: Plan) -> Callable[[Any], Any]:
    """The rate's course over a fit of `TICKS`, where it is one of optax's schedules."""
    if plan.learning_rate in ("linear", "cosine", "one_cycle"):
        return schedule(Recipe(schedule=plan.learning_rate, warmup=0.1))
    return lambda t: 1.0


@partial(jax.jit, static_argnames=("plan", "sizes"))
def loss_and_gradient(
    vector: Array, data: Data, knobs: Knobs, *, plan: Plan, sizes: tuple[int, ...]
) -> tuple[Array, Array]:
    """The penalised loss over all rows and its gradient, for parameters laid out in one vector."""

    def loss(vector: Array) -> Array:
        X = inputs(data, data.X)
        return penalised(plan, knobs, unpack(vector, sizes), X, data.y, data.weight)

    return jax.value_and_grad(loss)(vector)


def unpack(vector: Any, sizes: tuple[int, ...]) -> list[tuple[Any, Any]]:
    """(W, b) of each layer, out of one vector of them all."""
    params: list[tuple[Any, Any]] = []
    start = 0
    for m, n in itertools.pairwise(sizes):
        middle, end = start + m * n, start + (m + 1) * n
        params.append((vector[start:middle].reshape(m, n), vector[middle:end]))
        start = end
    return params


def layers_of(coefs: Any, intercepts: Any, dtype: Any) -> Any:
    """The network as (W, b) of each layer."""
    return [(W.astype(dtype), b.astype(dtype)) for W, b in zip(coefs, intercepts, strict=True)]


class Optimizer(NamedTuple):
    """Where the solver stands, for `partial_fit` to go on from."""

    learning_rate: float  # of the next step
    state: Any
    key: np.ndarray
    step: Any
    of: tuple[Any, str]  # solver and dtype that the state is of


class Orders:
    """The rows' order of each epoch, drawn as scikit-learn draws them: each shuffles the one before."""

    def __init__(self, generator: Any, rows: int, bucket: int):
        self.generator, self.bucket = generator, bucket
        self.order = np.arange(rows)
        self.before: Any = None

    def next(self, epochs: int, count: int) -> np.ndarray:
        """The next `count` orders, of shape (epochs, bucket) with padding rows last."""
        self.before = self.generator.get_state(), self.order, count
        return self._draw(epochs, count)

    def _draw(self, epochs: int, count: int) -> np.ndarray:
        orders = np.empty((epochs, self.bucket), np.int32)
        orders[:] = np.arange(self.bucket)
        for k in range(count):
            shuffled = np.arange(len(self.order))
            self.generator.shuffle(shuffled)
            self.order = self.order[shuffled]
            orders[k, : len(self.order)] = self.order
        return orders

    def rewind(self, ran: int) -> None:
        """Leave the generator as if only those had been drawn that were used."""
        state, order, count = self.before
        if ran < count:
            self.generator.set_state(state)
            self.order = order
            self._draw(ran, ran)

"""The best epoch, when to stop, and the rate on a plateau: one rule for NumPy and for JAX."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mlpax.engine.plan import Hyper, Plan

if TYPE_CHECKING:
    from types import ModuleType

    from jax import Array

__all__ = ["Watch", "due", "follow", "sure"]

SMALLEST_RATE = 1e-6  # scikit-learn's "adaptive" gives up below it
PLATEAU = 3  # epochs without improvement that halve the rate of "plateau"


class Watch(NamedTuple):
    """What the stopping rule remembers from epoch to epoch. All are scalars, of NumPy or of JAX."""

    value: "Array"  # best figure so far, larger is better
    epoch: "Array"  # epoch of it, int32; 0 before the first
    waited: "Array"  # epochs without improvement, int32
    stalled: "Array"  # epochs on the plateau, int32
    rate: "Array"  # factor of the learning rate
    stopped: "Array"  # bool

    @staticmethod
    def start(dtype: npt.DTypeLike = np.float32) -> "Watch":
        """Return the watch before the first epoch."""
        kind: Any = np.dtype(dtype).type
        zero: Any = np.int32(0)
        never: Any = np.False_
        return Watch(kind(-np.inf), zero, zero, zero, kind(1), never)


def due(
    epoch: "int | Array", stopped: "bool | Array", loss: "float | Array", hyper: Hyper, plan: Plan
) -> "bool | Array":
    """Return whether another epoch is due after `epoch` of them, for traced values and for plain ones."""
    ahead = (epoch < hyper.epochs) & (stopped ^ True)  # a `not` for both kinds
    # scikit-learn goes on after a loss that is not finite: an earlier epoch may be kept.
    return ahead if plan.stopping == "tolerance" else ahead & (abs(loss) < float("inf"))


def sure(watch: Watch, hyper: Hyper, plan: Plan) -> int:
    """Return how many epochs are due whatever their figures are: the rule cannot end the training before."""
    if plan.stopping == "never":
        return 1 << 30
    left = hyper.patience - int(watch.waited) + (plan.stopping == "tolerance")
    return int(max(1, min(left, 1 << 30)))


def follow(
    watch: Watch, value: "float | Array", epoch: "int | Array", hyper: Hyper, plan: Plan, xp: "ModuleType"
) -> "tuple[Watch, Array]":
    """Return the watch after an epoch, and whether it is the best so far.

    With `plan.stopping` "patience" an epoch is better if its figure exceeds the best by more than
    `min_delta`, and training stops after `patience` epochs without a better one. With "tolerance" it stops
    as scikit-learn does: after more than `patience` epochs in a row that gain less than `min_delta`. NaN is
    never better.

    Parameters
    ----------
    watch : Watch
    value : scalar
        The monitored figure, larger is better.
    epoch : int
        Number of the epoch just done, 1 for the first.
    hyper, plan
    xp : module
        `numpy` or `jax.numpy`.
    """
    if plan.stopping == "tolerance":
        better = value > watch.value
        waited = xp.where(value < watch.value + hyper.min_delta, watch.waited + 1, 0)
        stopped = waited > hyper.patience
    else:
        better = value > watch.value + hyper.min_delta
        waited = xp.where(better, 0, watch.waited + 1)
        stopped = (waited >= hyper.patience) & (plan.stopping == "patience")
    rate, stalled = watch.rate, watch.stalled
    if plan.schedule == "plateau":
        stalled = xp.where(better, 0, stalled + 1)
        rate = xp.where(stalled >= PLATEAU, rate / 2, rate)
        stalled = xp.where(stalled >= PLATEAU, 0, stalled)
    if plan.schedule == "adaptive":  # instead of stopping, until the rate is too small
        falls = stopped & (hyper.learning_rate * rate > SMALLEST_RATE)
        rate = xp.where(falls, rate / 5, rate)
        waited = xp.where(falls, 0, waited)
        stopped = stopped & ~falls
    new = Watch(
        value=xp.where(better, value, watch.value),
        epoch=xp.where(better, epoch, watch.epoch),
        waited=waited,
        stalled=stalled,
        rate=rate,
        stopped=stopped,
    )
    # The same types as before, or the next call would compile again.
    kept = [xp.asarray(n, o.dtype) for n, o in zip(new, watch, strict=True)]
    return Watch(*kept), better

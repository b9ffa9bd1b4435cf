"""Several networks in one program: their epochs under `vmap`, with the loop over epochs outside."""

import time
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from mlpax.engine import stopping
from mlpax.engine.metrics import joined
from mlpax.engine.plan import Hyper, Objective, Plan, Pytree, direction
from mlpax.engine.population import Run
from mlpax.engine.rows import Data, Orders
from mlpax.engine.state import DIVERGED, Joint, State
from mlpax.engine.waiting import heard
from mlpax.engine.xla.epoch import QUICK, epoch, evaluate, let_go, settings_of_ours
from mlpax.engine.xla.mesh import AXIS, mesh_of, on_all, replicated
from mlpax.engine.xla.objective import objective_of, per_example

__all__ = ["Carry", "ensemble_of", "members_epochs", "population_of"]


CACHE = 2**23  # bytes of parameters and their update rules

Tree = TypeVar("Tree")

Every = tuple[State, Hyper, Array | None]  # of all members, the orders if they have their own
Shared = tuple[Data, Data | None, Array | None]


class Carry(NamedTuple):
    """What the loop over epochs carries."""

    done: Array  # () epochs of this call
    state: State
    trained: Array  # (epochs, members) bool
    alive: Array  # (epochs, members) bool: who has not diverged
    losses: Array  # (epochs, members)
    held: Array  # (epochs, members), see `Joint`
    figures: dict[str, Array]  # (epochs, ensembles)


def population_of(
    data: Data,
    valid: Data | None,
    plan: Plan,
    hyper: Hyper,
    orders: Orders | None,
    state: State,
    count: int,
    ensembles: int = 1,
    devices: int = 1,
) -> Run:
    """Return the function that runs up to so many epochs from a population's state, at most `count`.

    The members are spread over so many devices, which must divide their number. See
    `mlpax.engine.native.population.population_of` for the other arguments.
    """
    let_go(run_members)
    chunk = members_at_a_time(state)
    mesh = mesh_of(devices) if devices > 1 else None
    data, valid = replicated((data, valid), mesh) if mesh else jax.device_put((data, valid))
    static = {"plan": plan, "count": count, "chunk": chunk, "ensembles": ensembles, "mesh": mesh}

    def run(state: State, due: int) -> Joint:
        due = min(count, due)
        order = orders(int(np.max(np.asarray(state.epoch))), max(due, 1)) if orders else None
        if order is not None and len(order) < count:
            order = np.concatenate([order, np.zeros((count - len(order), *order.shape[1:]), np.int32)])
        with settings_of_ours():
            start = time.perf_counter()
            carry = run_members(state, data, valid, order, hyper, due, **static)
            heard(carry.done.block_until_ready)
            seconds = time.perf_counter() - start
        return Joint(carry.state, *_figures(carry), seconds)

    run(state, 0)  # compiles
    return run


def members_at_a_time(state: State) -> int:
    """Return how many members' parameters and update rules a CPU's caches hold; all of them elsewhere."""
    members = len(state.epoch)
    size = sum(np.size(a) for a in jax.tree.leaves((state.params, state.opt_state))) * 4 // members
    return members if jax.default_backend() != "cpu" else max(1, min(members, CACHE // max(size, 1)))


def _figures(carry: Carry) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return losses, held figures and the ensembles' of the epochs that were run, as `Joint` has them."""
    ran = int(carry.done)
    trained, alive, losses, held = (np.asarray(array)[:ran] for array in carry[2:6])
    losses = np.where(trained, np.where(np.isfinite(losses), losses, np.inf), np.nan)
    figures = {name: np.asarray(values)[:ran] for name, values in carry.figures.items()}
    return losses, np.where(alive, held, np.nan), figures


def members_epochs(
    state: State,
    data: Data,
    valid: Data | None,
    orders: Array | None,
    hyper: Hyper,
    due: Array | int,
    *,
    plan: Plan,
    count: int,
    chunk: int,
    ensembles: int = 1,
    mesh: Mesh | None = None,
) -> Carry:
    """Run up to `due` epochs of all members, at most `count`.

    Minibatches are shared. A member whose training has ended, or whose loss is not finite, is frozen.

    Parameters
    ----------
    state : State
        All arrays with an axis of the members first.
    data, valid : Data
    orders : array of shape (count, bucket), int32, or None
        The rows' order of each epoch; (count, members, bucket) if each member has an order of its own.
    hyper : Hyper
        Of numbers, or of arrays of shape (members,).
    due, plan, count
    chunk : int
        Members that are trained at a time; the others wait for the next turn in every epoch.
    ensembles : int, default 1
        How many the members make up, as many members each.
    mesh : Mesh, optional
        Devices that train as many members each. All of them get all results.

    Returns
    -------
    Carry
        Figures are 0 for epochs that were not run, and of members that were not trained.
    """
    members = state.epoch.shape[0]
    dtype = data.weight.dtype
    hypers = jax.tree.map(lambda value: jnp.broadcast_to(value, (members,)), hyper)
    sign = direction(plan.monitor)
    measured = [(part, rows) for part, rows in (("train", data), ("valid", valid)) if rows is not None]

    def is_due(state: State) -> Array:
        zero = jnp.zeros(members, dtype)
        return jnp.asarray(stopping.due(state.epoch, state.watch.stopped, zero, hypers, plan))

    def run(carry: Carry) -> Carry:
        k, live = carry.done, is_due(carry.state)
        order = None if orders is None else orders[k]
        state, found = _epoch_of_each(carry.state, data, valid, order, hypers, plan, chunk, mesh)
        lost = ~jnp.isfinite(found["loss"])
        state = frozen(live, _left_out(lost, state, carry.state), carry.state)
        figures = {
            name: value
            for part, rows in measured
            for name, value in _of_ensembles(part, rows, state, hyper, plan, ensembles).items()
        }
        held = sign * state.watch.value
        if plan.stopping == "never":
            before = jnp.where(k > 0, carry.held[k - 1], held)
            held = jnp.where(live & ~lost, found[plan.monitor], before)
        return Carry(
            k + 1,
            state,
            trained=carry.trained.at[k].set(live),
            alive=carry.alive.at[k].set(state.watch.waited != DIVERGED),
            losses=carry.losses.at[k].set(jnp.where(live, found["loss"], 0)),
            held=carry.held.at[k].set(held),
            figures={name: values.at[k].set(figures[name]) for name, values in carry.figures.items()},
        )

    start = Carry(
        jnp.int32(0),
        state,
        jnp.zeros((count, members), bool),
        jnp.zeros((count, members), bool),
        jnp.zeros((count, members), dtype),
        jnp.zeros((count, members), dtype),
        {name: jnp.zeros((count, ensembles), dtype) for name in plan.figures},
    )
    carry = lax.while_loop(lambda c: (c.done < due) & jnp.any(is_due(c.state)), run, start)
    return lax.with_sharding_constraint(carry, NamedSharding(mesh, PartitionSpec())) if mesh else carry


def _epoch_of_each(
    state: State,
    data: Data,
    valid: Data | None,
    order: Array | None,
    hypers: Hyper,
    plan: Plan,
    chunk: int,
    mesh: Mesh | None,
) -> tuple[State, dict[str, Array]]:
    """Train and measure an epoch of all members, `chunk` at a time."""
    own = order is not None and order.ndim == 2

    def all_of(every: Every, shared: Shared) -> tuple[State, dict[str, Array]]:
        data, valid, order = shared

        def one(member: Every) -> tuple[State, dict[str, Array]]:
            state, hyper, order_of_its_own = member
            return epoch(state, data, valid, order_of_its_own if own else order, hyper, plan=plan)

        few = chunk >= len(every[0].epoch)
        return jax.vmap(one)(every) if few else lax.map(one, every, batch_size=chunk)

    every, shared = (state, hypers, order if own else None), (data, valid, None if own else order)
    if mesh:
        each = PartitionSpec(AXIS)
        return on_all(mesh, all_of, each, PartitionSpec(), results=each)(every, shared)
    return all_of(every, shared)


def _left_out(lost: Array, new: State, old: State) -> State:
    """Mark the members that have diverged. They get back the parameters that they had before the epoch."""
    params, rule, best = (
        frozen(~lost, getattr(new, name), getattr(old, name)) for name in ("params", "opt_state", "best")
    )
    waited = jnp.where(lost, DIVERGED, new.watch.waited)
    watch = new.watch._replace(waited=waited, stopped=new.watch.stopped | lost)
    return new._replace(params=params, opt_state=rule, best=best, watch=watch)


def frozen(live: Array, new: Tree, old: Tree) -> Tree:
    """Return the new arrays of the members that are live, and the old ones of the others."""

    def pick(n: Array, o: Array) -> Array:
        return jnp.where(live.reshape(live.shape + (1,) * (jnp.ndim(n) - 1)), n, o)

    return jax.tree.map(pick, new, old)


def _of_ensembles(
    part: str, rows: Data, state: State, hyper: Hyper, plan: Plan, ensembles: int
) -> dict[str, Array]:
    """Return the figures of the members of each ensemble together, as they would be kept now."""
    metrics = tuple(f.removeprefix(f"{part}_") for f in plan.figures if f.startswith(f"{part}_"))
    if not metrics:
        return {}
    kept = state.params
    if plan.answers_with_best:
        kept = frozen(state.watch.epoch > 0, state.best, state.params)

    def one(own: tuple[Pytree, Array]) -> dict[str, Array]:
        kept, alive = own
        found = evaluate(kept, rows, hyper, metrics, plan=plan, objective=ensemble_of(plan, alive))
        return {name: jnp.where(alive.any(), value, jnp.nan) for name, value in found.items()}

    every = kept, state.watch.waited != DIVERGED
    each = jax.vmap(one)(jax.tree.map(lambda a: a.reshape((ensembles, -1, *a.shape[1:])), every))
    return {f"{part}_{metric}": each[metric] for metric in metrics}


def ensemble_of(plan: Plan, alive: Array) -> Objective:
    """Return the objective of members together, of which those `alive` count.

    Its parameters are the members', stacked.
    """
    of_member = objective_of(plan)

    def predict(params: Pytree, X: Array) -> Array:
        each = jax.vmap(of_member.predict, in_axes=(0, None))(params, X)
        if plan.loss == "poisson_deviance":  # whose predictions are rates, not their logarithms
            return jnp.exp(joined(jnp.log(each), alive, plan, jnp))
        return joined(each, alive, plan, jnp)

    def loss(params: Pytree, X: Array, y: Array, key: Array | None, hyper: Hyper) -> Array:
        found = predict(params, X)
        return per_example(plan, jnp.log(found) if plan.loss == "poisson_deviance" else found, y, hyper)

    return Objective(loss, predict)


run_members = jax.jit(
    members_epochs, static_argnames=("plan", "count", "chunk", "ensembles", "mesh"), compiler_options=QUICK
)

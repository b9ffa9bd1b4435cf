"""Train one network on several devices: each holds its own rows, and they add up loss and gradient.

The devices may belong to one process or to several. A minibatch is the union of those of the devices. In each
step they exchange one message: the sum of the losses and gradients.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from mlpax.engine.plan import Hyper, Plan, Pytree
from mlpax.engine.rows import Data, bucket, dealt
from mlpax.engine.state import State
from mlpax.engine.xla.epoch import QUICK, Programs, epochs, let_go, measure, train_pass
from mlpax.errors import InputError, counted

__all__ = ["AXIS", "cannot_pay", "local_devices", "mesh_of", "on_all", "place", "programs_of",
           "replicated"]  # fmt: skip

AXIS = "devices"
# Measured with two processes on two cores: the floating-point operations a second of large products, and the
# milliseconds of an all-reduce by gloo, and of each number in it.
ARITHMETIC, MESSAGE, NUMBER = 2e11, 0.2, 3.3e-6
WHOLE, SPLIT = PartitionSpec(), PartitionSpec(AXIS)
_SPECS: dict[str, Any] = {
    name: SPLIT if name in ("X", "y", "weight", "counted") else WHOLE for name in Data._fields
}
ROWS = Data(**_SPECS)  # how `place` lays out its arrays


def local_devices() -> list[Any]:
    """Return the devices of this process that are of the kind where JAX computes now."""
    kind = next(iter(jnp.zeros(()).devices())).platform  # of the default device, see `on_device`
    return jax.local_devices(backend=kind)


def mesh_of(devices: int) -> Mesh:
    """Return a mesh of so many devices, as many of each process.

    Raises
    ------
    InputError
        If there are fewer, or the processes cannot have as many each.
    """
    processes, here = jax.process_count(), local_devices()
    each, rest = divmod(devices, processes)
    kind = here[0].platform
    if rest or each == 0:
        raise InputError(
            f"devices {devices} cannot be shared evenly by {processes} processes; start {devices} processes"
        )
    if each > len(here):
        raise InputError(
            f"a training on {devices} devices needs {each} in each process, and JAX has"
            f" {counted(len(here), f'{kind} device')} here; go on where they are, or train anew"
        )
    every = [[d for d in jax.devices(kind) if d.process_index == p][:each] for p in range(processes)]
    return Mesh(np.array(every).ravel(), (AXIS,))


def cannot_pay(params: Pytree, batch_size: int, devices: int) -> str:
    """Return a line that says why several CPUs train slower than one; "" if they may be quicker.

    Parameters
    ----------
    params : pytree of arrays
    batch_size : int
        Rows of a minibatch on each device.
    devices : int
    """
    if local_devices()[0].platform != "cpu":
        return ""
    if jax.process_count() == 1:
        return f"{devices} devices of one CPU share its cores and train slower than one; leave out devices"
    numbers = sum(np.size(leaf) for leaf in jax.tree.leaves(params))
    saved = 6 * numbers * batch_size * (devices - 1) / ARITHMETIC * 1e3
    sent = MESSAGE + numbers * NUMBER
    if saved > sent:
        return ""
    return (
        f"{devices} devices may train slower than one: each step sends {numbers:,} numbers, which takes about"
        f" {sent:.2g} ms, and saves about {saved:.2g} ms of arithmetic; larger minibatches pay"
    )


def place(data: Data, mesh: Mesh, batch_size: int) -> Data:
    """Return rows on their devices; each process uploads those of its own devices alone.

    Parameters
    ----------
    data : Data
        All rows, on the host, or those of this process's devices (`rows.place_shares`).
    mesh : Mesh
    batch_size : int
        Rows of a minibatch on each device.

    Returns
    -------
    Data
        `X`, `y` and `weight` have the rows of the devices one after the other, and `counted` is an array of
        shape (devices,).
    """
    n, devices = int(data.n), mesh.size
    size = bucket(math.ceil(n / devices), batch_size)
    shared = np.ndim(data.counted) > 0  # the rows are those of the devices here
    first = jax.process_index() * len(mesh.local_devices)

    def rows(array: np.ndarray, fill: float | None = None) -> Any:
        def own(index: Any) -> np.ndarray:
            device = (index[0].start or 0) // size
            if shared:
                return array[(device - first) * size : (device - first + 1) * size]
            return dealt(array, n, device, devices, size, fill=fill)

        shape = devices * size, *array.shape[1:]
        return jax.make_array_from_callback(shape, NamedSharding(mesh, SPLIT), own)

    each = data.counted
    if not shared:
        each = [len(range(device, int(data.counted), devices)) for device in range(devices)]
    return data._replace(
        X=rows(data.X),
        y=rows(data.y),
        weight=rows(data.weight, fill=0.0),
        counted=cast(Any, _split(np.array(each, np.int32), mesh, SPLIT)),
    )


def _split(array: np.ndarray, mesh: Mesh, spec: PartitionSpec) -> Array:
    """Return an array of the host with its parts on their devices."""
    return jax.make_array_from_callback(array.shape, NamedSharding(mesh, spec), lambda index: array[index])


def replicated(tree: Pytree, mesh: Mesh) -> Any:
    """Return arrays of the host with a copy on every device of a mesh."""
    return jax.tree.map(lambda array: _split(np.asarray(array), mesh, WHOLE), tree)


def programs_of(mesh: Mesh) -> Programs:
    """Return the compiled functions for a mesh."""
    let_go(_pass, _measure, _epochs)

    def run_pass(
        state: State, data: Data, order: np.ndarray | None, hyper: Hyper, *, plan: Plan
    ) -> tuple[State, Array]:
        placed = None if order is None else _split(order, mesh, SPLIT)
        return _pass(state, data, placed, hyper, plan=plan, mesh=mesh)

    def run_epochs(
        state: State, data: Data, valid: Data | None, orders: np.ndarray | None, hyper: Hyper, *, plan: Plan,
        count: int,
    ) -> tuple[State, dict[str, Array]]:  # fmt: skip
        placed = None if orders is None else _split(orders, mesh, PartitionSpec(None, AXIS))
        return _epochs(state, data, valid, placed, hyper, plan=plan, count=count, mesh=mesh)

    return Programs(run_pass, partial(_measure, mesh=mesh), run_epochs)


def on_all(
    mesh: Mesh, function: Callable[..., Any], *specs: Any, results: PartitionSpec = WHOLE
) -> Callable[..., Any]:
    """Return a function that runs on every device, on its part of the arguments.

    The results are parts, too, or by default equal on all devices.
    """
    # Nothing tells JAX that what was summed over the devices is equal on all of them, so it cannot check.
    return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=results, check_vma=False)


def _rows(data: Data | None) -> object:
    return WHOLE if data is None else ROWS


def _own(data: Data) -> Data:
    """Return the rows of one device."""
    return data._replace(counted=data.counted[0])  # type: ignore[index]


@partial(jax.jit, static_argnames=("plan", "mesh"), compiler_options=QUICK)
def _pass(
    state: State, data: Data, order: Array | None, hyper: Hyper, *, plan: Plan, mesh: Mesh
) -> tuple[State, Array]:
    def one(state: State, data: Data, order: Array | None, hyper: Hyper) -> tuple[State, Array]:
        return train_pass(state, _own(data), None if order is None else order[0], hyper, plan=plan, axis=AXIS)

    return on_all(mesh, one, WHOLE, ROWS, SPLIT, WHOLE)(state, data, order, hyper)


@partial(jax.jit, static_argnames=("plan", "mesh"))
def _measure(
    state: State, loss: Array, data: Data, valid: Data | None, hyper: Hyper, *, plan: Plan, mesh: Mesh
) -> tuple[State, dict[str, Array]]:
    def one(state: State, loss: Array, data: Data, valid: Data | None, hyper: Hyper) -> Any:
        valid = None if valid is None else _own(valid)
        return measure(state, loss, _own(data), valid, hyper, plan=plan, axis=AXIS)

    return on_all(mesh, one, WHOLE, WHOLE, ROWS, _rows(valid), WHOLE)(state, loss, data, valid, hyper)


@partial(jax.jit, static_argnames=("plan", "count", "mesh"))
def _epochs(
    state: State, data: Data, valid: Data | None, orders: Array | None, hyper: Hyper, *, plan: Plan,
    count: int, mesh: Mesh,
) -> tuple[State, dict[str, Array]]:  # fmt: skip
    def one(state: State, data: Data, valid: Data | None, orders: Array | None, hyper: Hyper) -> Any:
        valid = None if valid is None else _own(valid)
        own = None if orders is None else orders[:, 0]
        return epochs(state, _own(data), valid, own, hyper, plan=plan, count=count, axis=AXIS)

    specs = WHOLE, ROWS, _rows(valid), PartitionSpec(None, AXIS), WHOLE
    return on_all(mesh, one, *specs)(state, data, valid, orders, hyper)

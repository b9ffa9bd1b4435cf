"""Where a network is trained: a device of JAX by its name."""

from collections.abc import Generator
from contextlib import contextmanager

from mlpax.engine.forward import has_accelerator
from mlpax.errors import InputError

__all__ = ["backend_on", "on_device"]


def backend_on(device: str | None, backend: str = "auto") -> str:
    """Return the backend that trains on a device. Only XLA trains elsewhere than on the CPU.

    Parameters
    ----------
    device : str, optional
        "cpu", "gpu", or one of several by its number from 0, "gpu:1". Without, the backend decides.
    backend : {"auto", "native", "xla"}
        The one that the user asks for.

    Raises
    ------
    InputError
        If the native backend is asked for on another device than "cpu".
    """
    if device in (None, "cpu"):
        return backend
    if backend == "native":
        raise InputError(f"backend 'native' trains on the cpu, not on {device}; leave out one of the two")
    return "xla"


@contextmanager
def on_device(device: str | None) -> Generator[None]:
    """Let JAX compute on a device, see `backend_on`. Without a name, leave it to JAX.

    Raises
    ------
    InputError
        If this machine has no such device.
    """
    if device is None or (device == "cpu" and not has_accelerator()):  # JAX need not be loaded
        yield
        return
    import jax

    from mlpax.engine.xla.prediction import device_of

    with jax.default_device(device_of(device)):
        yield

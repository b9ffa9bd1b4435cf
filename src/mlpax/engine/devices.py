"""Where a network is trained: a device of JAX by its name."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from mlpax import hosts
from mlpax.engine.forward import has_accelerator
from mlpax.errors import InputError, counted

__all__ = ["backend_on", "devices_of", "on_device", "settings_on"]


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


def devices_of(each: str | int | None, device: str | None = None) -> int | None:
    """Return how many devices train together: those of one process, times the processes.

    Parameters
    ----------
    each : str or int, optional
        Devices of each process, or "all". By default one; of several processes all.
    device : str, optional
        Their kind, see `backend_on`.

    Returns
    -------
    int or None
        None if nothing says how many.

    Raises
    ------
    InputError
        If the text is no number, there are fewer devices, or `device` names one of several.
    """
    if each is None:
        if hosts.count() == 1:
            return None
        each = 1 if device and ":" in device else "all"
    text = str(each)
    if text != "all" and not (text.isdecimal() and int(text) > 0):
        raise InputError(f"devices {text!r} is neither a number nor all; write 2, or all")
    if text == "1":
        return hosts.count()
    if device and ":" in device:
        raise InputError(f"device {device} is one, and devices {text} are several; name their kind alone")
    with on_device(device):
        from mlpax.engine.xla.mesh import local_devices

        here = local_devices()
    if text != "all" and int(text) > len(here):
        kind = here[0].platform
        raise InputError(
            f"devices {text}, but JAX has {counted(len(here), f'{kind} device')} here; choose {len(here)}"
        )
    return hosts.count() * (len(here) if text == "all" else int(text))


def settings_on(device: str | None, devices: str | int | None, backend: str = "auto") -> dict[str, Any]:
    """Return the settings of a recipe that follow from where to train; see `backend_on` and `devices_of`."""
    changes: dict[str, Any] = {} if device is None else {"backend": backend_on(device, backend)}
    together = devices_of(devices, device)
    return changes if together is None else changes | {"devices": together}

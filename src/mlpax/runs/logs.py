"""A run's figures for other programs to watch."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from mlpax.errors import InputError, unknown

__all__ = ["logger"]


@contextmanager
def logger(kind: str, run: Path) -> Generator[Callable[[dict[str, float]], None]]:
    """Give a function that adds an epoch's record to the log of a run; close the log afterwards.

    Parameters
    ----------
    kind : {"tensorboard"}
        Event files in `run / "tensorboard"`, written anew: a resumed run tells its earlier epochs again.
    run : Path

    Raises
    ------
    InputError
        If the kind is unknown, or its library is not installed.
    """
    if kind != "tensorboard":
        raise unknown("log", kind, ["tensorboard"])
    try:
        from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InputError("--log tensorboard needs tensorboardX; pip install 'mlpax[log]'") from None
    folder, writer = run / "tensorboard", None

    def log(record: dict[str, float]) -> None:
        nonlocal writer
        if writer is None:  # the run's folder is there by now, and ours
            for old in folder.glob("events.*"):
                old.unlink()
            writer = SummaryWriter(str(folder))
        for name, value in record.items():
            if name != "epoch":
                part, _, metric = name.partition("_")
                writer.add_scalar(f"{metric}/{part}" if metric else name, value, int(record["epoch"]))

    try:
        yield log
    finally:
        if writer is not None:
            writer.close()

"""Write the metrics of a run to a log for other programs."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from mlpax.atomic import check_folder
from mlpax.errors import InputError, unknown

__all__ = ["logger"]


@contextmanager
def logger(kind: str, run: Path) -> Generator[Callable[[dict[str, float]], None]]:
    """Yield a function that adds the record of an epoch to the log of a run. Close the log at the end.

    Parameters
    ----------
    kind : {"tensorboard"}
        Event files in `run / "tensorboard"`. Old event files there are replaced: a resumed run repeats its
        earlier epochs.
    run : Path
        The run's folder.

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
        if writer is None:  # only now does the run own its folder
            check_folder(folder)
            for old in folder.glob("events.*"):
                old.unlink()
            writer = SummaryWriter(str(folder))
        for name, value in record.items():
            if name != "epoch":
                part, _, metric = name.partition("_")
                tag = f"{metric}/{part}" if metric else name
                writer.add_scalar(tag, value, int(record["epoch"]))  # pyright: ignore[reportUnknownMemberType]

    try:
        yield log
    finally:
        if writer is not None:
            writer.close()

"""Word figures: the line of an epoch, a score with its name, the rates of stages, a notebook's table."""

from collections.abc import Iterable, Mapping, Sequence

__all__ = ["between", "decimal", "epoch_line", "figure", "rates", "table_in_html"]

WIDTH = 80  # columns of the narrowest terminal that our lines should fit


def epoch_line(record: dict[str, float], epochs: int) -> str:
    """Return the article's line: `Epoch 1/25: loss: 1.5768, train acc.: 0.818, ..., time: 0.24 sec.`

    Beside both accuracies, the log losses are left out; `metrics.csv` has them. If the line would still be
    wider than 80 columns, a metric of both training and validation rows is named once, as in
    `acc.: 0.945/0.984`, and the time is `0.24 s`.
    """
    left_out = {"epoch", "seconds", "waited"}
    if {"train_accuracy", "valid_accuracy"} <= record.keys():
        left_out |= {"train_log_loss", "valid_log_loss"}
    names = [n for n in record if n not in left_out and not n.startswith(("members_", "spread_"))]
    start, time = f"Epoch {record['epoch']}/{epochs}: ", f"{record['seconds']:.2f}"
    figures = ", ".join(f"{_words(name)}: {_digits(name, record[name])}" for name in names)
    # The longest epoch number and a usual time decide, so that all lines of a run look alike.
    if len(f"Epoch {epochs}/{epochs}: {figures}, time: 0.00 sec.") <= WIDTH:
        return f"{start}{figures}, time: {time} sec."
    pairs: dict[str, list[str]] = {}  # both figures of a metric, by its name without "train" and "valid"
    for name in names:
        metric = name.removeprefix("train_").removeprefix("valid_")
        pairs.setdefault(metric, []).append(_digits(name, record[name]))
    figures = ", ".join(f"{_words(metric)}: {'/'.join(values)}" for metric, values in pairs.items())
    return f"{start}{figures}, {time} s"


def _words(name: str) -> str:
    return name.replace("_", " ").replace("accuracy", "acc.")


def _digits(name: str, value: float) -> str:
    """Return a figure with the article's digits: four decimals for the loss, three for the rest."""
    return decimal(value, 4 if name == "loss" else 3)


def decimal(value: float, digits: int) -> str:
    """Return a number with this many decimals, or with four digits if it is very small or very large."""
    return f"{value:.4g}" if 0 < abs(value) < 1e-3 or abs(value) >= 1e6 else f"{value:.{digits}f}"


def figure(name: str, value: float) -> str:
    """Return a metric in words: `test accuracy 98.10%`, `valid rmse 0.5231`."""
    return f"{name.replace('_', ' ')} {f'{value:.2%}' if name.endswith('accuracy') else decimal(value, 4)}"


def between(ends: Sequence[float] | None) -> str:
    """Return an interval in words: `(0.9410 to 0.9640)`; empty if there is none."""
    return "" if ends is None else f"({decimal(ends[0], 4)} to {decimal(ends[1], 4)})"


def table_in_html(rows: Iterable[tuple[str, object]]) -> str:
    """Return names and values as the table that a notebook shows; rows without a value are left out."""
    from html import escape  # a millisecond, which the command line need not spend

    cells = "".join(f"<tr><th>{escape(n)}</th><td>{escape(str(v))}</td></tr>" for n, v in rows if v != "")
    return f"<table>{cells}</table>"


def rates(rows: int, seconds: float, stages: Mapping[str, float]) -> str:
    """Return rows a second of a work, and of each stage for the seconds that its threads worked.

    Examples
    --------
    >>> rates(3_000_000, 12.0, {"read": 6.0, "predict": 10.0})
    '250,000 rows a second; one thread reads 500,000 rows a second and predicts 300,000'
    """
    own = [f"{stage}s {rows / max(taken, 1e-9):,.0f}" for stage, taken in stages.items()]
    named = [f"{own[0]} rows a second", *own[1:]] if own else []
    said = f"{', '.join(named[:-1])} and {named[-1]}" if len(named) > 1 else "".join(named)
    return f"{rows / max(seconds, 1e-9):,.0f} rows a second" + (f"; one thread {said}" if said else "")

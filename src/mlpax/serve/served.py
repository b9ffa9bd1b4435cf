"""The model that a server answers with: what it takes, and what is told of it."""

import datetime
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PureWindowsPath

from mlpax.data.columns import Category, Date, Input, LeftOut, Number, Text
from mlpax.errors import InputError
from mlpax.model.model import Model

__all__ = ["MOST_LEVELS", "Served"]

MOST_LEVELS = 1000  # of a category, that `GET /model` lists
WHOLE = 10**15  # numbers below it are shown without a decimal point if they are whole
DIGITS = 16  # the brightest pixel of the bundled digits

Record = dict[str, object]  # a JSON object


@dataclass(frozen=True)
class Served:
    """A model, and what a server tells of it.

    Attributes
    ----------
    model : Model
    path : Path
        The run's folder, or the model file.
    """

    model: Model
    path: Path

    @property
    def file(self) -> Path:
        """The model file."""
        return Served.file_of(self.path)

    @staticmethod
    def file_of(path: Path) -> Path:
        return path / "model.safetensors" if path.is_dir() else path

    @property
    def name(self) -> str:
        """The name of the run's folder, or of the model file without its suffix."""
        return self.path.resolve().name if self.path.is_dir() else self.path.stem

    @property
    def kind(self) -> str:
        """What a row is: "table", "picture" or "array"."""
        return "table" if self.model.columns else "picture" if self.model.image_shape else "array"

    @property
    def a_kind(self) -> str:
        """The kind with its article."""
        return "an array" if self.kind == "array" else f"a {self.kind}"

    @cached_property
    def inputs(self) -> dict[str, Input]:
        """The columns that a record must have, by name."""
        return {column.name: column for column in self.model.columns.varying} if self.model.columns else {}

    @cached_property
    def known(self) -> dict[str, frozenset[str | None]]:
        """The texts of each category that the model, or the network of a fold, knows."""
        model, found = self.model, dict[str, frozenset[str | None]]()
        for columns in (model.columns, *model.fold_columns) if model.columns else ():
            for column in columns.varying:
                if isinstance(column, Category):
                    found[column.name] = found.get(column.name, frozenset()) | column.known
        return {name: known for name, known in found.items() if name in self.inputs}

    @cached_property
    def ignored(self) -> frozenset[str]:
        """The columns that a record may have, and that are no input."""
        columns = self.model.columns.columns if self.model.columns else ()
        return frozenset(column.name for column in columns if isinstance(column, LeftOut))

    @cached_property
    def highest(self) -> int:
        """The largest value of a pixel. The bundled digits have 16 shades."""
        return DIGITS if self.model.provenance.get("dataset") == "digits" else 255

    @cached_property
    def features(self) -> int:
        """Numbers of a row that is no record."""
        shape = self.model.image_shape
        return math.prod(shape) if shape else self.model.networks[0].features

    @cached_property
    def labels(self) -> tuple[tuple[str, ...], ...]:
        """The classes of each target as names in JSON: the class true is "true"."""
        return tuple(
            tuple(str(c).lower() if isinstance(c, bool) else str(c) for c in target.classes)
            for target in self.model.targets
        )

    @cached_property
    def takes(self) -> Record:
        """What a row is, as `GET /model` tells it."""
        shape = self.model.image_shape
        if self.model.columns:
            return {"kind": "table", "columns": [_column(column) for column in self.inputs.values()]}
        if shape:
            height, width, *deep = shape
            background = self.model.provenance.get("background", "")
            size: Record = {
                "kind": "picture",
                "height": height,
                "width": width,
                "channels": deep[0] if deep else 1,
            }
            return size | {"background": background, "highest": self.highest}
        return {"kind": "array", "features": self.features}

    @property
    def example(self) -> Record:
        """A body that the model answers."""
        if not self.inputs:
            return {"rows": [[0] * self.features]}
        return {"records": [{name: _column(column)["default"] for name, column in self.inputs.items()}]}

    def facts(self, *, report: bool, samples: bool) -> Record:
        """Return what `GET /model` answers."""
        model = self.model
        return {
            "name": self.name,
            "task": model.task,
            "target": model.target,
            "targets": [target.name for target in model.targets],
            "classes": model.named_classes,
            "input": self.takes,
            "members": len(model.networks),
            "layers": list(model.sizes),
            "intervals": model.intervals is not None,
            "metrics": {name: value for name, value in model.metrics.items() if math.isfinite(value)},
            "provenance": {name: _last_part(value) for name, value in model.provenance.items()},
            "report": report,
            "samples": samples,
        }

    def check_successor(self, new: Model) -> None:
        """Raise an error if requests for this model would not fit a new one.

        Raises
        ------
        InputError
            If the new model takes other rows, or answers with other classes.
        """
        old, other = self.model, Served(new, self.path)
        if other.kind != self.kind:
            raise InputError(f"the new model takes {other.a_kind}, and the old one {self.a_kind}")
        kinds, others = ({name: c.kind for name, c in served.inputs.items()} for served in (self, other))
        if kinds != others:
            differing = sorted({*(kinds.items() ^ others.items())})
            raise InputError(f"the new model has other columns, such as {differing[0][0]!r}")
        if (old.image_shape, self.features) != (new.image_shape, other.features) and self.kind != "table":
            raise InputError(f"the new model takes rows of {other.features} values, not {self.features}")
        targets, others = ([(own.name, own.classes) for own in model.targets] for model in (old, new))
        if (old.task, targets) != (new.task, others):
            raise InputError("the new model has another target or other classes")


def _column(column: Input) -> Record:
    """Return what is told of a column, with a plausible cell as the default."""
    facts: Record = {"name": column.name, "kind": column.kind}
    if isinstance(column, Number):
        shown = float(f"{column.median:.6g}")
        facts["default"] = int(shown) if shown.is_integer() and abs(shown) < WHOLE else shown
        if column.clock:
            facts |= {"default": _time(column.median), "text": "time"}
        elif column.numerals.bounds:
            facts["text"] = "bound"
    elif isinstance(column, Date):
        facts["default"] = _day(column.medians[0])
    elif isinstance(column, Text):
        facts["default"] = ""
    else:
        facts |= {"levels": list(column.levels[:MOST_LEVELS]), "default": column.levels[0]}
    return facts | {"missing": column.missing}


def _time(seconds: float) -> str:
    """Return a time of day or a length of time as a column of times reads it, in whole seconds."""
    whole = round(abs(seconds))
    if whole >= 100_000 * 3600:
        return f"{'-' if seconds < 0 else ''}PT{whole}S"
    clock = f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"
    return f"{'-' if seconds < 0 else ''}{clock.removesuffix(':00') if whole % 60 == 0 else clock}"


def _day(days: float) -> str | None:
    """Return a number of days since 1970 as a date."""
    try:
        return str(datetime.date(1970, 1, 1) + datetime.timedelta(days=math.floor(days)))
    except (OverflowError, ValueError):
        return None


def _last_part(text: str) -> str:
    """Return a path's last part, so that the folders of the training machine stay unknown."""
    return PureWindowsPath(text).name or text

"""The options that say how data are read."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlpax.recipes import TASKS

__all__ = ["Reading"]


def _option(default: Any, help: str, *options: str) -> Any:
    return field(default=default, metadata={"help": help, "options": options})


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The options that say how data are read. The commands offer them under these names."""

    target: str | None = _option(
        None, "column to predict [a column named target, label, class or y; else the last]"
    )
    task: str | None = _option(None, "kind of target [decided from its values]", *TASKS)
    valid_data: str | None = _option(None, "another table with the validation rows, instead of held-out rows")
    test: float = _option(0.0, "share of the rows that is held out for the final score")
    time_ordered: bool = _option(False, "hold out the last rows of a table instead of random rows")
    group: str | None = _option(
        None, "column of groups; a group is either trained on or held out, never both"
    )
    weight: str | None = _option(None, "column that holds the weight of each row")
    class_weight: str | None = _option(None, "weigh rows so that all classes count the same", "balanced")
    size: int = _option(28, "side length in pixels to which pictures are resized")
    colour: bool = _option(False, "keep the colours of pictures")
    skip_bad: bool = _option(False, "leave out pictures that cannot be read")

    def given(self) -> dict[str, Any]:
        """Return the options that differ from their default, with paths made absolute."""
        given = {f.name: v for f in dataclasses.fields(self) if (v := getattr(self, f.name)) != f.default}
        return given | ({"valid_data": str(Path(self.valid_data).resolve())} if self.valid_data else {})

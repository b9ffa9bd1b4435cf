"""How data are read: the command's options beside the recipe."""

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
    """How data are read, beside the recipe: the command's options of these names."""

    target: str | None = _option(None, "a table's column to predict [target, label, class, y, or the last]")
    task: str | None = _option(None, "what a table's target sets [as its values say]", *TASKS)
    valid_data: str | None = _option(None, "a table whose rows validate, in place of held-out ones")
    test: float = _option(0.0, "share of the rows held out for the final score")
    time_ordered: bool = _option(False, "hold out a table's last rows instead of random ones")
    group: str | None = _option(None, "a table's column no value of which is both trained on and held out")
    weight: str | None = _option(None, "a table's column of the rows' weights")
    class_weight: str | None = _option(None, "weigh a table's classes as if all had as many rows", "balanced")
    size: int = _option(28, "side in pixels that pictures are resized to")
    colour: bool = _option(False, "keep the pictures' colours")
    skip_bad: bool = _option(False, "leave out pictures that cannot be read")

    def given(self) -> dict[str, Any]:
        """Those that are not the default, as they hold in any folder."""
        given = {f.name: v for f in dataclasses.fields(self) if (v := getattr(self, f.name)) != f.default}
        return given | ({"valid_data": str(Path(self.valid_data).resolve())} if self.valid_data else {})

"""Options of commands that are made from the fields of a dataclass."""

import dataclasses
import typing
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from inspect import Parameter, Signature, signature
from typing import Annotated, Protocol

import typer
from typer.core import TyperCommand

from mlpax.data.reading import Reading, columns_named
from mlpax.recipes import Recipe

__all__ = [
    "COLUMNS",
    "FILE",
    "SEVERAL",
    "TOGETHER",
    "Field",
    "InPanels",
    "Setting",
    "Together",
    "fields_of",
    "panels",
    "reading_of",
    "with_options",
]  # fmt: skip

Setting = str | int | float | bool | list[str]  # the value of an option
Command = Callable[..., None]
Field = dataclasses.Field[object]

SEVERAL = ("column", "drop", "missing")  # options that may be given more than once
FILE = ("encoding", "separator", "header", "sheet")  # fields of `Reading` that say how a file is written
COLUMNS = ("column", "drop", "id", "missing", "dates", "decimal", "thousands", "strict")  # what columns hold


def fields_of(settings: type, names: Iterable[str] | None = None) -> list[Field]:
    """Return the fields of a dataclass, all or those named."""
    wanted = None if names is None else set(names)
    return [f for f in dataclasses.fields(settings) if wanted is None or f.name in wanted]


def with_options(
    panels: Mapping[str, list[Field]], several: Iterable[str] = ()
) -> Callable[[Command], Command]:
    """Replace a command's `**settings` by an option for each field, in their panels of the help.

    Those of the panels `several` take text, which may stand for several values.
    """
    of_text = set(several)

    def decorate(command: Command) -> Command:
        hints = typing.get_type_hints(command, include_extras=True)
        own = [p for p in signature(command).parameters.values() if p.kind != p.VAR_KEYWORD]
        parameters = [p.replace(annotation=hints[p.name], kind=p.KEYWORD_ONLY) for p in own]
        parameters += [
            _option(field, panel, several=panel in of_text)
            for panel, fields in panels.items()
            for field in fields
        ]
        command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return decorate


class _Formatter(Protocol):
    """The part of typer's help formatter that `InPanels` uses."""

    def section(self, name: str) -> AbstractContextManager[None]: ...

    def write_dl(self, rows: list[tuple[str, str]]) -> None: ...


class InPanels(TyperCommand):
    """A command whose `--help` shows the options in their panels, without rich's boxes."""

    def format_options(self, ctx: typer.Context, formatter: _Formatter) -> None:  # type: ignore[override]
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
            if record := parameter.get_help_record(ctx):
                panels.setdefault(getattr(parameter, "rich_help_panel", None) or usual, []).append(record)
        for name, records in panels.items():
            with formatter.section(name):
                formatter.write_dl(records)


# Where `mlpax train --help` shows the options of the data and of a recipe.
PANELS_OF_DATA = {
    "Data": (
        "target",
        "task",
        "valid_data",
        "test",
        "folds",
        "time_ordered",
        "group",
        "weight",
        "class_weight",
        "memory",
        "cache",
    ),
    "Columns of a table": COLUMNS,
    "Text and Excel files": FILE,
    "Pictures": ("size", "colour", "invert", "skip_bad"),
}
PANELS = {
    "Network": ("hidden", "members", "own_orders", "activation", "initial_scale", "inputs"),
    "Update rule": (
        "optimizer",
        "learning_rate",
        "momentum",
        "beta_1",
        "beta_2",
        "epsilon",
        "schedule",
        "warmup",
    ),
    "Validation and early stopping": (
        "validation",
        "patience",
        "refit",
        "min_delta",
        "monitor",
        "train_metrics",
    ),
}  # all others are under "Training"


def panels() -> dict[str, list[Field]]:
    """Return the panels of `mlpax train --help`, and the fields in each."""
    placed = {name for names in PANELS.values() for name in names}
    placed.add("devices")  # which is in `Together`, and also takes `all`
    others = [field.name for field in fields_of(Recipe) if field.name not in placed]
    panels = {panel: fields_of(Reading, names) for panel, names in PANELS_OF_DATA.items()}
    return panels | {p: fields_of(Recipe, names) for p, names in (PANELS | {"Training": others}).items()}


def _told(help: str) -> typing.Any:
    return dataclasses.field(default=None, metadata={"help": help, "options": ()})


@dataclasses.dataclass(frozen=True)
class Together:
    """Options of `mlpax train` for several devices and several processes; see `hosts.join`."""

    devices: str = _told(
        "devices of each process that train together: a number, or all [1; of several processes all]"
    )
    distributed: str = _told(
        "auto trains with the other processes that SLURM, Open MPI or Kubernetes started"
    )
    coordinator: str = _told("without such a launcher: the address of process 0, as 10.0.0.1:1234")
    processes: int = _told("number of processes that train together")
    process: int = _told("number of this process, from 0")
    wait: int = _told("seconds to wait for the other processes [300]")


TOGETHER = {"Several devices and hosts": fields_of(Together)}


def _option(field: Field, panel: str, *, several: bool) -> Parameter:
    """Return the parameter, and so the option, for a field; of several values as text."""
    kind: object = field.type if field.type in (int, float, bool) and not several else str
    kind = list[str] if field.name in SEVERAL or (several and field.name == "hidden") else kind
    flag = f"--{field.name.replace('_', '-')}"
    of_recipe = field.name in Recipe.__dataclass_fields__  # a recipe may have turned it on
    names = [f"{flag}/--no-{flag[2:]}" if kind is bool and of_recipe else flag]
    if field.name == "validation":
        names.append("--valid")
    choices = field.metadata["options"]
    text = field.metadata["help"] + (f" [{', '.join(choices)}]" if choices else "")
    option = typer.Option(*names, help=f"{text[0].upper()}{text[1:]}.", rich_help_panel=panel)
    return Parameter(
        field.name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def reading_of(given: Mapping[str, object]) -> Reading:
    """Return how to read the data from the options of a command line.

    Raises
    ------
    InputError
        If a value is none of its option's.
    """
    changes = {name: value for name, value in given.items() if value not in (None, [])}
    if "column" in changes:
        changes["column"] = columns_named(typing.cast("list[str]", changes["column"]))
    for name in ("drop", "missing"):
        if name in changes:
            words = typing.cast("list[str]", changes[name])
            changes[name] = tuple(part.strip() for word in words for part in word.split(","))
    return Reading(**changes)  # type: ignore[arg-type]

"""Write the pages of the reference: names from their docstrings, settings and commands from their fields."""

import dataclasses
import importlib
import inspect
import math
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import typer
from typer.main import get_command

from mlpax.cli.main import app
from mlpax.recipes import RECIPES, TASKS, Recipe

DOCS = Path(__file__).parent
# The public modules. A name that `mlpax` has itself is told there alone.
MODULES = ("mlpax", "recipes", "datasets", "runs", "scores", "plots", "losses", "network", "screen")


def public_names() -> Iterator[tuple[str, str, object]]:
    """Yield the module, the name and the value of everything public."""
    told: set[int] = set()
    for module in MODULES:
        path = module if module == "mlpax" else f"mlpax.{module}"
        home = importlib.import_module(path)
        for name in home.__all__:
            value = getattr(home, name)
            if id(value) not in told:
                told.add(id(value))
                yield path, name, value


def reference() -> str:
    """Return the page of all public names, each with its signature and docstring as text."""
    parts = [
        "# Reference\n\nEvery public name, from its docstring. [The settings](settings.md) of a recipe and "
        "[the commands](commands.md)\nhave pages of their own. `make docs` writes this page.\n"
    ]
    before = ""
    for module, name, value in public_names():
        if module != before:
            parts.append(f"## `{module}`\n\n{_first_line(module)}\n")
        before = module
        heading = name if module == "mlpax" else f"{module.removeprefix('mlpax.')}.{name}"
        parts.append(f"### `{heading}`\n\n```text\n{_text(name, value)}\n```\n")
    return "\n".join(parts)


def _first_line(module: str) -> str:
    return (inspect.getdoc(importlib.import_module(module)) or "").partition("\n")[0]


def _text(name: str, value: object) -> str:
    """Return the signatures and docstrings of a name and its methods; of a constant, its value."""
    if is_constant(value):
        return f"{name} = {shown(value)}"
    is_class = inspect.isclass(value)
    text = [f"{name}{'' if is_class else signature(value)}", inspect.getdoc(value) or ""]
    for method, function in inspect.getmembers(value, inspect.isfunction) if is_class else []:
        if not method.startswith("_") and function.__module__ == value.__module__:
            text += [f"{name}.{method}{signature(function)}", inspect.getdoc(function) or ""]
    return "\n\n".join(text)


def is_constant(value: object) -> bool:
    """Return whether a public name is neither a class nor a function."""
    return not inspect.isclass(value) and not inspect.isroutine(inspect.unwrap(value))


def shown(value: object) -> str:
    """Return a constant as text; of a dictionary of functions, its names."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: ..." for key in value) + "}"
    return repr(value).replace("jax.jaxlib._jax.", "jax.")


class Written:
    """A default value as it is written in the source, as far as that is known from the value."""

    def __init__(self, value: object) -> None:
        settings = dataclasses.is_dataclass(value) or hasattr(value, "_fields")
        text = f"{type(value).__name__}()" if settings and value == type(value)() else repr(value)
        self.text = "..." if inspect.isfunction(value) else text

    def __repr__(self) -> str:
        return self.text


def signature(function: Callable[..., object]) -> str:
    """Return names and defaults; annotations are for reading the source."""
    parameters = [p.replace(annotation=p.empty) for p in inspect.signature(function).parameters.values()]
    shown = [p if p.default is p.empty else p.replace(default=Written(p.default)) for p in parameters]
    return str(inspect.Signature(shown))


def settings() -> str:
    """Return the page of the fields of `Recipe`, and of the values that the named recipes give them."""
    fields = dataclasses.fields(Recipe)
    lines = [
        "# Settings of a recipe\n",
        "`Recipe` holds every setting of a training run. Each field is also an option of `mlpax train`: the",
        "field `learning_rate` is `--learning-rate`. `make docs` writes this page from",
        "the source.\n",
        '```text\n>>> from mlpax import Recipe\n>>> Recipe(hidden=(64, 64), epochs=20, optimizer="adam", '
        "learning_rate=0.003)\n```\n",
        "| field | meaning | values | default |",
        "|---|---|---|---|",
    ]
    for f in fields:
        meaning = f"{f.metadata['help'][0].upper()}{f.metadata['help'][1:]}."
        lines.append(f"| `{f.name}` | {meaning} | {_values(f)} | `{_python(f.default)}` |")
    lines += [
        "\n## The named recipes\n",
        "A recipe's values may depend on the number of training rows. This table shows where the recipes for",
        "60,000 rows (MNIST) and the recipe for a table of 10,000 rows differ from `Recipe`'s own values.\n",
    ]
    recipes = {
        f"`{name}`{f', {task}' if name == 'table' else ''}": make(10_000 if name == "table" else 60_000, task)
        for name, make in RECIPES.items()
        for task in (TASKS if name == "table" else TASKS[:1])
    }
    lines += ["| field | " + " | ".join(recipes) + " |", "|---" * (1 + len(recipes)) + "|"]
    for f in fields:
        values = [getattr(recipe, f.name) for recipe in recipes.values()]
        if any(value != f.default for value in values):
            cells = [f"`{_python(value)}`" if value != f.default else "" for value in values]
            lines.append(f"| `{f.name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _values(f: "dataclasses.Field[object]") -> str:
    """Return the values that a field takes: names, or a range in words."""
    if f.metadata["options"]:
        return ", ".join(f"`{name}`" for name in f.metadata["options"])
    if f.type is bool:
        return "`True`, `False`"
    if f.type is str:
        return "a text"
    low, high, open_low = f.metadata["range"]
    kind = {int: "a whole number", float: "a number"}.get(f.type, "a tuple of whole numbers")
    above = f"above {low:g}" if open_low else f"at least {low:g}"
    return f"{kind}, {above}" if math.isinf(high) else f"{kind}, {above}, below {high:,.0f}"


def _python(value: object) -> str:
    return '""' if value == "" else str(value)


def commands() -> str:
    """Return the page of the commands and their options."""
    parts = [
        "# Commands\n\n`mlpax COMMAND --help` shows the same on a terminal. `make docs` writes this page.\n"
    ]
    for name, command in get_command(app).commands.items():
        context = typer.Context(command, info_name=f"mlpax {name}")
        usage = " ".join([f"mlpax {name}", *command.collect_usage_pieces(context)])
        parts.append(f"## `mlpax {name}`\n\n```text\n{usage}\n```\n\n{inspect.cleandoc(command.help)}\n")
        panels: dict[str, list[str]] = {}
        for parameter in command.get_params(context):
            usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
            panel = getattr(parameter, "rich_help_panel", None) or usual
            if record := parameter.get_help_record(context):
                written, meaning = (" ".join(text.replace("|", r"\|").split()) for text in record)
                written = written.replace("<list[str]>", "<str>")
                meaning = re.sub(r"([<*])", r"\\\1", meaning)  # neither a tag nor emphasis
                meaning = re.sub(r"(?<![\w`-])--[a-z][\w-]*", r"`\g<0>`", meaning)
                panels.setdefault(panel, []).append(f"| `{written}` | {meaning} |")
        for panel, rows in panels.items():
            parts.append(f"| {panel} | |\n|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


PAGES = {"reference.md": reference, "settings.md": settings, "commands.md": commands}

if __name__ == "__main__":
    for file, page in PAGES.items():
        text = page()
        if "--check" in sys.argv and (DOCS / file).read_text() != text:
            sys.exit(f"docs/{file} is not what the source says; run: make docs")
        (DOCS / file).write_text(text)

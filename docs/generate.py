"""Write docs/reference.md from the docstrings of the public names."""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path

import mlpax

PAGE = Path(__file__).parent / "reference.md"


def page() -> str:
    """The page's text: each public name with its signature and docstring."""
    parts = [
        "# Reference\n\nThe public names of `mlpax`, from their docstrings. `make docs` writes this page.\n"
    ]
    for name in mlpax.__all__:
        value = getattr(mlpax, name)
        text = [f"{name}{'' if inspect.isclass(value) else signature(value)}", inspect.getdoc(value) or ""]
        for method, function in (
            inspect.getmembers(value, inspect.isfunction) if inspect.isclass(value) else []
        ):
            if not method.startswith("_") and function.__module__ == value.__module__:
                text += [f"{name}.{method}{signature(function)}", inspect.getdoc(function) or ""]
        parts.append(f"### `{name}`\n\n```text\n" + "\n\n".join(text) + "\n```\n")
    return "\n".join(parts)


def signature(function: Callable[..., object]) -> str:
    """Names and defaults; annotations are for reading the source."""
    parameters = inspect.signature(function).parameters.values()
    return str(inspect.Signature([p.replace(annotation=p.empty) for p in parameters]))


if __name__ == "__main__":
    if "--check" in sys.argv and PAGE.read_text() != page():
        sys.exit("docs/reference.md is not what the docstrings say; run: make docs")
    PAGE.write_text(page())

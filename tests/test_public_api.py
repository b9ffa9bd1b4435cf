"""The public names are those documented, in one order, found lazily, and each has a docstring."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import mlpax

ROOT = Path(__file__).parent.parent


def test_names_are_sorted_and_typed():
    """What type checkers see is what runs."""
    assert mlpax.__all__ == sorted(mlpax.__all__)
    tree = ast.parse((ROOT / "src/mlpax/__init__.py").read_text())
    checking = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {a.asname: node.module for node in checking.body for a in node.names}
    assert typed == {name: f"mlpax.{home}" for name, home in mlpax._HOME.items()}


@pytest.mark.parametrize("name", mlpax.__all__)
def test_every_name_is_public_at_home_and_documented(name):
    home = importlib.import_module(f"mlpax.{mlpax._HOME[name]}")
    assert getattr(mlpax, name) is getattr(home, name)
    assert name in home.__all__
    assert inspect.getdoc(getattr(mlpax, name))
    assert re.search(rf"^### `{name}`", (ROOT / "docs/reference.md").read_text(), re.MULTILINE)


def test_the_reference_lists_nothing_else():
    listed = re.findall(r"^### `(\w+)`", (ROOT / "docs/reference.md").read_text(), re.MULTILINE)
    assert sorted(listed) == mlpax.__all__


@pytest.mark.parametrize("module", ["datasets", "losses", "network", "plots", "recipes", "runs", "scores"])
def test_the_reference_lists_the_names_of_the_public_modules(module):
    """But those that are told under `mlpax`."""
    home = importlib.import_module(f"mlpax.{module}")
    elsewhere = {name for name in home.__all__ if getattr(mlpax, name, None) is getattr(home, name)}
    pattern = rf"^### `{module}\.(\w+)`\n\n```text\n(?:\1\b).+?^```"
    page = (ROOT / "docs/reference.md").read_text()
    listed = re.findall(pattern, page, re.MULTILINE | re.DOTALL)
    assert sorted(listed) == sorted({*home.__all__} - elsewhere)


def test_the_settings_page_has_every_field_of_a_recipe():
    page = (ROOT / "docs/settings.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \|", page.partition("## The named recipes")[0], re.MULTILINE)
    assert listed == list(mlpax.Recipe.__dataclass_fields__)
    assert (
        "| `learning_rate` | Highest learning rate of the schedule. | a number, above 0 | `0.2` |\n" in page
    )
    assert " a whole number, at least 1, below 65,536 | `1` |\n" in page  # `members`
    article = "| `epochs` | `25` |  | `1` | `68` | `68` |\n"  # 256 sqrt(700 / 10,000) = 67.7
    assert article in page


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = mlpax.nonsense
    assert set(mlpax.__all__) <= set(dir(mlpax))


def test_importing_mlpax_does_not_import_jax():
    code = "import mlpax, mlpax.cli, sys; assert not {'jax', 'numpy', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("collects", [True, False])
def test_the_garbage_collector_is_left_as_it_was(collects):
    code = f"import gc, mlpax\nif not {collects}: gc.disable()\nmlpax.Recipe\nprint(gc.isenabled())"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(collects)


def test_the_version_is_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert mlpax.__version__ == project == newest[1]

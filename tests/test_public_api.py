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

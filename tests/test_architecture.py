"""The house: which module may import which, how long a file may be, and what is never called."""

import ast
import re
from pathlib import Path

import jaxtyping
import pytest

from conftest import SHAPED
from mlpax.network import forward

SOURCE = Path(__file__).parents[1] / "src" / "mlpax"
FILES = sorted(SOURCE.rglob("*.py"))

# Module: the modules of mlpax that it may import, inside its functions too.
HOUSE = {
    "errors": "",
    "files": "",
    "guards": "errors",
    "network": "errors",
    "splits": "errors",
    "image_cache": "files",
    "images": "errors image_cache",
    "tables": "errors readers",
    "scores": "",
    "losses": "errors network",
    "recipes": "errors",
    "batches": "errors recipes",
    "optimizers": "recipes",
    "evaluation": "errors losses recipes batches",
    "passes": "batches",
    "training": "errors network losses recipes batches optimizers evaluation passes",
    "solvers": "batches losses network optimizers passes recipes",
    "readers": "errors",
    "kinds": "errors tables",
    "preprocessing": "errors kinds tables",
    "datasets": "errors readers preprocessing",
    "tabular": "losses network",
    "plots": "errors files scores",
    "model": "errors files network preprocessing tabular scores",
    "model_files": "errors model network preprocessing recipes",
    "targets": "errors batches datasets kinds preprocessing recipes splits",
    "description": "errors kinds targets",
    "problems": "errors batches datasets losses model preprocessing recipes splits tabular training",
    "sources": "errors batches datasets images readers recipes splits tables targets",
    "rows": "batches solvers",
    "callbacks": "",
    "trained": "errors model",
    "perceptron": "batches callbacks network passes rows solvers trained",
    "estimators": "network perceptron",
    "table_estimators": "errors kinds model preprocessing problems recipes targets training",
    "checkpoints": "errors files",
    "records": "errors files guards recipes",
    "logs": "errors",
    "screen": "records",
    "answers": "errors screen records datasets description readers images tables targets sources plots model"
    " model_files",
    "runs": "errors files guards checkpoints records training problems recipes datasets plots",
    "__main__": "cli",
}
FREE = {"cli", "__init__"}  # the first is imported by __main__ alone, the second names what the others hold

# These answer before JAX is loaded: nothing of theirs may import the heavy libraries outside a function.
LIGHT = ["errors", "recipes", "datasets", "screen", "answers", "sources", "cli", "__init__", "__main__"]
HEAVY = {"jax", "jaxlib", "jaxtyping", "optax", "sklearn", "matplotlib"}
LINES = 440


def name_of(path):
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts)


def imports(tree, *, at_import=False):
    """Names of the modules imported; with `at_import`, only those outside functions and type checking."""
    found = set()
    for node in tree.body if at_import else ast.walk(tree):
        if at_import and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if at_import and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                module = f"mlpax.{module}".rstrip(".")
            # `from mlpax import runs` is the module, `from mlpax import __version__` the package itself.
            found |= (
                {f"mlpax.{a.name}" if (SOURCE / f"{a.name}.py").exists() else "mlpax" for a in node.names}
                if module == "mlpax"
                else {module}
            )
        elif at_import and hasattr(node, "body"):  # if, try, with, class
            for part in ("body", "orelse", "handlers", "finalbody"):
                found |= imports(ast.Module(list(getattr(node, part, [])), []), at_import=True)
    return found


def neighbours(names):
    """Of imported names, the modules of mlpax, without their prefix."""
    inside = {name.removeprefix("mlpax").removeprefix(".") for name in names if name.split(".")[0] == "mlpax"}
    return {name or "__init__" for name in inside}


def loaded_with(name, seen=()):
    """Every foreign library that importing a module loads, through its neighbours too."""
    names = imports(ast.parse((SOURCE / f"{name}.py").read_text()), at_import=True)
    foreign = {n.split(".")[0] for n in names} - {"mlpax"}
    for neighbour in {*neighbours(names), "__init__"} - {name, *seen}:
        foreign |= loaded_with(neighbour, (*seen, name))
    return foreign


RUNS_DATA = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
CALLS = {"eval", "exec", "__import__", "os.system", "os.popen"}


def forbidden(tree):
    """Each way of running what is only data, or what a shell makes of it."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            module = getattr(node, "module", None)
            names = {f"{module}.{a.name}" if module else a.name for a in node.names}
            found = {n for n in names if n.split(".")[0] in RUNS_DATA or n in CALLS}
        elif isinstance(node, (ast.Name, ast.Attribute)):
            found = {ast.unparse(node)} & CALLS
        elif isinstance(node, ast.keyword) and node.arg in {"shell", "allow_pickle"}:
            found = {ast.unparse(node)} - {f"{node.arg}=False"}
        else:
            continue
        yield from found


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_module_imports_what_its_place_allows(path):
    name = name_of(path)
    assert name in HOUSE.keys() | FREE, f"{name} has no place in the house; give it one in HOUSE"
    if name not in FREE:
        inside = neighbours(imports(ast.parse(path.read_text()))) - {"__init__"}
        assert inside <= set(HOUSE[name].split())


def test_the_guide_lists_every_module_below_what_it_imports():
    guide = (SOURCE.parents[1] / "CONTRIBUTING.md").read_text()
    listed = re.findall(r"^\| `(\w+)\.py` \|", guide, re.MULTILINE)
    assert sorted(listed) == sorted(HOUSE.keys() - {"__main__"} | {"cli"})
    for place, name in enumerate(listed):
        assert set(HOUSE.get(name, "").split()) <= set(listed[:place]), name


def test_nothing_imports_the_command_line():
    users = {name_of(p) for p in FILES if "cli" in neighbours(imports(ast.parse(p.read_text())))}
    assert users <= {"__main__"}


def test_house_has_no_circles():
    done = set()
    while rest := HOUSE.keys() - FREE - done - {"__main__"}:
        free = {name for name in rest if set(HOUSE[name].split()) <= done}
        assert free, f"{rest} import each other"
        done |= free


@pytest.mark.parametrize("name", [n for n in LIGHT if (SOURCE / f"{n}.py").exists()])
def test_module_is_light_to_import(name):
    assert not loaded_with(name) & HEAVY


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_file_is_one_idea_long(path):
    lines = len(path.read_text().splitlines())
    assert lines <= LINES


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_data_is_never_run(path):
    assert list(forbidden(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_module_says_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


# ---- the checks check


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib.externals",
        "def f():\n    import marshal",
        "eval('1')",
        "exec(code)",
        "run = eval",
        "import os\nos.system('ls')",
        "from os import popen",
        "subprocess.run('ls', shell=True)",
        "subprocess.run('ls', shell=shell)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_forbidden_code_is_found(code):
    assert list(forbidden(ast.parse(code)))


def test_allowed_code_is_not_found():
    code = (
        "import ast\nast.literal_eval('1')\nsubprocess.run(['ls'], shell=False)\nmodel.eval()\nre.compile('')"
    )
    assert not list(forbidden(ast.parse(code)))


def test_imports_are_found_wherever_they_stand():
    code = (
        "import jax.numpy as jnp\nfrom mlpax import runs, __version__\nfrom mlpax.errors import InputError\n"
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import optax\n"
        "try:\n    import sklearn\nexcept ImportError:\n    import numpy\n"
        "def f():\n    import matplotlib\nfrom . import plots\nfrom .losses import softmax\n"
    )
    top = {"jax.numpy", "mlpax", "mlpax.runs", "mlpax.errors", "typing", "sklearn", "numpy", "mlpax.plots",
           "mlpax.losses"}  # fmt: skip
    assert imports(ast.parse(code), at_import=True) == top
    assert imports(ast.parse(code)) == top | {"optax", "matplotlib"}
    assert neighbours(top) == {"__init__", "runs", "errors", "plots", "losses"}


# ---- the shapes are checked in tests


def test_modules_with_shapes_are_those_under_the_hook():
    """`Array` alone says nothing of a shape; `Float[Array, "batch"]` does."""
    shaped = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "jaxtyping":
                shaped |= {f"mlpax.{name_of(path)}" for alias in node.names if alias.name != "Array"}
    assert shaped == set(SHAPED)


def test_wrong_shape_is_caught():
    with pytest.raises(jaxtyping.TypeCheckError):
        forward([], "no array")

"""The house: which module may import which, and what is never called."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import jaxtyping
import pytest

import house
from conftest import SHAPED
from mlpax.engine.xla.network import forward

SOURCE = Path(__file__).parents[1] / "src" / "mlpax"
FILES = sorted(SOURCE.rglob("*.py"))

# The rooms in import order, and in each its files in import order: a file imports from those before it in
# its room, and from the rooms that `MAY_ENTER` names.
ROOMS = {
    "": "errors hosts notices wording stages atomic seeds recipes space scores bootstrap shown plots",
    "engine": "plan rows stopping waiting state trees schedules metrics weights table_network forward"
    " population native.library native.prediction native.epoch native.population xla.network xla.losses"
    " xla.objective xla.optimizers xla.epoch xla.mesh xla.population xla.full_batch xla.prediction"
    " xla.exported devices training search",
    "data": "memory reading arrays packed numerals dates graph date_graph encodings headers csv_files excel"
    " json_files arff libsvm parts tables text kinds columns dataset"
    " named_sets image_cache images targets statistics cache frames batches learned encoded chunks sources"
    " describe",
    "model": "schema tensors model model_file finetune fit_model partial folds examples onnx_graph"
    " stablehlo dependence explain",
    "runs": "locks run_files checkpoints parent logs run folds trials sweep rates own_rows examples figures"
    " command start python",
    "estimators": "callbacks rows trained fitting mlp search table",
    "serve": "options served requests batches figures bodies door openapi document report samples app http",
    "cli": "screen options config look search export serve main",
}
MAY_ENTER = {
    "": "",
    "engine": "",
    "data": "",
    "model": " engine data",
    "runs": " engine data model",
    "estimators": " engine data model",
    "serve": " engine data model runs",
    "cli": " engine data model runs serve",
}
# Modules that only name what others hold, at a path that users import.
DOORS = {"__init__", "engine.__init__", "engine.native.__init__", "engine.xla.__init__", "data.__init__",
         "model.__init__", "runs.__init__", "estimators.__init__", "serve.__init__", "cli.__init__",
         "datasets", "screen", "network", "losses"}  # fmt: skip

# These answer before JAX is loaded: nothing of theirs may import the heavy libraries outside a function.
LIGHT = [
    "errors",
    "recipes",
    "data.named_sets",
    "engine.forward",
    "model.model",
    "model.model_file",
    "cli.screen",
    "cli.look",
    "cli.serve",
    "cli.main",
    "__init__",
    "__main__",
]
HEAVY = {"jax", "jaxlib", "jaxtyping", "optax", "sklearn", "matplotlib"}


def name_of(path):
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts)


def room_of(name):
    room, _, rest = name.partition(".")
    return (room, rest) if rest else ("", name)


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
            found |= {_module(module, alias.name) for alias in node.names}
        elif at_import and hasattr(node, "body"):  # if, try, with, class
            for part in ("body", "orelse", "handlers", "finalbody"):
                found |= imports(ast.Module(list(getattr(node, part, [])), []), at_import=True)
    return found


def _module(package, name):
    """`from mlpax import runs` is the module, `from mlpax import __version__` the package itself."""
    inside = package.split(".")
    place = SOURCE.joinpath(*inside[1:], name)
    is_module = inside[0] == "mlpax" and (place.with_suffix(".py").exists() or place.is_dir())
    return f"{package}.{name}" if is_module else package


def neighbours(names):
    """Of imported names, the modules of mlpax, without their prefix."""
    inside = {name.removeprefix("mlpax").removeprefix(".") for name in names if name.split(".")[0] == "mlpax"}
    return {name or "__init__" for name in inside}


def file_of(name):
    place = SOURCE.joinpath(*name.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def loaded_with(name, seen=()):
    """Every foreign library that importing a module loads, through its neighbours too."""
    names = imports(ast.parse(file_of(name).read_text()), at_import=True)
    foreign = {n.split(".")[0] for n in names} - {"mlpax"}
    parents = {".".join(name.split(".")[:i]) for i in range(1, name.count(".") + 1)}
    for neighbour in {*neighbours(names), *parents, "__init__"} - {name, *seen}:
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
def test_file_imports_what_its_place_allows(path):
    name = name_of(path)
    inside = neighbours(imports(ast.parse(path.read_text()))) - {"__init__"}
    if name in DOORS:
        return
    if name == "__main__":
        assert inside == {"cli.main"}
        return
    room, file = room_of(name)
    files = ROOMS[room].split()
    assert file in files, f"{name} has no place in the house; give it one in ROOMS"
    for other in inside:
        its_room, its_file = room_of(other)
        if its_room == room:
            assert its_file in files[: files.index(file)], f"{name} imports {other}, which stands below it"
        else:
            assert its_room in MAY_ENTER[room].split(" "), f"{name} imports {other}"
            assert its_file in ROOMS[its_room].split(), f"{name} imports {other}, not the file that holds it"


def test_every_file_of_the_plan_is_there():
    planned = {f"{room}.{file}".lstrip(".") for room, files in ROOMS.items() for file in files.split()}
    assert planned | DOORS | {"__main__"} == set(map(name_of, FILES))


def test_rooms_enter_only_those_above():
    rooms = list(ROOMS)
    for room, others in MAY_ENTER.items():
        assert set(others.split()) <= set(rooms[: rooms.index(room)])


@pytest.mark.parametrize("name", sorted(DOORS - {"__init__"}))
def test_a_door_holds_nothing_itself(name):
    """But what imports later what it names."""
    nodes = ast.parse(SOURCE.joinpath(*name.split(".")).with_suffix(".py").read_text()).body[1:]
    later = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    assert [node.name for node in later] in ([], ["__getattr__"])
    kinds = (ast.ImportFrom, ast.Assign, *((ast.If, ast.FunctionDef) if later else ()))
    assert all(isinstance(node, kinds) for node in nodes)


def test_the_guide_lists_every_file_in_import_order():
    guide = (SOURCE.parents[1] / "CONTRIBUTING.md").read_text()
    listed = re.findall(r"^\| `([\w/]+)\.py` \|", guide, re.MULTILINE)
    planned = [f"{room}.{file}".lstrip(".") for room, files in ROOMS.items() for file in files.split()]
    assert [name.replace("/", ".") for name in listed] == planned


@pytest.mark.parametrize("name", LIGHT)
def test_module_is_light_to_import(name):
    assert not loaded_with(name) & HEAVY


def test_the_command_line_starts_without_numpy():
    """`mlpax --help` would take twice its time."""
    alone = "import mlpax.cli.main, sys; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", alone], check=False).returncode == 0


def test_no_function_is_long():
    assert house.survey(SOURCE.parents[1]).long_functions == {}


def test_the_whole_does_not_grow():
    """Code lines, without docstrings, comments and blank lines.

    Lower the limit whenever code goes; raise it only for what users can do that they could not.
    """
    assert house.survey(SOURCE.parents[1]).lines <= 23400


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_data_is_never_run(path):
    assert list(forbidden(ast.parse(path.read_text()))) == []


PRINTS = {"print", "sys.stdout.write", "sys.stderr.write", "sys.stdout.buffer", "sys.stderr.buffer",
          "typer.echo", "typer.secho", "click.echo", "click.secho"}  # fmt: skip


def prints(tree):
    """Each name by which a text reaches the terminal."""
    nodes = (node for node in ast.walk(tree) if isinstance(node, (ast.Name, ast.Attribute)))
    return PRINTS & set(map(ast.unparse, nodes))


@pytest.mark.parametrize("path", sorted((SOURCE / "cli").glob("*.py")), ids=name_of)
def test_a_command_prints_through_the_screen_which_escapes(path):
    assert bool(prints(ast.parse(path.read_text()))) == (name_of(path) == "cli.screen")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_module_says_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


JAX_AT_HOME = {"losses", "network"}  # the doors of the functional API


def test_only_the_backend_loads_jax():
    """Import every module but `engine/xla` and the functional API; then make a model, and predict."""
    names = [name_of(path).removesuffix(".__init__") for path in FILES]
    names = [n for n in names if not n.startswith("engine.xla") and n not in JAX_AT_HOME | {"__main__"}]
    code = f"""
import importlib, sys
import numpy as np
import mlpax
for name in {names}:
    importlib.import_module("mlpax" if name == "__init__" else f"mlpax.{{name}}")
from mlpax.model.model import Model, Network, Target
layers = [(np.ones((3, 2), np.float32), np.zeros(2, np.float32))]
model = Model((Network(layers),), (Target("", "classification", ("a", "b")),))
assert model.predict(np.ones((4, 3))).tolist() == ["a"] * 4
print(sorted({{"jax", "jaxlib", "optax", "jaxtyping"}} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("[]\n", "")


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


@pytest.mark.parametrize("code", ["print(x)", "show = print", "sys.stdout.write(x)", "typer.echo(x)"])
def test_what_prints_is_found(code):
    assert prints(ast.parse(code))


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


def test_the_house_is_counted(tmp_path):
    """Docstrings, comments and blank lines are no code; an alias of Any, also in quotes, is one."""
    code = '''"""A module
of two lines."""

import typing
from typing import Any

Tree = Any  # an alias


def outer(x: Any, y: "dict[str, Tree]", *rest: int) -> None:
    """Says what it does."""
    import os

    def inner() -> typing.Any:
        from os import (
            path,
        )

        return path, """text,
which counts"""

    if x:
        import sys
'''
    source = tmp_path / "src" / "mlpax"
    source.mkdir(parents=True)
    (source / "file.py").write_text(code)
    found = house.survey(tmp_path)
    assert (found.files, found.lines, found.anys, found.bare_anys) == (1, 13, 3, 1)
    assert found.functions == {"file.py:10 outer": 10, "file.py:14 inner": 6}
    assert sorted(line.partition(":")[2] for line in found.imports) == [
        "12: import os", "15: from os import path", "23: import sys"
    ]  # fmt: skip
    assert found.long_functions == {}


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

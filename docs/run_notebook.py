"""Run the cells of a notebook in a folder that is deleted afterwards, and show what they print.

`python docs/run_notebook.py NOTEBOOK` writes the outputs of the code cells as JSON: for each cell a list of
texts and pictures. It runs the cells as Jupyter does, without Jupyter: it shows the value of a last
expression, and a line that begins with `!mlpax` is a command.
"""

import ast
import base64
import contextlib
import io
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

Output = dict[str, str]  # "text" of a text, or "png" of a picture in base 64


def main(notebook: Path) -> list[list[Output]]:
    """Run a notebook's code cells in order, and return the outputs of each."""
    names: dict[str, object] = {"__name__": "__main__"}
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            return [shown(source, names) for kind, source in cells(notebook) if kind == "code"]
        finally:
            os.chdir(before)


def cells(notebook: Path) -> list[tuple[str, str]]:
    """Return the kind, "markdown" or "code", and the text of each cell of a notebook."""
    record = json.loads(notebook.read_text(encoding="utf-8"))
    return [(cell["cell_type"], "".join(cell["source"])) for cell in record["cells"]]


def shown(source: str, names: dict[str, object]) -> list[Output]:
    """Run a cell among `names`, which it may change, and return what it shows."""
    names["_command"] = command
    source = "\n".join(
        f"_command({line[1:]!r})" if line.startswith("!") else line for line in source.splitlines()
    )
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "<cell>", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names) if last else None  # noqa: S307
    picture = io.BytesIO()
    if hasattr(value, "savefig"):
        value.savefig(picture, format="png")
    elif value is not None:
        print(repr(value), file=printed)
    outputs = [{"text": printed.getvalue()}] if printed.getvalue() else []
    png = picture.getvalue()
    return outputs + ([{"png": base64.b64encode(png).decode()}] if png else [])


def command(line: str) -> None:
    """Run `mlpax ...`, and print what the command says."""
    name, *words = shlex.split(line)
    assert name == "mlpax", line
    ran = subprocess.run([sys.executable, "-m", "mlpax", *words], capture_output=True, text=True, check=False)
    print(ran.stdout + ran.stderr, end="")
    assert ran.returncode == 0, ran.stderr


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]).resolve())))

"""What the README and the docs say works as written."""

import ast
import json
import re
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
PAGES = [ROOT / "README.md", *DOCS]
ALL = [*PAGES, *(ROOT / f"{name}.md" for name in ("CONTRIBUTING", "CHANGELOG", "SECURITY"))]
WORDS = 700  # of the README, code and tables included


def blocks(page: Path, language: str) -> list[str]:
    """The page's fenced blocks of a language."""
    every = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [text for its_language, text in every if its_language == language]


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_python_runs(page, tmp_path):
    """A page's Python blocks, run in order as one script, in an empty folder."""
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks(page, "python")))
    result = subprocess.run(
        [sys.executable, "-W", "error", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def test_the_articles_python_of_other_libraries_runs(tmp_path):
    """Blocks marked `py` need what mlpax does not."""
    for name in ("flax", "equinox"):
        pytest.importorskip(name, reason="needs pip install 'mlpax[docs]'")
    page = ROOT / "docs" / "article.md"
    every = re.findall(r"^```(?:py|python)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    assert len(every) == len(blocks(page, "python")) + 2
    script = tmp_path / "page.py"
    script.write_text("\n".join(every))
    result = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_exist(page):
    """Every `mlpax ...` of a page names a command and options that there are."""
    from typer.main import get_command

    from mlpax.cli.main import app

    commands = get_command(app).commands
    for line in re.findall(r"^(?:\$ )?mlpax (.+?)(?:  +#.*)?$", "\n".join(blocks(page, "")), re.MULTILINE):
        name, *words = line.split()
        if name.startswith("-"):
            continue
        assert name in commands, line
        options = {option for p in commands[name].params for option in (*p.opts, *p.secondary_opts)}
        assert {w.partition("=")[0] for w in words if w.startswith("--")} <= options | {"--help"}, line


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub writes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_anchors_are_written_as_on_github(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# What's `mlpax`?\n```\n# no heading\n```\n## 2-D, and more\n")
    assert anchors(page) == {"whats-mlpax", "2-d-and-more"}


@pytest.mark.parametrize("page", ALL, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]+))?\)", page.read_text()):
        place = page.parent / target if target else page
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), f"{target}#{anchor}"


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "article.md"], ids=lambda p: p.name)
def test_the_article_is_linked(page):
    assert "](https://www.jtrive.com/posts/intro-to-jax-part-3/intro-to-jax-part-3.html)" in (
        page.read_text().replace("\n", "")
    )


def walks() -> list[tuple[str, list[tuple[str, str]]]]:
    """The walks of CONTRIBUTING: the title of each, and the file and function of every step."""
    text = (ROOT / "CONTRIBUTING.md").read_text().partition("\n## Walks\n")[2].partition("\n## ")[0]
    _, *parts = re.split(r"^### ", text, flags=re.MULTILINE)
    steps = r"^\d+\. `([\w/]+\.py): ([\w.]+)`"
    return [(part.partition("\n")[0], re.findall(steps, part, re.MULTILINE)) for part in parts]


@pytest.mark.parametrize(("title", "steps"), walks())
def test_a_walk_names_what_there_is_and_comes_back_to_no_room(title, steps):
    for file, name in steps:
        tree = ast.parse((ROOT / "src" / "mlpax" / file).read_text())
        for part in name.split("."):
            defined = [
                n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and n.name == part
            ]
            assert defined, f"{file} defines no {name}"
            tree = defined[0]
    rooms = [room for room, _ in groupby(file.partition("/")[0] for file, _ in steps)]
    assert len(rooms) > 1
    assert len(rooms) == len(set(rooms)), rooms


def test_there_are_four_walks():
    assert len(walks()) == 4


def test_the_threat_model_names_tests_that_there_are():
    """Each row of the promises names one, and all are collected."""
    page = (ROOT / "docs" / "security.md").read_text()
    (table,) = re.findall(r"^\| file \| promised .*?\n((?:\|.*\n)+)", page, re.MULTILINE)
    for row in table.splitlines()[1:]:
        files = re.findall(r"`(tests/[\w/]+\.py)`", row)
        assert files, row
        for file in files:
            assert re.search(r"^def test_", (ROOT / file).read_text(), re.MULTILINE), file


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= WORDS


def test_the_readme_names_the_commands_of_a_clone():
    lines = "\n".join(blocks(ROOT / "README.md", "")).splitlines()
    assert {"make train", "make test"} <= {line.partition("#")[0].strip() for line in lines}


def test_every_page_is_reached_from_the_index_and_the_index_from_the_readme():
    linked = set(re.findall(r"\]\(([\w-]+\.md)", (ROOT / "docs" / "index.md").read_text()))
    assert linked == {page.name for page in DOCS} - {"index.md"}
    assert "](docs/index.md)" in (ROOT / "README.md").read_text()


def test_every_notebook_is_reached_from_the_index():
    linked = re.findall(r"\]\(notebooks/([\w-]+\.ipynb)\)", (ROOT / "docs" / "index.md").read_text())
    assert sorted(linked) == [notebook.name for notebook in NOTEBOOKS]
    assert len(linked) == 8


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs(notebook):
    """Every code cell runs without a warning, and the last one shows something."""
    command = [sys.executable, "-W", "error", ROOT / "docs" / "run_notebook.py", notebook]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)[-1]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_kept_without_outputs(notebook):
    """So that a change shows as a change of the text."""
    record = json.loads(notebook.read_text(encoding="utf-8"))
    code = [cell for cell in record["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert record["cells"][0]["cell_type"] == "markdown"
    assert set(record["metadata"]) == {"kernelspec", "language_info"}
    assert "".join(record["cells"][0]["source"]).startswith("# ")


def test_the_tables_are_those_of_the_results():
    command = [sys.executable, "-m", "benchmarks.readme", "--check"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_the_example_times_its_ways_in_turn(tmp_path):
    options = ["--data", "digits", "--epochs", "1", "--rounds", "2"]
    command = [sys.executable, "-W", "error", ROOT / "examples" / "article.py", *options]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    rounds = re.findall(r"^round (\d+): ([\d., ]+) s$", result.stdout, re.MULTILINE)
    assert [(number, times.count(",")) for number, times in rounds] == [("1", 2), ("2", 2)]
    assert (tmp_path / "article.png").exists()


def test_a_cell_that_trains_runs_twice(tmp_path, monkeypatch):
    """As in a notebook: the second time is another run, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    (cell,) = (
        code for page in PAGES for code in blocks(page, "python") if 'train("digits", epochs=20)' in code
    )
    exec(cell, {})
    exec(cell, {})
    assert sorted(path.name for path in tmp_path.glob("runs/*")) == ["digits-default-1", "digits-default-2"]


def test_the_reference_is_what_the_source_says():
    subprocess.run([sys.executable, ROOT / "docs/generate.py", "--check"], check=True)

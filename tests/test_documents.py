"""What the README and the docs say works as written."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """The page's fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_python_runs(page, tmp_path):
    """A page's Python blocks, run in order as one script, in an empty folder."""
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks(page, "python")))
    result = subprocess.run(
        [sys.executable, "-W", "error", script], cwd=tmp_path, capture_output=True, text=True
    )
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


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_reference_is_what_the_docstrings_say():
    subprocess.run([sys.executable, ROOT / "docs/generate.py", "--check"], check=True)

"""Build the site: gather the pages that the code host shows, and let Sphinx write them as HTML.

`python docs/build_site.py` writes `build/site`. It first prepares the pages in `build/pages`: those of
`docs`, some of those at the top of the project, and in place of `reference.md` a page that Sphinx fills from
the docstrings. The side bar is made from the lists of links in `index.md`.
"""

import base64
import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from generate import MODULES, is_constant, public_names, shown
from run_notebook import cells
from sphinx.cmd.build import main as sphinx

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
# Pages of another name on the site; Sphinx has a page `search` of its own.
NAMES = {"CHANGELOG.md": "changes.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "reporting.md",
         "docs/search.md": "find-settings.md"}  # fmt: skip


def build(folder: Path) -> int:
    """Write the site to `folder/site`; return 0, or the exit status of Sphinx if there was a warning."""
    pages, site = folder / "pages", folder / "site"
    for old in (pages, site):
        shutil.rmtree(old, ignore_errors=True)
    prepare(pages)
    options = [
        "-W",
        "--keep-going",
        "-q",
        "-E",
        "-b",
        "html",
        "-c",
        str(DOCS),
        "-d",
        str(folder / "doctrees"),
    ]
    return sphinx([*options, str(pages), str(site)])


def prepare(pages: Path) -> None:
    """Write all pages, with links among them, to the folder `pages`."""
    shutil.copytree(DOCS / "images", pages / "images")
    for page in [*DOCS.glob("*.md"), *(ROOT / file for file in NAMES)]:
        (pages / on_site(page)).write_text(relinked(page.read_text(), page.parent))
    (pages / "notebooks").mkdir()
    for notebook in (DOCS / "notebooks").glob("*.ipynb"):
        (pages / on_site(notebook)).write_text(notebook_page(notebook, pages / "notebooks"))
    index = pages / "index.md"
    index.write_text(with_side_bar(index.read_text()))
    (pages / "reference.md").write_text(reference())


def on_site(page: Path) -> str:
    """Return the name that a file of the project has among the prepared pages; "" if it is not among them."""
    name = page.relative_to(ROOT).as_posix()
    if name in NAMES:
        return NAMES[name]
    name = page.relative_to(DOCS).as_posix() if page.is_relative_to(DOCS) else ""
    return name.replace(".ipynb", ".md")


def relinked(text: str, folder: Path) -> str:
    """Return the text of a page that lies in `folder`, with its links as they are among the prepared pages.

    A link to a file that is no page, such as a test, becomes plain text.
    """

    def link(found: re.Match[str]) -> str:
        words, target, anchor = found[1], found[2], found[3] or ""
        if not target or re.match("https?:", target):
            return found[0]
        page = on_site((folder / target).resolve())
        return f"[{words}]({page}{anchor})" if page else words

    return re.sub(r"\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)", link, text)


def notebook_page(notebook: Path, folder: Path) -> str:
    """Run a notebook, and return it as a page with the outputs; pictures are written to `folder`."""
    ran = subprocess.run(
        [sys.executable, DOCS / "run_notebook.py", notebook], check=True, stdout=subprocess.PIPE, text=True
    )
    of_cells = iter(json.loads(ran.stdout))
    parts: list[str] = []
    for kind, source in cells(notebook):
        language = "" if source.startswith("!") else "python"  # a command
        parts.append(source if kind == "markdown" else f"```{language}\n{source}\n```")
        for output in next(of_cells) if kind == "code" else []:
            if "png" in output:
                name = f"{notebook.stem}-{len(parts)}.png"
                (folder / name).write_bytes(base64.b64decode(output["png"]))
                parts.append(f"![What the lines above draw]({name})")
            else:
                parts.append(f"```text\n{output['text']}```")
    return "\n\n".join(parts) + "\n"


def with_side_bar(index: str) -> str:
    """Return the first page with a hidden table of contents for each of its lists of links."""
    parts = re.split(r"^## (.+)$", index, flags=re.MULTILINE)
    for title, text in zip(parts[1::2], parts[2::2], strict=True):
        pages = re.findall(r"^- \[[^\]]+\]\(([^)#]+)\)", text, re.MULTILINE)
        index += f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n" + "\n".join(pages) + "\n```\n"
    return index


def reference() -> str:
    """Return the page of all public names, for Sphinx to fill."""
    parts = ["# Reference\n\nEvery public name, from its docstring. [The settings](settings.md) of a recipe "
             "and [the commands](commands.md) have pages of their own."]  # fmt: skip
    for module in MODULES:
        path = module if module == "mlpax" else f"mlpax.{module}"
        parts.append(f"## {path}\n\n```{{eval-rst}}\n.. automodule:: {path}\n   :no-members:\n```")
        for home, name, value in public_names():
            if home == path:
                directive = f".. py:data:: {path}.{name}\n   :value: {shown(value)}"
                if not is_constant(value):
                    kind = "class" if inspect.isclass(value) else "function"
                    directive = f".. auto{kind}:: {path}.{name}" + ("\n   :members:" * (kind == "class"))
                parts.append(f"### {name}\n\n```{{eval-rst}}\n{directive}\n```")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1]) if sys.argv[1:] else ROOT / "build"))

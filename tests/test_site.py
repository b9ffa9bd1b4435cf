"""The site: its links lead to pages of the site, and no page asks another server for anything."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="needs pip install 'mlpax[docs]'")
DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture
def site(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    return importlib.import_module("build_site")


def test_links_lead_to_the_pages_of_the_site(site):
    texts = {
        "[a](runs.md#look)": "[a](runs.md#look)",
        "[a](search.md)": "[a](find-settings.md)",
        "[two\nlines](../CONTRIBUTING.md#speed)": "[two\nlines](contributing.md#speed)",
        "![p](images/article.png)": "![p](images/article.png)",
        "[`tests`](../tests/model)": "`tests`",
        "[a](https://example.org/x.md)": "[a](https://example.org/x.md)",
        "[a](#anchor)": "[a](#anchor)",
    }
    for text, expected in texts.items():
        assert site.relinked(text, DOCS) == expected
    assert site.relinked("[a](docs/search.md#x) [b](LICENSE)", DOCS.parent) == "[a](find-settings.md#x) b"


def test_the_side_bar_is_the_lists_of_the_index(site):
    index = "# T\n\n## Learn\n\n- [A](a.md): first\n- [B](b.md)\n"
    bar = "\n```{toctree}\n:hidden:\n:caption: Learn\n\na.md\nb.md\n```\n"
    assert site.with_side_bar(index) == index + bar


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_asks_no_other_server(tmp_path):
    subprocess.run([sys.executable, DOCS / "build_site.py", tmp_path], check=True)
    pages = list((tmp_path / "site").glob("*.html"))
    assert {"index.html", "reference.html", "settings.html"} <= {page.name for page in pages}
    for page in pages:
        loads = r"<(?:script|img|link|iframe)[^>]+(?:src|href)=.(?:https?:)?//"
        assert not re.search(loads, page.read_text()), page
    for style in (tmp_path / "site" / "_static").rglob("*.css"):
        assert not re.search(r"(?:url\(|@import )[\"']?(?:https?:)?//", style.read_text()), style

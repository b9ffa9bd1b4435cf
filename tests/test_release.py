"""What a release is made of agrees: versions, systems and files, each named in several places."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def named(requirements):
    """The packages of requirements, with the versions that follow the sign."""
    parts = (re.match(r"([\w.-]+)(?:\[[^]]*\])?(?:[>=]=([\w.]+))?", text) for text in requirements)
    return {part[1].lower().replace("_", "-"): part[2] for part in parts}


def pins(file):
    lines = (ROOT / file).read_text().splitlines()
    assert all(re.fullmatch(r"#.*|[\w.-]+==[\w.]+", line) for line in lines)
    return named(line for line in lines if not line.startswith("#"))


def test_every_dependency_is_pinned_for_developers():
    extras = [text for extra in PROJECT["optional-dependencies"].values() for text in extra]
    wanted = named([*PROJECT["dependencies"], *extras]).keys() - {"mlpax"}
    assert wanted <= pins("constraints.txt").keys()


def test_the_oldest_versions_are_those_that_the_package_allows():
    extras = PROJECT["optional-dependencies"]
    users = ("dask", "export", "log", "serve")
    allowed = named([*PROJECT["dependencies"], *(text for extra in users for text in extras[extra])])
    assert pins("constraints-oldest.txt") == allowed
    text = (ROOT / "constraints-oldest.txt").read_text().splitlines()[1:]
    assert text == sorted(text, key=str.lower)


def test_the_workflow_runs_the_pythons_and_systems_that_the_package_names():
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    pythons = re.search(r"python: \[(.*)\]", workflow)[1].replace('"', "").split(", ")
    classifiers = PROJECT["classifiers"]
    stated = [re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", text) for text in classifiers]
    assert pythons == [found[1] for found in stated if found]
    systems = re.search(r"os: \[(.*)\]", workflow)[1]
    assert re.findall("ubuntu|macos|windows", systems) == ["ubuntu", "macos", "windows"]
    assert len([text for text in classifiers if text.startswith("Operating System")]) == 3


def test_the_workflow_pins_what_it_uses_and_may_only_read():
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    uses = re.findall(r"uses: (.*)", workflow)
    assert uses
    assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v[\d.]+", action) for action in uses)
    assert re.findall(r"permissions:\n((?:  .*\n)+)", workflow) == ["  contents: read\n"]


def test_the_image_copies_what_there_is_and_runs_as_no_root():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copies = [line.split()[1:-1] for line in lines if line.startswith("COPY") and "--from" not in line]
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    for name in (name for names in copies for name in names):
        assert (ROOT / name).exists()
        assert name in kept
    assert lines.index("USER mlpax") < lines.index('ENTRYPOINT ["mlpax"]')


def test_the_sources_hold_what_the_project_has_at_its_top():
    listed = re.search(r"^include (.*)$", (ROOT / "MANIFEST.in").read_text(), re.MULTILINE)[1].split()
    assert all((ROOT / name).exists() for name in listed)
    others = {path.name for path in ROOT.glob("*.md")} | {"constraints.txt", "constraints-oldest.txt"}
    assert others - {"README.md"} <= set(listed)  # setuptools takes the README by itself


def test_the_citation_is_of_this_version():
    text = (ROOT / "CITATION.cff").read_text()
    assert f"version: {PROJECT['version']}\n" in text
    assert f"license: {PROJECT['license']}\n" in text

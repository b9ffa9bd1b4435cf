"""Compare a benchmark's figures between an earlier commit and the present one.

python -m benchmarks.against REV SCRIPT [--rounds 15] [-- OPTIONS]

Both commits are checked out as git worktrees in a temporary folder. Each gets an environment of its own,
from its own constraints.txt; later calls use both again. Then processes of the two commits take turns
(A B, B A, ...). Each runs its own commit's script for one round, with mlpax as the only contestant
(`benchmarks.alone`).

The clock is the script's own. The figures of a round are paired by their names. A ratio is the present
commit's figure divided by the earlier one's, so that more than 1 is slower.
benchmarks/results/against_<script>.json holds both commits, the hardware, the load and every single time.
Changes that are not committed are not measured.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS, in_lines, ratios, summary

ROOT = Path(__file__).parents[1]
CACHE = Path(tempfile.gettempdir()) / "mlpax-against"
RATIOS = {"ratio", "times_mlpax", "speedup"}  # figures that are no times

Figures = dict[str, float]


def commit_of(revision: str) -> str:
    """Return the full hash of a revision."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"]
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode:
        sys.exit(f"no commit {revision!r} in this repository")
    return found.stdout.strip()


def checkout(commit: str) -> Path:
    """Return a worktree of a commit with its own environment; both are made once and kept."""
    folder = CACHE / commit[:12]
    tree, done = folder / "tree", folder / "installed"
    if not done.exists():
        print(f"preparing {commit[:12]}", flush=True)
        subprocess.run(["git", "-C", ROOT, "worktree", "prune"], check=True)
        shutil.rmtree(folder, ignore_errors=True)
        add = ["git", "-C", ROOT, "worktree", "add", "--force", "--detach", "--quiet", tree, commit]
        subprocess.run(add, check=True)
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        pip = [python_of(tree), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--constraint", "constraints.txt", "--editable", "."], cwd=tree, check=True)
        done.touch()
    shutil.copy(Path(__file__).with_name("alone.py"), tree / "benchmarks")
    return tree


def python_of(tree: Path) -> Path:
    """Return the interpreter of a checkout's environment."""
    return tree.parent / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"


def measure(tree: Path, script: str, options: list[str]) -> dict[str, Any]:
    """Run one round of a commit's own script in a fresh process; return what it recorded."""
    results = tree / "benchmarks" / "results"
    for old in results.glob(f"{script}-*.json"):
        old.unlink()
    command = [python_of(tree), "-m", "benchmarks.alone", script, "--rounds", "1", *options]
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=tree, env=clean, capture_output=True, text=True)
    written = list(results.glob(f"{script}-*.json"))
    if done.returncode or len(written) != 1:
        sys.exit(f"{script} failed in {tree}:\n{done.stderr or done.stdout}")
    return json.loads(written[0].read_text())


def figures(results: Any, path: tuple[str, ...] = ()) -> Figures:
    """Return the median of every summary of times in a benchmark's results, by its place in them."""
    if isinstance(results, list):
        named = [entry for entry in results if isinstance(entry, dict) and "name" in entry]
        results = {f"{entry['name']} {entry.get('form', '')}".strip(): entry for entry in named}
    if not isinstance(results, dict):
        return {}
    if "median" in results:
        return {", ".join(path): float(results["median"])}
    found: Figures = {}
    for name, value in results.items():
        if name not in RATIOS:
            found |= figures(value, (*path, str(name)))
    return found


def compared(then: list[Figures], now: list[Figures]) -> dict[str, Any]:
    """Pair the rounds of both commits by the figures' names; a figure that one of them lacks is left out."""
    paired = [name for name in then[0] if all(name in found for found in then + now)]
    content: dict[str, Any] = {}
    for name in paired:
        before, after = [found[name] for found in then], [found[name] for found in now]
        content[name] = {"then": summary(before), "now": summary(after), "ratio": ratios(after, before)}
    return content


def write(script: str, content: dict[str, Any]) -> None:
    """Write the comparison so far; it is kept if a later round fails."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"against_{script}.json").write_text(in_lines(content))


def show(content: dict[str, Any]) -> None:
    """Print a line a figure: medians of both commits, median and quartiles of the paired ratios."""
    width = max(map(len, content["figures"]), default=6)
    then, now = (content["commits"][side][:10] for side in ("then", "now"))
    print(f"{'figure':{width}}  {then:>10}  {now:>10}  {'ratio':>6}  quartiles")
    for name, entry in content["figures"].items():
        before, after, ratio = entry["then"]["median"], entry["now"]["median"], entry["ratio"]
        spread = f"{ratio['q1']:.3f} to {ratio['q3']:.3f}"
        print(f"{name:{width}}  {before:10.4g}  {after:10.4g}  {ratio['median']:6.3f}  {spread}")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.against",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("revision", metavar="REV", help="the earlier commit, branch or tag")
    parser.add_argument("script", metavar="SCRIPT", help="a benchmark: epoch, estimators, startup, ...")
    parser.add_argument("--rounds", type=int, default=15, help="pairs of processes, 15 by default")
    own = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options, theirs = parser.parse_args(sys.argv[1:own]), sys.argv[own + 1 :]
    if options.rounds < 1:
        parser.error("--rounds must be 1 or more")
    if not (ROOT / "benchmarks" / f"{options.script}.py").exists():
        parser.error(f"no script benchmarks/{options.script}.py")
    commits = {"then": commit_of(options.revision), "now": commit_of("HEAD")}
    trees = {side: checkout(commit) for side, commit in commits.items()}
    rounds: dict[str, list[Figures]] = {side: [] for side in commits}
    load = [round(value, 2) for value in os.getloadavg()]
    content: dict[str, Any] = {}
    for turn in range(options.rounds):
        machines: dict[str, Any] = {}
        for side in ("then", "now") if turn % 2 == 0 else ("now", "then"):
            record = measure(trees[side], options.script, theirs)
            rounds[side].append(figures(record["results"]))
            machines[side] = record["hardware"]
        content = {
            "benchmark": f"against_{options.script}",
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "commits": commits,
            "options": theirs,
            "hardware": machines,
            "load": {"average_before": load, "average_after": [round(v, 2) for v in os.getloadavg()]},
            "rounds": turn + 1,
            "figures": compared(rounds["then"], rounds["now"]),
        }
        write(options.script, content)
        print(f"round {turn + 1} of {options.rounds}", flush=True)
    show(content)


if __name__ == "__main__":
    main()

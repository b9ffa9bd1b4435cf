"""Fill the tables of README.md and docs/benchmarks.md from results/*.json, and draw their pictures.

`python -m benchmarks.readme` replaces the text between `<!-- table:NAME -->` and `<!-- end -->` in both
pages, draws the pictures in docs/images, and prints the tables. With `--check` it writes nothing, and exits
with 1 if a page differs from the results.
"""

import argparse
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "README.md", ROOT / "docs" / "benchmarks.md"
IMAGES = ROOT / "docs" / "images"
Result = dict[str, Any]


def grid(head: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown. Columns of numbers are aligned to the right."""
    number = re.compile(r"[\d.,%]*( to [\d.,]+)?")
    right = [all(number.fullmatch(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = [head, ["---:" if r else "---" for r in right], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def caption(result: Result, packages: tuple[str, ...], n: str) -> str:
    """Return one sentence: the hardware, the versions, the number of measurements and the other load."""
    machine, load = result["hardware"], result["load"]["other_processes"]
    where = "" if machine["device"] == "cpu" else f"{machine['device']}, "
    vectors = f" ({machine['simd']})" if machine["simd"] else ""
    versions = ", ".join(f"{p} {machine['versions'][p]}" for p in packages if machine["versions"][p])
    busy = "" if load is None else f"; other processes took {load:.0%} of the cores' time"
    cores = f"{where}{result['threads']} cores of {machine['cpu']}{vectors}"
    return f"{cores}, Python {machine['python']}, {versions}; {result['date']}; {n}{busy}."


def best_forms(result: Result) -> list[Result]:
    """Return each contestant in its faster form, the fastest first."""
    best: dict[str, Result] = {}
    for c in sorted(result["results"]["contestants"], key=lambda c: c["milliseconds"]["median"]):
        best.setdefault(c["name"], c)
    return list(best.values())


def article(result: Result) -> str:
    every = result["results"]["epochs"]
    rows = [
        [f"{row['epoch']:.0f}", f"{row['loss']:.4f}"]
        + [f"{row[f'{name}_accuracy']:.3f}" for name in ("train", "valid")]
        + [f"{row[key]:.2f}" for key in ("seconds_without_jit", "seconds_with_jit", "seconds")]
        for row in every
        if row["epoch"] % 5 == 0 or row["epoch"] == 1
    ]
    head = ["epoch", "loss", "train acc.", "valid acc.", "without jit, s", "its loop with jit, s", "mlpax, s"]
    n = f"every fifth of {len(every)} epochs"
    return f"{grid(head, rows)}\n\n{caption(result, ('jax',), n)}"


def epoch(result: Result) -> str:
    rows = [
        [
            f"**{c['name']}**" if c["name"] == "mlpax" else f"{c['name']} ({c['form']})",
            f"{c['milliseconds']['median']:,.0f}",
            f"{c['milliseconds']['q1']:,.0f} to {c['milliseconds']['q3']:,.0f}",
            f"{c['times_mlpax']['median']:.2f}",
            f"{c['test_accuracy']:.1%}",
        ]
        for c in best_forms(result)
    ]
    head = ["one epoch", "median, ms", "quartiles, ms", "times mlpax", "test accuracy"]
    n = result["results"]["contestants"][0]["milliseconds"]["n"]
    packages = ("jax", "torch", "scikit-learn", "flax", "keras")
    return f"{grid(head, rows)}\n\n{caption(result, packages, f'{n} rounds, ratios within a round')}"


def time_to_accuracy(result: Result) -> str:
    article = result["results"]["article"]
    rows = [
        [
            f"`{r['name']}`" if r["name"] in ("default", "quick") else r["name"],
            r["settings"],
            f"{r['seconds']['median']:.2f}",
            f"{r['test_accuracy']['median']:.2%}",
            f"{r['test_accuracy']['min']:.2%}",
            f"{r['article_times']['median']:.1f}",
        ]
        for r in result["results"]["recipes"]
    ]
    theirs = ["the article", article["settings"], f"{article['seconds']:.2f}"]
    rows.append([*theirs, f"{article['test_accuracy']:.2%}", "", "1"])
    head = ["recipe", "settings", "training, s", "test accuracy", "lowest", "times faster"]
    n = result["results"]["recipes"][0]["seconds"]["n"]
    return f"{grid(head, rows)}\n\n{caption(result, ('jax',), f'medians of {n} seeds, ratios within a seed')}"


def startup(result: Result) -> str:
    seconds = result["results"]["seconds"]
    rows = [
        [f"`{name}`" if name.startswith(("mlpax", "import", "python")) else name]
        + [f"{s[key]:.2f}" for key in ("median", "min", "max")]
        for name, s in seconds.items()
    ]
    head = ["a new process", "median, s", "lowest", "highest"]
    n = f"{seconds['python']['n']} processes each"
    return f"{grid(head, rows)}\n\n{caption(result, ('jax',), n)}"


def peak(result: Result) -> str:
    sizes, best = result["results"]["batch_sizes"], result["results"]["peak_gflops"]["median"]
    rows = [
        [
            "-".join(map(str, (784, *s.get("hidden", [128]), 10))),
            str(s["batch_size"]),
            *(f"{s[key]['median']:,.0f}" for key in ("milliseconds", "gflops")),
            f"{s['share_of_peak']['median']:.0%}",
        ]
        for s in sizes
    ]
    n = f"{sizes[0]['gflops']['n']} rounds; the peak, {best:,.0f} GFLOP/s, is a large product's"
    n += "; shares within a round"
    head = ["network", "batch", "epoch, ms", "GFLOP/s", "share of the peak"]
    return f"{grid(head, rows)}\n\n{caption(result, ('jax',), n)}"


def tables(result: Result) -> str:
    methods = result["results"]["methods"]
    rows = [
        [
            f"**{name}**" if name == "mlpax" else name,
            f"{m['mean_rank']:.2f}",
            f"{m['mean_rank_log_loss']:.2f}",
            f"{m['fit_seconds']:,.0f}",
            "1" if name == "mlpax" else f"{m['mlpax_against']['seconds_ratio']:.2f}",
            "" if name == "mlpax" else f"{m['mlpax_against']['wilcoxon_p']:.2g}",
        ]
        for name, m in sorted(methods.items(), key=lambda item: item[1]["mean_rank"])
    ]
    head = [
        "defaults of",
        "mean rank by error",
        "by log-loss",
        "fits in all, s",
        "times mlpax",
        "p (Wilcoxon)",
    ]
    measured = result["results"]["tables"].values()
    seeds = Counter(len(t["on"]) for t in measured)
    where = Counter(f"{on['cpu']} ({on['simd']}, {on['date']})" for t in measured for on in t["on"])
    n = f"{len(measured)} tables of {sum(t['rows'] for t in measured):,} rows in all; " + (
        ", ".join(f"{n} seeds of {count} tables" for n, count in sorted(seeds.items()))
    )
    machines = "; ".join(f"{count} on 2 cores of {name}" for name, count in where.most_common())
    versions = ", ".join(f"{p} {result['hardware']['versions'][p]}" for p in ("jax", "scikit-learn", "torch"))
    load = result["load"]["other_processes"]  # during the run that came last
    busy = "" if load is None else f"; in the last run other processes took {load:.0%} of the cores' time"
    return f"{grid(head, rows)}\n\n{n}. Fits measured in turns: {machines}{busy}. {versions}."


def tables_best(result: Result) -> str:
    return tables(result)


def recipe(result: Result) -> str:
    found = result["results"]
    names = {"log_loss": "log-loss of a classification", "nrmse": "root mean squared error of a regression"}
    rows = [
        [
            names[key],
            str(found[key]["tables"]),
            str(found[key]["better"]),
            f"{found[key]['ratio']:.3f}",
            "{:.3f} to {:.3f}".format(*found[key]["interval"]),
        ]
        for key in names
    ]
    rows.append(["seconds of all fits", str(len(found["tables"])), "", f"{found['time_ratio']:.2f}", ""])
    gains = grid(["now by then", "tables", "better", "ratio", "95 % interval"], rows)

    def rank(name: str, key: str) -> str:
        of = found["ranks"][key][name]
        return "{:.2f} ({:.2f} to {:.2f})".format(of["mean"], *of["interval"])

    learners = sorted(found["ranks"]["error"], key=lambda name: found["ranks"]["error"][name]["mean"])
    each = [
        [f"**{name}**" if name == "mlpax" else name, rank(name, "error"), rank(name, "log_loss")]
        for name in learners
    ]
    ranks = grid(["defaults of", "mean rank by error", "by log-loss"], each)
    machine = result["hardware"]
    where = f"2 cores of {machine['cpu']} ({machine['simd']}), {result['date']}"
    return f"{gains}\n\n{ranks}\n\n{where}; 5 splits of each table; intervals by a bootstrap over tables."


def population(result: Result) -> str:
    rows: list[list[str]] = []
    members: list[int] = []
    for of_set in result["results"]["sets"]:
        entries = of_set["contestants"]
        members = sorted({entry["members"] for entry in entries})
        for contestant in dict.fromkeys(entry["contestant"] for entry in entries):
            own = {
                e["members"]: e["milliseconds"]["median"] for e in entries if e["contestant"] == contestant
            }
            name = f"{of_set['name']}, {'-'.join(map(str, of_set['hidden']))} units"
            rows.append([name, contestant, *(f"{own[k]:.2f}" if k in own else "" for k in members)])
    n = result["results"]["sets"][0]["contestants"][0]["milliseconds"]["n"]
    head = ["network", "trained", *(f"K = {k}, ms" for k in members)]
    return f"{grid(head, rows)}\n\n{caption(result, ('jax', 'scikit-learn'), f'medians of {n} rounds')}"


def estimators(result: Result) -> str:
    found = {**result["results"]["sets"], "GridSearchCV, 100 fits": result["results"]["search"]}
    rows = [
        [
            name.replace("_", " "),
            f"{f['seconds']['mlpax']['median']:.3f}",
            f"{f['seconds'][f['peer']]['median']:.3f}",
            f"{f['ratio']['median']:.1f}",
            f"{f['score']['mlpax']:.4f}",
            f"{f['score'][f['peer']]:.4f}",
        ]
        for name, f in found.items()
    ]
    fresh = {name: seconds["median"] for name, seconds in result["results"]["first_fit"].items()}
    theirs = fresh.pop("sklearn.neural_network")
    for name, ours in fresh.items():
        what = name.replace("mlpax", "new process, first fit")
        rows.append([what, f"{ours:.3f}", f"{theirs:.3f}", f"{theirs / ours:.1f}", "", ""])
    head = ["fit of", "mlpax, s", "scikit-learn, s", "times mlpax", "score", "scikit-learn's"]
    n = f"medians of {found['digits']['ratio']['n']} seeds, MNIST's of {found['mnist']['ratio']['n']}"
    n += "; ratios within a seed"
    return f"{grid(head, rows)}\n\n{caption(result, ('jax', 'scikit-learn'), n)}"


def search(result: Result) -> str:
    rows: list[list[str]] = []
    titles = {"candidates": "64 candidates", "grid": "20 x 5 folds"}
    for key, title in titles.items():
        for name, of in result["results"][key]["contestants"].items():
            rows.append([title, name, f"{of['seconds']['median']:.2f}", f"{of['times_ours']['median']:.1f}"])
    behind = result["results"]["candidates"]["behind"]
    note = f"medians of {behind['n']} rounds; ratios within a round"
    note += f"; halving's winner {sum(behind['values']) / behind['n']:.2f} points behind in the mean"
    head = ["search", "trained", "seconds", "times the first"]
    return f"{grid(head, rows)}\n\n{caption(result, ('jax', 'scikit-learn'), note)}"


def intervals(result: Result) -> str:
    found, peer, machine = result["results"], "HistGradientBoosting", result["hardware"]
    rows = [
        [name.replace("_", " "), f"{of['rows']:,}", f"{of['mlpax']['coverage']:.1%}",
         f"{of[peer]['coverage']:.1%}", f"{of['ratio']:.2f}"]
        for name, of in found["tables"].items()
    ]  # fmt: skip
    every = found["mean_coverage"], found["median_ratio"]
    rows.append(["mean, and median of the widths", "", f"{every[0]:.1%}", "", f"{every[1]:.2f}"])
    head = ["table", "training rows", "mlpax holds", "trees hold", "mlpax's width by the trees'"]
    where = f"{machine['cpu']} ({machine['simd']}), scikit-learn {machine['versions']['scikit-learn']}"
    return f"{grid(head, rows)}\n\n{where}; {result['date']}; one split of each table."


def serving(result: Result) -> str:
    found = result["results"]
    rows = [
        [f"**{name}**" if name == "mlpax" else name]
        + [
            f"{found[name][figure]['median']:,.{digits}f}"
            for figure, digits in (("rate", 0), ("half_rate", 0), ("half_p50", 1), ("half_p99", 1))
        ]
        for name in ("mlpax", "FastAPI and PyTorch")
    ]
    head = ["server", "requests a second", "at half load", "median, ms", "99 %, ms"]
    n = f"{found['mlpax']['rate']['n']} rounds; times the peer's requests {found['times']['median']:.2f}"
    return f"{grid(head, rows)}\n\n{caption(result, ('torch',), n)}"


def text(result: Result) -> str:
    found, machine, models = (
        result["results"],
        result["hardware"],
        ("mlpax", "scikit-learn", "scikit-learn wide"),
    )
    rows = [
        [name, f"{of['largest']:.1%}", *(f"{of[model]['accuracy']['median']:.1%}" for model in models),
         *(f"{of[model]['seconds']['median']:.1f}" for model in models),
         f"{of['mlpax']['row_ms']['median']:.1f}", f"{of['mlpax']['file_mb']['median']:.1f}"]
        for name, of in found.items()
    ]  # fmt: skip
    head = ["set", "largest class", "mlpax", "scikit-learn", "wide", "mlpax, s", "scikit-learn, s",
            "wide, s", "mlpax, a row, ms", "mlpax's file, MB"]  # fmt: skip
    splits = next(iter(found.values()))["mlpax"]["accuracy"]["n"]
    where = f"{machine['cpu']} ({machine['simd']}), scikit-learn {machine['versions']['scikit-learn']}"
    load = f"other processes took {result['load']['other_processes']:.0%} of the cores' time"
    return f"{grid(head, rows)}\n\n{where}; {result['date']}; medians of {splits} splits; {load}."


def memory(result: Result) -> str:
    found = result["results"]
    sides = [side for side in ("then", "now") if side in found]
    stages = [*found["now"]["stages"]]
    labels = {"then": "before", "now": "now"}
    kinds = (
        ("one_thread", "rows a second, one thread"),
        ("all_cores", "all cores"),
        ("peak_mib", "MiB so far"),
    )
    head = ["stage", *(f"{labels[side]}: {kind}" for side in sides for _, kind in kinds)]
    rows = [
        [stage, *(f"{found[side]['stages'][stage][key]:,.0f}" for side in sides for key, _ in kinds)]
        for stage in stages
    ]
    each = grid(head, rows)
    whole = [
        [
            labels[side],
            f"to {ending}",
            f"{of['seconds']:,.0f}",
            f"{of['rate']:,.0f}",
            f"{of['peak_mib']:,.0f}",
        ]
        for side in sides
        for ending, of in found[side]["predictions"].items()
    ]
    training = [
        f"{labels[side]} {of['peak_mib']:,.0f} MiB, {of['peak_mib'] / of['arrays_mib']:.1f} times the arrays,"
        f" in {of['seconds']:.1f} s"
        for side, of in ((side, found[side]["training"]) for side in sides)
    ]
    own = found["now"]["shares"]
    note = (
        f"{found['gb']:.1f} GB of CSV, {found['rows']:,} rows. The whole now has {own['of_one_thread']:.0%}"
        f" of the slowest stage's rate by one thread, {own['of_all_cores']:.0%} of its rate by all cores,"
        f" and {own['of_the_cores']:.0%} of what the cores can do. Reading {found['parquet_mb']:,.0f} MB of"
        f" Parquet for training takes {'; '.join(training)}."
    )
    table = grid(["`mlpax predict`", "", "seconds", "rows a second", "MiB"], whole)
    return f"{each}\n\n{table}\n\n{note} {caption(result, ('mlpax',), 'one run')}"


TABLES = {
    table.__name__: table
    for table in (
        article,
        epoch,
        time_to_accuracy,
        startup,
        peak,
        tables,
        tables_best,
        recipe,
        population,
        search,
        intervals,
        text,
        estimators,
        serving,
        memory,
    )
}


def results(name: str) -> list[Result]:
    """Return the recorded results of one benchmark, the CPU's first."""
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob(f"{name}-*.json"))]
    return sorted(found, key=lambda r: r["hardware"]["device"] != "cpu")


def filled(text: str, contents: dict[str, str]) -> str:
    """Return a page's text with each of its tables replaced by the content of that name."""

    def content(place: re.Match[str]) -> str:
        return f"{place[1]}{contents[place[2]]}\n{place[3]}" if place[2] in contents else place[0]

    return re.sub(r"(<!-- table:(\w+) -->\n).*?(<!-- end -->)", content, text, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page differs")
    check = parser.parse_args().check
    contents = {
        name: "\n\n".join(map(table, found)) for name, table in TABLES.items() if (found := results(name))
    }
    print("\n\n".join(contents.values()))
    before = {page: page.read_text() for page in PAGES}
    for name in contents:
        if not any(f"<!-- table:{name} -->" in text for text in before.values()):
            print(f"no page has <!-- table:{name} --> to put this in", file=sys.stderr)
    after = {page: filled(text, contents) for page, text in before.items()}
    if differs := [page.name for page in PAGES if after[page] != before[page]] if check else []:
        sys.exit(f"{', '.join(differs)}: not what the results say; run: python -m benchmarks.readme")
    if not check:
        for page, text in after.items():
            page.write_text(text)
        draw()


def draw() -> None:
    """Draw the curves of the recorded article run and the epoch times."""
    from mlpax import plots

    IMAGES.mkdir(parents=True, exist_ok=True)
    if measured := results("article"):
        figure = plots.curves(measured[0]["results"]["epochs"], title="mnist, article")
        plots.save(figure, IMAGES / "article.png")
    if measured := results("epoch"):
        forms = best_forms(measured[0])
        seconds = {c["name"]: [t / 1000 for t in c["milliseconds"]["values"]] for c in forms}
        plots.save(plots.epoch_times(seconds), IMAGES / "epoch_times.png")


if __name__ == "__main__":
    main()

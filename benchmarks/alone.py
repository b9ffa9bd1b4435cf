"""Run one benchmark with mlpax as its only contestant: `python -m benchmarks.alone SCRIPT [OPTIONS]`.

`benchmarks.against` runs this file in two commits, beside the scripts of each commit. So it uses only what
the scripts of both have. `epoch` and `estimators` also measure other libraries, which need not be installed
and would take most of the time. Here they run without them. Every other script runs as it is. The result
has the script's usual name and form, and lies in the checkout of the commit.
"""

import importlib
import sys
from typing import Any

ONCE = (
    "MNIST_ROUNDS",
    "SEARCH_ROUNDS",
    "PROCESSES",
)  # rounds that estimators.py fixes, whatever `--rounds` says


def epoch(script: Any) -> None:
    """Measure epochs of the article's network by mlpax's program."""
    common, record = script.common, importlib.import_module("benchmarks.record")
    options = common.settings(script.__doc__, rounds=1)
    with record.Record("epoch", options) as results:
        data = common.mnist()
        ours = common.Trainer(data, script.article(len(data.X_train)))
        ours.epoch()
        times = common.interleave({"mlpax": ours.epoch}, options.rounds, script.TURNS)["mlpax"]
        results["milliseconds"] = record.summary([1000 * seconds for seconds in times], 2)


def estimators(script: Any) -> None:
    """Measure fits and the search by mlpax's classifier; each as often as `--rounds` says."""
    everyone, summary = script.forms, importlib.import_module("benchmarks.record").summary

    def ours(threads: int) -> dict[str, Any]:
        return {"mlpax": everyone(threads)["mlpax"]}

    def alone(seconds: dict[str, list[float]], _: object) -> dict[str, Any]:
        return {"seconds": {name: summary(values) for name, values in seconds.items()}}

    script.forms, script.compared, script.tell = ours, alone, lambda *_: None
    for name in ONCE:
        setattr(script, name, 1)
    script.main()


def main() -> None:
    name = sys.argv.pop(1)  # what is left are the options of the script
    script: Any = importlib.import_module(f"benchmarks.{name}")
    {"epoch": epoch, "estimators": estimators}.get(name, lambda script: script.main())(script)


if __name__ == "__main__":
    main()

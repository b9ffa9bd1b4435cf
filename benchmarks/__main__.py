"""Run the benchmarks one after another, each in its own process, then fill the tables of the pages.

python -m benchmarks [NAME ...] [--rounds N] [--quick]
"""

import argparse
import subprocess
import sys

NAMES = (
    "article",
    "epoch",
    "time_to_accuracy",
    "startup",
    "peak",
    "checkpointing",
    "population",
    "search",
    "estimators",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run the benchmarks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all by default")
    parser.add_argument("--rounds", type=int, help="repetitions instead of each benchmark's own number")
    parser.add_argument("--quick", action="store_true", help="a trial: two rounds, and no file is written")
    parser.add_argument("--threads", type=int, default=2, help="cores and threads for everyone, 2 by default")
    options = parser.parse_args()
    for name in options.names:
        if name not in NAMES:
            parser.error(f"no benchmark {name!r}; choose from {', '.join(NAMES)}")
    arguments = ["--threads", str(options.threads)]
    arguments += ["--rounds", str(options.rounds)] if options.rounds else []
    arguments += ["--quick"] if options.quick else []
    failed = []
    for name in options.names or NAMES:
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *arguments]).returncode:
            failed.append(name)
    if not options.quick and not failed:
        print("== readme", flush=True)
        failed += ["readme"] * subprocess.run([sys.executable, "-m", "benchmarks.readme"]).returncode
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()

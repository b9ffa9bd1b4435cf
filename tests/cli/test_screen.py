"""What a person reads."""

from mlpax.cli import screen
from mlpax.runs.run_files import Summary


def test_a_best_of_zero_is_a_best(capsys):
    run = Summary("r", "xor", "table", "finished", "9/9", best=0.0, metric="valid_rmse", seconds=1.5)
    screen.table_of_runs([run, run._replace(best=None, state="running")], as_json=False)
    _, first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["r", "xor", "table", "finished", "9/9", "0.0000", "valid", "rmse", "1.5000"]
    assert second.split() == ["r", "xor", "table", "running", "9/9", "valid", "rmse", "1.5000"]

"""What mlpax tells a Python program: warnings of a category of its own, and lines on its logger."""

import logging
import subprocess
import sys
import warnings

import pytest

import mlpax
from mlpax.errors import DataWarning, Guess, TrainingWarning
from mlpax.notices import in_python, told, warn


def test_a_warning_points_at_the_line_that_called_mlpax():
    with pytest.warns(mlpax.MlpaxWarning, match="look here") as caught:
        warn("look here")
    assert caught[0].filename == __file__


def test_a_program_can_silence_mlpax_and_nothing_else():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", category=mlpax.MlpaxWarning)
        told(Guess("a guess"))
        warn("a member diverged", TrainingWarning)
        warnings.warn("another's", stacklevel=1)
    assert [str(w.message) for w in caught] == ["another's"]


def test_a_guess_is_a_warning_of_data_that_names_the_argument():
    with pytest.warns(DataWarning) as caught:
        told(Guess("column 'zip' is a category; --column zip=number says otherwise", "--column zip=category"))
    text = "column 'zip' is a category; column={'zip': 'number'} says otherwise; column={'zip': 'category'}"
    assert str(caught[0].message) == f"{text} makes sure"


def test_notices_are_on_the_logger(caplog):
    with caplog.at_level(logging.INFO, "mlpax"), pytest.warns(mlpax.MlpaxWarning):
        told("the rows are few")
    assert [(r.name, r.levelname, r.message) for r in caplog.records] == [
        ("mlpax", "INFO", "the rows are few")
    ]


def test_a_program_without_handlers_prints_no_log_lines():
    code = "import warnings; warnings.simplefilter('ignore'); from mlpax.notices import told; told('x')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("", "")


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("--dates day-first decides", "columns", "dates='day-first' decides"),
        ("--drop a leaves it out", "columns", "columns={'a': 'drop'} leaves it out"),
        ("--drop a leaves it out", "column", "drop=['a'] leaves it out"),
        ("--id a names rows", "column", "id='a' names rows"),
        ("--missing x,y adds", "column", "missing=['x', 'y'] adds"),
        ("--column 'a b=date' decides", "column", "column={'a b': 'date'} decides"),
        ("--target names another", "column", "target= names another"),
        ("--time-ordered holds out the last", "column", "time_ordered= holds out the last"),
    ],
)
def test_options_are_said_as_arguments(text, column, said):
    assert in_python(text, column) == said


def test_every_option_has_a_value_where_it_is_exact():
    assert (
        in_python("; --task regression makes sure", "column", exact=True) == "; task='regression' makes sure"
    )

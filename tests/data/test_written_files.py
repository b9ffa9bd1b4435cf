"""Files of every kind come back as they were written, or are refused; never otherwise in silence."""

import collections
import importlib

import polars as pl
import pytest
from written_files import KINDS, Written, difference, write

from mlpax.data import dates
from mlpax.data.kinds import tell_kinds, typed
from mlpax.data.tables import read_table
from mlpax.errors import InputError

SEVERAL = [pytest.param(300, id="300"), pytest.param(5000, id="5000", marks=pytest.mark.slow)]


def as_read(path, said=None):
    """Each column's kind and values, as a table is read for training."""
    frame = read_table(path, notice=lambda text: None)
    told = tell_kinds(frame, notice=(lambda text: None) if said is None else said.append)
    found = {}
    for values in frame:
        kind = told[values.name]
        found[values.name] = (kind.name, typed(values, kind).to_list())
    return found


def outcome(file: Written, folder) -> tuple[str, str]:
    """How reading a file ends: as the truth, refused, or otherwise; and what is to be said of that."""
    path = folder / "t.csv"
    path.write_bytes(file.content)
    said: list[str] = []
    try:
        found = as_read(path, said)
    except InputError as error:
        assert "\n" not in str(error)
        return "refused", str(error)
    wrong = difference(file.columns, found)
    silent = [name for name in file.told if not any(f"'{name}'" in text for text in said)]
    if not wrong and silent:
        return "wrong", f"nothing is said of {silent}"
    return ("wrong", wrong) if wrong else ("right", "")


@pytest.mark.parametrize("count", SEVERAL)
def test_what_is_read_is_the_truth_or_refused(tmp_path, count, capsys):
    right, well_formed = collections.Counter(), collections.Counter()
    for seed in range(count):
        file = write(seed)
        how, why = outcome(file, tmp_path)
        assert how != "wrong", (seed, file.kinds, why)
        if file.well_formed:
            well_formed.update([*file.kinds, "all"])
            right.update([*file.kinds, "all"] if how == "right" else [])
    with capsys.disabled():
        print()
        for kind in (*KINDS, "all"):
            print(f"  {kind:26} {right[kind]:5} of {well_formed[kind]:5} read")
    assert right["all"] >= 0.98 * well_formed["all"]
    if count > 1000:
        assert all(right[kind] >= 0.9 * well_formed[kind] for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_alone(tmp_path, kind):
    for seed in range(3):
        file = write(seed, [kind])
        how, why = outcome(file, tmp_path)
        assert how == "right" or (how == "refused" and not file.well_formed), (seed, why)


# A reader with a fault is caught


FAULTS = {  # each with a kind of file that shows it
    "a row is lost": ("csv_files._tidied", lambda old: lambda frame: old(frame)[:-1], "tabs"),
    "a row is read twice": (
        "csv_files._tidied", lambda old: lambda frame: pl.concat([old(frame), old(frame)[-1:]]), "tabs"),
    "comments are rows": (
        "csv_files._without_comments",
        lambda old: lambda path, body, *a: body.replace(b"# checked by hand", b"9,9"), "comments among rows"),
    "a total is a row": ("csv_files._without_total", lambda old: lambda frame, *a: frame, "a total"),
    "Russian is read as Western": ("encodings._is_latin", lambda old: lambda sample: True, "cp1251"),
    "signs are lost": ("numerals._values", lambda old: lambda *a: old(*a).abs(), "minus"),
    "multipliers are ignored": ("numerals.MULTIPLIERS", lambda old: dict.fromkeys(old, 1.0), "K and M"),
    "thousands are fractions": (
        "numerals.WRITTEN", lambda old: [marks for marks in old if marks[1] != ","], "thousands"),
    "marks are texts": ("numerals.MARKS", lambda old: frozenset({"?"}), "missing"),
    "zeros in front are lost": ("kinds._code", lambda old: lambda present: None, "codes"),
    "quotes are kept": ("numerals._tidy", lambda old: lambda texts: texts, "quotes in cells"),
    "day and month change places": (
        "dates._day_first", lambda old: lambda order: ~old(order), "dates by points"),
    "short years are of 1900": ("dates.CENTURY", lambda old: 0, "short years"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_reader_is_caught(tmp_path, monkeypatch, fault):
    target, change, kind = FAULTS[fault]
    files = [write(seed, [kind]) for seed in range(4)]
    assert all(outcome(file, tmp_path)[0] != "wrong" for file in files)
    module, _, name = target.partition(".")
    module = importlib.import_module(f"mlpax.data.{module}")
    monkeypatch.setattr(dates, "_date_of", dates._date_of.__wrapped__)  # the cache would hide the fault
    monkeypatch.setattr(module, name, change(getattr(module, name)))
    ends = [outcome(file, tmp_path)[0] for file in files]
    assert any(how == "wrong" or (how == "refused" and file.well_formed)
               for how, file in zip(ends, files, strict=True))  # fmt: skip

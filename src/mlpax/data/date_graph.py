"""Dates in an ONNX graph: from text or microseconds since 1970 to the parts of `dates.DATE_PARTS`."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlpax.data.dates import CENTURY, order_of
from mlpax.data.graph import Value
from mlpax.data.numerals import MARKS

if TYPE_CHECKING:
    from mlpax.data.graph import Graph

__all__ = ["date_parts", "read_dates"]

DAY, HOUR = 86_400_000_000, 3_600_000_000  # microseconds
MISSING = int(np.iinfo(np.int64).min)  # as NumPy writes that a date is missing
TEXT = (
    r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2})|\d{8})"
    r"(?:[T ]\d{1,2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)?|\d{8}[T ]\d{6}"
)


class Whole:
    """A tensor of int64 with Python's operators. Division is for numbers that are not negative."""

    def __init__(self, graph: "Graph", value: Value):
        self.graph, self.value = graph, value

    def _with(self, op: str, other: "Whole | int", **attributes: int) -> "Whole":
        value = other.value if isinstance(other, Whole) else self.graph.constant(other, "int64")
        return Whole(self.graph, self.graph(op, self.value, value, **attributes))

    def __add__(self, other: "Whole | int") -> "Whole":
        return self._with("Add", other)

    def __sub__(self, other: "Whole | int") -> "Whole":
        return self._with("Sub", other)

    def __mul__(self, other: "Whole | int") -> "Whole":
        return self._with("Mul", other)

    def __floordiv__(self, other: int) -> "Whole":
        return self._with("Div", other)

    def __mod__(self, other: int) -> "Whole":
        return self._with("Mod", other)

    def less(self, other: "Whole | int") -> Value:
        """Return where it is less, bool."""
        return self._with("Less", other).value

    def equals(self, other: "Whole | int") -> Value:
        """Return where it is equal, bool."""
        return self._with("Equal", other).value

    def where(self, condition: Value, other: "Whole | int") -> "Whole":
        """Return these numbers where a condition holds, and elsewhere the others."""
        value = other.value if isinstance(other, Whole) else self.graph.constant(other, "int64")
        return Whole(self.graph, self.graph("Where", condition, self.value, value))


def date_parts(graph: "Graph", microseconds: Value) -> Value:
    """Return the parts of dates, (rows, 6), float64, NaN where missing; see `dates.date_parts`.

    Parameters
    ----------
    graph : Graph
    microseconds : Value
        Since 1970, int64, (rows, 1); of a missing date the smallest int64.
    """
    given = Whole(graph, microseconds)
    missing = given.equals(MISSING)
    time = Whole(graph, graph.constant(0, "int64")).where(missing, given)
    within = time % DAY  # never negative
    days = (time - within) // DAY
    year, month, day = _civil(days)
    weekday = (days + 3) % 7 + 1  # 1970 began on a Thursday
    wholes = [graph.cast(part.value, "float64") for part in (year, month, day, weekday, within // HOUR)]
    exact = graph("Div", graph.cast(time.value, "float64"), graph.constant(DAY, "float64"))
    parts = graph("Concat", exact, *wholes, axis=1)
    return graph("Where", missing, graph.constant(np.nan, "float64"), parts)


def _civil(days: Whole) -> tuple[Whole, Whole, Whole]:
    """Return year, month and day of days since 1970 (Howard Hinnant, "chrono-compatible date algorithms")."""
    shifted = days + 719_468  # since the 1st of March of year 0
    era = shifted // 146_097
    of_era = shifted - era * 146_097
    years = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (years * 365 + years // 4 - years // 100)
    march = (of_year * 5 + 2) // 153  # months since March
    day = of_year - (march * 153 + 2) // 5 + 1
    month = (march + 3).where(march.less(10), march - 9)
    year = years + era * 400
    return (year + 1).where(month.less(3), year), month, day


def _days(year: Whole, month: Whole, day: Whole) -> Whole:
    """Return the days since 1970; see `_civil`."""
    early = month.less(3)
    year = (year - 1).where(early, year)
    march = (month + 9).where(early, month - 3)
    era = year // 400
    years = year - era * 400
    of_year = (march * 153 + 2) // 5 + day - 1
    return era * 146_097 + years * 365 + years // 4 - years // 100 + of_year - 719_468


def read_dates(graph: "Graph", text: Value, format: str, marks: Sequence[str], *, lenient: bool) -> Value:
    """Return the microseconds since 1970 of dates that are written as text, int64, (rows, 1).

    The graph reads dates of year, month and day, or of day, month and year in the model's order, with
    `-`, `/` or `.` between them, or of eight digits; and after a blank or a T a time such as 12:30:59.5.
    For any other text onnxruntime raises an error.

    Parameters
    ----------
    graph : Graph
    text : Value
        Strings, (rows, 1).
    format, marks, lenient
        Those of the column, see `columns.Date`.
    """
    spelled = "|".join(re.escape(mark) for mark in sorted({*MARKS, *(mark.lower() for mark in marks)}))
    missing = graph("RegexFullMatch", text, pattern=f"(?i)(?:{spelled})?")
    good = graph("RegexFullMatch", text, pattern=TEXT)
    if lenient:
        missing = graph("Or", missing, graph("Not", good))
    text = graph("Where", missing, graph.constant("1970-01-01", "str"), text)
    good = graph("Or", good, missing)

    date, time = _pieces(graph, text, "T", 2)
    date, spaced = _pieces(graph, date, " ", 2)
    days, known = _days_of(graph, date, order_of(format))
    clock, on_the_clock = _clock(graph, graph("StringConcat", time, spaced))
    good = graph("And", graph("And", good, known), on_the_clock)
    found = (days * DAY + clock).where(graph("Not", missing), MISSING)
    if lenient:
        return found.where(good, MISSING).value
    wrong = graph("StringConcat", graph.constant("no date: ", "str"), text)
    said = graph("Where", good, graph.constant("0", "str"), wrong)
    return (found + Whole(graph, graph.cast(said, "int64"))).value  # a text that is no number is an error


def _days_of(graph: "Graph", date: Value, order: str) -> tuple[Whole, Value]:
    """Return the days since 1970 of dates, and where they are real ones in a known order."""
    date, _ = _with_dashes(graph, date, "/")
    date, with_point = _with_dashes(graph, date, ".")
    texts = _pieces(graph, date, "-", 3)
    parts, known = _ordered(graph, texts, with_point, order)
    digits, compact = _whole(graph, texts[0]), _is_empty(graph, texts[1])  # 20241231
    of_digits = digits // 10_000, digits // 100 % 100, digits % 100
    year, month, day = (own.where(compact, part) for own, part in zip(of_digits, parts, strict=True))
    days = _days(year, month, day)
    real = graph("Or", known, compact)
    for part, own in zip(_civil(days), (year, month, day), strict=True):  # the 30th of February is not
        real = graph("And", real, part.equals(own))
    return days, real


def _with_dashes(graph: "Graph", date: Value, mark: str) -> tuple[Value, Value]:
    """Return dates in which `-` stands for a mark, and where it does."""
    first, second, third = _pieces(graph, date, mark, 3)
    for piece in (second, third):
        first = graph("StringConcat", graph("StringConcat", first, graph.constant("-", "str")), piece)
    return first, graph("Not", _is_empty(graph, second))


def _ordered(
    graph: "Graph", texts: list[Value], with_point: Value, order: str
) -> tuple[tuple[Whole, Whole, Whole], Value]:
    """Return year, month and day of three texts, and where their order is known; see `dates.read_dates`."""
    a, b, c = (_whole(graph, text) for text in texts)
    year_first = graph("RegexFullMatch", texts[0], pattern=r"\d{4}")
    by_day, known = graph.constant(order == "day-first", "bool"), graph.constant(True, "bool")
    if not order:
        twelve = Whole(graph, graph.constant(12, "int64"))
        by_day = graph("Or", graph("Or", with_point, twelve.less(a)), a.equals(b))
        known = graph("Or", graph("Or", by_day, twelve.less(b)), year_first)
    century = Whole(graph, graph.constant(2000, "int64")).where(c.less(CENTURY), 1900)
    year = (c + century).where(graph("RegexFullMatch", texts[2], pattern=r"\d{2}"), c)
    day, month = a.where(by_day, b), b.where(by_day, a)
    return (a.where(year_first, year), b.where(year_first, month), c.where(year_first, day)), known


def _clock(graph: "Graph", text: Value) -> tuple[Whole, Value]:
    """Return the microseconds of a time of day such as 12:30:59.5 or 123059, and where it is one."""
    hour, minute, second = _pieces(graph, text, ":", 3)
    compact = _is_empty(graph, minute)
    number = _whole(graph, hour)
    seconds = graph.cast(_or_zero(graph, second), "float64")
    exact = graph("Round", graph("Mul", seconds, graph.constant(1e6, "float64")))
    of_second = Whole(graph, graph.cast(exact, "int64"))
    h = (number // 10_000).where(compact, number)
    m = (number // 100 % 100).where(compact, _whole(graph, minute))
    s = ((number % 100) * 1_000_000).where(compact, of_second)
    real = graph("And", graph("And", h.less(24), m.less(60)), s.less(60_000_000))
    return h * HOUR + m * 60_000_000 + s, real


def _pieces(graph: "Graph", text: Value, mark: str, count: int) -> list[Value]:
    """Return the first texts between the marks, (rows, 1) each; where there are fewer, empty ones."""
    padded = graph("StringConcat", text, graph.constant(mark * (count - 1), "str"))
    split = graph("StringSplit", padded, delimiter=mark)  # (rows, 1, pieces)
    return [graph("Gather", split, graph.constant(i, "int64"), axis=2) for i in range(count)]


def _is_empty(graph: "Graph", text: Value) -> Value:
    return graph("Equal", text, graph.constant("", "str"))


def _or_zero(graph: "Graph", text: Value) -> Value:
    """Return texts of digits; "0" for those that are not, of which something else is said."""
    digits = graph("RegexFullMatch", text, pattern=r"\d{1,12}(?:\.\d*)?")
    return graph("Where", digits, text, graph.constant("0", "str"))


def _whole(graph: "Graph", text: Value) -> Whole:
    return Whole(graph, graph.cast(_or_zero(graph, text), "int64"))

"""How a column of text writes dates and times, and dates as numbers."""

import functools
import math
from shlex import quote
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from mlpax.data.numerals import MOST_ODD, too_many
from mlpax.errors import Guess, InputError, RowError, counted, shortened

if TYPE_CHECKING:
    import polars as pl

__all__ = ["CENTURY", "DATE_PARTS", "Told", "date_parts", "is_date_format", "order_of", "read_clock",
           "read_dates", "tell_clock", "tell_dates"]  # fmt: skip

DATE_PARTS = ("days", "year", "month", "day", "weekday", "hour")
FORMATS = ("", "day-first", "month-first")  # how 03/04/2024 is read; "": it does not occur
SAMPLE = 1000  # cells that tell whether it pays to look at all
CENTURY = 69  # years of two digits below are of 2000, as in POSIX
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

NAME = (
    r"(?P<name>(?i:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?))\.?"
)
WEEKDAY = r"(?:(?i:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?i:day)?\.?,? )?"
CLOCK = (
    r"(?P<hour>\d{1,2})(?::(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?)?"
    r" ?(?P<half>[AaPp]\.?[Mm]\.?)?"
)
ZONE = r"(?P<zone>Z|(?:UTC|GMT)?(?:[+-]\d{2}(?::?\d{2})?)?)(?: ?\([A-Za-z ]+\))?"
TIME = rf"(?:(?:T|,? (?:at )?|:){CLOCK} ?{ZONE})?"
DAY, YEAR = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?", r"(?P<year>\d{4})"
PATTERNS = (  # first and second: the day and the month, in an order that the column shows
    rf"^{WEEKDAY}{YEAR}[-/. ](?:(?P<month>\d{{1,2}})|{NAME})[-/. ](?P<day>\d{{1,2}}){TIME}$",
    rf"^{WEEKDAY}(?P<first>\d{{1,2}})(?P<mark>[-/.])(?P<second_>\d{{1,2}})[-/.](?P<year>\d{{4}}|\d{{2}}){TIME}$",
    rf"^{WEEKDAY}{DAY}\.?[-/ ]?(?:of )?{NAME},?[-/ ]?(?P<year>\d{{4}}|\d{{2}}){TIME}$",
    rf"^{WEEKDAY}{NAME}[- ]{DAY},?[- ]{YEAR}{TIME}$",
    rf"^{WEEKDAY}{NAME} +{DAY} {CLOCK} (?:[A-Z]{{3,4}} )?{YEAR}$",
    r"^(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})"
    r"(?:[T ]?(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})?(?P<zone>Z)?)?$",
    rf"^{YEAR}[-/](?P<month>\d{{1,2}})$",
    rf"^(?P<month>\d{{1,2}})[-/]{YEAR}$",
    rf"^{NAME}[-/, ]+(?P<year>\d{{4}}|'?\d{{2}})$",
    rf"^{YEAR}[- ]?[Qq](?P<quarter>[1-4])$",
)
ISO = {
    r"^\d{4}-\d\d-\d\d$": "%Y-%m-%d",
    r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$": "%Y-%m-%d %H:%M:%S",
    r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$": "%Y-%m-%dT%H:%M:%S",
}
PARTS = ("year", "month", "day", "name", "quarter", "first", "mark", "second_", "hour", "minute", "second",
         "fraction", "half", "zone")  # fmt: skip
LENGTHS = (  # of time, and times of day
    r"^(?P<sign>[-+])?(?:(?P<days>\d+) days?,? ?(?P<sign_2>[-+])?)?(?P<hours>\d{1,5}):(?P<minutes>[0-5]\d)"
    r"(?::(?P<seconds>[0-5]\d(?:[.,]\d{1,9})?))? ?(?P<half>[AaPp]\.?[Mm]\.?)?$",
    r"^(?P<sign>[-+])?(?P<days>\d+) days?(?P<hours>)(?P<minutes>)(?P<seconds>)(?P<half>)(?P<sign_2>)$",
    r"^(?P<sign>[-+])?P(?:(?P<days>\d+)D)?(?P<sign_2>)(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?"
    r"(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?(?P<half>)$",
)


class Told(NamedTuple):
    """What `tell_dates` found."""

    format: str  # one of `FORMATS`
    missing: tuple[str, ...]  # texts that are no dates and are taken as missing
    notices: list[str]


def tell_dates(values: "pl.Series", order: str | None = None, *, forced: bool = False) -> Told | None:
    """Tell how a column of text writes dates.

    Parameters
    ----------
    values : polars.Series of text
        Null where missing.
    order : {"day-first", "month-first"}, optional
        How 03/04/2024 is read, if the user says it.
    forced : bool
        Whether the user says that the column holds dates. All other cells are then missing.

    Returns
    -------
    Told, optional
        None if the column is not one of dates.

    Raises
    ------
    InputError
        If most cells are dates but more than a few are not; or if the day and the month cannot be told apart.
    """
    count = values.count()
    if count and _iso(values) is not None:
        return Told("", (), [])
    some = _parts(values.drop_nulls().gather_every(max(1, count // SAMPLE)))
    if count == 0 or not (forced or some["year"].count() > 0.4 * len(some)):
        return None
    parts = _parts(values)
    short = parts.filter(parts["year"].str.strip_prefix("'").str.len_bytes() == 2)
    if not forced and _are_codes(short):
        return None
    found, notices = _order(values, parts, order)
    dates = _dates(parts, found)
    odd = values.is_not_null() & dates.is_null()
    name, n_odd = values.name, int(odd.sum())
    if n_odd == count or (2 * n_odd >= count and not forced):
        return None
    number, category = (f"--column {quote(f'{name}={kind}')}" for kind in ("date", "category"))
    if n_odd:
        row = cast(int, odd.arg_max())
        more = f" and {counted(n_odd - 1, 'other cell')}" if n_odd > 1 else ""
        text = f"column {name!r} holds dates but {shortened(values[row])!r} in row {row + 1}{more}"
        if not forced and too_many(n_odd, count):
            raise InputError(f"{text}; {number} takes these as missing, {category} takes all as categories")
        notices.append(Guess(f"{text}, taken as missing", number))
    zoned = parts["zone"].fill_null("") != ""
    if zoned.any() and not (zoned | dates.is_null()).all():
        pair = [values[cast(int, (dates.is_not_null() & mask).arg_max())] for mask in (zoned, ~zoned)]
        raise InputError(
            f"column {name!r} has times of a zone, {pair[0]!r}, and of none, {pair[1]!r}; write all one way"
        )
    if short.height:
        row = cast(int, (parts["year"].str.strip_prefix("'").str.len_bytes() == 2).arg_max())
        text = f"column {name!r} has years of two digits: {values[row]!r} is read as {dates[row]:%Y-%m-%d}"
        notices.append(Guess(text, number))
    missing = tuple(values.filter(odd).unique(maintain_order=True).head(MOST_ODD))
    return Told(found, missing, [str(text) for text in notices] if forced else notices)


def read_dates(values: "pl.Series", format: str, *, lenient: bool = False) -> "pl.Series":
    """Return the dates of a column, Datetime in microseconds, null where missing; with a zone, in UTC.

    Parameters
    ----------
    values : polars.Series of text or of dates
    format : str
        How 03/04/2024 is read: one of `FORMATS`, or what an earlier version wrote, such as "%d.%m.%Y".
    lenient : bool
        Whether every cell that is no date is missing.

    Raises
    ------
    RowError
        With the first cell that is no date, or may be one of two.
    """
    import polars as pl

    if values.dtype.is_temporal():
        return values.cast(pl.Datetime("us"))
    if values.dtype != pl.String:
        if values.null_count() == len(values):
            return values.cast(pl.Datetime("us"), strict=False)
        raise InputError(f"column {values.name!r} is of type {values.dtype}, not a date")
    if (iso := _iso(values)) is not None:
        return iso
    parts = _parts(values)
    order = order_of(format)
    dates = _dates(parts, order)
    bad = values.is_not_null() & dates.is_null()
    if bad.any() and not lenient:
        row = cast(int, bad.arg_max())
        first, other = (_dates(parts[row : row + 1], order)[0] for order in ("day-first", "month-first"))
        why = ", which is no date"
        if not order and first and other:
            why = f", which may be one of two dates; write {first:%Y-%m-%d} or {other:%Y-%m-%d}"
        raise RowError(f"column {values.name!r} holds {values[row]!r} in", row + 1, why)
    return dates.rename(values.name)


def is_date_format(text: str) -> bool:
    """Whether `read_dates` knows the format."""
    return text in FORMATS or text.startswith("%")


def order_of(format: str) -> str:
    """Return "day-first" or "month-first" for a date's format; "" if it does not say which."""
    if format.startswith(("%d/", "%d.")):
        return "day-first"
    return "month-first" if format.startswith("%m/") else format if format in FORMATS else ""


def date_parts(dates: "pl.Series") -> np.ndarray:
    """Return calendar parts, NaN where missing: (rows, 6), float64; see `DATE_PARTS`.

    Of times and lengths of time all parts are the same number.
    """
    import polars as pl

    if isinstance(dates.dtype, (pl.Time, pl.Duration)):  # of a file of an earlier version
        x = dates if dates.dtype == pl.Time else dates.cast(pl.Duration("us"))
        x = x.cast(pl.Int64).cast(pl.Float64).fill_null(math.nan).to_numpy()
        return np.repeat(x[:, None], len(DATE_PARTS), axis=1)
    return dates.cast(pl.Datetime("us")).alias("date").to_frame().select(_date_parts()).to_numpy()


@functools.cache  # to write the expressions down takes longer than to compute those of a few rows
def _date_parts() -> "list[pl.Expr]":
    import polars as pl

    date = pl.col("date")
    parts = [
        date.cast(pl.Int64).cast(pl.Float64) / 86_400e6,
        date.dt.year(), date.dt.month(), date.dt.day(), date.dt.weekday(), date.dt.hour(),
    ]  # fmt: skip
    named = zip(DATE_PARTS, parts, strict=True)
    return [part.cast(pl.Float64).fill_null(math.nan).alias(name) for name, part in named]


def _iso(values: "pl.Series") -> "pl.Series | None":
    """Return the dates if all are written in one of the usual ways, which polars reads fast."""
    for pattern, format in ISO.items():
        if values.str.contains(pattern).all():
            dates = values.str.to_datetime(format, time_unit="us", strict=False)
            return dates if dates.null_count() == values.null_count() else None
    return None


def _parts(values: "pl.Series") -> "pl.DataFrame":
    """Return the `PARTS` of each cell that looks like a date, as text; elsewhere null."""
    import polars as pl

    texts = values.str.replace_all(r"\s+", " ")
    found = pl.DataFrame(
        dict.fromkeys(PARTS, pl.Series([None], dtype=pl.String).new_from_index(0, len(texts)))
    )
    for pattern in PATTERNS:
        left = found["year"].is_null() & texts.is_not_null()
        if not left.any():
            break
        rows = (left & texts.str.contains(pattern)).arg_true()
        if len(rows):
            new = texts.gather(rows).str.extract_groups(pattern).struct.unnest()
            found = found.with_columns(found[name].scatter(rows, new[name]) for name in new.columns)
    return found


def _dates(parts: "pl.DataFrame", order: str) -> "pl.Series":
    """Return the dates, Datetime in microseconds; null where there is none or its order is not known."""
    return parts.select(_date_of(order)).to_series()


@functools.cache  # to write the expression down takes longer than to compute it for a few rows
def _date_of(order: str) -> "pl.Expr":
    """Return the date that the parts of a cell make; see `_dates`."""
    import polars as pl

    def number(name: str) -> pl.Expr:
        return pl.col(name).cast(pl.Int32, strict=False)

    day_first = _day_first(order)
    months = {name: i + 1 for i, name in enumerate(MONTHS)}
    named = pl.col("name").str.slice(0, 3).str.to_lowercase()
    month = pl.coalesce(
        number("month"),
        named.replace_strict(months, default=None, return_dtype=pl.Int32),
        3 * number("quarter") - 2,
        pl.when(day_first).then(number("second_")).when(~day_first).then(number("first")),
    )
    day = pl.coalesce(
        number("day"),
        pl.when(day_first).then(number("first")).when(~day_first).then(number("second_")),
        pl.when(pl.col("first").is_null()).then(1),  # of a month the first
    )
    short = pl.col("year").str.strip_prefix("'")
    year = short.cast(pl.Int32, strict=False)
    century = pl.when(short.str.len_bytes() > 2).then(0).when(year < CENTURY).then(2000).otherwise(1900)
    half = pl.col("half").str.slice(0, 1).str.to_lowercase()
    hour = number("hour").fill_null(0)
    real = pl.when(half.is_null()).then(pl.col("hour").is_null() | pl.col("minute").is_not_null())
    real = real.otherwise(hour.is_between(1, 12))
    hour = pl.when(half.is_null()).then(hour).otherwise(hour % 12 + 12 * (half == "p").cast(pl.Int32))
    fraction = pl.col("fraction").fill_null("0").str.slice(0, 6)
    clock = [hour, number("minute").fill_null(0), number("second").fill_null(0)]
    written = [x.cast(pl.String).str.zfill(2) for x in (month, day, *clock)]
    year = (year + century).cast(pl.String).str.zfill(4)
    text = pl.format("{}-{}-{} {}:{}:{}.{}", year, *written, fraction)
    dates = pl.when(real).then(text).str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False)
    return dates - _ahead(pl.col("zone"))


def _day_first(order: str) -> "pl.Expr":
    """Whether the day comes first in a date of three numbers; null where it cannot be told."""
    import polars as pl

    if order:
        return pl.lit(order == "day-first")
    first, second = (pl.col(name).cast(pl.Int32, strict=False) for name in ("first", "second_"))
    by_day = (pl.col("mark") == ".") | (first > 12) | (first == second)
    return pl.when(by_day).then(pl.lit(value=True)).when(second > 12).then(pl.lit(value=False))


def _ahead(zone: "pl.Expr") -> "pl.Expr":
    """Return the time by which a zone is ahead of UTC; 0 without one."""
    import polars as pl

    hours, minutes = (
        zone.str.extract(r"[-+](\d{2}):?(\d{2})?", i).cast(pl.Int64).fill_null(0) for i in (1, 2)
    )
    behind = zone.str.contains("-", literal=True).fill_null(value=False)
    return pl.when(behind).then(-1).otherwise(1) * pl.duration(hours=hours, minutes=minutes)


def _are_codes(short: "pl.DataFrame") -> bool:
    """Whether dates with years of two digits may be versions or codes, such as 3-11-20.

    They are dates if the month has a name, if slashes stand between the numbers, or if day and month always
    have two digits, of which the first is 0 at times.
    """
    import polars as pl

    numbers = short.filter(pl.col("first").is_not_null() & (pl.col("mark") != "/")).select("first", "second_")
    if numbers.height == 0:
        return False
    padded = numbers.select((pl.all().str.len_bytes() == 2).all())
    led = numbers.select(pl.all().str.starts_with("0").any())
    return not (all(padded.row(0)) and any(led.row(0)))


def _order(values: "pl.Series", parts: "pl.DataFrame", order: str | None) -> tuple[str, list[str]]:
    """Return how 03/04/2024 is read, and what is to be said of it.

    Raises
    ------
    InputError
        If no cell settles it, or two settle it in two ways.
    """
    import polars as pl

    if order is not None or not parts["first"].count():
        return order or "", []
    first, second = (parts[name].cast(pl.Int32, strict=False) for name in ("first", "second_"))
    by_day, by_month = ((x > 12).fill_null(value=False) for x in (first, second))
    rows = [cast(int, mask.arg_max()) for mask in (by_day, by_month)]
    name = values.name
    if by_day.any() and by_month.any():
        cells = " and ".join(f"{values[row]!r} in row {row + 1}" for row in rows)
        raise InputError(
            f"column {name!r} holds dates with the day first and with the month first, {cells}; write all one"
            " way, such as 2024-12-31"
        )
    if by_day.any() or by_month.any():
        found = "day-first" if by_day.any() else "month-first"
        if found == "day-first" and (parts["mark"] == ".").any():
            return found, []  # the way of all who write points
        row = rows[0] if by_day.any() else rows[1]
        said = f"column {name!r} holds dates, read as {'day/month' if by_day.any() else 'month/day'}/year:"
        date = _dates(parts[row : row + 1], found)[0]
        return found, [Guess(f"{said} {values[row]!r} is {date:%Y-%m-%d}", f"--dates {found}")]
    unsure = ((parts["mark"] != ".") & (first != second)).fill_null(value=False)
    if not unsure.any():
        return "", []
    row = cast(int, unsure.arg_max())
    readings = [_dates(parts[row : row + 1], way)[0] for way in ("day-first", "month-first")]
    raise InputError(
        f"column {name!r} holds {values[row]!r} in row {row + 1}, which may be {readings[0]:%Y-%m-%d}"
        f" (--dates day-first) or {readings[1]:%Y-%m-%d} (--dates month-first)"
    )


def tell_clock(values: "pl.Series") -> bool:
    """Whether a column of text holds times of day or lengths of time."""
    count = values.count()
    some = values.drop_nulls().gather_every(max(1, count // SAMPLE))
    if count == 0 or _seconds(some).count() < 0.9 * len(some):
        return False
    return not too_many(count - _seconds(values).count(), count)


def read_clock(values: "pl.Series") -> "pl.Series":
    """Return times of day and lengths of time in seconds, float64, null where missing.

    Raises
    ------
    RowError
        With the first cell that is neither.
    """
    import polars as pl

    if values.dtype == pl.Time:
        return values.cast(pl.Int64) / 1e9
    if values.dtype == pl.Duration:
        return values.cast(pl.Duration("us")).cast(pl.Int64) / 1e6
    if values.dtype != pl.String:
        raise InputError(f"column {values.name!r} is of type {values.dtype}, not a time")
    found = _seconds(values)
    bad = values.is_not_null() & found.is_null()
    if bad.any():
        row = cast(int, bad.arg_max())
        raise RowError(
            f"column {values.name!r} holds {values[row]!r} in", row + 1, ", which is no time as 12:30"
        )
    return found


def _seconds(values: "pl.Series") -> "pl.Series":
    """Return the seconds of each time, null where there is none."""
    import polars as pl

    found = pl.Series(values.name, [None], dtype=pl.Float64).new_from_index(0, len(values))
    for pattern in LENGTHS:
        parts = values.str.extract_groups(pattern).struct.unnest()

        def number(name: str) -> pl.Expr:
            return pl.col(name).str.replace(",", ".").cast(pl.Float64, strict=False).fill_null(0)

        half, hours = pl.col("half").str.slice(0, 1).str.to_lowercase(), number("hours")
        real = half.is_null() | (half == "") | hours.is_between(1, 12)
        hours = (
            pl.when(half.is_in(["a", "p"]))
            .then(hours % 12 + 12 * (half == "p").cast(pl.Float64))
            .otherwise(hours)
        )
        sign, sign_2 = (pl.when(pl.col(name) == "-").then(-1).otherwise(1) for name in ("sign", "sign_2"))
        clock = sign_2 * (hours * 3600 + number("minutes") * 60 + number("seconds"))
        matches = pl.any_horizontal(pl.all().is_not_null()) & real
        x = parts.select(
            pl.when(matches).then(
                sign * number("days") * 86400
                + pl.when(pl.col("days").is_null()).then(sign * clock).otherwise(clock)
            )
        )
        found = found.zip_with(found.is_not_null(), x.to_series())
    return found.set(values.is_null(), None)

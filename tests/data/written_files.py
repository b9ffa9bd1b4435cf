"""Text tables written as people write them, whose truth is known: for reading them back and comparing.

A file has plain columns and one or two blemishes: ways to write a column, or the file. Whether one reading
alone is right, the writer decides as it writes, before anything is read.
"""

import dataclasses
import datetime
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

Value = float | str | datetime.datetime | None


@dataclass
class Column:
    """A column's cells as they are written, and what they mean."""

    kind: str  # "number", "date" or "category"
    cells: list[str]
    truth: list[Value]
    well_formed: bool = True


@dataclass
class Written:
    """A file and its truth.

    Attributes
    ----------
    kinds : list of str
        The blemishes.
    content : bytes
    columns : dict
        Each column's kind and values, by its name.
    well_formed : bool
        Whether one reading alone is right.
    told : list of str
        Columns of which something must be said.
    """

    kinds: list[str]
    content: bytes
    columns: dict[str, tuple[str, list[Value]]]
    well_formed: bool
    told: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Locale:
    """The marks in a file's numbers."""

    decimal: str
    thousands: str

    def write(self, x: float, decimals: int, *, grouped: bool = False) -> str:
        text = f"{x:,.{decimals}f}" if grouped else f"{x:.{decimals}f}"
        return text.replace(",", "t").replace(".", self.decimal).replace("t", self.thousands)


POINT, COMMA = Locale(".", ","), Locale(",", ".")


# Columns


def numbers(
    draw: random.Random, rows: int, low: float = -500, high: float = 500, decimals: int = 2
) -> list[float]:
    found = [round(draw.uniform(low, high), decimals) + 0.0 for _ in range(rows)]
    found[0] = round(low, decimals) + 0.01 * (decimals > 1)  # so that no column is of whole numbers by chance
    return found


def plain(draw: random.Random, rows: int, locale: Locale) -> Column:
    truth = numbers(draw, rows)
    return Column("number", [locale.write(x, 2) for x in truth], list(truth))


def levels(draw: random.Random, rows: int, locale: Locale) -> Column:
    cells = [draw.choice(["red", "blue", "dark green", "n.i."]) for _ in range(rows)]
    return Column("category", cells, list(cells))


def around(before: str, behind: str) -> Callable[[random.Random, int, Locale], Column]:
    """Numbers with a text before or behind."""

    def make(draw: random.Random, rows: int, locale: Locale) -> Column:
        truth = numbers(draw, rows, 1, 900)
        return Column("number", [f"{before}{locale.write(x, 2)}{behind}" for x in truth], list(truth))

    return make


def thousands(mark: str | None) -> Callable[[random.Random, int, Locale], Column]:
    """Numbers in thousands, by the locale's mark or another."""

    def make(draw: random.Random, rows: int, locale: Locale) -> Column:
        truth = numbers(draw, rows, -2e6, 2e6)
        own = dataclasses.replace(locale, thousands=mark or locale.thousands)
        return Column("number", [own.write(x, 2, grouped=True) for x in truth], list(truth))

    return make


def doubtful_thousands(draw: random.Random, rows: int, locale: Locale) -> Column:
    truth = [float(draw.randrange(1000, 999_999)) for _ in range(rows)]
    return Column("number", [locale.write(x, 0, grouped=True) for x in truth], list(truth), well_formed=False)


def minus(draw: random.Random, rows: int, locale: Locale) -> Column:
    sign = draw.choice(["\u2212", "\u2013"])
    truth = numbers(draw, rows)
    return Column("number", [locale.write(x, 2).replace("-", sign) for x in truth], list(truth))


def brackets(draw: random.Random, rows: int, locale: Locale) -> Column:
    truth = numbers(draw, rows)
    cells = [f"({locale.write(-x, 2)})" if x < 0 else locale.write(x, 2) for x in truth]
    return Column("number", cells, list(truth))


def multipliers(draw: random.Random, rows: int, locale: Locale) -> Column:
    cells, truth = [], []
    for i in range(rows):
        mark, factor = [("K", 1e3), ("M", 1e6), ("", 1)][i % 3]
        x = round(draw.uniform(1, 99), 1)
        cells.append(f"{locale.write(x, 1)}{mark}")
        truth.append(x * factor)
    return Column("number", cells, truth)


def bounds(draw: random.Random, rows: int, locale: Locale) -> Column:
    truth = numbers(draw, rows, 0.5, 100)
    marks = [draw.choice(["", "", "", "<", ">"]) for _ in truth]
    return Column(
        "number", [f"{m}{locale.write(x, 2)}" for m, x in zip(marks, truth, strict=True)], list(truth)
    )


def mixed_units(draw: random.Random, rows: int, locale: Locale) -> Column:
    factors = {"MB": 1.0, "GB": 1000.0}
    truth, cells = [], []
    for _ in range(rows):
        x, unit = round(draw.uniform(1, 900), 2), draw.choice([*factors])
        cells.append(f"{locale.write(x, 2)} {unit}")
        truth.append(x * factors[unit])
    return Column("number", cells, truth, well_formed=False)


def missing(draw: random.Random, rows: int, locale: Locale) -> Column:
    marks = ["-", "--", ".", "..", "n/a", "N/A", "NA", "#N/A", "#DIV/0!", "<NA>", "\\N", "(null)", "nil",
             "Missing", "UNKNOWN", "-nan", "", "?"]  # fmt: skip
    mark = draw.choice(marks)
    column = plain(draw, rows, locale)
    for i in range(rows):
        if draw.random() < 0.2:
            column.cells[i], column.truth[i] = mark, None
    return column


def dates(form: str, *, truncate: str = "%Y-%m-%d") -> Callable[[random.Random, int, Locale], Column]:
    """Dates in a form of strftime."""

    def make(draw: random.Random, rows: int, locale: Locale) -> Column:
        start = datetime.datetime(1995, 1, 1)
        days = [start + datetime.timedelta(minutes=draw.randrange(30 * 365 * 1440)) for _ in range(rows)]
        cells = [day.strftime(form) for day in days]
        truth: list[Value] = [datetime.datetime.strptime(cell, form) for cell in cells]
        truth = [day.replace(tzinfo=None) if isinstance(day, datetime.datetime) else day for day in truth]
        settled = not form.startswith(("%d/%m", "%m/%d", "%d-%m-%Y")) or any(day.day > 12 for day in days)
        return Column("date", cells, truth, settled)

    return make


def clock(draw: random.Random, rows: int, locale: Locale) -> Column:
    seconds = [60 * draw.randrange(1440) for _ in range(rows)]
    return Column(
        "number", [f"{s // 3600:02}:{s // 60 % 60:02}" for s in seconds], [float(s) for s in seconds]
    )


def codes(draw: random.Random, rows: int, locale: Locale) -> Column:
    cells = [draw.choice(["00501", "07302", "99501", "20095"]) for _ in range(rows - 1)] + ["00501"]
    return Column("category", cells, list(cells))


def versions(draw: random.Random, rows: int, locale: Locale) -> Column:
    cells = [f"{draw.randrange(1, 4)}.{draw.randrange(12)}.{draw.randrange(9)}" for _ in range(rows)]
    return Column("category", cells, list(cells))


def texts(draw: random.Random, rows: int, locale: Locale) -> Column:
    words = ["a, b", "c; d", 'say "so"', "two\nlines", "x|y", "tab\there", "plain", "it's", "1, 2\n3, 4"]
    cells = [draw.choice(words) for _ in range(rows)]
    return Column("category", cells, list(cells))


COLUMNS: dict[str, Callable[[random.Random, int, Locale], Column]] = {
    "percent": around("", "%"),
    "currency before": around("$", ""),
    "currency behind": around("", " €"),
    "currency code": around("USD ", ""),
    "unit": around("", " kg"),
    "thousands": thousands(None),
    "thousands by blanks": thousands(" "),
    "thousands by U+00A0": thousands("\u00a0"),
    "thousands by U+202F": thousands("\u202f"),
    "thousands by apostrophes": thousands("'"),
    "thousands by underscores": thousands("_"),
    "thousands in doubt": doubtful_thousands,
    "minus": minus,
    "brackets": brackets,
    "K and M": multipliers,
    "bounds": bounds,
    "quotes in cells": around("'", "'"),
    "mixed units": mixed_units,
    "missing": missing,
    "ISO dates": dates("%Y-%m-%d"),
    "ISO times": dates("%Y-%m-%dT%H:%M"),
    "ISO zones": dates("%Y-%m-%d %H:%M:%SZ"),
    "dates by points": dates("%d.%m.%Y"),
    "day first": dates("%d/%m/%Y %H:%M:%S"),
    "month first": dates("%m/%d/%Y"),
    "day first by dashes": dates("%d-%m-%Y"),
    "AM and PM": dates("%m/%d/%Y %I:%M %p"),
    "short years": dates("%d/%m/%y"),
    "month names": dates("%d-%b-%Y"),
    "long month names": dates("%B %d, %Y"),
    "mail dates": dates("%a, %d %b %Y %H:%M:%S +0000"),
    "compact dates": dates("%Y%m%d"),
    "months": dates("%Y-%m"),
    "times of day": clock,
    "codes": codes,
    "versions": versions,
    "texts": texts,
}
TOLD = {"percent", "currency before", "unit", "K and M", "bounds", "short years", "codes", "compact dates"}


# Files


@dataclass
class Dialect:
    """How a file is written."""

    separator: str = ","
    quote: str = '"'
    every: bool = False  # every cell is quoted
    escape: str = ""  # before a quote in quotes, in place of a second one
    end: str = "\n"
    encoding: str = "utf-8"
    above: str = ""
    below: str = ""
    comment: str = ""  # among the rows
    trailing: bool = False  # a separator ends each line
    row_names: bool = False
    repeat: bool = False  # of the header
    blank: bool = False  # lines
    padded: bool = False  # cells
    fault: str = ""
    accents: str = ""

    def cell(self, text: str) -> str:
        needs = self.every or any(c in text for c in (self.separator, self.quote, "\n", "\r"))
        if needs:
            return (
                self.quote + text.replace(self.quote, (self.escape or self.quote) + self.quote) + self.quote
            )
        return f" {text} " if self.padded else text


FILES: dict[str, dict[str, object]] = {
    "semicolons": {"separator": ";"},
    "tabs": {"separator": "\t"},
    "bars": {"separator": "|"},
    "all quoted": {"every": True},
    "single quotes": {"quote": "'", "every": True},
    "backslashes": {"escape": "\\"},
    "CRLF": {"end": "\r\n"},
    "CR": {"end": "\r"},
    "UTF-8 with a mark": {"encoding": "utf-8-sig"},
    "UTF-16": {"encoding": "utf-16"},
    "UTF-16 without a mark": {"encoding": "utf-16-le"},
    "UTF-32": {"encoding": "utf-32"},
    "cp1252": {"encoding": "cp1252", "accents": "Köln Zürich Málaga Besançon São"},
    "cp1251": {"encoding": "cp1251", "accents": "Москва Казань Омск Самара Томск"},
    "GBK": {"encoding": "gbk", "accents": "北京市 上海市 广州市 深圳市 成都市"},
    "Shift JIS": {"encoding": "cp932", "accents": "東京都 大阪府 テスト 名古屋 札幌市"},
    "sep=": {"above": "sep={separator}\n"},
    "comments above": {"above": "# made by a tool\n# in 2024\n"},
    "a title": {"above": "Sales of the year\n\n"},
    "comments among rows": {"comment": "# checked by hand"},
    "separator at the end": {"trailing": True},
    "names of rows": {"row_names": True},
    "repeated header": {"repeat": True},
    "a total": {"below": "Total"},
    "blank lines": {"blank": True},
    "padded cells": {"padded": True},
    "inches": {"fault": "inches"},
    "unclosed quote": {"fault": "unclosed"},
    "ragged row": {"fault": "ragged"},
    "cell too many": {"fault": "many"},
    "stray return": {"fault": "return"},
    "zero byte": {"fault": "zero"},
}
KINDS = [*COLUMNS, *FILES]
FAULTS = {"unclosed", "ragged", "many", "return", "zero"}  # after which no reading is right


def write(seed: int, kinds: list[str] | None = None) -> Written:
    """Return a file with one or two blemishes, drawn unless they are named."""
    draw = random.Random(seed)
    rows = draw.randrange(24, 50)
    kinds = kinds or draw.sample(KINDS, draw.choice([1, 2]))
    changes: dict[str, object] = {}
    for kind in kinds:
        changes |= FILES.get(kind, {})
    dialect = Dialect(**changes)  # type: ignore[arg-type]
    locale = (
        COMMA if dialect.separator == ";" or (dialect.separator == "\t" and draw.random() < 0.5) else POINT
    )
    makers = {
        "first": plain,
        **{f"c{i}": COLUMNS[k] for i, k in enumerate(kinds) if k in COLUMNS},
        "last": levels,
    }
    columns = {name: make(draw, rows, locale) for name, make in makers.items()}
    if dialect.accents:
        cells = [draw.choice(dialect.accents.split()) for _ in range(rows)]
        columns["city"] = Column("category", cells, list(cells))
    if dialect.fault == "inches":
        sizes = [draw.choice(["13 in", '27" wide', '5" disk', '32"']) for _ in range(rows)]
        columns["screen"] = Column("category", sizes, list(sizes))
    well_formed = all(column.well_formed for column in columns.values()) and dialect.fault not in FAULTS
    well_formed = well_formed and not _clash(dialect, columns)
    try:
        "".join(cell for column in columns.values() for cell in column.cells).encode(dialect.encoding)
    except UnicodeEncodeError:
        dialect.encoding = "utf-8"
    told = [f"c{i}" for i, kind in enumerate(kinds) if kind in TOLD]
    content = _content(draw, dialect, columns, rows)
    truth = {name: (column.kind, column.truth) for name, column in columns.items()}
    return Written(kinds, content, truth, well_formed, told)


def _clash(dialect: Dialect, columns: dict[str, Column]) -> bool:
    """Whether a blemish of a column cannot be told from one of the file."""
    cells = [cell for column in columns.values() for cell in column.cells]
    bare_quotes = dialect.fault == "inches" and any("\n" in cell or '"so"' in cell for cell in cells)
    padded_quotes = dialect.padded and any('"' in cell for cell in cells)
    escapes = dialect.escape and any(cell.startswith("\\") for cell in cells)
    apostrophes = dialect.quote == "'" and any("'" in cell for cell in cells)
    return bare_quotes or padded_quotes or bool(escapes) or apostrophes


def _content(draw: random.Random, dialect: Dialect, columns: dict[str, Column], rows: int) -> bytes:
    """Return the bytes of the file."""

    def line(cells: list[str]) -> str:
        written = [
            cell if dialect.fault == "inches" and '"' in cell else dialect.cell(cell) for cell in cells
        ]
        return dialect.separator.join(written) + (dialect.separator if dialect.trailing else "")

    names = line([*columns])
    lines = [line([column.cells[i] for column in columns.values()]) for i in range(rows)]
    if dialect.row_names:
        lines = [f"{dialect.cell(f'r{i}')}{dialect.separator}{text}" for i, text in enumerate(lines)]
    at = draw.randrange(3, rows)
    match dialect.fault:
        case "unclosed":
            lines[at] = lines[at].replace(dialect.separator, f'{dialect.separator}"x', 1)
        case "ragged":
            lines[at] = lines[at].rpartition(dialect.separator)[0]
        case "many":
            lines[at] += f"{dialect.separator}7"
        case "return":
            lines[at] = lines[at].replace(dialect.separator, f"\r{dialect.separator}", 1)
        case "zero":
            lines[at] = "\0" + lines[at]
    for extra in (dialect.comment, names if dialect.repeat else "", " " if dialect.blank else ""):
        if extra:
            lines.insert(at, extra.strip())
    if dialect.below:
        lines.append(dialect.separator.join([dialect.below, *["5"] * (len(columns) - 1)]))
    text = "".join(f"{text}\n" for text in (names, *lines))
    text = dialect.above.format(separator=dialect.separator) + text
    return text.replace("\n", dialect.end).encode(dialect.encoding)


def difference(truth: dict[str, tuple[str, list[Value]]], found: dict[str, tuple[str, list[Value]]]) -> str:
    """Return the first thing in which what was read is not the truth; empty if it is."""
    for name, (kind, values) in truth.items():
        if name not in found:
            return f"column {name!r} is lost; there are {[*found]}"
        kind_, values_ = found[name]
        if kind_ != kind:
            return f"column {name!r} is a {kind_}, not a {kind}"
        if len(values_) != len(values):
            return f"{len(values_)} rows, not {len(values)}"
        for row, (value, value_) in enumerate(zip(values, values_, strict=True)):
            same = value == value_
            if isinstance(value, float) and isinstance(value_, float):
                same = math.isclose(value, value_, rel_tol=1e-9, abs_tol=1e-9)
            if not same:
                return f"column {name!r} holds {value_!r} in row {row + 1}, not {value!r}"
    return ""

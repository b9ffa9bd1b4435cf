"""How a column of text writes its numbers: the decimal mark, thousands, a unit, missing cells."""

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from shlex import quote
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from mlpax.errors import LONGEST_CELL, Guess, InputError, RowError, counted, shortened

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "MARKS",
    "MISSING",
    "MOST_ODD",
    "PLAIN",
    "Doubtful",
    "Numerals",
    "Told",
    "bounds_of",
    "counts_of",
    "decimal_shown",
    "read_numerals",
    "tell_lost_digits",
    "tell_marks",
    "tell_numerals",
    "too_many",
    "without",
]

FEW_ROWS = 200  # that Python looks at faster than polars does
MISSING = ("NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?")  # of a missing cell, in any column
# Spellings of a missing cell in a column otherwise of numbers or dates, in any case
MARKS = frozenset((
    "-", "--", "---", "–", "—", ".", "..", "...", "…", "?", "??", "???", "na", "n/a", "n.a.", "n.a",
    "n. a.", "n / a", "n-a", "nan", "-nan", "+nan", "nan()", "-nan(ind)", "1.#qnan", "1.#ind", "-1.#ind",
    "nat", "#n/a", "#n/a n/a", "#na", "#div/0!", "#ref!", "#value!", "#num!", "#name?", "#null!", "#error",
    "#error!", "<na>", "<n/a>", "<null>", "<missing>", "<unknown>", "<none>", "<empty>", "<blank>", "\\n",
    "null", "(null)", "none", "(none)", "nil", "(nil)", "blank", "(blank)", "empty", "(empty)", "missing",
    "(missing)", "unknown", "(unknown)", "unk", "undefined", "undef", "not available", "not applicable",
    "not known", "not reported", "not recorded", "no data", "nodata", "no value", "n/d", "n.d.", "nd",
    "n/k", "n/r", "tbd", "tba", "k.a.", "k. a.",
))  # fmt: skip
MOST_ODD, ODD_SHARE = 20, 0.01  # cells of another kind in a column of numbers or dates
FEW = 20  # distinct numbers beside other text are codes
MOST_UNITS = 5  # of text with more kinds of words behind a number nothing is said
SAMPLE = 2000  # cells that tell whether it pays to look at all
EXACT = 2.0**53  # up to here float64 has all whole numbers
MULTIPLIERS = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}

CURRENCY = (
    r"(?:[A-Z]{1,3})?\p{Sc}|kr\.?|Kr\.?|Fr\.?|Rs\.?|zł|Kč|Ft|lei|RM|Rp\.?|(?:USD|EUR|GBP|CHF|JPY|CNY|RMB|INR|AUD|CAD"
    r"|NZD|SEK|NOK|DKK|PLN|CZK|HUF|RON|BGN|TRY|RUB|UAH|BRL|MXN|ARS|CLP|COP|PEN|ZAR|NGN|KES|EGP|ILS|SAR|AED|SGD|HKD|TWD"
    r"|KRW|THB|IDR|MYR|PHP|VND|PKR|BDT)"
)
UNIT = r"[^\W\d_](?:[^\d()<>=+:;\"]{0,14}[^\W\d_.]\.?)?[23]?|[%‰°$\"′″](?:[^\W\d_]|/[^\W\d_]+)*|\p{Sc}"
NUMBER = (
    rf"^(?P<opens>\()?(?P<bound>[<>≤≥]=?)? ?(?P<sign>[-+])? ?(?P<before>{CURRENCY})? ?(?P<sign_2>[-+])? ?"
    r"(?P<digits>\d(?:[\d.,' _]*\d)?[.,]?|[.,]\d+)(?P<exponent>[eE][-+]?\d{1,3})?"
    rf" ?(?P<behind>{UNIT})?(?P<sign_3>-)?(?P<closes>\))?$"
)
PARTS = ("opens", "bound", "sign", "before", "sign_2", "digits", "exponent", "behind", "sign_3", "closes")
BARE = r"^[-+]?[0-9.,]+$"
# The marks that numbers may have: decimal, thousands. The plain ones come first.
WRITTEN = [(decimal, thousands) for thousands in ("", ",", ".", " ", "'", "_") for decimal in (".", ",")
           if decimal != thousands]  # fmt: skip


class Doubtful(InputError):  # noqa: N818 - a kind of InputError
    """A column's numbers can be read in two ways, and nothing in the column says in which."""


@dataclass(frozen=True)
class Numerals:
    """How a column writes its numbers.

    Attributes
    ----------
    decimal : {".", ","}
    thousands : {"", ",", ".", " ", "'", "_"}
        What stands between thousands; a blank stands for every kind of blank.
    unit : str
        The text before or behind each number, such as "%", "$" or "kg". The number is what is written: 5 %
        is 5.
    multipliers : bool
        Whether K, M, B or T behind a number multiplies it.
    bounds : bool
        Whether some cells are bounds, such as `<0.5`. The bound is the number.
    missing : tuple of str
        Spellings of a missing cell beyond `MARKS`.
    lenient : bool
        Whether every cell that is no number is missing, as the user says.
    """

    decimal: str = "."
    thousands: str = ""
    unit: str = ""
    multipliers: bool = False
    bounds: bool = False
    missing: tuple[str, ...] = ()
    lenient: bool = False

    @property
    def plain(self) -> bool:
        """Whether numbers are written as Python writes them, whatever stands for a missing cell."""
        return replace(self, missing=(), lenient=False) == PLAIN

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "missing": list(self.missing)}

    @staticmethod
    def from_json(value: object) -> "Numerals":
        """Read what `to_json` gives.

        Raises
        ------
        ValueError
            If the value is anything else.
        """
        record = cast("dict[str, object]", value) if isinstance(value, dict) else {}
        plain, missing = vars(PLAIN), record.get("missing")
        typed = all(type(record.get(name)) is type(plain[name]) for name in plain if name != "missing")
        words = cast("list[object]", missing) if isinstance(missing, (list, tuple)) else [None]
        texts = tuple(word for word in words if isinstance(word, str))
        known = (record.get("decimal"), record.get("thousands")) in WRITTEN
        if record.keys() != plain.keys() or not (typed and known) or len(texts) < len(words):
            raise ValueError(f"numerals {repr(record)[:80]} are none")
        return Numerals(**{**record, "missing": texts})  # type: ignore[arg-type]


PLAIN = Numerals()


class Told(NamedTuple):
    """What `tell_numerals` found."""

    numerals: Numerals | None  # None: a category after all
    notices: list[str]


def without(values: "pl.Series", spellings: Sequence[str] = ()) -> "pl.Series":
    """Return a column of text in which the marks of a missing cell, and those named, are null."""
    import polars as pl

    marks = [*MARKS, *(text.lower() for text in spellings)]
    if len(values) <= FEW_ROWS and not {text.lower() for text in values.to_list() if text} & {*marks}:
        return values  # which takes a hundredth of the time of polars' look at a few cells
    plain = values.cast(pl.Float64, strict=False).fill_nan(None).is_not_null()
    others = (values.is_not_null() & ~plain).arg_true()  # most columns have none
    found = others.filter(values.gather(others).str.to_lowercase().is_in(marks))
    values = values.clone().scatter(found, None) if len(found) else values
    numbers = [text for text in spellings if text.strip("+-").replace(".", "", 1).isdigit()]  # such as -999
    return values.set(values.is_in(numbers).fill_null(value=False), None) if numbers else values


def too_many(odd: int, filled: int) -> bool:
    """Whether so many cells are of another kind that they are no slips in a column of `filled` cells."""
    return odd > min(MOST_ODD, ODD_SHARE * filled)


def counts_of(values: "pl.Series") -> list[tuple[Any, int]]:
    """Return the different cells of a column and how often each occurs, the most frequent first."""
    return values.rename("value").value_counts(sort=True).rows()


def tell_marks(
    values: "pl.Series", present: "pl.Series", known: Sequence[str], *, always: bool = False
) -> list[str]:
    """Return what is to be said of the marks in a column that are taken as missing.

    Parameters
    ----------
    values : polars.Series of text
    present : polars.Series of text
        The same column in which the marks are null.
    known : sequence of str
        Spellings that the user has named; of these nothing is said.
    always : bool
        Whether the column is a category, in which `MISSING` alone are marks and may be levels.
    """
    marked = values.filter(values.is_not_null() & present.is_null())
    counts: list[tuple[str, int]] = counts_of(marked)
    named = {text.lower() for text in known}
    counts = [(text, n) for text, n in counts if text.lower() not in named]
    if not counts:
        return []
    shown = ", ".join(f"{text!r} in {counted(n, 'cell')}" for text, n in counts[:4])
    more = f" and {counted(len(counts) - 4, 'other spelling')}" if len(counts) > 4 else ""
    said = f"{values.name!r} has {shown}{more}, taken as missing"
    if not always and all(text in MISSING for text, _ in counts):  # as sure as an empty cell
        return [said]
    if always:
        said += f"; --column {quote(values.name + '=category')} takes it as a level"
    return [Guess(said, f"--missing {quote(','.join(text for text, _ in counts))}")]


def tell_numerals(
    values: "pl.Series",
    present: "pl.Series",
    *,
    decimal: str | None = None,
    thousands: str | None = None,
    missing: Sequence[str] = (),
    shown: str | None = None,
    forced: bool = False,
) -> Told | None:
    """Tell how a column of text writes its numbers.

    Parameters
    ----------
    values : polars.Series of text
    present : polars.Series of text
        The same column in which the marks of missing cells are null, see `without`.
    decimal, thousands : str, optional
        The marks, if the user names them.
    missing : sequence of str
        More spellings of a missing cell, as the user names them.
    shown : str, optional
        The decimal mark that other columns of the file show.
    forced : bool
        Whether the user says that the column holds numbers. All other cells are then missing.

    Returns
    -------
    Told, optional
        None if the column is not one of numbers.

    Raises
    ------
    Doubtful
        If a cell such as 1,234 may be of thousands or a fraction.
    InputError
        If most cells are numbers, but more than a few are not; or numbers have different units.
    """

    if present.count() == 0 or not (forced or _is_worth_it(present)):
        return None
    if decimal != "." and not thousands and _are_decimal_commas(present):
        notices = tell_marks(values, present, missing)
        return Told(Numerals(",", missing=tuple(missing), lenient=forced), notices)
    column = _taken_apart(present, points="," not in (decimal, shown) and thousands != ".")
    marks, notices = _choose_marks(column, decimal, thousands, shown)
    numbers = column.cells.filter(_fits(column.cells["digits"], *marks))
    units, multipliers = _units(numbers, column.plain.count())
    bounds = numbers["bound"].count() > 0
    numerals = Numerals(*marks, next(iter(units), ""), multipliers, bounds, tuple(missing), forced)
    x = _values(column.cells, numerals)
    odd = column.cells.filter(x.is_null())
    if forced and odd.height == column.filled:
        return None
    if not forced:
        most = 2 * (column.plain.count() + numbers.height) > column.filled or column.has_most_numbers()
        if len(units) > MOST_UNITS or not most:
            return None
        if clash := _clash(column, numerals, units, odd):
            return Told(None, [_as_category(column, clash, odd if len(units) < 2 else odd.clear())])
    notices += tell_marks(values, present, missing) + _tell_odd(column, odd)
    notices += _tell_form(column, numerals, x)
    spellings = odd["text"].unique(maintain_order=True).head(MOST_ODD)
    numerals = replace(numerals, missing=(*missing, *(() if forced else spellings)))
    return Told(numerals, [str(text) for text in notices] if forced else notices)


def read_numerals(values: "pl.Series", numerals: Numerals) -> "pl.Series":
    """Return the numbers of a column of text, float64, null where missing.

    Raises
    ------
    RowError
        With the first cell that is no number as `numerals` says.
    """
    import polars as pl

    if numerals == PLAIN:
        plain = values.cast(pl.Float64, strict=False)
        if plain.null_count() == values.null_count() and math.isfinite(plain.sum()):  # which NaN is not
            return plain
    column = _taken_apart(
        without(values, numerals.missing),
        points=numerals.decimal == "." and numerals.thousands != ".",
        commas=numerals.decimal == ",",
        bare=numerals.unit != "%",
    )
    if column.cells.height == 0:
        return column.plain
    x = _values(column.cells, numerals)
    bad = column.cells.filter(x.is_null())
    if bad.height and not numerals.lenient:
        row = bad["row"][0]
        why = ", which has no %" if numerals.unit == "%" else ", which is no number"
        if numerals.decimal == "," or numerals.thousands:
            why += f"; numbers of this column are written as 1{numerals.thousands}234{numerals.decimal}5"
        raise RowError(f"column {values.name!r} holds {bad['text'][0]!r} in", row, why)
    return column.plain.scatter(column.cells["row"] - 1, x) if len(x) else column.plain


def bounds_of(values: "pl.Series", numerals: Numerals) -> np.ndarray:
    """Return -1 for a cell such as `<0.5`, 1 for one such as `>100`, else 0: (rows,), float32."""
    import polars as pl

    if values.dtype != pl.String or not numerals.bounds:
        return np.zeros(len(values), np.float32)
    start = values.str.extract(r"^\s*\(?([<>≤≥])")
    signs = start.replace_strict({"<": -1, "≤": -1, ">": 1, "≥": 1}, default=0, return_dtype=pl.Float32)
    return signs.fill_null(0).to_numpy()


def decimal_shown(values: "pl.Series", numerals: Numerals) -> str | None:
    """Return a column's decimal mark if its cells leave no doubt of it, for the other columns of a file."""
    if numerals.decimal == "," or numerals.thousands:
        return numerals.decimal
    sure = r"^\D*(?:\d*\.(?:\d{1,2}|\d{4,})|(?:0|\d{4,})?\.\d+)(?:\D.*)?$"
    return "." if values.str.contains(sure).any() else None


class _Column(NamedTuple):
    """A column's cells, taken apart."""

    present: "pl.Series"  # text, null where missing
    plain: "pl.Series"  # float64 of the cells that are numbers as they stand, else null
    cells: "pl.DataFrame"  # the `text` and `row`, from 1, of all other cells, and the parts of `NUMBER`

    @property
    def filled(self) -> int:
        """The cells that are not missing."""
        return self.present.count()

    @property
    def bare(self) -> bool:
        """Whether all other cells are digits, points and commas."""
        return self.cells["text"].str.contains(BARE).all()

    def has_most_numbers(self) -> bool:
        """Whether most cells are numbers, each with some marks."""
        left = self.cells["digits"]
        for marks in WRITTEN:
            left = left.filter(~_fits(left, *marks))
        return 2 * (self.filled - len(left)) > self.filled

    def at(self, text: str) -> str:
        """Return a text with its first row."""
        return f"{shortened(text)!r} in row {cast(int, (self.present == text).arg_max()) + 1}"


def _taken_apart(present: "pl.Series", *, points: bool, commas: bool = False, bare: bool = True) -> _Column:
    """Take a column apart.

    Parameters
    ----------
    present : polars.Series of text
    points, commas : bool
        Whether a text such as 1.234, and such as 1,234, is a number with decimals. Not both are.
    bare : bool
        Whether numbers other than 0 without a unit are numbers.
    """
    import polars as pl

    plain = present.cast(pl.Float64, strict=False).fill_nan(None)
    if not bare:
        plain = plain.set((plain != 0).fill_null(value=False), None)
    if not points or present.filter(plain.is_null()).str.contains(",", literal=True).any():
        pointed = present.str.contains(".", literal=True).fill_null(value=False)
        if commas:
            plain = present.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False).fill_nan(None)
        plain = plain.set(pointed, None)
    rest = present.is_not_null() & plain.is_null()
    cells = pl.DataFrame({"text": present.filter(rest), "row": rest.arg_true() + 1})
    return _Column(present, plain, cells.hstack(_parts(cells["text"])))


def _parts(texts: "pl.Series") -> "pl.DataFrame":
    """Return the parts of `NUMBER` of each text."""
    import polars as pl

    if texts.str.contains(BARE).all():  # as decimal commas are; the pattern takes ten times as long
        nothing = pl.Series([None], dtype=pl.String).new_from_index(0, len(texts))
        found = {
            "sign": texts.str.extract("^([-+])"),
            "digits": texts.str.strip_prefix("-").str.strip_prefix("+"),
        }
        return pl.DataFrame({name: found.get(name, nothing) for name in PARTS})
    return _tidy(texts).str.extract_groups(NUMBER).struct.unnest()


def _tidy(texts: "pl.Series") -> "pl.Series":
    """Return texts without quotes around, with plain blanks, dashes, apostrophes and digits."""
    plain = texts.str.normalize("NFKC").str.replace_all(r"\s+", " ")
    plain = plain.str.replace_all("[‐‑‒–—−﹣]", "-").str.replace_all("[’‘ʼ`´]", "'")
    return plain.str.replace(r"^(?:'(.*)'|\"(.*)\"|[“”„](.*)[“”])$", "$1$2$3").str.strip_chars()


def _are_decimal_commas(present: "pl.Series") -> bool:
    """Whether all cells are whole numbers or of one comma each, of which one is no mark of thousands."""
    import polars as pl

    commas = present.filter(present.str.contains(",", literal=True))
    if not len(commas) or not present.str.contains(r"^[-+]?\d*(?:,\d*)?(?:[eE][-+]?\d+)?$").all():
        return False
    numbers = commas.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
    return numbers.null_count() == 0 and not commas.str.contains(r"^[-+]?[1-9]\d{0,2},\d{3}$").all()


def _is_worth_it(present: "pl.Series") -> bool:
    """Whether a look at some cells finds enough that may be numbers."""
    step = max(1, len(present) // SAMPLE)
    column = _taken_apart(present.drop_nulls().gather_every(step), points=True)
    return column.plain.count() + column.cells["digits"].count() >= 0.4 * column.filled


def _fits(digits: "pl.Series", decimal: str, thousands: str) -> "pl.Series":
    """Whether digits are a number with these marks."""
    d, t = re.escape(decimal), re.escape(thousands)
    whole = r"\d+"
    if thousands:
        indian = rf"|[1-9]\d?(?:{t}\d{{2}})+{t}\d{{3}}" if thousands == "," else ""
        whole = rf"(?:\d+|[1-9]\d{{0,2}}(?:{t}\d{{3}})+{indian})"
    return digits.str.contains(rf"^(?:{whole}(?:{d}\d*)?|{d}\d+)$").fill_null(value=False)


def _choose_marks(
    column: _Column, decimal: str | None, thousands: str | None, shown: str | None
) -> tuple[tuple[str, str], list[str]]:
    """Return the decimal mark and the mark between thousands that fit the most cells, and a guess if any.

    Raises
    ------
    Doubtful
        If two readings fit as many.
    """
    digits = column.cells["digits"]
    occur = ["", *(t for t in ",. '_" if digits.str.contains(t, literal=True).any())]
    allowed = [(d, t) for d, t in WRITTEN if decimal in (None, d) and thousands in (None, t) and t in occur]
    allowed = allowed or [(decimal or ("." if thousands == "," else ","), thousands or "")]
    counts = [int(_fits(digits, *marks).sum()) for marks in allowed]
    best = [marks for marks, n in zip(allowed, counts, strict=True) if n == max(counts)]
    chosen = best[0]  # the others differ by marks that do not occur, or are one of these two pairs
    for mark, fraction, grouped in ((",", (",", ""), (".", ",")), (".", (".", ""), (",", "."))):
        cells = column.cells.filter(digits.str.contains(mark, literal=True).fill_null(value=False))
        cells = cells.filter(_fits(cells["digits"], *fraction) & _fits(cells["digits"], *grouped))
        if not {fraction, grouped} <= {*best} or not cells.height or (mark == "." and shown != ","):
            continue
        text, at = cells["text"][0], column.at(cells["text"][0])
        if mark == "," and shown is not None:
            chosen = fraction if shown == "," else grouped
            what = "a fraction" if chosen == fraction else "of thousands"
            guess = f"column {column.present.name!r} holds {at}, read as {what} as other columns show"
            return chosen, [Guess(guess, f"--decimal {chosen[0]}")]
        raise Doubtful(
            f"column {column.present.name!r} holds {at}, which may be {_number(text, *grouped)} or"
            f" {_number(text, *fraction)}; say --thousands {mark} or --decimal {mark}"
        )
    return chosen, []


def _number(text: str, decimal: str, thousands: str) -> str:
    """Return the digits of a text as a plain number."""
    digits = "".join(c for c in text if c.isdigit() or c in (decimal, thousands))
    return digits.replace(thousands or " ", "").replace(decimal, ".")


def _unit(cells: "pl.DataFrame", multipliers: bool) -> "pl.Series":
    """Return the text before and behind each number; empty where there is none."""
    import polars as pl

    parts = ["before"] if multipliers else ["before", "behind"]
    return cells.select(pl.concat_str(parts, separator=" ", ignore_nulls=True)).to_series()


def _compared(units: "pl.Series") -> "pl.Series":
    """Return units by which they are compared: `Hrs.` is `hr`."""
    return units.str.to_lowercase().str.strip_suffix(".").str.replace(r"^(\w\w.*)s$", "$1")


def _units(numbers: "pl.DataFrame", bare: int) -> tuple[dict[str, str], bool]:
    """Return the units of numbers, the most frequent first, and whether K, M, B behind them multiply.

    Of each unit the first spelling is given, and a text that has it. Where most numbers are bare, `bare` of
    them without any other sign, what a few have is no unit.
    """
    import polars as pl

    behind = set(numbers["behind"].drop_nulls())
    multipliers = bool(behind & {"k", "K", "M"}) and behind <= MULTIPLIERS.keys()
    units = numbers.select("text", unit=_unit(numbers, multipliers)).filter(pl.col("unit") != "")
    same = units.group_by(_compared(units["unit"]).alias("same"), maintain_order=True)
    found = same.agg(pl.first("unit", "text"), pl.len()).sort("len", descending=True, maintain_order=True)
    if 2 * found["len"].sum() < bare:  # 5more beside 2, 3 and 4
        return {}, multipliers
    return dict(found.select("unit", "text").rows()), multipliers


def _values(cells: "pl.DataFrame", numerals: Numerals) -> "pl.Series":
    """Return the number of each text, float64; null where it is none as `numerals` says."""
    import polars as pl

    digits = cells["digits"]
    fits = _fits(digits, numerals.decimal, numerals.thousands)
    fits &= cells["opens"].is_null() == cells["closes"].is_null()
    if not numerals.bounds:
        fits &= cells["bound"].is_null()
    if cells["before"].count() or cells["behind"].count():
        unit = _compared(_unit(cells, numerals.multipliers))
        fits &= unit.is_in(["", _compared(pl.Series([numerals.unit]))[0]])
    if numerals.unit == "%":
        fits &= cells["behind"].is_not_null()
    if numerals.thousands:
        digits = digits.str.replace_all(numerals.thousands, "", literal=True)
    digits = digits.str.replace(numerals.decimal, ".", literal=True) + cells["exponent"].fill_null("")
    minus = [(cells[name] == "-").fill_null(value=False) for name in ("sign", "sign_2", "sign_3")]
    negative = minus[0] | minus[1] | minus[2] | cells["opens"].is_not_null()
    x = digits.cast(pl.Float64, strict=False) * (1 - 2 * negative.cast(pl.Float64))
    if numerals.multipliers:
        fits &= cells["behind"].is_null() | cells["behind"].is_in([*MULTIPLIERS])
        x = x * cells["behind"].replace_strict(MULTIPLIERS, default=1.0, return_dtype=pl.Float64).fill_null(1)
    return x.set(~fits, None)


def _clash(column: _Column, numerals: Numerals, units: dict[str, str], odd: "pl.DataFrame") -> str:
    """Return what keeps a column, most of whose cells are numbers, from being one; empty if nothing does."""
    name = column.present.name
    if len(units) > 1:
        first, second = (column.at(text) for text in [*units.values()][:2])
        return f"column {name!r} has numbers of different units, {first} and {second}"
    bare = column.present.filter((column.plain != 0).fill_null(value=False))
    if numerals.unit == "%" and len(bare):
        return f"column {name!r} has percentages, {column.at(units['%'])}, beside {column.at(bare[0])}"
    if too_many(odd.height, column.filled):
        none = f"{odd.height} of its {column.filled} cells are none, such as"
        return f"column {name!r} holds numbers, but {none} {column.at(odd['text'][0])}"
    return ""


def _as_category(column: _Column, clash: str, odd: "pl.DataFrame") -> Guess:
    """Return the guess that a column is a category after all, if its texts are few.

    Raises
    ------
    InputError
        If they are many.
    """
    name = column.present.name
    number, category = (f"--column {quote(f'{name}={kind}')}" for kind in ("number", "category"))
    if column.present.n_unique() <= FEW:
        return Guess(f"{clash}, and is a category; {number} reads numbers", category)
    number = _missing_option(odd) or number
    raise InputError(f"{clash}; {number} takes these as missing, {category} takes all as categories")


def _missing_option(odd: "pl.DataFrame") -> str:
    """Return the option that takes these cells as missing, if they are of one text that is soon typed."""
    text: str = odd["text"][0] if odd["text"].n_unique() == 1 else ""
    return f"--missing {quote(text)}" if 0 < len(text) <= LONGEST_CELL and "," not in text else ""


def _tell_odd(column: _Column, odd: "pl.DataFrame") -> list[str]:
    """Return what is to be said of cells that are no numbers."""
    if odd.height == 0:
        return []
    name, n = column.present.name, odd.height
    more = f" and {counted(n - 1, 'other cell')}" if n > 1 else ""
    text = f"column {name!r} holds numbers but {column.at(odd['text'][0])}{more}, taken as missing"
    return [Guess(text, _missing_option(odd) or f"--column {quote(f'{name}=number')}")]


def _tell_form(column: _Column, numerals: Numerals, x: "pl.Series") -> list[str]:
    """Return what is to be said of numbers that are not written plainly."""
    name = column.present.name
    cells = column.cells.filter(x.is_not_null())
    plain = replace(numerals, decimal=".").plain
    if plain and column.bare:
        return []
    if plain and not cells["opens"].count() and not cells["sign_3"].count():
        cells = cells.filter(_tidy(cells["text"]) != cells["text"])  # in quotes, or with other signs
    if cells.height == 0:
        return []
    text: str = cells["text"][0]
    value = x.filter(column.cells["text"] == text)[0]
    what = f" {numerals.unit}" if numerals.unit else " at the bound" if cells["bound"][0] else ""
    said = f"column {name!r} is read as numbers: {text!r} is {value:.15g}{what}"
    bare = column.present.filter((column.plain != 0).fill_null(value=False))
    if numerals.unit and len(bare):
        said += f", and {column.at(bare[0])} is taken for one of the same unit"
    return [Guess(f"{said}; --column {quote(f'{name}=category')} reads categories",
                  f"--column {quote(f'{name}=number')}")]  # fmt: skip


def tell_lost_digits(values: "pl.Series") -> list[str]:
    """Return what is to be said of whole numbers in text that float64 cannot tell apart."""
    import polars as pl

    large = (values.cast(pl.Float64, strict=False).abs() >= EXACT).fill_null(value=False)
    if not large.any():
        return []
    texts = values.filter(large).filter(values.filter(large).str.contains(r"^[-+]?\d+$"))
    if not len(texts):
        return []
    name, row = values.name, cast(int, (values == texts[0]).arg_max()) + 1
    text = f"column {name!r} holds {shortened(texts[0])!r} in row {row}, of whose digits the last are lost"
    category = f"--column {quote(f'{name}=category')} keeps them"
    return [Guess(f"{text}; {category}", f"--column {quote(f'{name}=number')}")]

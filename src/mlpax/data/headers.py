"""Tell whether the first row of a text table names its columns."""

import itertools
import re

from mlpax.data.numerals import MISSING

__all__ = ["is_header", "is_number"]

NUMBER = (  # or a date or a time: digits, and letters that may stand with them
    r"(?i)[-+(<>−]?\s*[$€£¥]?\s*(?:\d(?:[\d\s.,:/'_tz+-]*\d)?(?:e[+-]?\d+)?\s*(?:%|°?[a-z]{1,3}|[$€£¥])?|\d+\."
    r"|[.,]\d+(?:e[+-]?\d+)?|nan|[+-]?inf(?:inity)?)\)?"
)


def is_header(names: list[str], others: list[list[str]]) -> bool:
    """Tell whether the first row names the columns.

    It does if it holds no number and few of its texts occur below themselves, if a text stands above a column
    of numbers, or if its numbers are names.

    Parameters
    ----------
    names : list of str
        The cells of the first row.
    others : list of list of str
        Rows below it.
    """
    others = [row for row in others if row != names]  # a file of several joined repeats them
    numeric = [i for i, name in enumerate(names) if is_number(name)]
    columns = [
        [cell for row in others if i < len(row) and (cell := row[i]) not in MISSING]
        for i in range(len(names))
    ]
    if not numeric:
        repeated = [name in column for name, column in zip(names, columns, strict=True) if name]
        return 2 * sum(repeated) <= len(repeated)
    texts = [i for i, name in enumerate(names) if name not in MISSING and not is_number(name)]
    if any(columns[i] and all(map(is_number, columns[i])) for i in texts):
        return True
    whole = [int(names[i]) for i in numeric if _is_whole(names[i])]
    below = [cell for i in numeric for cell in columns[i]]
    if len(whole) < len(numeric) or not below:
        return False
    if texts:  # a name does not occur below itself
        named = len(whole) > 1 and not any(names[i] in columns[i] for i in texts)
    else:  # pandas writes 0, 1, 2, and may write an index, which has no name, before them
        named = len(names) > 1 and (len(whole) == len(names) or names == ["", *map(str, whole)])
    return named and _are_names(
        whole, [others[0][i] for i in numeric if i < len(others[0])], below, bool(texts)
    )


def _are_names(whole: list[int], first: list[str], below: list[str], beside_text: bool) -> bool:
    """Tell whether the whole numbers of a first row are names.

    They are if they count from 0 or 1, or stand beside a text and are years or evenly spaced; and if the
    cells below them are other numbers.
    """
    n = len(whole)
    years = len(set(whole)) == n and all(1900 <= x <= 2100 for x in whole)
    if whole in (list(range(n)), list(range(1, n + 1))):
        if first == [str(x + n) for x in whole]:  # as 1,2,3 and then 4,5,6
            return False
        if n > 3:  # no row counts so far by chance
            return True
    elif not (beside_text and (years or _are_evenly_spaced(whole))):
        return False
    low, high = (1900, 2100) if years else (min(whole), max(whole))
    return not all(_is_whole(cell) and low <= int(cell) <= high for cell in below)


def _are_evenly_spaced(numbers: list[int]) -> bool:
    steps = {y - x for x, y in itertools.pairwise(numbers)}
    return len(numbers) > 2 and len(steps | {0}) == 2


def _is_whole(text: str) -> bool:
    return re.fullmatch(r"0|[1-9]\d{0,8}", text) is not None


def is_number(text: str) -> bool:
    """Whether a cell is a number, with a unit or without, a date or a time."""
    return re.fullmatch(NUMBER, text) is not None

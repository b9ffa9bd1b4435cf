"""Turn free text into numbers: its words and parts of words, weighed by TF-IDF, in a few directions."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    import polars as pl
    import scipy.sparse

__all__ = ["DIRECTIONS", "Vocabulary", "directions_of", "is_prose", "memory_of", "parts_of", "sampled",
           "words_of"]  # fmt: skip

WORDS = PARTS = 4000  # terms of each sort that are told apart, the most frequent
DIRECTIONS = 100  # inputs of a column
WEIGHT = 0.5  # of the parts of a text, beside 1 of its words
LENGTHS = 3, 4, 5  # characters of a part of a word
RARE = 2  # a term of fewer training rows is left out
READ = 10_000  # characters of a text that are read, from its start
LEARNED = 50_000  # training rows that tell terms and directions, evenly chosen
AT_ONCE = 5_000  # rows whose terms are in memory together
LEARNING = 50  # bytes that a character of these rows takes while they tell the terms, as measured
SMALLEST = 1e-9  # deviation in a direction
SEED = 0
WORD = re.compile(r"\b\w\w+\b")  # as of scikit-learn

FEWEST = 64  # a column of free text has more different cells,
DISTINCT = 0.5  # in more than this share of its rows,
PROSE = 3  # and usually at least so many words with letters


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case: two or more letters, digits or `_` in a row.

    Examples
    --------
    >>> words_of("A 2nd try, 3 MORE")
    ['2nd', 'try', 'more']
    """
    return WORD.findall(text[:READ].lower())


def parts_of(text: str) -> list[str]:
    """Return the parts of 3 to 5 characters of a text's words in lower case, with a blank at both ends.

    A word of fewer characters is one part.

    Examples
    --------
    >>> parts_of("No way")
    [' no', 'no ', ' no ', ' wa', 'way', 'ay ', ' way', 'way ', ' way ']
    """
    found: list[str] = []
    for word in text[:READ].lower().split():
        padded = f" {word} "
        for length in LENGTHS:
            found += [padded[i : i + length] for i in range(max(1, len(padded) - length + 1))]
            if length >= len(padded):
                break
    return found


@dataclass(frozen=True)
class Vocabulary:
    """The terms of a column that are told apart, and in how many training rows each occurs.

    Attributes
    ----------
    words, parts : tuple of str
        As `words_of` and `parts_of` return them, the most frequent first.
    counts : tuple of int
        Rows that hold each word, then each part.
    rows : int
        All rows.
    """

    words: tuple[str, ...]
    parts: tuple[str, ...]
    counts: tuple[int, ...]
    rows: int

    @staticmethod
    def of(texts: Sequence[str]) -> "Vocabulary":
        """Learn the terms of training rows."""
        words, parts = (
            _most_frequent(texts, terms, most) for terms, most in ((words_of, WORDS), (parts_of, PARTS))
        )
        counts = (*words.values(), *parts.values())
        return Vocabulary(tuple(words), tuple(parts), counts, len(texts))

    @cached_property
    def weights(self) -> np.ndarray:
        """The inverse document frequencies, `ln((1 + rows) / (1 + count)) + 1`, (terms,), float64."""
        return np.log((1 + self.rows) / (1 + np.array(self.counts, np.float64))) + 1

    @cached_property
    def _places(self) -> tuple[dict[str, int], dict[str, int]]:
        parts = enumerate(self.parts, len(self.words))
        return {word: i for i, word in enumerate(self.words)}, {part: i for i, part in parts}

    def tfidf(self, texts: Sequence[str]) -> "scipy.sparse.csr_array":
        """Return the weight of each term in each text, (texts, terms), float64.

        A term that occurs n times weighs `(1 + ln n)` times its inverse document frequency. The weights of
        the words of a text have a Euclidean norm of 1, and those of the parts of `WEIGHT`.
        """
        import scipy.sparse

        places, values, ends = list[int](), list[np.ndarray](), [0]
        for text in texts:
            for terms, known, norm in zip((words_of, parts_of), self._places, (1, WEIGHT), strict=True):
                found = Counter(known[term] for term in terms(text) if term in known)
                where = sorted(found)
                weights = (1 + np.log([found[i] for i in where])) * self.weights[where]
                values.append(weights * (norm / (math.sqrt(weights @ weights) or 1.0)))
                places += where
            ends.append(len(places))
        data = np.concatenate([np.zeros(0), *values])
        shape = len(texts), len(self.counts)
        return scipy.sparse.csr_array((data, np.array(places, np.int64), np.array(ends, np.int64)), shape)

    def projected(self, texts: Sequence[str], directions: np.ndarray) -> np.ndarray:
        """Return the texts' weights in each direction, (texts, directions), float64.

        Parameters
        ----------
        texts : sequence of str
        directions : array of shape (terms, directions)
        """
        found = np.zeros((len(texts), directions.shape[1]))
        for start in range(0, len(texts), AT_ONCE):
            found[start : start + AT_ONCE] = self.tfidf(texts[start : start + AT_ONCE]) @ directions
        return found


def sampled(texts: Sequence[str]) -> list[str]:
    """Return at most `LEARNED` of the texts, evenly chosen."""
    return list(texts[:: -(-len(texts) // LEARNED) or 1])


def _most_frequent(texts: Sequence[str], terms: Callable[[str], list[str]], most: int) -> dict[str, int]:
    """Return the terms of most texts and the number of these, the most frequent first, then by name."""
    counts = Counter(itertools.chain.from_iterable(set(terms(text)) for text in texts))
    often = [(term, count) for term, count in counts.items() if count >= RARE]
    return dict(sorted(often, key=lambda row: (-row[1], row[0]))[:most])


def directions_of(vocabulary: Vocabulary, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the directions in which the weights of training rows differ most.

    They are the first right singular vectors of the weights (latent semantic analysis, Deerwester et al.
    1990), divided by the usual deviation of the rows in a direction.

    Returns
    -------
    directions : array of shape (terms, directions), float32
    means : array of shape (directions,), float64
        Of the rows.
    """
    from sklearn.utils.extmath import randomized_svd  # pyright: ignore[reportUnknownVariableType]

    weights = vocabulary.tfidf(texts)
    most = min(DIRECTIONS, len(texts), len(vocabulary.counts))
    if not most:
        return np.zeros((len(vocabulary.counts), 0), np.float32), np.zeros(0)
    with threadpool_limits(1):  # the sums of more threads differ in their last bits
        found = randomized_svd(weights, most, n_iter=4, random_state=SEED)[2].T  # pyright: ignore
    rows = cast(np.ndarray, weights @ found)
    scale = 1 / max(float(np.sqrt(rows.var(axis=0).mean())), SMALLEST)
    directions = np.asarray(scale * found, np.float32)
    return directions, vocabulary.projected(texts, directions).mean(axis=0)


def memory_of(rows: int, characters: Sequence[float]) -> int:
    """Return about how much memory columns of text take beside their cells.

    Their inputs are kept. The rows that tell terms and directions are in memory for one column at a time.

    Parameters
    ----------
    rows : int
    characters : sequence of float
        The mean length of each column's texts; empty if there are no columns of text.

    Examples
    --------
    >>> memory_of(1_000_000, [200.0]) / 2**20
    972.7478027343...
    """
    if not characters:
        return 0
    of_row = 3 * 8 * DIRECTIONS + LEARNING * min(max(characters), READ)  # a few arrays in float64
    return int(4 * DIRECTIONS * rows * len(characters) + min(rows, LEARNED) * of_row)


def is_prose(values: "pl.Series") -> bool:
    """Return whether text holds sentences: many different cells, most of them of several words.

    Names, codes and levels are not prose.
    """
    present = values.drop_nulls()
    distinct = present.n_unique()
    if distinct <= FEWEST or distinct <= DISTINCT * len(present):
        return False
    words = present.str.count_matches(r"\p{L}{2,}").to_numpy()
    return float(np.median(words)) >= PROSE

"""What each input contributed to one answer of a model."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mlpax.errors import InputError
from mlpax.model.model import Model

__all__ = ["Explanation", "explain"]

AROUND = 1  # pixels around a pixel that are hidden with it
MOST_HIDDEN = 2**24  # inputs of all pictures with hidden pixels; more are hidden in blocks
EVERY_ORDER = 4  # columns of which every order is taken
PAIRS = 32  # orders of the columns, and as many reversed ones
ROWS = 20_000  # that the orders may take
MOST = 2**24  # inputs of all these rows; an order and its reverse of more would take half a minute
AT_ONCE = 2**22  # inputs of a call
SEED = 0

Score = Callable[[np.ndarray], np.ndarray]  # of rows of inputs, (rows,)


@dataclass(frozen=True, eq=False)
class Explanation:
    """What each pixel or column contributed to an answer.

    The unit is the probability of the predicted class, or the unit of the target.

    Attributes
    ----------
    method : str
        How the contributions were computed, in one sentence.
    base : float
        The answer for a picture without ink, or for a typical row of the table.
    contributions : array of shape (height, width) or (columns,), float64
    columns : tuple of str
        The columns, largest contribution first. Empty for a picture.
    """

    method: str
    base: float
    contributions: np.ndarray
    columns: tuple[str, ...] = ()


def explain(model: Model, inputs: np.ndarray) -> Explanation:
    """Return what each pixel or column contributed to the answer for one row.

    For a picture: occlusion (Zeiler & Fergus 2014). Each pixel is hidden in turn, together with its
    neighbours. Its contribution is the fall of the answer.

    For a row of a table: sampled Shapley values (Štrumbelj & Kononenko 2014). A typical row takes the
    values of this row, one column after the other, in many random orders. The contribution of a column is
    the mean change of the answer when the column takes its value. The contributions add up to the
    difference between the answer for this row and the answer for the typical row. A typical row has the
    median of each number, no known category and no known word. Up to 4 columns, every order is taken once.

    Parameters
    ----------
    model : Model
        If it has several targets, the first one is explained.
    inputs : array of shape (1, features)
        One row, as `Model.inputs` returns it.

    Returns
    -------
    Explanation
        The same row always gets the same explanation.

    Raises
    ------
    InputError
        If there is more than one row, or a table has too many columns: about 2,800 of numbers are explained.
        See also `Model.outputs`.

    Examples
    --------
    >>> from mlpax.model.model import Model, Network, Target
    >>> network = Network([(np.array([[2.0], [-3.0]], np.float32), np.ones(1, np.float32))])
    >>> model = Model((network,), (Target(task="regression"),))
    >>> found = explain(model, np.array([[10.0, 1.0]], np.float32))
    >>> found.base, found.columns, found.contributions.tolist()
    (1.0, ('x0', 'x1'), [20.0, -3.0])
    """
    if len(inputs) != 1:
        raise InputError(f"X has {len(inputs)} rows; explain one row at a time")
    best = int(model.by_target(model.forward(inputs))[0][0].argmax()) if model.classes else 0

    def score(rows: np.ndarray) -> np.ndarray:
        outputs = model.forward(rows)
        found = model.probabilities(outputs) if model.classes else outputs
        return found[:, best].astype(np.float64)

    if model.image_shape:
        return _of_pixels(score, inputs.reshape(model.image_shape))
    return _of_columns(score, inputs, model)


# Pictures


def _of_pixels(score: Score, picture: np.ndarray) -> Explanation:
    """Return how much the answer falls when each pixel is hidden.

    In a large picture blocks of pixels share a contribution. Otherwise the answer would take minutes.
    """
    height, width = picture.shape[:2]
    edge: np.ndarray = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    paper = np.median(edge, axis=0)
    block = math.ceil(math.sqrt(height * width * picture.size / MOST_HIDDEN))
    corners = list(itertools.product(range(0, height, block), range(0, width, block)))
    hidden = np.repeat(picture[None], len(corners), axis=0)
    for one, corner in zip(hidden, corners, strict=True):
        rows, columns = (slice(max(0, at - AROUND), at + block + AROUND) for at in corner)
        one[rows, columns] = paper
    ends = np.stack([np.broadcast_to(paper, picture.shape), picture]).astype(picture.dtype)
    scores = score(np.concatenate([ends, hidden]).reshape(2 + len(corners), -1))
    falls = (scores[1] - scores[2:]).reshape(-(-height // block), -(-width // block))
    size = block + 2 * AROUND
    method = (
        f"Occlusion: the fall of the answer when the {size} × {size} pixels around a pixel take the colour of"
        " the picture's edge."
    )
    each = falls.repeat(block, axis=0).repeat(block, axis=1)[:height, :width]
    return Explanation(method, float(scores[0]), each)


# Tables


def _of_columns(score: Score, inputs: np.ndarray, model: Model) -> Explanation:
    """Return Shapley values: each order of the columns leads from the typical row to this one."""
    places, typical = _columns_of(model)
    columns = list(places)
    orders = _orders(len(columns), len(typical))
    contributions, base = np.zeros(len(columns)), 0.0
    at_once = max(1, AT_ONCE // ((len(columns) + 1) * len(typical)))
    for start in range(0, len(orders), at_once):
        some = orders[start : start + at_once]
        rows = np.tile(typical.astype(np.float32), (len(some), len(columns) + 1, 1))
        for steps, order in zip(rows, some, strict=True):
            for k, column in enumerate(order, 1):
                where = places[columns[column]]
                steps[k:, where] = inputs[0, where]
        scores = score(rows.reshape(-1, len(typical))).reshape(len(some), -1)
        base = float(scores[0, 0])
        for order, changes in zip(some, np.diff(scores, axis=1), strict=True):
            contributions[list(order)] += changes / len(orders)
    ranks: list[int] = np.argsort(-np.abs(contributions), kind="stable").tolist()
    over = f"all {len(orders)}" if len(columns) <= EVERY_ORDER else f"{len(orders)} random"
    method = (
        "Shapley values: the mean change of the answer when a typical row takes the value of the column, over"
        f" {over} orders of the columns."
    )
    return Explanation(method, base, contributions[ranks], tuple(columns[k] for k in ranks))


def _columns_of(model: Model) -> tuple[dict[str, list[int]], np.ndarray]:
    """Return where among the inputs each column is, and the inputs of a typical row, (features,)."""
    if model.columns is None:
        features = model.networks[0].features
        return {f"x{i}": [i] for i in range(features)}, np.full(features, model.scaling.shift)
    typical = [
        [*[0] * own.dense, *(codes - 2 for codes in own.embeddings)]
        for own in (model.columns, *model.fold_columns)
    ]  # the last two codes of an embedding are "other" and missing
    return model.places, np.array(list(itertools.chain(*typical)), np.float32)


def _orders(columns: int, features: int) -> list[tuple[int, ...]]:
    """Return all orders of few columns; of many random ones, each with its reverse.

    The errors of an order and of its reverse partly cancel (antithetic sampling).
    """
    if columns <= EVERY_ORDER:
        return list(itertools.permutations(range(columns)))
    of_pair = 2 * (columns + 1)  # rows
    if of_pair * features > MOST:
        raise InputError(
            f"the model has {columns} columns, too many to explain an answer by; predict without explaining"
        )
    generator = np.random.default_rng(SEED)
    found: list[tuple[int, ...]] = []
    for _ in range(max(1, min(PAIRS, ROWS // of_pair, MOST // (of_pair * features)))):
        order = tuple(generator.permutation(columns).tolist())
        found += [order, order[::-1]]
    return found

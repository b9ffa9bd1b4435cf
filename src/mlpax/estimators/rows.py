"""The rows of a fit, as scikit-learn checks, weighs and splits them."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse
from sklearn.base import is_classifier
from sklearn.utils import compute_sample_weight
from sklearn.utils.validation import (
    _check_sample_weight,  # pyright: ignore[reportPrivateUsage]
    validate_data,
)

from mlpax.data.dataset import split_as_scikit_learn
from mlpax.engine.rows import Data, all_finite, bucket, place

__all__ = ["NOT_FINITE", "ClassWeight", "RandomState", "Rows", "Shuffles", "held", "joined", "placed",
           "split", "validation_rows", "weights_of"]  # fmt: skip

NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be"
    " preprocessed."
)


# Types of parameters that scikit-learn names alike everywhere.
ClassWeight = dict[object, float] | str | None
RandomState = int | np.random.RandomState | None


class Rows(NamedTuple):
    """Rows as scikit-learn has checked them."""

    X: Any  # (rows, features), an array or a sparse matrix
    y: np.ndarray  # (rows, outputs): values, or booleans of the classes
    weight: np.ndarray | None  # (rows,)

    def at(self, numbers: np.ndarray) -> "Rows":
        """Return the rows of these numbers."""
        return Rows(self.X[numbers], self.y[numbers], None if self.weight is None else self.weight[numbers])


def weights_of(
    y: Any, sample_weight: np.ndarray | None, class_weight: ClassWeight, incremental: bool
) -> np.ndarray | None:
    """Return the weights of the rows, multiplied by those of their classes."""
    if class_weight is None:
        return sample_weight
    if incremental and class_weight == "balanced":
        raise ValueError(
            "class_weight 'balanced' is not supported for partial_fit, which sees a part of the rows;"
            " give a dict of the classes' weights"
        )
    y = y.toarray() if scipy.sparse.issparse(y) else np.asarray(y)
    if incremental and isinstance(class_weight, dict):  # these rows may lack a class that it names
        each = np.array([class_weight.get(label, 1.0) for label in y.ravel().tolist()])
    else:
        each = compute_sample_weight(class_weight, y)
    return each if sample_weight is None else each * sample_weight


def split(rows: Rows, share: float, generator: np.random.RandomState, by_class: bool) -> tuple[Rows, Rows]:
    """Return the rows to train on and the held-out ones, drawn as scikit-learn draws them."""
    train, held = split_as_scikit_learn(len(rows.y), share, generator, rows.y if by_class else None)
    if len(held) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
        )
    return rows.at(train), rows.at(held)


def validation_rows(estimator: Any, X: Any, y: Any, weight: object) -> Rows:
    """The caller's validation rows, checked against the estimator's features and classes."""
    X = validate_data(estimator, X, accept_sparse=["csr", "csc"], dtype=(np.float64, np.float32), reset=False)
    y = y.toarray() if scipy.sparse.issparse(y) else np.asarray(y)
    if len(y) != X.shape[0]:
        raise ValueError(f"X_val has {X.shape[0]} rows but y_val has {len(y)}; they must be equal")
    if is_classifier(estimator):
        several = estimator._label_binarizer.y_type_.startswith("multilabel")
        y = y if several else y.reshape(len(y), -1)
        if y.ndim != 2 or (not several and y.shape[1] > 1):
            raise ValueError(f"y_val has shape {y.shape}, not that of y")
        known = {0, 1} if several else set(estimator.classes_.tolist())
        strange = set(y.ravel().tolist()) - known
        if strange:
            raise ValueError(f"y_val has classes {sorted(strange, key=str)} that y has not")
        y = y.astype(bool) if several else estimator._label_binarizer.transform(y[:, 0]).astype(bool)
    y = y.reshape(len(y), -1)
    if y.shape[1] != estimator.n_outputs_:
        raise ValueError(f"y_val has {y.shape[1]} outputs, but y has {estimator.n_outputs_}")
    return Rows(X, y, None if weight is None else _check_sample_weight(weight, X))


def joined(rows: Rows, others: Rows) -> Rows:
    """Return rows and others as one; those without weights weigh 1."""
    X: list[Any] = [rows.X, others.X]
    if all(map(scipy.sparse.issparse, X)):
        both = scipy.sparse.vstack(X, format="csr")
    else:
        both = np.concatenate([own.toarray() if scipy.sparse.issparse(own) else own for own in X])
    weight = None
    if rows.weight is not None or others.weight is not None:
        each = [np.ones(len(own.y)) if own.weight is None else own.weight for own in (rows, others)]
        weight = np.concatenate(each)
    return Rows(both, np.concatenate([rows.y, others.y]), weight)


def placed(rows: Rows, batch_size: int, loss: str, dtype: npt.DTypeLike) -> Data:
    """The rows on the device; targets of several classes as their numbers."""
    with np.errstate(over="ignore"):
        X = (rows.X.toarray() if scipy.sparse.issparse(rows.X) else rows.X).astype(dtype, copy=False)
    if not all_finite(X):
        raise ValueError(NOT_FINITE)  # beyond float32, where no step would be finite
    y = rows.y.argmax(axis=1) if loss == "cross_entropy" else rows.y.astype(dtype)
    return place(X, y, batch_size=batch_size, weight=rows.weight, dtype=dtype)


def held(rows: Rows, loss: str, dtype: npt.DTypeLike) -> Data:
    """Return validation rows ready for the engine."""
    if rows.weight is not None and not rows.weight.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return placed(rows, bucket(rows.X.shape[0], 8), loss, dtype)


class Shuffles:
    """Row orders as scikit-learn draws them: each epoch shuffles the order of the epoch before.

    `shuffles(done, count)` gives the orders of the next `count` epochs. It draws anew what an earlier call
    drew too many, so that in the end the generator is left as scikit-learn leaves it.
    """

    def __init__(self, generator: np.random.RandomState, rows: int, bucket: int):
        self.generator, self.bucket = generator, bucket
        self.order = np.arange(rows)
        self.drawn = self.kept = 0
        self.before = generator.get_state(), self.order  # after `kept` epochs

    def __call__(self, done: int, count: int) -> np.ndarray:
        """Return the orders of `count` epochs after the first `done`: (count, bucket), padding last."""
        self.rewind(done)
        self.kept, self.before = done, (self.generator.get_state(), self.order)
        return self._draw(count)

    def rewind(self, done: int) -> None:
        """Leave the generator as if only the orders of the first `done` epochs had been drawn."""
        if done < self.drawn:
            state, self.order = self.before
            self.generator.set_state(state)
            self.drawn = self.kept
            self._draw(done - self.kept)

    def _draw(self, count: int) -> np.ndarray:
        orders = np.empty((count, self.bucket), np.int32)
        orders[:] = np.arange(self.bucket)
        for k in range(count):
            shuffled = np.arange(len(self.order))
            self.generator.shuffle(shuffled)
            self.order = self.order[shuffled]
            orders[k, : len(self.order)] = self.order
        self.drawn += count
        return orders

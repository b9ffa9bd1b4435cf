"""A trained network with what it needs to answer."""

import dataclasses
import io
import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from mlpax import scores
from mlpax.atomic import atomic
from mlpax.bootstrap import Interval, intervals_of_classes, intervals_of_targets, intervals_of_values
from mlpax.data.columns import Columns, as_frame, inputs_beside
from mlpax.data.kinds import as_text
from mlpax.data.numerals import Numerals
from mlpax.engine.forward import Layers, Network, has_accelerator, outputs, softmax
from mlpax.engine.native import prediction
from mlpax.engine.native.library import available
from mlpax.engine.rows import Scaling
from mlpax.errors import InputError, RowError, listed, shortened, unknown
from mlpax.model.schema import FORMAT, Classes, checked, columns_of, parsed, shapes_of
from mlpax.model.tensors import head
from mlpax.stages import Clock, in_order
from mlpax.wording import table_in_html

if TYPE_CHECKING:
    import polars as pl

__all__ = ["FORMAT", "Calibration", "Intervals", "Model", "Network", "Target", "check_weights",
           "disagreement", "whole_text"]  # fmt: skip

Figures = scores.Classification | scores.Regression | scores.Several | scores.SeveralClasses
TINY = float(np.finfo(np.float32).tiny)  # a probability whose logarithm is finite

# The start of a text that a spreadsheet takes for a formula, unless the whole text is a number.
FORMULA = r"^[=+\-@\t\r\n＝＋－＠]"
NUMBER = r"^[+-]?[0-9]+([.,][0-9]+)?([eE][+-]?[0-9]+)?$"
LARGEST = float(np.finfo(np.float32).max)
QUANTILES = 1000
LEVELS, LEAST_ROWS = 20, 20  # of the predicted values, and the rows of each
MOST_SHOWN = 10  # classes in the table of a notebook
CHUNK = 8192  # rows of a table at a time: bounds the memory of `write_predictions`
MOST_THREADS = 8  # that predict a file at a time: one thread reads, and feeds no more


@dataclass(frozen=True)
class Target:
    """What a network predicts.

    Attributes
    ----------
    name : str
        The column of a table; empty if it has no name.
    task : {"classification", "regression"}
    classes : tuple of str, int or bool
        What each of its outputs stands for; empty for a regression, which has one output.
    link : {"identity", "exp"}
        What turns a regression's output into its value.
    numerals : Numerals
        How text of the training rows writes the numbers of the target.
    """

    name: str = ""
    task: str = "classification"
    classes: Classes = ()
    link: str = "identity"
    numerals: Numerals = Numerals()


@dataclass(frozen=True)
class Calibration:
    """A temperature for the class probabilities, and the rows that it was fitted on.

    Attributes
    ----------
    temperature : float or tuple of float
        Divisor of the outputs before the softmax, above 0. Several targets have one each.
    fitted_on : {"validation"}
        To score these rows, leave the temperature out.
    """

    temperature: float | tuple[float, ...]
    fitted_on: str = "validation"

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The temperature of each target."""
        return self.temperature if isinstance(self.temperature, tuple) else (self.temperature,)


@dataclass(frozen=True)
class Intervals:
    """How far predictions were from the truth, of rows that the networks of their fold had not seen.

    A regression's score is the error divided by the row's spread. The spread is the usual error of rows of
    its predicted value, plus `slope` times the disagreement: the standard deviation over the networks of a
    fold. A classification's score is 1 less the probability of the true class. New rows have such scores,
    too: a share of them lies below the quantile of that share (cross-conformal prediction, Vovk 2015).

    Attributes
    ----------
    folds : int
        Into which the networks are divided evenly, in their order.
    rows : int
        That were scored.
    scores : tuple of float
        Of the rows, rising; of more than 1,000 rows 1,000 quantiles.
    levels, spreads : tuples of float
        Predicted values, rising, and the usual error at each; between them on a line.
    slope : float
    """

    folds: int
    rows: int
    scores: tuple[float, ...]
    levels: tuple[float, ...] = (0.0,)
    spreads: tuple[float, ...] = (1.0,)
    slope: float = 0.0

    @staticmethod
    def of_probabilities(p: np.ndarray, folds: int) -> "Intervals":
        """Return the intervals of a classification, for the probability of each row's true class, (rows,)."""
        return Intervals(folds, len(p), _quantiles(1 - p))

    @staticmethod
    def of_values(truth: np.ndarray, predicted: np.ndarray, differ: np.ndarray, folds: int) -> "Intervals":
        """Return the intervals of a regression, those that are narrowest on the rows for a coverage of 0.9.

        Parameters
        ----------
        truth, predicted, differ : arrays of shape (rows,)
            The values, their predictions, and the disagreement.
        folds : int
        """
        error, order = np.abs(truth - predicted), np.argsort(predicted, kind="stable")
        usual = float(np.median(error)) or float(error.mean()) or 1.0
        parts = np.array_split(order, min(LEVELS, max(1, len(order) // LEAST_ROWS)))
        levels = np.array([predicted[part].mean() for part in parts])
        local = np.array([error[part].mean() for part in parts])
        best, narrowest = Intervals(folds, len(error), (0.0,)), math.inf
        for slope, share in itertools.product((0, 0.5, 1, 2, 4, 8), (0, 0.5, 1, 2, 4)):
            spreads = usual + share * local
            own = Intervals(folds, len(error), (0.0,), _floats(levels), _floats(spreads), float(slope))
            spread = own.spread(predicted, differ)
            scores = error / spread
            width = float(np.quantile(scores, 0.9) * spread.mean())
            if width < narrowest:
                best, narrowest = dataclasses.replace(own, scores=_quantiles(scores)), width
        return best

    def spread(self, predicted: np.ndarray, differ: np.ndarray) -> np.ndarray:
        """Return what a row's score is multiplied by, (rows,)."""
        return np.interp(predicted, self.levels, self.spreads) + self.slope * differ

    def quantile(self, coverage: float) -> float:
        """Return the score that a new row stays below with a probability of at least `coverage`.

        Raises
        ------
        InputError
            If the coverage is outside (0, 1), or takes more rows than there were.
        """
        if not 0 < coverage < 1:
            raise InputError(f"interval {coverage} is outside (0, 1); give a share of the rows, such as 0.9")
        share = math.ceil((self.rows + 1) * coverage) / self.rows
        if share > 1:
            least = math.ceil(coverage / (1 - coverage) - 1e-6)
            raise InputError(
                f"interval {coverage} takes {least} rows in the folds, which had {self.rows}; choose a"
                " smaller one"
            )
        return self.scores[math.ceil(share * len(self.scores) - 1e-9) - 1]


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A trained network, or several, with what they need to answer.

    Attributes
    ----------
    networks : tuple of Network
        Several answer with the mean of their probabilities, or of their values.
    targets : tuple of Target
        Classifications, whose outputs stand beside each other, or one regression for each output.
    scaling : Scaling
        The networks see `(X - shift) * scale`.
    image_shape : tuple of int, optional
        (height, width) or (height, width, 3) if a row is a picture.
    columns : Columns, optional
        The transform of a table's columns.
    fold_columns : tuple of Columns
        The transforms that the folds after the first have fitted. Each fold has as many networks.
    calibration : Calibration, optional
        The temperature of the class probabilities.
    intervals : Intervals, optional
        Of networks that were trained on folds.
    backend : {"native", "xla"}
        What trained the networks.
    recipe : dict
        The settings of the training run.
    metrics : dict
        Figures of the training run, such as `valid_accuracy`.
    provenance : dict
        The data set, its fingerprint, and the versions of the packages, as text.
    device : str, optional
        Where XLA predicts, such as "cpu", "gpu" or "gpu:1". By default NumPy predicts, unless JAX has a GPU
        or TPU. A model file does not hold the device.
    params, activation, embeddings
        Those of the first network.
    task, classes, link, target
        Those of the first target; `target` is its name.
    """

    networks: tuple[Network, ...]
    targets: tuple[Target, ...] = (Target(),)
    scaling: Scaling = field(default_factory=Scaling)
    image_shape: tuple[int, ...] | None = None
    columns: Columns | None = None
    fold_columns: tuple[Columns, ...] = ()
    calibration: Calibration | None = None
    intervals: Intervals | None = None
    backend: str = "xla"
    recipe: dict[str, object] = field(default_factory=dict[str, object])
    metrics: dict[str, float] = field(default_factory=dict[str, float])
    provenance: dict[str, str] = field(default_factory=dict[str, str])
    device: str | None = None

    @property
    def params(self) -> Layers:
        return self.networks[0].params

    @property
    def activation(self) -> str | tuple[str, ...]:
        return self.networks[0].activation

    @property
    def embeddings(self) -> list[np.ndarray]:
        return self.networks[0].embeddings

    @property
    def task(self) -> str:
        return self.targets[0].task

    @property
    def classes(self) -> Classes:
        return self.targets[0].classes

    @property
    def link(self) -> str:
        return self.targets[0].link

    @property
    def target(self) -> str:
        return self.targets[0].name

    def __repr__(self) -> str:
        several = f"{len(self.networks)} x " if len(self.networks) > 1 else ""
        return f"Model({self.task}, {several}{' - '.join(map(str, self.sizes))}, {self.activation})"

    def _repr_html_(self) -> str:
        target = ", ".join(t.name for t in self.targets)
        kinds = [column.kind for column in self.columns.columns] if self.columns else []
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
        classes = [*map(str, self.classes[:MOST_SHOWN]), *["…"][: len(self.classes) > MOST_SHOWN]]
        return table_in_html([
            ("task", self.task),
            ("target", target),
            ("classes", ", ".join(classes)),
            ("columns", counts),
            ("networks", len(self.networks)),
            ("layers", " - ".join(map(str, self.sizes))),
            ("activation", self.activation),
            ("parameters", f"{sum(network.parameters for network in self.networks):,}"),
            *((name.replace("_", " "), f"{value:.4g}") for name, value in self.metrics.items()),
        ])  # fmt: skip

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of each layer of the first network, starting with the inputs."""
        return self.networks[0].sizes

    def outputs(self, X: object) -> np.ndarray:
        """Return the outputs of the last layer: logits before any softmax, or values in the target's units.

        Parameters
        ----------
        X : array of shape (rows, features) or (rows, height, width), uint8 or float, or frame
            A model of a table takes a polars, pandas or pyarrow table or a dict with the model's columns, or
            an array of the columns in their order.

        Returns
        -------
        array of shape (rows, outputs), float32

        Raises
        ------
        InputError
            If the shape does not fit the network, a column is missing, or a value is NaN, beyond float32 or
            not of its column's kind; or if an output is not finite.
        """
        return self.forward(self.inputs(X))

    def inputs(self, X: object) -> np.ndarray:
        """Return rows as `forward` takes them: the columns of a table transformed; see `outputs` for X."""
        if self.columns:
            return self._transformed(self._frame(X))
        X = np.asarray(X)
        if self.image_shape:
            if X.dtype.kind not in "uif":
                raise InputError(f"X is of type {X.dtype}; this model takes pixels of 0 to 255")
            if X.ndim > 2 and X.shape[1:] not in (self.image_shape, (*self.image_shape, 1)):
                raise InputError(f"X has pictures of {X.shape[1:]}; this model takes {self.image_shape}")
            if X.dtype.kind == "f" and X.size and 0 < X.max() <= 1:
                raise InputError(f"X holds pictures of 0 to {X.max():g}; this model takes pixels of 0 to 255")
        return X

    def _frame(self, X: object) -> "pl.DataFrame":
        return as_frame(X, [c.name for c in self.columns.columns] if self.columns else None)

    def _transformed(self, frame: "pl.DataFrame") -> np.ndarray:
        """Return the inputs of the networks; of several folds beside each other."""
        return inputs_beside(self._every_columns, frame)

    @property
    def _every_columns(self) -> tuple[Columns, ...]:
        """The columns as each fold has them; none if the rows come from no table."""
        return () if self.columns is None else (self.columns, *self.fold_columns)

    def forward(self, X: np.ndarray) -> np.ndarray:
        """Return the outputs for rows as `inputs` returns them; see `outputs`."""
        return self.joined(self.of_members(X))

    def by_target(self, values: np.ndarray) -> list[np.ndarray]:
        """Return the outputs, or probabilities, of each target of a classification.

        Parameters
        ----------
        values : array of shape (..., outputs)

        Returns
        -------
        list of arrays of shape (..., classes)
        """
        ends = itertools.accumulate(len(target.classes) for target in self.targets[:-1])
        return np.split(values, [*ends], axis=-1) if len(self.targets) > 1 else [values]

    def _shares(self, logits: np.ndarray) -> np.ndarray:
        """Return the softmax of each target's outputs, (rows, outputs)."""
        if len(self.targets) == 1:
            return softmax(logits)
        return np.concatenate([softmax(of_target) for of_target in self.by_target(logits)], axis=1)

    def _best(self, outputs: np.ndarray) -> np.ndarray:
        """Return the label of each row's likeliest class, (rows,), or of several targets (rows, targets)."""
        if len(self.targets) == 1:
            return outputs.argmax(axis=1)
        return np.stack([of_target.argmax(axis=1) for of_target in self.by_target(outputs)], axis=1)

    def named(self, labels: np.ndarray) -> np.ndarray:
        """Return the classes that labels stand for, in their shape: (rows,), or (rows, targets) of several.

        If the classes of the targets are of several types, the array is of Python objects.
        """
        if len(self.targets) == 1:
            return np.asarray(self.classes)[labels]
        every = [np.asarray(target.classes) for target in self.targets]
        if len({classes.dtype.kind for classes in every}) > 1:
            every = [np.array(target.classes, object) for target in self.targets]
        return np.stack([own[column] for own, column in zip(every, labels.T, strict=True)], axis=1)

    def of_members(self, X: np.ndarray) -> np.ndarray:
        """Return the outputs of each network for the same rows, (members, rows, outputs)."""
        return self._of_members(X, self._values)

    def _of_members(self, X: np.ndarray, values: Callable[[Network, np.ndarray], np.ndarray]) -> np.ndarray:
        each = len(self.networks) // (1 + len(self.fold_columns))
        widths = [network.features for network in self.networks[::each]]
        features = sum(widths)
        if X.ndim < 2 or math.prod(X.shape[1:]) != features:
            found = f"rows of {math.prod(X.shape[1:])} features" if X.ndim > 1 else f"shape {X.shape}"
            raise InputError(f"X has {found}; this model takes rows of {features} features")
        if X.dtype.kind not in "buif":
            raise InputError(f"X is of type {X.dtype}; this model takes numbers")
        X = X.reshape(len(X), features)
        _check_inputs(X)
        own = np.split(X, np.cumsum(widths[:-1]), axis=1) if self.fold_columns else [X]
        found = np.stack([values(network, own[k // each]) for k, network in enumerate(self.networks)])
        if not np.isfinite(found).all():
            _, row, output = np.argwhere(~np.isfinite(found))[0].tolist()
            value = found[:, row, output].sum()
            raise RowError(
                f"the model answers {value} for", row, f", output {output}: its weights are too large, or the"
                " row is far from the training rows; train again with a smaller learning rate",
            )  # fmt: skip
        return found

    def joined(self, found: np.ndarray) -> np.ndarray:
        """Return the outputs of the networks together: of their mean probability, or their mean value."""
        if len(found) == 1:
            return found[0]
        if self.task == "regression":
            return found.mean(axis=0, dtype=np.float64).astype(found.dtype)  # far from 0 float32 is coarse
        mean = np.mean([self._shares(logits) for logits in found], axis=0)
        return np.log(np.maximum(mean, np.finfo(np.float32).tiny))

    def _values(self, network: Network, X: np.ndarray) -> np.ndarray:
        if self.device or has_accelerator():
            from mlpax.engine.xla import prediction as on_device  # JAX takes a second to import

            found = on_device.outputs(network, X, self.scaling, self.device)
        else:
            found = outputs(network, X, self.scaling)
        return self._linked(found)

    def _values_of_many(self, network: Network, X: np.ndarray) -> np.ndarray:
        """Return the same for a part of many rows, computed by one thread.

        If the native library trained the network, and is the faster one, the library predicts: a row then
        gets the same bits whatever rows stand beside it.
        """
        device = self.device or has_accelerator()
        if device or self.backend != "native" or not prediction.serves(network):
            return self._values(network, X)
        return self._linked(prediction.outputs(network, X, self.scaling, threads=1))

    def _linked(self, found: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.exp(found) if self.link == "exp" else found

    def probabilities(self, outputs: np.ndarray, *, calibrated: bool = True) -> np.ndarray:
        """Return the probability of each class for a network's outputs.

        Parameters
        ----------
        outputs : array of shape (rows, classes)
            See `outputs`.
        calibrated : bool, default True
            Whether to divide the outputs by the temperature. Pass False to score the rows that the
            temperature was fitted on.

        Returns
        -------
        array of shape (rows, classes), float32
            Those of several targets stand beside each other, see `by_target`.
        """
        if calibrated and self.calibration:
            each = self.calibration.temperature
            if isinstance(each, tuple):
                each = np.repeat(each, [len(target.classes) for target in self.targets]).astype(np.float32)
            with np.errstate(over="ignore"):
                outputs = outputs / each
        found = self._shares(outputs)
        if not np.isfinite(found).all():
            raise InputError("the model's outputs, or their quotients by its temperature, are not finite")
        return found

    def predict_proba(self, X: object, *, calibrated: bool = True, members: bool = False) -> np.ndarray:
        """Return the probability of each class, (rows, classes); see `outputs` and `probabilities`.

        The classes of several targets stand beside each other; `by_target` takes them apart. With `members`
        those of each network, (members, rows, classes), without the temperature, which was fitted on their
        mean.
        """
        if self.task != "classification":
            raise InputError("a regression has no probabilities; use predict")
        if members:
            return np.stack([self._shares(outputs) for outputs in self.of_members(self.inputs(X))])
        return self.probabilities(self.outputs(X), calibrated=calibrated)

    def predict_interval(self, X: object, coverage: float = 0.9) -> np.ndarray:
        """Return a range for each row's value, (rows, 2), that holds it with a probability of `coverage`.

        Raises
        ------
        InputError
            If the networks were not trained on folds, it is a classification, or the coverage is outside
            (0, 1) or takes more rows than there were; see also `outputs`.
        """
        self._check_folds("regression", "predict_set")
        return self.interval_of(self.of_members(self.inputs(X)), coverage)

    def predict_set(self, X: object, coverage: float = 0.9) -> np.ndarray:
        """Return the classes that may be a row's, (rows, classes) of bool, with a probability of `coverage`.

        A set may be empty, if the row is like none of the training rows. See `predict_interval` for errors.
        """
        self._check_folds("classification", "predict_interval")
        return self.set_of(self.probabilities(self.outputs(X)), coverage)

    def _check_folds(self, task: str = "", other: str = "") -> Intervals:
        if len(self.targets) > 1:
            raise InputError("intervals are of one target, and this model has several; train a run for each")
        if self.intervals is None:
            raise InputError(
                "this model was not trained on folds, which intervals need; train with --folds 5"
            )
        if task and self.task != task:
            raise InputError(f"the model is a {self.task}; call {other}")
        return self.intervals

    def interval_of(self, found: np.ndarray, coverage: float) -> np.ndarray:
        """Return the ranges for the values of each network, (members, rows, 1)."""
        own, middle = self._check_folds(), self.joined(found)[:, 0].astype(np.float64)
        reach = own.quantile(coverage) * own.spread(middle, disagreement(found, own.folds))
        return np.stack([middle - reach, middle + reach], axis=1)

    def set_of(self, p: np.ndarray, coverage: float) -> np.ndarray:
        return p >= 1 - self._check_folds().quantile(coverage)

    def predict(self, X: object, *, members: bool = False) -> np.ndarray:
        """Return the likeliest class of each row, or a regression's values; see `outputs`.

        Of several targets there is a column for each, (rows, targets); see `named` for their classes.
        With `members` those of each network, with an axis of them before the rows.
        """
        if members:
            return np.stack([self._predicted(outputs) for outputs in self.of_members(self.inputs(X))])
        return self._predicted(self.outputs(X))

    def _predicted(self, outputs: np.ndarray) -> np.ndarray:
        if self.task == "classification":
            return self.named(self._best(outputs))
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def score(self, outputs: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> dict[str, float]:
        """Return the accuracy for labels, of shape (rows,), or the RMSE for values, (rows, outputs).

        Of several targets it is the mean of their accuracies, or of their R², since their units differ.
        """
        _check_row_weights(weight, len(y))
        if len(self.targets) > 1 and self.task == "regression":
            return {"r2": scores.several(y, outputs, self.names, weight)["r2"]}
        if self.task == "regression":
            return {"rmse": np.sqrt(_mean((outputs - y.reshape(outputs.shape)) ** 2, weight)).item()}
        return {"accuracy": float(_mean(self._best(outputs) == y, weight))}

    def evaluate(
        self, X: object, y: np.ndarray, *, calibrated: bool = True, weight: np.ndarray | None = None
    ) -> Figures:
        """Score predictions against the truth.

        Parameters
        ----------
        X : array or frame
            See `outputs`.
        y : array of shape (rows,) or (rows, targets)
            The true classes, each one of `classes` of its target; or a regression's values.
        calibrated : bool, default True
            See `probabilities`.
        weight : array of shape (rows,), optional
            How much each row counts.

        Returns
        -------
        dict
            See `scores.classification`, `scores.regression` and, of several targets, `scores.several_classes`
            and `scores.several`.

        Raises
        ------
        InputError
            If there are no rows, lengths differ, or a class is not one of the model's.
        """
        return self.figures(self.outputs(X), y, calibrated=calibrated, weight=weight)

    def figures(
        self, outputs: np.ndarray, y: np.ndarray, *, calibrated: bool = True, weight: np.ndarray | None = None
    ) -> Figures:
        """Score outputs; see `evaluate`."""
        truth, found = self._scored(outputs, y, calibrated, weight)
        if len(self.targets) > 1:
            if self.task == "regression":
                return scores.several(truth, found, self.names, weight)
            classes = [target.classes for target in self.targets]
            return scores.several_classes(truth, self.by_target(found), classes, self.names, weight)
        if self.task == "regression":
            return scores.regression(truth, found, weight)
        return scores.classification(truth, found, self.classes, weight)

    def score_intervals(
        self, outputs: np.ndarray, y: np.ndarray, *, calibrated: bool = True, weight: np.ndarray | None = None
    ) -> dict[str, Interval]:
        """Return a 95 % interval of each score of `figures`; see `bootstrap.intervals_of_classes`.

        Of several targets those of the target "a" are named `rmse/a`, `mae/a` and `r2/a`, or `accuracy/a` and
        so on.
        """
        truth, found = self._scored(outputs, y, calibrated, weight)
        if len(self.targets) > 1 and self.task == "classification":
            classes = [target.classes for target in self.targets]
            return intervals_of_targets(truth, self.by_target(found), classes, self.names, weight)
        if len(self.targets) > 1:
            of_all = {"r2": intervals_of_values(truth, found, weight)["r2"]}
            for name, y_true, y_found in zip(self.names, truth.T, found.T, strict=True):
                of_one = intervals_of_values(y_true, y_found, weight)
                of_all |= {f"{score}/{name}": interval for score, interval in of_one.items()}
            return of_all
        if self.task == "regression":
            return intervals_of_values(truth, found, weight)
        return intervals_of_classes(truth, found, self.classes, weight)

    def _scored(
        self, outputs: np.ndarray, y: np.ndarray, calibrated: bool, weight: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the truth and the answers: labels and probabilities, or values."""
        rows, y = len(outputs), np.asarray(y)
        if rows == 0 or rows != len(y):
            raise InputError(f"X has {rows} rows and y {len(y)}; they must be equal and at least one")
        _check_row_weights(weight, rows)
        if self.task == "regression":
            if y.size != outputs.size:
                raise InputError(f"y has shape {y.shape}; the model has {len(self.targets)} targets a row")
            y = y.reshape(outputs.shape)
            return (y, outputs) if len(self.targets) > 1 else (y[:, 0], outputs[:, 0])
        return self._labels(y), self.probabilities(outputs, calibrated=calibrated)

    def _labels(self, y: np.ndarray) -> np.ndarray:
        """Return the position of each true class in the classes of its target."""
        wanted = (len(y),) if len(self.targets) == 1 else (len(y), len(self.targets))
        if y.shape != wanted:
            raise InputError(
                f"y has shape {y.shape}; the model answers with {wanted}, a class for each target"
            )
        found: list[list[int]] = []
        for target, of_target in zip(self.targets, y.reshape(len(y), len(self.targets)).T, strict=True):
            position = {label: i for i, label in enumerate(target.classes)}
            for value in of_target.tolist():
                if value not in position:
                    which = f" of {target.name!r}" if len(self.targets) > 1 else ""
                    raise InputError(
                        f"y holds {value!r}, which is none of the model's classes{which} {target.classes}"
                    )
            found.append([position[value] for value in of_target.tolist()])
        return np.array(found).T.reshape(wanted)

    @property
    def score_name(self) -> str:
        """The figure that `importance` measures, unless it is told another."""
        if self.task == "classification":
            return "log_loss"
        return "rmse" if len(self.targets) == 1 else "r2"

    def importance(
        self, X: object, y: np.ndarray, *, repeats: int = 5, seed: int = 0, score: str | None = None
    ) -> list[scores.Importance]:
        """Return how much worse the score gets when a column is shuffled (Breiman 2001), largest first.

        Parameters
        ----------
        X : frame
            A table with the columns that the model was trained on.
        y : array of shape (rows,)
            The true classes, or values.
        repeats : int, default 5
            Number of shuffles of each column. The mean and the deviation are taken over them.
        seed : int, default 0
        score : {"log_loss", "accuracy", "rmse"}, optional
            Of a classification the log loss by default: it also tells of columns that move a probability, but
            no row across a boundary between classes. Of a regression the RMSE.

        Raises
        ------
        InputError
            If the model takes no table, it has no such score, or `repeats` is below 1; see also `outputs`.
        """
        return self.importance_of(self.inputs(X), y, repeats=repeats, seed=seed, score=score)

    def importance_of(
        self, inputs: np.ndarray, y: np.ndarray, *, repeats: int = 5, seed: int = 0, score: str | None = None
    ) -> list[scores.Importance]:
        """Return the same for rows as `inputs` returns them."""
        if self.columns is None:
            raise InputError("this model takes no table, and so has no columns")
        if repeats < 1:
            raise InputError(f"repeats {repeats} is outside [1, inf)")
        truth: np.ndarray = self._labels(np.asarray(y)) if self.classes else np.asarray(y, np.float32)
        name = self.score_name if score is None else score
        options = ("log_loss", "accuracy") if self.classes else (self.score_name,)
        if name not in options:
            raise unknown("score", name, options)
        rows = np.arange(len(truth))

        def log_likelihood(outputs: np.ndarray) -> float:
            each = zip(
                self.by_target(self.probabilities(outputs)),
                truth.reshape(len(rows), len(self.targets)).T,
                strict=True,
            )
            of_truth = [p[rows, labels.astype(int)] for p, labels in each]
            return float(np.log(np.maximum(of_truth, TINY)).mean())

        def goodness(inputs: np.ndarray) -> float:
            outputs = self.forward(inputs)
            if name == "log_loss":
                return log_likelihood(outputs)
            return self.score(outputs, truth)[name] * (-1 if name == "rmse" else 1)

        return scores.importance(inputs, self.places, goodness, repeats=repeats, seed=seed)

    @property
    def places(self) -> dict[str, list[int]]:
        """Where among the inputs each column of a table is, in the transforms of all folds."""
        start, found = 0, dict[str, list[int]]()
        for columns in self._every_columns:
            for column, where in columns.places.items():
                found.setdefault(column, []).extend(start + place for place in where)
            start += columns.dense + len(columns.embeddings)
        return found

    def write_predictions(
        self,
        batches: Iterable[object],
        path: str | Path | IO[bytes],
        *,
        files: Sequence[str] | None = None,
        safe_csv: bool = False,
        disagreement: bool = False,
        interval: float | None = None,
        columns: Sequence[str] | None = None,
        clock: Clock | None = None,
    ) -> int:
        """Write a line for each row: its prediction, and the probability of each class. Memory is bounded.

        Of several targets there is a column `prediction_a` for each target "a", and `probability_a=x` for
        each of its classes. If a column names the rows, it comes first. Threads predict several parts of the
        rows at a time.

        Parameters
        ----------
        batches : iterable
            Batches of rows; see `outputs` for a batch.
        path : path or binary file
            Parquet if the name ends in `.parquet`, else CSV. A file that is open for writing gets CSV.
        files : sequence of str, optional
            The file that each row was read from. It becomes the first column, `file`.
        safe_csv : bool, default False
            Whether to write `'` before each text of a CSV file that a spreadsheet would take for a formula:
            one that begins with `=`, `+`, `-`, `@`, a tab or a line break. Texts of numbers, such as `-5`,
            are left.
        disagreement : bool, default False
            Whether to add a column `disagreement`: the standard deviation, over the networks, of their
            probability of the predicted class, without the temperature, or of their value. Of several targets
            it is the mean over the targets.
        interval : float in (0, 1), optional
            Add the columns `low` and `high`, between which the value lies with this probability; of a
            classification the column `set`, the classes that may be the row's, as `a|b`.
        columns : sequence of str, optional
            The columns to write, in this order, instead of all.
        clock : Clock, optional
            Gets the seconds that threads encode, predict and write.

        Returns
        -------
        int
            Rows written.

        Raises
        ------
        InputError
            If `safe_csv` is given for a Parquet file, `disagreement` for a single network, or a column that
            is not written; see also `outputs`.
        """
        from polars.io.plugins import register_io_source

        parquet = isinstance(path, (str, Path)) and Path(path).suffix == ".parquet"
        if safe_csv and parquet:
            raise InputError(
                f"safe_csv is for CSV files, and {path} is Parquet, which holds no formulas; leave it out"
            )
        self._check_written(disagreement, interval, files is not None)
        clock, rows, id = clock or Clock(), 0, self.columns.id if self.columns else None

        def framed(each: np.ndarray, names: "list[pl.Series]", start: int) -> "pl.DataFrame":
            front = [] if files is None else [_texts("file", files[start : start + each.shape[1]])]
            return _chosen(self._predictions(each, [*front, *names], disagreement, interval), columns)

        def answer(part: tuple[int, object]) -> "pl.DataFrame":
            with clock.of("encode"):
                X, names = self._encoded(*part)
            with clock.of("predict"):
                each = self._of_part(X, part[0])
            with clock.of("write"):
                return framed(each, names, part[0])

        def lines(part: tuple[int, object]) -> tuple[int, bytes]:
            frame = answer(part)
            with clock.of("write"):
                return frame.height, _csv(frame, safe_csv)

        def frames(*_: object) -> "Iterator[pl.DataFrame]":
            nonlocal rows
            for frame in in_order(answer, self._parts(batches), threads):
                yield frame
                rows += frame.height

        empty = framed(_nothing(self), [] if id is None else [_texts(id, [])], 0)
        threads = min(available(), MOST_THREADS)
        with atomic(path) if isinstance(path, (str, Path)) else nullcontext(path) as file:
            if parquet:
                register_io_source(frames, schema=empty.schema).sink_parquet(file)
                return rows
            file.write(_csv(empty, safe_csv, header=True))
            for height, text in in_order(lines, self._parts(batches), threads):
                file.write(text)
                rows += height
        return rows

    def _check_written(self, disagreement: bool, interval: float | None, files: bool) -> None:
        """Raise an error for columns that `write_predictions` cannot write."""
        if interval is not None:
            self._check_folds().quantile(interval)
        if disagreement and len(self.networks) == 1:
            raise InputError("one network does not disagree; train several, as with --members 8")
        id = self.columns.id if self.columns else None
        if id is not None and id in self._names_written(disagreement, interval, files):
            raise InputError(f"column {id!r} names the rows, but predictions have that name, too; rename it")

    def _parts(self, batches: Iterable[object]) -> Iterator[tuple[int, object]]:
        """Yield parts of the rows of all batches, each with the number of rows before it."""
        start = 0
        for batch in batches:
            # An array is one part: the check of a picture's range needs all of its rows.
            parts = [np.asarray(batch)] if self.columns is None else self._rows(batch).iter_slices(CHUNK)
            for part in parts:
                yield start, part
                start += part.shape[0] if part.shape else 0

    def _rows(self, batch: object) -> "pl.DataFrame":
        """Return a batch as a frame. Columns that the model does not read are not cleaned."""
        import polars as pl

        read = (
            {c.name for c in self.columns.varying} | {self.columns.id} if self.columns else set[str | None]()
        )
        if isinstance(batch, pl.DataFrame) and read - {None} <= set(batch.columns):
            batch = batch.select(name for name in batch.columns if name in read)
        return self._frame(batch)

    def _encoded(self, start: int, part: object) -> "tuple[np.ndarray, list[pl.Series]]":
        """Return a part's rows as `forward` takes them, and the column that names them if there is one."""
        import polars as pl

        if not isinstance(part, pl.DataFrame):
            return self.inputs(part), []
        id = self.columns.id if self.columns else None
        try:
            X = self._transformed(part)
        except RowError as error:
            raise error.shifted(start) from None
        if id is not None and id not in part.columns:
            raise InputError(f"column {id!r}, which names the rows, is missing")
        return X, [] if id is None else [as_text(part[id])]

    def _of_part(self, X: np.ndarray, start: int) -> np.ndarray:
        """Return the outputs of each network for rows that stand behind `start` others."""
        try:
            return self._of_members(X, self._values_of_many)
        except RowError as error:
            raise error.shifted(start) from None

    def _predictions(
        self, each: np.ndarray, front: "list[pl.Series]", disagreement: bool, interval: float | None
    ) -> "pl.DataFrame":
        """Return the frame to write for each network's outputs, behind the columns that name the rows."""
        import polars as pl

        found, last = self.joined(each), list["pl.Series"]()
        if self.task == "regression":
            values = zip(self._names_of_values(), found.T, strict=True)
            if interval is not None:
                low, high = self.interval_of(each, interval).T if len(found) else np.empty((2, 0))
                last += [pl.Series("low", low), pl.Series("high", high)]
            if disagreement:
                last.append(pl.Series("disagreement", each.std(axis=0).mean(axis=1)))
            return pl.DataFrame([*front, *(pl.Series(name, of_target) for name, of_target in values), *last])
        p, labels = self.probabilities(found), self._best(found).reshape(len(found), len(self.targets))
        names = zip(self._names_of_values(), self.targets, labels.T, strict=True)
        predicted = [pl.Series(name, target.classes).gather(best) for name, target, best in names]
        shares = [
            pl.Series(name, np.round(p[:, i], 6)) for i, name in enumerate(self._names_of_probabilities())
        ]
        if interval is not None:
            kept = self.set_of(p, interval)
            sets = ["|".join(str(self.classes[k]) for k in np.flatnonzero(row)) for row in kept]
            last.append(pl.Series("set", sets, pl.String))
        if disagreement:
            of_best = [self._of_best(self._shares(logits), labels) for logits in each]
            last.append(pl.Series("disagreement", np.std(of_best, axis=0).mean(axis=0)))
        return pl.DataFrame([*front, *predicted, *shares, *last])

    def _of_best(self, p: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
        """Return the probability of the label of each target, (rows,) each."""
        each = zip(self.by_target(p), labels.T, strict=True)
        return [of_target[np.arange(len(best)), best] for of_target, best in each]

    def _names_written(self, disagreement: bool, interval: float | None, files: bool) -> list[str]:
        """Return the columns that `write_predictions` writes, but for the one that names the rows."""
        bounds = ["low", "high"] if self.task == "regression" else ["set"]
        more = ["file"] * files + bounds * (interval is not None) + ["disagreement"] * disagreement
        if self.task == "regression":
            return [*self._names_of_values(), *more]
        return [*self._names_of_values(), *self._names_of_probabilities(), *more]

    def _names_of_values(self) -> list[str]:
        """Return a column's name for each target's prediction: the target's name, or its number."""
        return ["prediction"] if len(self.targets) == 1 else [f"prediction_{name}" for name in self.names]

    def _names_of_probabilities(self) -> list[str]:
        """Return a column's name for each output of a classification."""
        if len(self.targets) == 1:
            return [f"probability_{c}" for c in self.classes]
        each = zip(self.names, self.targets, strict=True)
        return [f"probability_{name}={c}" for name, target in each for c in target.classes]

    @property
    def named_classes(self) -> list[str | int] | dict[str, list[str | int]]:
        """The classes; of several targets those of each, by its name."""
        each = [list(target.classes) for target in self.targets]
        return dict(zip(self.names, each, strict=True)) if len(each) > 1 and self.classes else each[0]

    @property
    def names(self) -> list[str]:
        """The names of several targets; their numbers, if names are missing or would be confused."""
        names = [target.name for target in self.targets]
        clear = not any(
            "=" in name and target.classes for name, target in zip(names, self.targets, strict=True)
        )
        return names if clear and len({*names}) == len(names) else [*map(str, range(len(names)))]

    def save(self, path: str | Path) -> None:
        """Write the model as a safetensors file, whole or not at all; docs/model-file.md describes it.

        Raises
        ------
        InputError
            If `load` would not read the file.
        """
        start, arrays = self.file_head(), self._arrays()
        for network in self.networks:
            check_weights(network, InputError)
        with atomic(path) as file:
            file.write(start)
            for array in arrays.values():
                file.write(np.ascontiguousarray(array, "<f4").data)

    def _arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays of the model's file, in their order there."""
        of_networks = {
            f"networks.{i}.{name}": array
            for i, network in enumerate(self.networks)
            for name, array in _arrays(network).items()
        }
        return of_networks | {
            f"columns.{k}.{name}": array
            for k, columns in enumerate(self._every_columns)
            for name, array in columns.arrays.items()
        }

    def file_head(self) -> bytes:
        """Return the header of the model's file; `save` says what it raises."""
        header = {
            "format": FORMAT,
            "backend": self.backend,
            "networks": [
                {
                    "sizes": network.sizes,
                    "activation": network.activation,
                    "embeddings": [E.shape for E in network.embeddings],
                }
                for network in self.networks
            ],
            "targets": [
                dataclasses.asdict(target) | {"numerals": target.numerals.to_json()}
                for target in self.targets
            ],
            "scaling": self.scaling._asdict(),
            "image_shape": self.image_shape,
            "columns": self.columns and self.columns.to_json(),
            "calibration": self.calibration and dataclasses.asdict(self.calibration),
            **({"fold_columns": [own.to_json() for own in self.fold_columns]} if self.fold_columns else {}),
            **({"intervals": dataclasses.asdict(self.intervals)} if self.intervals else {}),
            "recipe": self.recipe,
            "metrics": self.metrics,
            "provenance": self.provenance,
        }
        try:
            text = json.dumps(header, allow_nan=False)
            found = checked(parsed(text))
            columns_of(found)
            shapes = {name: array.shape for name, array in self._arrays().items()}
            if shapes != shapes_of(found):
                raise ValueError("the shapes of its arrays do not fit each other")
            return head(text, shapes)
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"no file can hold this model: {str(error)[:300]}") from None


def _quantiles(scores: np.ndarray) -> tuple[float, ...]:
    """Return rising scores: all, or of many rows `QUANTILES` of them."""
    found = np.sort(scores.astype(np.float64))
    if len(found) > QUANTILES:
        found = found[np.ceil(np.arange(1, QUANTILES + 1) * len(found) / QUANTILES).astype(int) - 1]
    return _floats(found)


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def disagreement(found: np.ndarray, folds: int) -> np.ndarray:
    """Return how far the networks of a fold differ in the mean, (rows,), for values (members, rows, 1)."""
    each = found.reshape(folds, -1, *found.shape[1:])
    return each.std(axis=1, dtype=np.float64).mean(axis=(0, 2))


def _nothing(model: Model) -> np.ndarray:
    """Return the outputs of each network for no row."""
    return np.empty((len(model.networks), 0, model.sizes[-1]), np.float32)


def _texts(name: str, cells: Sequence[str]) -> "pl.Series":
    import polars as pl

    return pl.Series(name, cells, pl.String)


def _chosen(frame: "pl.DataFrame", columns: Sequence[str] | None) -> "pl.DataFrame":
    """Return the columns that a user names, in that order; or all."""
    if columns is None:
        return frame
    if not columns:
        raise InputError(f"columns names none of the predictions' columns; choose of {listed(frame.columns)}")
    for name in columns:
        if name not in frame.columns:
            said = f"columns {shortened(name)!r} is none of the predictions' columns"
            raise InputError(f"{said}; choose of {listed(frame.columns)}")
        if columns.count(name) > 1:
            raise InputError(f"columns {shortened(name)!r} is named twice; name each column once")
    return frame.select(columns)


def _csv(frame: "pl.DataFrame", safe: bool, *, header: bool = False) -> bytes:
    """Return the lines of a CSV file; see `write_predictions` for `safe`."""
    file = io.BytesIO()
    (_without_formulas(frame) if safe else frame).write_csv(file, include_header=header)
    return file.getvalue()


def _without_formulas(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Return a frame whose texts and names no spreadsheet takes for formulas; see `write_predictions`."""
    import polars as pl

    texts = pl.col(pl.String)
    formula = texts.str.contains(FORMULA) & ~texts.str.contains(NUMBER)
    safe = frame.with_columns(pl.when(formula).then("'" + texts).otherwise(texts).name.keep())
    return safe.rename(lambda name: f"'{name}" if re.match(FORMULA, name) else name)


def _arrays(network: Network) -> dict[str, np.ndarray]:
    """Return a network's arrays by their names."""
    layers = {
        f"{name}{i}": p for i, layer in enumerate(network.params) for name, p in zip("Wb", layer, strict=True)
    }
    return layers | {f"E{i}": E for i, E in enumerate(network.embeddings)}


def whole_text(name: str) -> str:
    """Return a file's name as a model file may hold it: bytes that are no text as `\\udce9`, in letters."""
    return name.encode(errors="backslashreplace").decode()


def _check_inputs(X: np.ndarray) -> None:
    """Raise an error for a number that float32 does not hold."""
    with np.errstate(invalid="ignore"):
        if not X.size or (X.min() >= -LARGEST and X.max() <= LARGEST):  # NaN is neither
            return
        row, column = np.argwhere(~(np.abs(X) <= LARGEST))[0].tolist()
    value = X[row, column]
    remedy = "numbers lie within ±3.4e38" if np.isfinite(value) else "all values must be finite"
    raise RowError(f"X holds {value} at", row, f", column {column}; {remedy}")


def _check_row_weights(weight: np.ndarray | None, rows: int) -> None:
    """Raise an error unless each row has a weight, and some row counts."""
    if weight is None:
        return
    if np.shape(weight) != (rows,) or not np.min(weight) >= 0:
        raise InputError(f"weight has shape {np.shape(weight)}; give each of {rows} rows a number >= 0")
    if not np.max(weight) > 0:
        raise InputError(f"weight is 0 in all of {rows} rows to score; give some of them a weight")


def _mean(values: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Return the mean of values of shape (rows,) or (rows, targets), in which rows count by their weights."""
    if weight is None:
        return values.mean()
    return np.average(values.reshape(len(weight), -1).mean(axis=1), weights=weight.astype(np.float64))


def check_weights(network: Network, error: type[ValueError] = ValueError) -> None:
    """Raise an error if weights are not finite, or so large that the outputs for zeros or ones are not.

    Of a usual network the largest weight of each layer bounds the outputs, and no outputs are needed.
    """
    largest: dict[str, float] = {}
    for name, array in _arrays(network).items():
        largest[name] = max(float(array.max()), -float(array.min()))  # NaN if one of them is
        if not largest[name] <= LARGEST:
            raise error(f"{name} holds NaN or infinite values")
    bound = max([1.0, *(size for name, size in largest.items() if name.startswith("E"))])
    for i, (W, _) in enumerate(network.params):
        bound = 2 * (len(W) * largest[f"W{i}"] * bound + largest[f"b{i}"] + 1)  # no activation doubles
    if bound < LARGEST:
        return
    rows = np.zeros((2, network.features), np.float32)
    rows[1, : network.features - len(network.embeddings)] = 1
    names = tuple("relu" if name == "gelu" else name for name in network.activations[:-1])  # no SciPy
    plain = dataclasses.replace(network, activation=names)
    if not np.isfinite(outputs(plain, rows, Scaling())).all():
        raise error("its weights are so large that its outputs are not finite")

"""scikit-learn estimators on raw tables."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from mlpax.data.columns import Columns, as_frame, fit_columns
from mlpax.data.dataset import Dataset
from mlpax.data.kinds import tell_kinds, with_values
from mlpax.data.numerals import Numerals
from mlpax.data.reading import Reading
from mlpax.data.sources import Wanted, table_to_train
from mlpax.data.targets import classes_of, encode
from mlpax.engine.devices import backend_on, on_device
from mlpax.engine.training import Record
from mlpax.errors import DataWarning, Guess, InputError, counted
from mlpax.estimators.rows import ClassWeight, RandomState
from mlpax.model.finetune import Origin, kept_of, shape_of
from mlpax.model.fit_model import fit_model
from mlpax.model.folds import Rows, joined
from mlpax.model.model import Figures, Model
from mlpax.model.model_file import load
from mlpax.model.onnx_graph import to_onnx
from mlpax.model.partial import Partial, trained_on
from mlpax.notices import in_python, told
from mlpax.recipes import RECIPES, Recipe
from mlpax.wording import epoch_line

if TYPE_CHECKING:
    import onnx
    import polars as pl

__all__ = ["TableClassifier", "TableRegressor"]

SLOWER = 10  # than a recipe's highest rate: `partial_fit`, whose rate has no course


class _Table(BaseEstimator):
    """What both share: training the recipe on a frame."""

    _task = ""

    def __init__(
        self,
        recipe: str = "table",
        *,
        settings: dict[str, object] | None = None,
        quality: str = "usual",
        members: int | None = None,
        folds: int = 0,
        validation: float = 0.2,
        refit: bool = False,
        time_ordered: bool = False,
        columns: Mapping[str, str] | None = None,
        dates: str | None = None,
        missing: Sequence[str] = (),
        decimal: str | None = None,
        thousands: str | None = None,
        strict: bool = False,
        random_state: RandomState = None,
        verbose: bool = False,
        callbacks: Sequence[Callable[[Record], object]] | None = None,
        device: str | None = None,
        finetune: Any = None,
    ):
        self.recipe = recipe
        self.settings = settings
        self.quality = quality
        self.members = members
        self.folds = folds
        self.validation = validation
        self.refit = refit
        self.time_ordered = time_ordered
        self.columns = columns
        self.dates = dates
        self.missing = missing
        self.decimal = decimal
        self.thousands = thousands
        self.strict = strict
        self.random_state = random_state
        self.verbose = verbose
        self.callbacks = callbacks
        self.device = device
        self.finetune = finetune

    def _fit(self, X: Any, y: object, sample_weight: object, class_weight: ClassWeight = None) -> Self:
        import polars as pl

        vars(self).pop("_partial", None)
        frame, values = self._rows_of(X, y, class_weight)
        self._name_features(X, frame)
        targets: list[str] = []
        for own in values:
            targets.append(_free(own.name, frame))
            frame = frame.with_columns(own.alias(targets[-1]))
        reading = self._reading(tuple(targets))
        weight = _weights(values[0], sample_weight, class_weight)
        if not isinstance(class_weight, dict):
            reading = replace(reading, class_weight=class_weight)
        if weight is not None:
            reading = replace(reading, weight=_free("sample_weight", frame))
            frame = frame.with_columns(pl.Series(reading.weight, weight))
        changes, origin = self._changes() | {"validation": self.validation, "refit": self.refit}, None
        if self.finetune is not None:
            origin, shape = _origin(self.finetune)
            changes = shape | changes
        changes |= self._settings()
        with on_device(self.device):
            return self._fit_folds(frame, Wanted(self.recipe, changes, self.quality), reading, origin)

    def _rows_of(
        self, X: Any, y: object, class_weight: ClassWeight, rows: int = 2
    ) -> "tuple[pl.DataFrame, list[pl.Series]]":
        """Return the columns of X and of y; raise an error for fewer rows."""
        frame = as_frame(X)
        for kind, count, least in (("feature", frame.width, 1), ("sample", frame.height, rows)):
            if count < least:
                raise InputError(
                    f"X has {count} {kind}(s) (shape={np.shape(X)}) while a minimum of {least} is required."
                )
        values = _targets(y, class_weight)
        if len(values[0]) != frame.height:
            raise InputError(f"X has {frame.height} rows but y has {len(values[0])}; they must be equal")
        return frame, values

    def _name_features(self, X: Any, frame: "pl.DataFrame") -> None:
        self.n_features_in_ = frame.width
        vars(self).pop("feature_names_in_", None)
        if isinstance(X, dict) or hasattr(type(X), "columns"):  # an array's are made up
            self.feature_names_in_ = np.array(frame.columns, dtype=object)

    def _settings(self) -> dict[str, Any]:
        """Return the fields of the recipe that the caller changes."""
        settings: Any = self.settings or {}
        if not isinstance(settings, dict) or {"rows", "task", "name", "validated"} & settings.keys():
            raise InputError(f"settings are {settings!r}; give fields of Recipe, as {{'epochs': 50}}")
        if self.members is not None and "members" in settings:
            raise InputError("members are given twice, also in settings; give them once")
        return settings

    def _changes(self) -> dict[str, Any]:
        """Return the changes to the recipe that parameters of their own make."""
        seed = self.random_state
        if seed is None or isinstance(seed, np.random.RandomState):
            seed = check_random_state(seed).randint(2**31)
        wanted = self._settings().get("backend", "auto")
        changes: dict[str, Any] = {"seed": seed, "backend": backend_on(self.device, wanted)}
        return changes | ({} if self.members is None else {"members": self.members})

    def _reading(self, targets: tuple[str, ...]) -> Reading:
        """Return how the table is read."""
        in_time: Any = self.time_ordered
        if not isinstance(in_time, (bool, np.bool_)):
            raise InputError(f"time_ordered {in_time!r} is no True or False")
        return Reading(
            target=targets, task=self._task, column=self.columns or {}, dates=self.dates,
            missing=tuple(self.missing), decimal=self.decimal, thousands=self.thousands, strict=self.strict,
            time_ordered=bool(in_time),
        )  # fmt: skip

    def _partial_fit(
        self, X: Any, y: object, classes: Any, sample_weight: object, class_weight: ClassWeight = None
    ) -> Self:
        """Train an epoch on some rows. The first call fits the columns, later ones read rows by them."""
        if class_weight is not None and not isinstance(class_weight, dict):
            raise InputError(
                f"class_weight {class_weight!r} is not supported for partial_fit, which sees a part of the"
                " rows; give a dict of the classes' weights"
            )
        if self.folds or self.refit or self.finetune is not None:
            raise InputError("folds, refit and finetune are of fit; leave them out for partial_fit")
        frame, values = self._rows_of(X, y, class_weight, rows=1)
        if self._task == "classification" and len(values) > 1:
            raise InputError(f"partial_fit learns one column of classes, and y has {len(values)}; use fit")
        model: Model | None = getattr(self, "model_", None)
        partial: Partial | None = getattr(self, "_partial", None)
        if model is not None and model.fold_columns:
            raise InputError("the estimator was fitted on folds, which cannot go on; fit it without folds")
        if model is None or model.columns is None:
            self._name_features(X, frame)
            columns = _fitted_columns(frame, self._reading(()))
        else:
            columns = model.columns
            if frame.width != self.n_features_in_:
                raise InputError(
                    f"X has {frame.width} features, but {type(self).__name__} is expecting"
                    f" {self.n_features_in_} features as input"
                )
        known: tuple[Any, ...] = () if model is None else model.classes
        names = tuple(_free(own.name, frame) for own in values)
        part = Dataset(
            "table", inputs := columns(frame), labels := _truth(values, known or tuple(classes or ())),
            inputs[:0], labels[:0], known or tuple(classes or ()), columns=columns,
            targets=names if model is None else tuple(target.name for target in model.targets),
            numerals=(Numerals(),) * len(names), weight=_weights(values[0], sample_weight, class_weight),
        )  # fmt: skip
        with on_device(self.device):
            self.model_, record, self._partial = trained_on(part, self._endless(part), partial, model)
        if partial is None:
            self.history_ = list[Record]()
            self.random_state_ = self._partial.recipe.seed
        self.history_.append(record)
        return self

    def _endless(self, part: Dataset) -> Recipe:
        """Return the recipe of a training without a last epoch."""
        rate = RECIPES[self.recipe](len(part.y_train), self._task).learning_rate / SLOWER
        changes = {"schedule": "constant", "validation": 0.0, "patience": 0, "learning_rate": rate}
        changes |= self._changes() | self._settings()
        wanted = Wanted(self.recipe, changes, self.quality)
        recipe = wanted.resolved("table", len(part.y_train), self._task, validated=False)
        model: Model | None = getattr(self, "model_", None)
        return recipe if model is None else recipe.replace(**shape_of(model))

    def _fit_folds(
        self, frame: "pl.DataFrame", wanted: Wanted, reading: Reading, origin: Origin | None
    ) -> Self:
        """Train on all rows; or on each fold, and join the networks."""
        if not self.folds:
            dataset, recipe = _to_train(frame, wanted, reading)
            self.random_state_ = recipe.seed
            if origin:
                told(kept_of(dataset, recipe, origin).line)
            self.model_, self.history_ = fit_model(dataset, recipe, self._heard(recipe), origin)
            return self
        models, held, self.history_ = list[Model](), list[Rows](), list[Record]()
        for fold in range(1, self.folds + 1):
            own = replace(reading, folds=self.folds, fold=fold)
            with warnings.catch_warnings():
                if fold > 1:
                    warnings.simplefilter("ignore", DataWarning)  # which the first fold has given
                dataset, recipe = _to_train(frame, wanted, own)
            self.random_state_, wanted = recipe.seed, replace(wanted, recipe=recipe, changes={})
            model, history = fit_model(dataset, recipe, self._heard(recipe), origin)
            models.append(model)
            held.append((dataset.X_test, dataset.y_test))
            self.history_ += history
        self.model_, self.fold_scores_ = joined(models, held)
        return self

    def _heard(self, recipe: Recipe) -> Callable[[Record], None]:
        """Return the function that is called with the record of each epoch."""

        def hear(record: Record) -> None:
            if self.verbose:
                print(epoch_line(record, recipe.epochs), flush=True)
            for call in self.callbacks or ():
                call(record)

        return hear

    def evaluate(self, X: object, y: object, sample_weight: object = None) -> Figures:
        """Return all scores of rows whose truth is known, a dict; see `Model.evaluate`."""
        check_is_fitted(self)
        weight = None if sample_weight is None else np.asarray(sample_weight, np.float64)
        return self.model_.evaluate(X, np.asarray(y), weight=weight)

    def predict(self, X: object) -> np.ndarray:
        """Predicted class or value of each row."""
        check_is_fitted(self)
        return self.model_.predict(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.categorical = tags.input_tags.string = True
        tags.target_tags.multi_output = True
        return tags

    def save(self, path: str | Path) -> None:
        """Write the model as safetensors; `mlpax.load` reads it, and it runs no code."""
        check_is_fitted(self)
        self.model_.save(path)

    def to_onnx(self, *, dates: str = "text", interval: float | None = None) -> "onnx.ModelProto":
        """Return the model as an ONNX graph, with an input for each column; see `mlpax.to_onnx`."""
        check_is_fitted(self)
        return to_onnx(self.model_, dates=dates, interval=interval)


def _origin(finetune: Any) -> tuple[Origin, dict[str, Any]]:
    """Return the network to begin with, and the settings that shape it."""
    found = getattr(finetune, "model_", finetune)
    model = found if isinstance(found, Model) else load(found)
    name = "the given model" if isinstance(found, Model) else Path(found).name
    return Origin(model, name), shape_of(model)


def _fitted_columns(frame: "pl.DataFrame", reading: Reading) -> Columns:
    """Return the columns as these rows tell them; warn of what was guessed."""
    notices: list[str] = []
    try:
        kinds = tell_kinds(frame, reading, reading.told(notices.append))
        columns = fit_columns(with_values(frame, kinds), kinds)
    except InputError as error:
        raise InputError(in_python(str(error), "columns")) from None
    for text in notices:
        if isinstance(text, Guess):
            told(text, "columns")
    return columns


def _truth(values: "list[pl.Series]", classes: tuple[Any, ...]) -> np.ndarray:
    """Return labels, (rows,), or values, (rows, targets)."""
    found = [encode(own, classes) for own in values]
    return found[0] if classes else np.hstack(found)


def _to_train(frame: "pl.DataFrame", wanted: Wanted, reading: Reading) -> tuple[Dataset, Recipe]:
    """Return the rows to train on and the recipe; warn of what was guessed."""
    notices: list[str] = []
    try:
        dataset, recipe, *_ = table_to_train(frame, wanted, reading, notice=reading.told(notices.append))
    except InputError as error:
        raise InputError(in_python(str(error), "columns")) from None
    for text in notices:
        if isinstance(text, Guess):
            told(text, "columns")
    return dataset, recipe


def _column(y: Any) -> "pl.Series":
    """The target as one column, without missing cells."""
    if y is None:
        raise InputError("fit requires y to be passed, but the target y is None")
    if hasattr(y, "__array__") and not hasattr(y, "dtype"):  # one that may not be a sequence
        y = np.asarray(y)
    shape = np.shape(y)
    if len(shape) == 2 and shape[1] == 1:
        warnings.warn(
            f"A column-vector y was passed when a 1d array was expected: shape {shape}; use its one column",
            DataConversionWarning, stacklevel=4,
        )  # fmt: skip
        y = np.asarray(y, getattr(y, "dtype", object))[:, 0]
    elif len(shape) != 1:
        raise InputError(f"y has shape {shape}; y should be a 1d array, a value for each row of X")
    values = as_frame({str(getattr(y, "name", None) or "y"): _cells(y)}).to_series()
    if missing := values.null_count():
        raise InputError(f"y is missing (NaN or null) in {missing} of {len(values)} rows; drop them")
    return values


def _targets(y: object, class_weight: ClassWeight) -> "list[pl.Series]":
    """Return the targets as columns, without missing cells."""
    import polars as pl

    values = _columns(y) if _is_wide(y) else [_column(y)]
    if len(values) > 1 and class_weight is not None:
        raise InputError(
            f"class_weight is for one target, and y has {len(values)}; give sample_weight, or fit an"
            " estimator for each"
        )
    # A file's digits are numbers, these stay the text that they are.
    return [own.cast(pl.Categorical) if own.dtype == pl.String else own for own in values]


def _is_wide(y: Any) -> bool:
    """Whether y has several columns."""
    shape = np.shape(np.asarray(y) if hasattr(y, "__array__") else y)
    return len(shape) == 2 and shape[1] > 1


def _columns(y: Any) -> "list[pl.Series]":
    """Return the targets as columns, without missing cells; those of an array are named y0, y1, ..."""
    if hasattr(y, "columns"):
        found = as_frame(y).get_columns()
    else:
        array = np.asarray(y)
        if array.dtype.kind == "U" and not hasattr(y, "dtype"):  # a list of texts and numbers
            array = np.asarray(y, object)
        found = as_frame({f"y{i}": _cells(own) for i, own in enumerate(array.T)}).get_columns()
    for own in found:
        if missing := own.null_count():
            rows = counted(missing, "row")
            raise InputError(f"y is missing (NaN or null) in {rows} of {own.name!r}; drop them")
    return found


def _cells(y: Any) -> Any:
    """A column of numbers or booleans as an array: whole numbers exact, pandas' categories what they are."""
    array = np.asarray(y)
    if array.dtype == object and all(_is_whole(v) for v in array):
        array = np.asarray(array.tolist())
    return array if array.dtype.kind in "biuf" else y


def _is_whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _weights(values: "pl.Series", sample_weight: object, class_weight: ClassWeight) -> np.ndarray | None:
    """Return each row's weight: its own, times that of its class where `class_weight` is a dict."""
    weight = None if sample_weight is None else np.asarray(sample_weight, np.float64)
    if weight is not None and weight.shape != (len(values),):
        raise InputError(
            f"sample_weight has shape {weight.shape}; X has {len(values)} rows, each of one weight"
        )
    if not isinstance(class_weight, dict):
        return weight
    of_class = _class_weights(values, class_weight)
    return of_class if weight is None else of_class * weight


def _class_weights(values: "pl.Series", class_weight: dict[object, float]) -> np.ndarray:
    """Each row's weight by its class; 1 of a class not named."""
    labels = values.to_list()
    classes = sorted(set(labels))
    strange = [key for key in class_weight if key not in classes]
    if strange and not class_weight.keys() >= set(classes):
        raise InputError(
            f"class_weight names {strange[0]!r}, which is no class of y; they are {classes}"[:200]
        )
    return np.array([class_weight.get(label, 1) for label in labels], np.float64)


def _free(name: str, frame: "pl.DataFrame") -> str:
    """The name, or one like it that no column has."""
    while name in frame.columns:
        name += "_"
    return name


class TableClassifier(ClassifierMixin, _Table):
    """A classifier of table rows: numbers, categories, dates and missing cells as they are.

    `fit` also takes several targets, as y of shape (rows, targets) or a table. One network then predicts all.
    Columns of 0 and 1 are labels of which a row may have several.

    Parameters
    ----------
    recipe : str, default "table"
        Settings to start from, see `mlpax.recipes`.
    settings : dict, optional
        Fields of `Recipe` to change, as `{"epochs": 50}`.
    quality : {"usual", "best"}, default "usual"
        "best" takes about ten times the time, for more and wider networks.
    members : int >= 1, optional
        Number of networks to train side by side, which answer with their mean probability; the recipe's by
        default.
    folds : int, default 0
        Train on so many folds, each without the rows of one, and answer with the mean of all networks. This
        takes as many times the time. The rows of the folds give `fold_scores_` and the intervals.
    validation : float in [0, 1), default 0.2
        Share of the rows, by class, that choose the epoch to keep.
    refit : bool, default False
        Then train once more from the start, on all rows, for the epochs found. `history_` and its validation
        figures stay those of the first training.
    time_ordered : bool, default False
        Validate on the last rows instead of random ones.
    class_weight : {"balanced"} or dict, optional
        Weigh each class as if all had as many rows, or by its own weight.
    columns : dict, optional
        What columns hold, as `{"zip": "category"}`: "number", "category", "date", "text"; "id" if it names
        the rows; or "drop" to leave it out. All others are told from their cells, and what is guessed is
        warned of.
    dates : {"day-first", "month-first"}, optional
        How 03/04/2024 is read.
    missing : sequence of str, optional
        More spellings of a missing cell.
    decimal, thousands : str, optional
        The marks in numbers that are text.
    strict : bool, default False
        Raise an error where something would be guessed.
    random_state : int or numpy.random.RandomState, optional
        Seed of the split, the weights and the order of rows. By default each fit draws a new seed from
        NumPy's global generator, as scikit-learn does.
    verbose : bool, default False
        Print a line for each epoch.
    callbacks : sequence of callables, optional
        Each is called with the record of each epoch, a dict as in `history_`.
    device : str, optional
        Where to train: "cpu", "gpu", or one of several, "gpu:1". By default the first of JAX's devices.
    finetune : Model, fitted estimator or path, optional
        Begin with this network, whose table may have had other columns or classes. What fits is kept, and a
        warning says what.

    Attributes
    ----------
    classes_ : array, or list of arrays
        The classes, as they came. Of several targets, those of each.
    n_features_in_ : int
    feature_names_in_ : array of str
        The columns; of an array there are none.
    random_state_ : int
        The seed of the fit. Pass it as `random_state` to repeat the fit.
    model_ : Model
    history_ : list of dict
        Each epoch's figures, fold after fold.
    fold_scores_ : dict
        With `folds` the figures of the rows that the networks of their fold had not seen.
    """

    _task = "classification"

    def __init__(
        self,
        recipe: str = "table",
        *,
        settings: dict[str, object] | None = None,
        quality: str = "usual",
        members: int | None = None,
        folds: int = 0,
        validation: float = 0.2,
        refit: bool = False,
        time_ordered: bool = False,
        class_weight: ClassWeight = None,
        columns: Mapping[str, str] | None = None,
        dates: str | None = None,
        missing: Sequence[str] = (),
        decimal: str | None = None,
        thousands: str | None = None,
        strict: bool = False,
        random_state: RandomState = None,
        verbose: bool = False,
        callbacks: Sequence[Callable[[Record], object]] | None = None,
        device: str | None = None,
        finetune: Any = None,
    ):
        super().__init__(
            recipe, settings=settings, quality=quality, members=members, folds=folds, validation=validation,
            refit=refit, time_ordered=time_ordered, columns=columns, dates=dates, missing=missing,
            decimal=decimal, thousands=thousands, strict=strict, random_state=random_state, verbose=verbose,
            callbacks=callbacks, device=device, finetune=finetune,
        )  # fmt: skip
        self.class_weight = class_weight

    def fit(self, X: object, y: object, sample_weight: object = None) -> "TableClassifier":
        """Train on a polars, pandas or pyarrow table, or an array, and its classes."""
        self._fit(X, y, sample_weight, self.class_weight)
        each = [np.array(target.classes) for target in self.model_.targets]
        self.classes_ = each if len(each) > 1 else each[0]
        return self

    def partial_fit(
        self, X: object, y: object, classes: object = None, sample_weight: object = None
    ) -> "TableClassifier":
        """Train an epoch on some of the rows, and keep what was learned before.

        The first call fits the columns and needs all classes. Later calls read the rows by these columns:
        unknown categories and missing cells as `predict` does. After `fit`, it goes on from the fitted
        networks. The learning rate is constant, a tenth of the recipe's, unless `settings` has one.

        Parameters
        ----------
        X : table or array of shape (rows, columns)
        y : array of shape (rows,)
        classes : array of shape (classes,), optional
            All classes that later parts may hold.
        sample_weight : array of shape (rows,), optional

        Raises
        ------
        InputError
            If the first call gets no classes, or a later one others; or y holds another class.
        """
        given = None
        if classes is not None:
            given = classes_of(as_frame({"y": _cells(classes)}).to_series())
        if hasattr(self, "model_"):
            if given is not None and given != self.model_.classes:
                raise InputError(
                    f"classes {list(given)} differ from those of the first call, {list(self.model_.classes)};"
                    " leave them out"
                )
        elif given is None:
            raise InputError("classes must be passed on the first call to partial_fit")
        self._partial_fit(X, y, given, sample_weight, self.class_weight)
        self.classes_ = np.array(self.model_.classes)
        return self

    def predict_proba(self, X: object, *, members: bool = False) -> Any:
        """Probability of each class, of shape (rows, classes); of several targets a list of such arrays.

        With `members` those of each network, (members, rows, classes), without the temperature of their mean.
        """
        check_is_fitted(self)
        each = self.model_.by_target(self.model_.predict_proba(X, members=members))
        return each if len(each) > 1 else each[0]

    def score(self, X: object, y: Any, sample_weight: Any = None) -> float:
        """Share of the rows that are predicted right; of several targets, all of them."""
        check_is_fitted(self)
        if len(self.model_.targets) == 1:
            return super().score(X, y, sample_weight)
        truth, found = np.asarray(y), self.predict(X)
        if truth.shape != found.shape:
            raise InputError(
                f"y has shape {truth.shape}; X has {len(found)} rows of {found.shape[1]} targets"
            )
        return float(np.average((found == truth).all(axis=1), weights=sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def predict_set(self, X: object, coverage: float = 0.9) -> np.ndarray:
        """Classes that may be a row's, (rows, classes) of bool, with a probability of `coverage`.

        It needs `folds`.
        """
        check_is_fitted(self)
        return self.model_.predict_set(X, coverage)


class TableRegressor(RegressorMixin, _Table):
    """A regressor of table rows: numbers, categories, dates and missing cells as they are.

    `fit` also takes several targets, as y of shape (rows, targets) or a table. One network then predicts all.

    Parameters, attributes
        As of `TableClassifier`, without the classes.
    """

    _task = "regression"

    def fit(self, X: object, y: object, sample_weight: object = None) -> "TableRegressor":
        """Train on a polars, pandas or pyarrow table, or an array, and its values."""
        return self._fit(X, y, sample_weight)

    def partial_fit(self, X: object, y: object, sample_weight: object = None) -> "TableRegressor":
        """Train an epoch on some of the rows, and keep what was learned before.

        The first call fits the columns, and the scale of the targets. See `TableClassifier.partial_fit`.
        """
        return self._partial_fit(X, y, (), sample_weight)

    def predict_interval(self, X: object, coverage: float = 0.9) -> np.ndarray:
        """Range of each row's value, (rows, 2), that holds it with a probability of `coverage`.

        It needs `folds`.
        """
        check_is_fitted(self)
        return self.model_.predict_interval(X, coverage)

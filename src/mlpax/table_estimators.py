"""scikit-learn estimators on raw tables."""

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from mlpax.errors import InputError
from mlpax.model import Model
from mlpax.preprocessing import as_frame
from mlpax.problems import prepare
from mlpax.recipes import named
from mlpax.targets import from_frame
from mlpax.training import chosen, epochs, initial_state

__all__ = ["TableClassifier", "TableRegressor"]

TARGET, WEIGHT = "__target__", "__weight__"


class _Table(BaseEstimator):
    """What both share: training the recipe on a frame."""

    _task = ""

    def __init__(
        self,
        recipe: str = "table",
        *,
        settings: dict[str, Any] | None = None,
        validation: float = 0.2,
        time_ordered: bool = False,
        random_state: int | None = None,
    ):
        self.recipe = recipe
        self.settings = settings
        self.validation = validation
        self.time_ordered = time_ordered
        self.random_state = random_state

    def _fit(self, X: Any, y: Any, sample_weight: Any, **options: Any) -> Any:
        import polars as pl

        frame = as_frame(X)
        y = as_frame({TARGET: list(y)})[TARGET] if not isinstance(y, pl.Series) else y.alias(TARGET)
        if len(y) != frame.height:
            raise InputError(f"X has {frame.height} rows but y has {len(y)}; they must be equal")
        self.feature_names_in_ = np.array(frame.columns, dtype=object)
        self.n_features_in_ = frame.width
        frame = frame.with_columns(y)
        if sample_weight is not None:
            frame = frame.with_columns(pl.Series(WEIGHT, np.asarray(sample_weight, np.float64)))
            options["weight"] = WEIGHT
        seed = 0 if self.random_state is None else self.random_state
        changes: dict[str, Any] = {"seed": seed, "validation": self.validation} | (self.settings or {})
        recipe = named(self.recipe, frame.height, self._task, **changes)
        dataset = from_frame(
            frame, target=TARGET, task=self._task, validation=recipe.validation, seed=recipe.seed,
            time_ordered=self.time_ordered, **options,
        )  # fmt: skip
        recipe = named(  # for the rows that are left
            self.recipe, len(dataset.X_train), self._task, validated=recipe.validation > 0, **changes
        )
        problem = prepare(dataset, recipe)
        state = initial_state(problem.params, recipe)
        self.history_: list[dict[str, float]] = []
        for state, records in epochs(
            state, problem.data, problem.valid, objective=problem.objective, recipe=recipe
        ):
            self.history_ += records
        self.model_: Model = problem.model(chosen(state, recipe))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predicted class or value of each row."""
        check_is_fitted(self)
        return self.model_.predict(self._frame(X))

    def _frame(self, X: Any) -> Any:
        return as_frame(X, [str(name) for name in self.feature_names_in_])

    def save(self, path: str | Path) -> None:
        """Write the model as safetensors; `mlpax.load` reads it, and it runs no code."""
        check_is_fitted(self)
        self.model_.save(path)


class TableClassifier(ClassifierMixin, _Table):
    """A classifier of table rows: numbers, categories, dates and missing cells as they are.

    Parameters
    ----------
    recipe : str, default "table"
        Settings to start from, see `mlpax.recipes`.
    settings : dict, optional
        Fields of `Recipe` to change, as `{"epochs": 50}`.
    validation : float in [0, 1), default 0.2
        Share of the rows, by class, that choose the epoch to keep.
    time_ordered : bool, default False
        Validate on the last rows instead of random ones.
    class_weight : {"balanced"}, optional
        Weigh each class as if all had as many rows.
    random_state : int, optional
        Seed of the split, the weights and the order of rows.

    Attributes
    ----------
    classes_ : array
        The classes, as they came.
    model_ : Model
    history_ : list of dict
        Each epoch's figures.
    """

    _task = "classification"

    def __init__(
        self,
        recipe: str = "table",
        *,
        settings: dict[str, Any] | None = None,
        validation: float = 0.2,
        time_ordered: bool = False,
        class_weight: str | None = None,
        random_state: int | None = None,
    ):
        super().__init__(
            recipe,
            settings=settings,
            validation=validation,
            time_ordered=time_ordered,
            random_state=random_state,
        )
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "TableClassifier":
        """Train on a polars, pandas or pyarrow table, or an array, and its classes."""
        self._fit(X, y, sample_weight, class_weight=self.class_weight)
        self.classes_ = np.array(self.model_.classes)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class, of shape (rows, classes)."""
        check_is_fitted(self)
        return self.model_.predict_proba(self._frame(X))


class TableRegressor(RegressorMixin, _Table):
    """A regressor of table rows: numbers, categories, dates and missing cells as they are.

    Parameters, attributes
        As of `TableClassifier`, without the classes.
    """

    _task = "regression"

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "TableRegressor":
        """Train on a polars, pandas or pyarrow table, or an array, and its values."""
        return self._fit(X, y, sample_weight)

"""scikit-learn's API over the engine."""

from mlpax.estimators.mlp import MLPClassifier, MLPRegressor
from mlpax.estimators.table import TableClassifier, TableRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "TableClassifier", "TableRegressor"]

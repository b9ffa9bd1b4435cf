"""Multi-layer perceptrons in JAX, trained as fast as the machine allows."""

import gc
import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mlpax.batches import place as place
    from mlpax.errors import DivergedError as DivergedError
    from mlpax.errors import InputError as InputError
    from mlpax.errors import MlpaxError as MlpaxError
    from mlpax.errors import ModelFileError as ModelFileError
    from mlpax.estimators import MLPClassifier as MLPClassifier
    from mlpax.estimators import MLPRegressor as MLPRegressor
    from mlpax.losses import Objective as Objective
    from mlpax.losses import accuracy as accuracy
    from mlpax.losses import cross_entropy_loss as cross_entropy_loss
    from mlpax.losses import dense_objective as dense_objective
    from mlpax.losses import log_softmax as log_softmax
    from mlpax.losses import softmax as softmax
    from mlpax.model import Model as Model
    from mlpax.model_files import load as load
    from mlpax.network import batch_forward as batch_forward
    from mlpax.network import forward as forward
    from mlpax.network import initialize_weights as initialize_weights
    from mlpax.recipes import Recipe as Recipe
    from mlpax.table_estimators import TableClassifier as TableClassifier
    from mlpax.table_estimators import TableRegressor as TableRegressor
    from mlpax.training import fit as fit
    from mlpax.training import initial_params as initial_params
    from mlpax.training import update as update

# Where each public name lives; it is imported on first use (PEP 562), so that `import mlpax` is quick.
_HOME = {
    "DivergedError": "errors",
    "InputError": "errors",
    "MLPClassifier": "estimators",
    "MLPRegressor": "estimators",
    "MlpaxError": "errors",
    "Model": "model",
    "ModelFileError": "errors",
    "Objective": "losses",
    "Recipe": "recipes",
    "TableClassifier": "table_estimators",
    "TableRegressor": "table_estimators",
    "accuracy": "losses",
    "batch_forward": "network",
    "cross_entropy_loss": "losses",
    "dense_objective": "losses",
    "fit": "training",
    "forward": "network",
    "initial_params": "training",
    "initialize_weights": "network",
    "load": "model_files",
    "log_softmax": "losses",
    "place": "batches",
    "softmax": "losses",
    "update": "training",
}

__all__ = list(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'mlpax' has no attribute {name!r}")
    collects = gc.isenabled()
    gc.disable()  # an import makes a hundred thousand objects and no garbage: looking for it takes a tenth
    try:
        return getattr(importlib.import_module(f"mlpax.{_HOME[name]}"), name)
    finally:
        if collects:
            gc.enable()


def __dir__() -> list[str]:
    return [*globals(), *_HOME]

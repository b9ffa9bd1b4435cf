"""Multi-layer perceptrons in JAX, trained as fast as the machine allows."""

import gc
import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mlpax.engine.plan import Objective as Objective
    from mlpax.engine.rows import place as place
    from mlpax.engine.training import fit as fit
    from mlpax.engine.training import initial_params as initial_params
    from mlpax.engine.xla.losses import accuracy as accuracy
    from mlpax.engine.xla.losses import cross_entropy_loss as cross_entropy_loss
    from mlpax.engine.xla.losses import log_softmax as log_softmax
    from mlpax.engine.xla.losses import softmax as softmax
    from mlpax.engine.xla.losses import update as update
    from mlpax.engine.xla.network import batch_forward as batch_forward
    from mlpax.engine.xla.network import forward as forward
    from mlpax.engine.xla.network import initialize_weights as initialize_weights
    from mlpax.engine.xla.objective import dense_objective as dense_objective
    from mlpax.errors import DivergedError as DivergedError
    from mlpax.errors import InputError as InputError
    from mlpax.errors import MlpaxError as MlpaxError
    from mlpax.errors import MlpaxWarning as MlpaxWarning
    from mlpax.errors import ModelFileError as ModelFileError
    from mlpax.estimators.mlp import MLPClassifier as MLPClassifier
    from mlpax.estimators.mlp import MLPRegressor as MLPRegressor
    from mlpax.estimators.search import PopulationSearchCV as PopulationSearchCV
    from mlpax.estimators.table import TableClassifier as TableClassifier
    from mlpax.estimators.table import TableRegressor as TableRegressor
    from mlpax.model.model import Model as Model
    from mlpax.model.model_file import load as load
    from mlpax.model.onnx_graph import to_onnx as to_onnx
    from mlpax.model.stablehlo import to_stablehlo as to_stablehlo
    from mlpax.recipes import Recipe as Recipe
    from mlpax.runs.python import Run as Run
    from mlpax.runs.python import load_run as load_run
    from mlpax.runs.python import train as train
    from mlpax.runs.rates import find_learning_rate as find_learning_rate
    from mlpax.runs.sweep import sweep as sweep

# The public names of each module; they are imported on first use (PEP 562), so that `import mlpax` is quick.
_NAMES = {
    "engine.plan": ["Objective"],
    "engine.rows": ["place"],
    "engine.training": ["fit", "initial_params"],
    "engine.xla.losses": ["accuracy", "cross_entropy_loss", "log_softmax", "softmax", "update"],
    "engine.xla.network": ["batch_forward", "forward", "initialize_weights"],
    "engine.xla.objective": ["dense_objective"],
    "errors": ["DivergedError", "InputError", "MlpaxError", "MlpaxWarning", "ModelFileError"],
    "estimators.mlp": ["MLPClassifier", "MLPRegressor"],
    "estimators.search": ["PopulationSearchCV"],
    "estimators.table": ["TableClassifier", "TableRegressor"],
    "model.model": ["Model"],
    "model.model_file": ["load"],
    "model.onnx_graph": ["to_onnx"],
    "model.stablehlo": ["to_stablehlo"],
    "recipes": ["Recipe"],
    "runs.python": ["Run", "load_run", "train"],
    "runs.rates": ["find_learning_rate"],
    "runs.sweep": ["sweep"],
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


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

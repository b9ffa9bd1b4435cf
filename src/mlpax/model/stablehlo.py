"""Export a model to StableHLO, which JAX and XLA run on any of their devices."""

import numpy as np

from mlpax.errors import MlpaxError
from mlpax.model.examples import made_up, size_of
from mlpax.model.model import Model

__all__ = ["difference", "to_stablehlo"]

EXAMPLES = 256
TOLERANCE = 1e-4


def to_stablehlo(model: Model) -> bytes:
    """Return a model as a StableHLO program; `jax.export.deserialize` reads it.

    The program takes pictures of (rows, height, width) or (rows, height, width, 3), uint8; or arrays of
    (rows, features), float32. Text is no type of StableHLO: of a table the program takes what `Model.inputs`
    returns. It returns the probabilities, (rows, classes), or the values, (rows, outputs). The classes of
    several targets stand beside each other.

    Parameters
    ----------
    model : Model

    Returns
    -------
    bytes

    Raises
    ------
    InputError
        If flatbuffers is not installed.

    Examples
    --------
    >>> network = mlpax.model.model.Network([(np.ones((3, 1), np.float32), np.zeros(1, np.float32))])
    >>> model = mlpax.Model((network,), (mlpax.model.model.Target(task="regression"),))
    >>> jax.export.deserialize(bytearray(mlpax.to_stablehlo(model))).call(np.ones((2, 3), np.float32))
    Array([[3.],
           [3.]], dtype=float32)
    """
    from mlpax.engine.xla import exported  # JAX takes a second to import

    folds = 1 + len(model.fold_columns)
    shape = model.image_shape or (sum(n.features for n in model.networks[:: len(model.networks) // folds]),)
    return exported.serialized(
        model.networks, model.scaling, shape, "uint8" if model.image_shape else "float32", folds=folds,
        exponential=model.link == "exp", classes=[len(t.classes) for t in model.targets if t.classes],
        temperatures=model.calibration.temperatures if model.calibration else (),
    )  # fmt: skip


def difference(model: Model, program: bytes) -> float:
    """Return the largest difference between a program and its model on made-up rows.

    Returns
    -------
    float
        Of a probability; or of a value, divided by `examples.size_of` of the values.

    Raises
    ------
    MlpaxError
        If the difference is above 0.0001.
    """
    from mlpax.engine.xla import exported

    X = model.inputs(made_up(model, EXAMPLES))
    found, values = exported.run(program, X), model.forward(X)
    wanted = model.probabilities(values) if model.classes else values
    largest = float(np.abs(found - wanted).max()) / (1.0 if model.classes else size_of(values))
    if not largest <= TOLERANCE:
        raise MlpaxError(
            f"the StableHLO program differs from the model by {largest:.1e}; this is an error in mlpax"
        )
    return largest

"""A fitted perceptron as a model."""

import math
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from mlpax.errors import InputError
from mlpax.model.model import Model, Network, Target

__all__ = ["as_model"]

Layers = list[tuple[np.ndarray, np.ndarray]]  # (W, b) each


def as_model(estimator: Any, networks: list[Layers], activation: str | tuple[str, ...]) -> Model:
    """A fitted estimator as `Model`; see `Perceptron.save`."""
    networks = [[(np.asarray(W, np.float32), np.asarray(b, np.float32)) for W, b in own] for own in networks]
    classes: tuple[Any, ...] = ()
    if is_classifier(estimator):
        if estimator.out_activation_ == "logistic":
            if estimator.n_outputs_ > 1:
                raise InputError("a model file holds one label a row, not several; keep the estimator")
            for own in networks:
                W, b = own[-1]  # a logit of z is a softmax of 0 and z
                own[-1] = np.hstack([0 * W, W]), np.hstack([0 * b, b])
        if len(estimator.classes_) < 2:
            raise InputError("a model file holds two classes or more, not one; keep the estimator")
        classes = tuple(int(c) if isinstance(c, float) else c for c in estimator.classes_.tolist())
    task = "classification" if classes else "regression"
    link = "exp" if estimator.out_activation_ == "exp" else "identity"
    parameters = estimator.get_params().items()
    return Model(
        networks=tuple(Network(own, activation) for own in networks),
        targets=(Target("", task, classes, link),) * (1 if classes else estimator.n_outputs_),
        recipe={k: v for k, v in parameters if isinstance(v, (str, int, float)) and v != math.inf},
        metrics={"loss": float(estimator.loss_)} if math.isfinite(estimator.loss_) else {},
    )

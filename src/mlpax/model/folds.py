"""The models of several folds as one, which knows how far its networks err on new rows."""

import dataclasses

import numpy as np

from mlpax.engine.forward import Network
from mlpax.engine.rows import Scaling
from mlpax.model.model import Calibration, Intervals, Model, disagreement

__all__ = ["Rows", "joined"]

Rows = tuple[np.ndarray, np.ndarray]  # inputs, as `Model.forward` takes them, and truth


def joined(
    models: list[Model], held: list[Rows], weight: np.ndarray | None = None
) -> tuple[Model, dict[str, float]]:
    """Return the model of all networks, and the figures of the rows that they have not seen.

    Parameters
    ----------
    models : list of Model
        Of each fold. If members diverged in one, each gives only as many networks as that one has.
    held : list of (inputs, truth)
        The rows of each fold, as `Model.forward` takes them.
    weight : array of shape (rows,), optional
        How much each of these rows counts in the figures, fold after fold.
    """
    folds, first = len(models), models[0]
    members = min(len(model.networks) for model in models)
    models = [dataclasses.replace(model, networks=model.networks[:members]) for model in models]
    networks = tuple(network for model in models for network in _scaled(model))
    columns = tuple(model.columns for model in models[1:] if model.columns is not None)
    whole = dataclasses.replace(first, networks=networks, scaling=Scaling(), fold_columns=columns)
    truth: np.ndarray = np.concatenate([y for _, y in held])
    if first.task == "regression":
        each = [model.of_members(X) for model, (X, _) in zip(models, held, strict=True)]
        answers = np.concatenate([found.mean(axis=0, dtype=np.float64) for found in each])
        if len(first.targets) > 1:
            return whole, {
                f"fold_{name}": value for name, value in first.score(answers, truth, weight).items()
            }
        predicted = answers[:, 0]
        differ = np.concatenate([disagreement(found, 1) for found in each])
        intervals = Intervals.of_values(truth[:, 0], predicted, differ, folds)
        figures = {"fold_rmse": float(np.sqrt(np.average((predicted - truth[:, 0]) ** 2, weights=weight)))}
        return dataclasses.replace(whole, intervals=intervals), figures
    p = np.concatenate([m.probabilities(m.forward(X)) for m, (X, _) in zip(models, held, strict=True)])
    labels = truth.reshape(len(truth), -1).T
    each = [(own, of.astype(int)) for own, of in zip(first.by_target(p), labels, strict=True)]
    hits = np.stack([own.argmax(axis=1) == of for own, of in each])
    of_truth = np.stack([own[np.arange(len(of)), of].astype(np.float64) for own, of in each])
    log_likelihood = np.log(np.maximum(of_truth, np.finfo(np.float32).tiny))
    figures = {
        "fold_accuracy": float(np.average(hits.mean(axis=0), weights=weight)),
        "fold_log_loss": float(-np.average(log_likelihood.mean(axis=0), weights=weight)),
    }
    temperatures = [model.calibration.temperatures for model in models if model.calibration]
    if temperatures:
        mean: list[float] = np.exp(np.mean(np.log(temperatures), axis=0)).tolist()
        whole = dataclasses.replace(whole, calibration=Calibration(tuple(mean) if len(mean) > 1 else mean[0]))
    if len(first.targets) > 1:
        return whole, figures
    return dataclasses.replace(whole, intervals=Intervals.of_probabilities(of_truth[0], folds)), figures


def _scaled(model: Model) -> list[Network]:
    """Return the networks for inputs as they come: the scaling of the fold goes into the first layer."""
    shift, scale = model.scaling
    found: list[Network] = []
    for network in model.networks:
        (W, b), *others = network.params
        wide = W.astype(np.float64)
        first = (scale * wide).astype(np.float32), (b - shift * scale * wide.sum(axis=0)).astype(np.float32)
        layers = network.params if (shift, scale) == (0, 1) else [first, *others]
        found.append(dataclasses.replace(network, params=layers))
    return found

"""Every setting of a training run, and the named recipes."""

import dataclasses
import math
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Literal, get_args

from mlpax.errors import InputError, unknown

__all__ = [
    "BEST",
    "QUALITIES",
    "RECIPES",
    "TASKS",
    "Recipe",
    "article",
    "default",
    "named",
    "power_of_two",
    "quick",
    "table",
]

Activation = Literal["relu", "tanh", "logistic", "gelu", "silu", "selu", "mish", "identity"]
InitialScale = Literal["he", "glorot", "lecun", "article"]
Optimizer = Literal["sgd", "momentum", "nesterov", "adam", "adamw", "lion", "rmsprop"]
Schedule = Literal["constant", "linear", "cosine", "one_cycle", "cosine_log", "plateau"]
Inputs = Literal["standardize", "unit", "raw"]
Backend = Literal["auto", "native", "xla"]

TASKS = ("classification", "regression")  # what a network is trained for

# The rate each optimizer is usually run at, for when it is chosen without one.
USUAL_RATE: dict[str, float] = {
    "sgd": 0.1,
    "momentum": 0.05,
    "nesterov": 0.05,
    "adam": 0.001,
    "adamw": 0.001,
    "lion": 0.0003,
    "rmsprop": 0.001,
}


def _setting(
    default: Any, help: str, *, options: Any = None, low: float = 0, high: float = math.inf,
    open_low: bool = False,
) -> Any:  # fmt: skip
    """Return a field with its help and its range, which excludes `high`, and with `open_low` also `low`."""
    metadata = {"help": help, "options": get_args(options), "range": (low, high, open_low)}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every setting of a training run.

    `engine.plan.plan_of` and `hyper_of` tell which settings shape the compiled program, and which only feed
    it: changing those never recompiles.

    Raises
    ------
    InputError
        If a value is outside its range, which the message states.
    """

    hidden: tuple[int, ...] = _setting((128,), "units of each hidden layer; 128,64 makes two layers", low=1)
    activation: Activation = _setting("relu", "function applied after each hidden layer", options=Activation)
    initial_scale: InitialScale = _setting(
        "he", "how to draw the initial weights; article draws them as the article does", options=InitialScale
    )
    inputs: Inputs = _setting(
        "standardize",
        "how to scale the inputs: to mean 0 and deviation 1, by the largest training value, or not at all;"
        " each column of a table is scaled by itself, whatever this is",
        options=Inputs,
    )
    epochs: int = _setting(4, "number of passes over the training rows", low=1, high=2**31)
    batch_size: int = _setting(256, "number of rows in a minibatch", low=1)
    shuffle: bool = _setting(True, "visit the training rows in a new random order in each epoch")
    drop_last: bool = _setting(False, "leave out the last minibatch of an epoch if it is not full")
    validation: float = _setting(
        0.0, "share of the training rows to hold out; with 0, a named set validates on its test rows", high=1
    )
    optimizer: Optimizer = _setting("nesterov", "update rule", options=Optimizer)
    learning_rate: float = _setting(0.2, "highest learning rate of the schedule", open_low=True)
    momentum: float = _setting(0.9, "share of the last step that momentum and nesterov keep", high=1)
    beta_1: float = _setting(0.9, "decay of the mean gradient (adam, adamw, lion)", high=1)
    beta_2: float = _setting(0.999, "decay of the mean squared gradient; for lion, of its momentum", high=1)
    epsilon: float = _setting(1e-8, "small number added to a denominator in Adam and RMSProp", open_low=True)
    schedule: Schedule = _setting(
        "linear",
        "how the learning rate changes; plateau halves it after 3 epochs without improvement",
        options=Schedule,
    )
    warmup: float = _setting(0.25, "share of the steps during which the learning rate rises", high=1)
    weight_decay: float = _setting(0.0, "how strongly the weights, but not the biases, are pulled to 0")
    clip_norm: float = _setting(0.0, "shorten gradients whose norm is larger than this; 0 shortens none")
    dropout: float = _setting(0.0, "share of the hidden units switched off in each step", high=1)
    label_smoothing: float = _setting(0.05, "share of each label that is spread over all classes", high=1)
    patience: int = _setting(
        0, "stop after this many epochs without improvement and keep the best; 0 never stops", high=2**31
    )
    min_delta: float = _setting(0.0, "smallest change of the monitored metric that is an improvement")
    monitor: str = _setting("", "metric that decides which epoch is best, such as valid_accuracy or loss")
    refit: bool = _setting(False, "after early stopping, train once more on all rows, for the epochs found")
    members: int = _setting(
        1, "number of networks to train side by side; they answer with their mean", low=1, high=2**16
    )
    own_orders: bool = _setting(False, "draw an order of the rows for each member, instead of one for all")
    devices: int = _setting(
        1, "number of devices that share the rows of each minibatch, or the members", low=1, high=2**16
    )
    train_metrics: bool = _setting(True, "measure the metrics on the training rows, too")
    backend: Backend = _setting(
        "auto", "what trains; native is C++ for CPUs, which auto takes where it can", options=Backend
    )
    seed: int = _setting(0, "seed of everything random: held-out rows, weights, order, dropout", high=2**32)

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            object.__setattr__(self, f.name, _checked(f, getattr(self, f.name)))

    def replace(self, **changes: Any) -> "Recipe":
        """Return a copy with `changes`. Another optimizer without a rate of its own gets its usual one."""
        if changes.get("optimizer", self.optimizer) != self.optimizer:
            changes = {"learning_rate": USUAL_RATE.get(str(changes["optimizer"]), 0.01), **changes}
        return dataclasses.replace(self, **changes)


def _checked(f: "dataclasses.Field[Any]", value: Any) -> Any:
    """Return the value in its field's own type, so that 1 and 1.0 are one setting and run one program."""
    options = f.metadata["options"]
    if options:
        if value not in options:
            raise unknown(f.name, value, options)
        return value
    if f.type in (bool, str):
        if not isinstance(value, f.type):
            raise InputError(f"{f.name} {value!r} is no {'name' if f.type is str else 'True or False'}")
        return value
    if f.type in (int, float):
        return _number(f, f.type, value)
    if not isinstance(value, (tuple, list)):
        raise InputError(f"{f.name} {value!r} is no tuple of whole numbers; write ({value},)")
    return tuple(_number(f, int, one) for one in value)


def _number(f: "dataclasses.Field[Any]", kind: Any, value: Any) -> float:
    """Return a number as an int or a float; raise an error if it is outside the range of the field."""
    abstract, word = (Real, "number") if kind is float else (Integral, "whole number")
    if isinstance(value, bool) or not isinstance(value, abstract):
        raise InputError(f"{f.name} {value!r} is no {word}")
    low, high, open_low = f.metadata["range"]
    if not low <= value < high or (open_low and value == low):
        raise InputError(f"{f.name} {value} is outside {'(' if open_low else '['}{low:.10g}, {high:.10g})")
    return kind(value)


def article(rows: int, task: str = "classification") -> Recipe:
    """Return the article's settings: plain SGD on a 128-unit layer, 25 epochs in file order."""
    return Recipe(
        hidden=(128,),
        initial_scale="article",
        inputs="unit",
        epochs=25,
        batch_size=64,
        shuffle=False,
        drop_last=True,
        optimizer="sgd",
        learning_rate=0.01,
        schedule="constant",
        label_smoothing=0.0,
        seed=516,
    )


def power_of_two(rows: int) -> int:
    """Return the smallest power of two that is at least `rows`.

    Tables of similar size then share one compiled program.
    """
    return 2 ** math.ceil(math.log2(max(rows, 1)))


def default(rows: int, task: str = "classification") -> Recipe:
    """Return settings that reach 98 % on MNIST in four epochs.

    Smaller sets get smaller batches and as many steps.
    """
    batch_size = 256 if rows >= 20_000 else 64 if rows >= 1_000 else min(32, power_of_two(rows))
    steps = math.ceil(max(rows, 1) / batch_size)
    return Recipe(
        batch_size=batch_size,
        learning_rate=0.2 if batch_size == 256 else 0.1,
        epochs=max(4, math.ceil(940 / steps)),
    )


def quick(rows: int, task: str = "classification") -> Recipe:
    """Return settings that reach the article's final accuracy in one epoch of a narrow network."""
    return default(rows).replace(hidden=(32,), epochs=max(1, default(rows).epochs // 4))


def table(rows: int, task: str = "classification") -> Recipe:
    """Return settings after RealMLP-TD-S (Holzmüller et al. 2024), with eight narrow networks for a wide one.

    Larger tables get fewer epochs. Each network keeps its best epoch.
    """
    epochs = round(min(256, max(32, 256 * math.sqrt(700 / max(rows, 1)))))
    classification = task == "classification"
    return Recipe(
        hidden=(96, 96, 96),
        members=8,
        own_orders=True,
        activation="selu" if classification else "mish",
        inputs="raw",
        epochs=epochs,
        batch_size=256 if rows >= 16_000 else min(128, power_of_two(rows)),
        validation=0.2,
        optimizer="adam",
        learning_rate=0.045 if classification else 0.06,
        beta_2=0.95,
        schedule="cosine_log",
        label_smoothing=0.05 if classification else 0.0,
        patience=max(16, epochs // (3 if classification else 2)),
        monitor="valid_log_loss" if classification else "",
        train_metrics=False,
    )


def _best_default(recipe: Recipe) -> Recipe:
    return recipe.replace(members=8)


def _best_table(recipe: Recipe) -> Recipe:
    twice = {"epochs": 2 * recipe.epochs, "patience": 2 * recipe.patience}
    return recipe.replace(hidden=(128, 128, 128), members=32, **twice)


QUALITIES = ("usual", "best")
BEST = {"default": _best_default, "table": _best_table}  # for about ten times the time
RECIPES = {recipe.__name__: recipe for recipe in (article, default, quick, table)}


def named(
    name: str,
    rows: int,
    task: str = "classification",
    *,
    validated: bool = True,
    quality: str = "usual",
    **changes: Any,
) -> Recipe:
    """Return the recipe of that name for a training set of `rows` rows and a task, with `changes`.

    Without validation rows (`validated` False) the recipe trains to its last epoch. The quality "best" takes
    about ten times the time of the usual one.

    Raises
    ------
    InputError
        If no recipe has that name, it has not that quality, or a value is outside its range.
    """
    if name not in [*RECIPES]:  # a list, since the name may be of a type that has no hash
        raise unknown("recipe", name, RECIPES)
    for change in changes:
        if change not in (fields := Recipe.__dataclass_fields__):
            raise unknown("setting", change, fields)
    if quality not in QUALITIES:
        raise unknown("quality", quality, QUALITIES)
    if quality == "best" and name not in BEST:
        raise InputError(f"recipe {name!r} has no best quality; {' and '.join(BEST)} have one")
    recipe = RECIPES[name](rows, task)
    recipe = BEST[name](recipe) if quality == "best" else recipe
    waits = {} if validated else {"patience": 0, "monitor": ""}
    return recipe.replace(**waits | changes)

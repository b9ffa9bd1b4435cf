"""Every setting of a training run, and the named recipes."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Literal, get_args

from mlpax.errors import InputError, unknown

__all__ = [
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


def _setting(default: Any, help: str, *, options: Any = None, low: float = 0.0,
             high: float = math.inf, open_low: bool = False, open_high: bool = True) -> Any:  # fmt: skip
    """A field with its help and its range."""
    return field(
        default=default,
        metadata={
            "help": help,
            "options": get_args(options),
            "range": (low, high, open_low, open_high),
        },
    )


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

    hidden: tuple[int, ...] = _setting((128,), "units of each hidden layer, as 128,64", low=1)
    activation: Activation = _setting("relu", "function after each hidden layer", options=Activation)
    initial_scale: InitialScale = _setting(
        "he", "scale of the initial weights; article: N(0, .02²), by JAX's PRNG", options=InitialScale
    )
    inputs: Inputs = _setting(
        "standardize",
        "scaling of the inputs: to mean 0 and deviation 1, by the largest training value, or not at all",
        options=Inputs,
    )
    epochs: int = _setting(4, "passes over the training rows", low=1, high=2**31)
    batch_size: int = _setting(256, "rows of a minibatch", low=1)
    shuffle: bool = _setting(True, "draw a new order of the rows each epoch")
    drop_last: bool = _setting(False, "leave out the last partial minibatch, in evaluation too")
    validation: float = _setting(
        0.0, "share of the training rows held out; with 0 a named set validates on its test rows", high=1
    )
    optimizer: Optimizer = _setting("nesterov", "update rule", options=Optimizer)
    learning_rate: float = _setting(0.2, "peak learning rate", open_low=True)
    momentum: float = _setting(0.9, "momentum of momentum and nesterov", high=1)
    beta_1: float = _setting(0.9, "decay of the first moment (adam, adamw, lion)", high=1)
    beta_2: float = _setting(0.999, "decay of the second moment (adam, adamw, lion, rmsprop)", high=1)
    epsilon: float = _setting(1e-8, "added to Adam's and RMSProp's denominators", open_low=True)
    schedule: Schedule = _setting(
        "linear", "course of the learning rate; plateau halves it when 3 epochs bring nothing",
        options=Schedule,
    )  # fmt: skip
    warmup: float = _setting(0.25, "share of the steps over which the rate rises to its peak",
                             high=1)  # fmt: skip
    weight_decay: float = _setting(0.0, "pull of the weights (not the biases) to 0")
    clip_norm: float = _setting(0.0, "largest global norm of a gradient; 0 does not clip")
    dropout: float = _setting(0.0, "share of hidden units dropped in each step", high=1)
    label_smoothing: float = _setting(0.05, "share of the target spread over all classes", high=1)
    patience: int = _setting(
        0, "stop after so many epochs without a better monitored metric, keep the best; 0 never stops",
        high=2**31,
    )  # fmt: skip
    min_delta: float = _setting(0.0, "smallest improvement that counts as one")
    monitor: str = _setting("", "metric to watch, as valid_accuracy or loss; empty takes the first")
    train_metrics: bool = _setting(True, "measure the training rows, too, after each epoch")
    seed: int = _setting(0, "seed of weights, order and dropout", high=2**32)

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            object.__setattr__(self, f.name, _checked(f.name, getattr(self, f.name), f))

    def replace(self, **changes: Any) -> "Recipe":
        """A copy with `changes`; another optimizer without a rate of its own gets its usual one."""
        if changes.get("optimizer", self.optimizer) != self.optimizer:
            changes = {"learning_rate": USUAL_RATE.get(str(changes["optimizer"]), 0.01), **changes}
        return dataclasses.replace(self, **changes)


def _checked(name: str, value: Any, f: "dataclasses.Field[Any]") -> Any:
    """The value in its field's own type, so that 1 and 1.0 are one setting and run one program."""
    options = f.metadata["options"]
    if options:
        if value not in options:
            raise unknown(name, value, options)
        return value
    if f.type in (bool, str):
        if not isinstance(value, f.type):
            raise InputError(f"{name} {value!r} is no {'name' if f.type is str else 'True or False'}")
        return value
    several = f.type not in (int, float)
    if several and not isinstance(value, (tuple, list)):
        raise InputError(f"{name} {value!r} is no tuple of whole numbers; write ({value},)")
    numbers: tuple[Any, ...] = tuple(value) if several else (value,)
    kind, abstract, word = (float, Real, "number") if f.type is float else (int, Integral, "whole number")
    low, high, open_low, open_high = f.metadata["range"]
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, abstract):
            raise InputError(f"{name} {number!r} is no {word}")
        above = number > low if open_low else number >= low
        below = number < high if open_high else number <= high
        if not (above and below):
            bounds = f"{'(' if open_low else '['}{low:.10g}, {high:.10g}{')' if open_high else ']'}"
            raise InputError(f"{name} {number} is outside {bounds}")
    numbers = tuple(map(kind, numbers))
    return numbers if several else numbers[0]


def article(rows: int, task: str = "classification") -> Recipe:
    """The tutorial's system: plain SGD on a 128-unit layer, 25 epochs in file order."""
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
    """The least that is not below: a batch of all rows whose program others of about as many share."""
    return 2 ** math.ceil(math.log2(max(rows, 1)))


def default(rows: int, task: str = "classification") -> Recipe:
    """98 % on MNIST in four epochs; smaller sets get smaller batches and as many steps."""
    batch_size = 256 if rows >= 20_000 else 64 if rows >= 1_000 else min(32, power_of_two(rows))
    steps = math.ceil(max(rows, 1) / batch_size)
    return Recipe(
        batch_size=batch_size,
        learning_rate=0.2 if batch_size == 256 else 0.1,
        epochs=max(4, math.ceil(940 / steps)),
    )


def quick(rows: int, task: str = "classification") -> Recipe:
    """The article's final accuracy in one epoch of a narrow network."""
    return default(rows).replace(hidden=(32,), epochs=max(1, default(rows).epochs // 4))


def table(rows: int, task: str = "classification") -> Recipe:
    """RealMLP-TD-S (Holzmüller et al. 2024) in fewer passes over larger tables; the best epoch is kept."""
    epochs = round(min(256, max(32, 256 * math.sqrt(700 / max(rows, 1)))))
    classification = task == "classification"
    return Recipe(
        hidden=(256, 256, 256),
        activation="selu" if classification else "mish",
        inputs="raw",
        epochs=epochs,
        batch_size=512 if rows >= 16_000 else min(256, power_of_two(rows)),
        validation=0.2,
        optimizer="adam",
        learning_rate=0.03,
        beta_2=0.95,
        schedule="cosine_log",
        label_smoothing=0.1 if classification else 0.0,
        patience=max(16, epochs // (3 if classification else 2)),
        monitor="valid_log_loss" if classification else "",
        train_metrics=False,
    )


RECIPES: dict[str, Callable[[int, str], Recipe]] = {
    "article": article,
    "default": default,
    "quick": quick,
    "table": table,
}


def named(
    name: str, rows: int, task: str = "classification", *, validated: bool = True, **changes: Any
) -> Recipe:
    """The recipe of that name for a training set of `rows` rows and a task, with `changes`.

    Without validation rows (`validated` False) it trains to its last epoch.

    Raises
    ------
    InputError
        If no recipe has that name, or a value is outside its range.
    """
    if name not in [*RECIPES]:  # which need not be hashed
        raise unknown("recipe", name, RECIPES)
    for change in changes:
        if change not in (fields := Recipe.__dataclass_fields__):
            raise unknown("setting", change, fields)
    waits = {} if validated else {"patience": 0, "monitor": ""}
    return RECIPES[name](rows, task).replace(**waits | changes)

"""What is trained, in names and numbers: `Plan` shapes a program, `Hyper` only feeds it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from mlpax.errors import InputError, unknown
from mlpax.recipes import Activation, Backend, Recipe

if TYPE_CHECKING:
    from collections.abc import Callable

    import optax
    from jax import Array

__all__ = ["ACTIVATIONS", "BACKENDS", "LARGER_IS_BETTER", "OUTSIDE", "Hyper", "Objective", "Plan", "Pytree",
           "direction", "each_layer", "hyper_of", "larger_is_better", "monitored", "plan_of"]  # fmt: skip

Pytree = (
    object  # parameters of any structure: lists, tuples and dictionaries of arrays, or nodes known to JAX
)

ACTIVATIONS: tuple[str, ...] = get_args(Activation)
BACKENDS: tuple[str, ...] = get_args(Backend)
LARGER_IS_BETTER = frozenset({"accuracy", "subset_accuracy", "r2"})  # of the metrics; a loss falls
OUTSIDE = "outside"  # monitors a figure that the host measures, such as a scikit-learn scorer

Stopping = Literal["never", "patience", "tolerance"]


class Hyper(NamedTuple):
    """The numbers of a training run. Changing one never recompiles, and `vmap` can sweep them."""

    learning_rate: float = 0.1  # peak
    momentum: float = 0.0
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    penalty: float = 0.0  # scikit-learn's alpha
    label_smoothing: float = 0.0
    dropout: float = 0.0
    clip_norm: float = 0.0
    warmup: float = 0.0  # share of the run
    power_t: float = 0.5  # of the schedule "invscaling"
    rows_seen: float = 0.0  # in earlier fits, for "invscaling"
    epochs: int = 1
    begun: float = 0.0  # epochs before the course of the rate
    patience: float = 0.0  # epochs
    min_delta: float = 0.0


class Objective(NamedTuple):
    """What training minimises and measures, for parameters that may be any pytree.

    Attributes
    ----------
    loss : callable
        `loss(params, X, y, key, hyper) -> (batch,)`, differentiable. `key` is None without dropout.
    predict : callable
        `predict(params, X) -> (batch, outputs)`.
    metrics : tuple of str
        Names of `mlpax.losses.METRICS`, recorded each epoch on training and validation rows.
    """

    loss: "Callable[..., Array]"
    predict: "Callable[..., Array]"
    metrics: tuple[str, ...] = ("accuracy",)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that shapes the compiled program. Equal plans share one program.

    Attributes
    ----------
    network : {"dense", "table"} or Objective
        The kind of network, or an objective of your own for parameters of any pytree.
    activation : str or tuple of str
        One name for all hidden layers, or one for each.
    loss : str
        A name of `mlpax.losses.LOSSES`.
    classes : tuple of int
        Of several targets of classes, the number of classes of each. Their outputs stand beside each other,
        and losses and metrics are means over the targets. Empty for one target, or for values.
    summed : bool
        Whether the gradient adds up the losses of several outputs, as scikit-learn's does. Their mean is
        the value in both cases.
    figures : tuple of str
        What each epoch records besides its loss, in order: `train_<metric>` and `valid_<metric>`.
    monitor : str
        The figure that the best epoch and the stopping rule go by; "outside" waits for the host's figure.
    stopping : {"never", "patience", "tolerance"}
        See `stopping.follow`.
    keeps_best : bool
        Whether to carry the parameters of the best epoch along.
    optimizer : str or optax.GradientTransformation
    epsilon_hat : bool
        Whether Adam adds epsilon outside the bias correction, as scikit-learn does (Kingma & Ba's ε̂).
    sums_steps : bool
        Whether momentum sums up past steps, as scikit-learn does, instead of past gradients. The two differ
        when the rate changes.
    schedule : str
        Course of the learning rate; see `optimizers.schedule`.
    batch_size : int
        Rows of a minibatch, on each device.
    dropout, clipping, decay, penalty : bool
        Which terms exist in the program; their sizes are in `Hyper`.
    flat : bool
        Whether the update runs on one vector of all parameters, which is quicker for small networks.
    """

    network: str | Objective = "dense"
    activation: str | tuple[str, ...] = "relu"
    loss: str = "cross_entropy"
    classes: tuple[int, ...] = ()
    summed: bool = False
    figures: tuple[str, ...] = ()
    monitor: str = "loss"
    stopping: Stopping = "never"
    keeps_best: bool = True
    optimizer: "str | optax.GradientTransformation" = "sgd"
    epsilon_hat: bool = False
    sums_steps: bool = False
    schedule: str = "constant"
    batch_size: int = 200
    dropout: bool = False
    clipping: bool = False
    decay: bool = False
    penalty: bool = False
    flat: bool = False

    @property
    def answers_with_best(self) -> bool:
        """Whether a network answers with the parameters of its best epoch, instead of the last ones."""
        return self.keeps_best and self.stopping != "never"


def plan_of(
    recipe: Recipe,
    network: str | Objective,
    metrics: tuple[str, ...],
    *,
    validated: bool,
    loss: str = "cross_entropy",
    valid_metrics: tuple[str, ...] = (),
    classes: tuple[int, ...] = (),
) -> Plan:
    """Return the plan of a recipe.

    Parameters
    ----------
    recipe : Recipe
    network : {"dense", "table"} or Objective
    metrics : tuple of str
        Names of `mlpax.losses.METRICS`, measured on the training rows (unless the recipe says
        `train_metrics=False`) and on the validation rows.
    validated : bool
        Whether there are validation rows.
    loss : str, default "cross_entropy"
        Of a dense or table network.
    valid_metrics : tuple of str, optional
        More names, measured on the validation rows alone.
    classes : tuple of int, optional
        See `Plan`.

    Raises
    ------
    InputError
        If the recipe monitors a figure that is not recorded.
    """
    parts = ["train"] * recipe.train_metrics + ["valid"] * validated
    figures = tuple(f"{part}_{metric}" for metric in metrics for part in parts)
    figures += tuple(f"valid_{metric}" for metric in valid_metrics if validated)
    return Plan(
        network=network,
        activation=recipe.activation if isinstance(network, str) else "relu",  # which only ours read
        loss=loss,
        classes=classes,
        figures=figures,
        monitor=monitored(recipe.monitor, ("loss", *figures)),
        stopping="patience" if recipe.patience else "never",
        optimizer=recipe.optimizer,
        schedule=recipe.schedule,
        batch_size=recipe.batch_size // (recipe.devices if recipe.members == 1 else 1),
        dropout=recipe.dropout > 0,
        clipping=recipe.clip_norm > 0,
        decay=recipe.weight_decay > 0,
    )


def hyper_of(recipe: Recipe) -> Hyper:
    """Return the recipe's numbers for the compiled program."""
    names = set(Hyper._fields) & set(Recipe.__dataclass_fields__)
    return Hyper(**{name: getattr(recipe, name) for name in names})


def larger_is_better(column: str) -> bool:
    """Return whether larger figures of a column are better: accuracies and scores, not losses."""
    return column == OUTSIDE or column.partition("_")[2] in LARGER_IS_BETTER


def direction(column: str) -> int:
    """Return 1 if larger figures of a column are better, and -1 if smaller ones are."""
    return 1 if larger_is_better(column) else -1


def monitored(monitor: str, columns: tuple[str, ...]) -> str:
    """Return the column that the best epoch and early stopping go by.

    Without a name, that is the first validation figure, or the training loss where no rows validate.

    Raises
    ------
    InputError
        If no column has the name.
    """
    if not monitor:
        return next((column for column in columns if column.startswith("valid_")), "loss")
    if monitor not in columns:
        raise unknown("monitor", monitor, columns)
    return monitor


def each_layer(activation: str | tuple[str, ...], layers: int) -> tuple[str, ...]:
    """Return the activation's name for each of `layers` hidden layers.

    Raises
    ------
    InputError
        If a name is unknown, or there are more or fewer names than layers.
    """
    names = (activation,) * layers if isinstance(activation, str) else tuple(activation)
    for name in (activation,) if isinstance(activation, str) else names:
        if name not in ACTIVATIONS:
            raise unknown("activation", name, ACTIVATIONS)
    if len(names) != layers:
        raise InputError(f"{len(names)} activations do not fit {layers} hidden layers; give one for each")
    return names

"""Export a model to ONNX: one graph from raw columns or pixels to labels and probabilities."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpax import __version__
from mlpax.data.graph import ROWS, TYPES, Graph, Value
from mlpax.engine.forward import Network
from mlpax.errors import InputError, MlpaxError, unknown
from mlpax.model.examples import made_up, size_of
from mlpax.model.model import Intervals, Model
from mlpax.model.schema import Classes

if TYPE_CHECKING:
    import onnx

__all__ = ["difference", "ends_of", "to_onnx"]

End = tuple[str, str, str, str]
Feeds = dict[str, np.ndarray]

DATES = ("text", "epoch")
EXAMPLES = 256  # made-up rows that compare the graph with the model
NO_BOUNDS = np.zeros((EXAMPLES, 1), np.float32)
TOLERANCE = 1e-4
OPS = {"relu": "Relu", "tanh": "Tanh", "logistic": "Sigmoid", "gelu": "Gelu", "selu": "Selu", "mish": "Mish",
       "exp": "Exp", "softmax": "Softmax"}  # fmt: skip


def to_onnx(model: Model, *, dates: str = "text", interval: float | None = None) -> "onnx.ModelProto":
    """Return a model as an ONNX graph, which other runtimes run without mlpax.

    The graph has an input for each column of a table, (rows, 1): numbers are float64 with NaN for a missing
    cell, categories are text, empty where missing. Pictures are one input `pixels`, (rows, height, width) or
    (rows, height, width, 3), uint8. Other arrays are one input `X`, (rows, features), float32.

    The outputs are `prediction`, (rows,), or (rows, targets) for several values; of a classification also
    `probabilities`, (rows, classes); with `interval` also `low` and `high`, (rows,), or for a classification
    `set`, (rows, classes) of bool. If a classification has several targets, each target "a" has its own
    `prediction_a` and `probabilities_a`. If a column has the name of an output, the output's ends in `_`.

    Parameters
    ----------
    model : Model
    dates : {"text", "epoch"}, default "text"
        How the inputs write dates: as text, such as 2024-12-31 or 31/12/2024 12:30:59; or as microseconds
        since 1970, int64, where the smallest int64 stands for a missing date.
    interval : float in (0, 1), optional
        Coverage of the intervals, for a model that was trained on folds.

    Returns
    -------
    onnx.ModelProto
        Write it with `onnx.save`.

    Raises
    ------
    InputError
        If onnx is not installed, `dates` is unknown, a column has no name, or the model has no intervals.

    Examples
    --------
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> model = mlpax.MLPClassifier((8,), random_state=0).fit(X, [0, 0, 1, 1])
    >>> [output.name for output in model.to_onnx().graph.output]
    ['prediction', 'probabilities']
    """
    if dates not in DATES:
        raise unknown("way to write dates", dates, DATES)
    quantile = None if interval is None else _intervals(model).quantile(interval)
    graph = Graph(dates)
    inputs = _inputs(graph, model)
    each = len(model.networks) // len(inputs)
    found = [
        _outputs(graph, network, *inputs[k // each], exponential=model.link == "exp")
        for k, network in enumerate(model.networks)
    ]
    if model.classes:
        _classification(graph, model, found, quantile)
    else:
        _regression(graph, model, found, quantile)
    names = ",".join(target.name for target in model.targets)
    about = f"{model.task} of {names if model.target else 'arrays'}, trained with mlpax {__version__}"
    facts = {f"mlpax.{name}": str(value) for name, value in model.provenance.items()}
    return graph.model(about, {"mlpax.target": names, "mlpax.task": model.task, **facts})


def _intervals(model: Model) -> Intervals:
    if model.intervals is None:
        raise InputError("this model was not trained on folds, which intervals need; train with --folds 5")
    return model.intervals


def _inputs(graph: Graph, model: Model) -> list[tuple[Value, list[Value]]]:
    """Return the dense inputs and the codes that the networks of each fold take."""
    if model.columns is not None:
        return [columns.to_onnx(graph) for columns in (model.columns, *model.fold_columns)]
    if model.image_shape:
        pixels = graph.input("pixels", "uint8", (ROWS, *model.image_shape), "0 to 255")
        flat = graph("Reshape", pixels, graph.constant([-1, math.prod(model.image_shape)], "int64"))
        x = graph.cast(flat, "float32")
    else:
        x = graph.input("X", "float32", (ROWS, model.networks[0].features))
    if model.scaling != (0, 1):
        x = graph("Sub", x, graph.constant(model.scaling.shift, "float32"))
        x = graph("Mul", x, graph.constant(model.scaling.scale, "float32"))
    return [(x, [])]


def _outputs(
    graph: Graph, network: Network, dense: Value, codes: Sequence[Value], *, exponential: bool
) -> Value:
    """Return the outputs of a network, (rows, outputs), float32."""
    parts = [dense] if dense else []
    for E, code in zip(network.embeddings, codes, strict=True):
        flat = graph("Reshape", code, graph.constant([-1], "int64"))
        parts.append(graph("Gather", graph.constant(E, "float32"), flat, axis=0))
    x = graph("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
    for (W, b), name in zip(network.params, network.activations, strict=True):
        x = graph("Gemm", x, graph.constant(W, "float32"), graph.constant(b, "float32"))
        if name == "silu":
            x = graph("Mul", x, graph("Sigmoid", x))
        elif name != "identity":
            x = graph(OPS[name], x)
    return graph("Exp", x) if exponential else x


def _classification(graph: Graph, model: Model, found: list[Value], quantile: float | None) -> None:
    """Add the outputs of each target: the class of the greatest mean probability; see `Model`."""
    several, start = len(model.targets) > 1, 0
    temperatures = model.calibration.temperatures if model.calibration else (1.0,) * len(model.targets)
    for name, target, temperature in zip(model.names, model.targets, temperatures, strict=True):
        end = start + len(target.classes)
        own = graph.constant(np.arange(start, end), "int64") if several else ""
        logits = [graph("Gather", x, own, axis=1) for x in found] if several else found
        _of_classes(graph, target.classes, logits, temperature, f"_{name}" if several else "", quantile)
        start = end


def _of_classes(
    graph: Graph,
    classes: Classes,
    found: list[Value],
    temperature: float,
    suffix: str,
    quantile: float | None,
) -> None:
    """Add the outputs of one target for the logits of each network; their names end in the suffix."""
    logits = found[0]
    if len(found) > 1:
        shares = [
            graph("Unsqueeze", graph("Softmax", x, axis=1), graph.constant([0], "int64")) for x in found
        ]
        mean = graph("ReduceMean", graph("Concat", *shares, axis=0), graph.constant([0], "int64"), keepdims=0)
        tiny = graph.constant(np.finfo(np.float32).tiny, "float32")
        logits = graph("Log", graph("Max", mean, tiny))
    best = graph("ArgMax", logits, axis=1, keepdims=0)
    type = {str: "str", bool: "bool", int: "int64"}[_type_of(classes)]
    named = graph("Gather", graph.constant(list(classes), type), best, axis=0)
    if temperature != 1:
        logits = graph("Div", logits, graph.constant(temperature, "float32"))
    probabilities = graph("Softmax", logits, axis=1)
    graph.output(f"prediction{suffix}", named, type, (ROWS,))
    graph.output(f"probabilities{suffix}", probabilities, "float32", (ROWS, len(classes)))
    if quantile is not None:
        least = graph.constant(1 - quantile, "float64")
        inside = graph("GreaterOrEqual", graph.cast(probabilities, "float64"), least)
        graph.output("set", inside, "bool", (ROWS, len(classes)))


def _type_of(classes: Classes) -> type:
    """Return the type of the classes.

    Raises
    ------
    InputError
        If they are of several types.
    """
    types = {type(c) for c in classes}
    if len(types) > 1:
        raise InputError(f"the classes {classes[:5]} are of several types, which ONNX has no tensor for")
    return types.pop()


def _regression(graph: Graph, model: Model, found: list[Value], quantile: float | None) -> None:
    """Add the outputs of a regression: the mean value, and how far it may be off; see `model.Intervals`."""
    outputs = model.sizes[-1]
    wide = [graph.cast(x, "float64") for x in found]
    mean = graph("Div", graph("Sum", *wide), graph.constant(float(len(wide)), "float64"))
    shape: tuple[int | str, ...] = (ROWS,) if outputs == 1 else (ROWS, outputs)
    lengths = graph.constant([-1, *shape[1:]], "int64")
    values = graph("Reshape", graph.cast(mean, "float32"), lengths)
    graph.output("prediction", values, "float32", shape)
    if quantile is None:
        return
    middle = graph.cast(values, "float64")
    reach = graph("Mul", _spread(graph, _intervals(model), wide, middle), graph.constant(quantile, "float64"))
    graph.output("low", graph("Sub", middle, reach), "float64", (ROWS,))
    graph.output("high", graph("Add", middle, reach), "float64", (ROWS,))


def _spread(graph: Graph, own: Intervals, each: list[Value], middle: Value) -> Value:
    """Return `Intervals.spread` of the values of each network, (rows, 1), and of their mean, (rows,)."""
    levels, spreads = np.array(own.levels), np.array(own.spreads)
    last = graph.constant([1], "int64")
    spread = graph.constant(spreads[0], "float64")
    if len(levels) > 1:  # between the levels on a line: add what the spread has risen so far
        widths = np.diff(levels)
        slopes = np.divide(np.diff(spreads), widths, out=np.zeros(len(widths)), where=widths > 0)
        beyond = graph("Sub", graph("Unsqueeze", middle, last), graph.constant(levels[:-1], "float64"))
        way = graph("Max", beyond, graph.constant(0.0, "float64"))
        way = graph("Min", way, graph.constant(widths, "float64"))
        risen = graph("Mul", way, graph.constant(slopes, "float64"))
        spread = graph("Add", spread, graph("ReduceSum", risen, last, keepdims=0))
    if own.slope == 0:
        return spread
    members = len(each) // own.folds
    of_folds = [_deviation(graph, each[k : k + members]) for k in range(0, len(each), members)]
    differ = graph("ReduceMean", graph("Concat", *of_folds, axis=1), last, keepdims=0)
    return graph("Add", spread, graph("Mul", differ, graph.constant(own.slope, "float64")))


def _deviation(graph: Graph, values: list[Value]) -> Value:
    """Return the standard deviation of values, (rows, 1)."""
    whole = graph("Concat", *values, axis=1)
    axis = graph.constant([1], "int64")
    off = graph("Sub", whole, graph("ReduceMean", whole, axis, keepdims=1))
    return graph("Sqrt", graph("ReduceMean", graph("Mul", off, off), axis, keepdims=1))


def difference(model: Model, exported: "onnx.ModelProto", *, interval: float | None = None) -> float:
    """Return the largest difference between a graph and its model on made-up rows, as onnxruntime runs it.

    Parameters
    ----------
    model : Model
    exported : onnx.ModelProto
        What `to_onnx` returns for the model and the interval.
    interval : float, optional

    Returns
    -------
    float
        Of a probability; or of a value or bound, divided by `examples.size_of` of the values.

    Raises
    ------
    InputError
        If onnxruntime is not installed.
    MlpaxError
        If the difference is above 0.0001, or if the graph names other classes.
    """
    rows = made_up(model, EXAMPLES)
    found = _run(exported, rows)
    if model.classes and len(model.targets) > 1:
        largest = _check_targets(model, found, model.predict_proba(rows))
    elif model.classes:
        p = model.predict_proba(rows)
        largest = float(np.abs(found["probabilities"] - p).max())
        if largest <= TOLERANCE:
            _check_classes(model, found, p, interval)
    else:
        values = model.outputs(rows).astype(np.float64)
        off = [np.abs(found["prediction"].reshape(values.shape) - values)]
        if interval is not None:
            bounds = np.stack([found["low"], found["high"]], axis=1)
            off.append(np.abs(bounds - model.predict_interval(rows, interval)))
        largest = max(float(x.max()) for x in off) / size_of(values)
    if not largest <= TOLERANCE:
        raise MlpaxError(f"the ONNX graph differs from the model by {largest:.1e}; this is an error in mlpax")
    return largest


def _check_targets(model: Model, found: Feeds, p: np.ndarray) -> float:
    """Return the largest difference of a probability; raise an error if a graph names other classes."""
    largest, outputs = 0.0, list(found.values())  # prediction and probabilities of each target in turn
    each = zip(model.targets, outputs[::2], outputs[1::2], model.by_target(p), strict=True)
    for target, named, probabilities, own in each:
        largest = max(largest, float(np.abs(probabilities - own).max()))
        if largest <= TOLERANCE:
            _refuse(_misnamed(named, target.classes, own))
    return largest


def _misnamed(named: np.ndarray, classes: Classes, p: np.ndarray) -> np.ndarray:
    """Return for each row, rounding aside, if a graph names another class than the probabilities mean."""
    second, first = np.sort(p, axis=1)[:, -2:].T
    sure = first - second > 2 * TOLERANCE
    return named[sure] != np.asarray(classes)[p.argmax(axis=1)][sure]


def _refuse(differ: np.ndarray) -> None:
    if differ.any():
        raise MlpaxError("the ONNX graph names other classes than the model; this is an error in mlpax")


def _check_classes(model: Model, found: Feeds, p: np.ndarray, interval: float | None) -> None:
    """Raise an error if a graph names other classes than the probabilities mean, rounding aside."""
    differ = _misnamed(found["prediction"], model.classes, p)
    if interval is not None:
        bound = 1 - _intervals(model).quantile(interval)
        clear = np.abs(p - bound) > TOLERANCE
        differ = np.append(differ, found["set"][clear] != (p >= bound)[clear])
    _refuse(differ)


def _run(exported: "onnx.ModelProto", rows: np.ndarray | Mapping[str, np.ndarray]) -> Feeds:
    """Return the outputs of a graph for rows as `examples.made_up` returns them, by their names."""
    try:
        import onnxruntime
    except ImportError:
        raise InputError("the check of an ONNX file needs onnxruntime: pip install 'mlpax[export]'") from None
    types = {node.name: node.type.tensor_type.elem_type for node in exported.graph.input}
    if isinstance(rows, np.ndarray):
        feeds = dict.fromkeys(types, rows)
    else:
        feeds = {name: _fed(rows[name], type) if name in rows else NO_BOUNDS for name, type in types.items()}
    session: Any = onnxruntime.InferenceSession(
        exported.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return dict(zip((output.name for output in session.get_outputs()), session.run(None, feeds), strict=True))


def ends_of(exported: "onnx.ModelProto") -> tuple[list[End], list[End]]:
    """Return the inputs and the outputs of a graph: of each the name, the type, the shape and a note."""
    names = {number: "text" if name == "str" else name for name, number in TYPES.items()}

    def end(node: "onnx.ValueInfoProto") -> End:
        of = node.type.tensor_type
        shape = ", ".join(size.dim_param or str(size.dim_value) for size in of.shape.dim)
        return node.name, names[of.elem_type], f"({shape})", node.doc_string

    return [end(node) for node in exported.graph.input], [end(node) for node in exported.graph.output]


def _fed(cells: np.ndarray, type: int) -> np.ndarray:
    """Return the cells of a column as an input of a graph, (rows, 1)."""
    if cells.dtype.kind == "M":
        times = np.array(np.datetime_as_string(cells, unit="s"), object)
        times[np.isnat(cells)] = ""
        cells = times if type == TYPES["str"] else cells.astype(np.int64)
    elif type == TYPES["str"]:
        cells = np.array(["" if cell is None else cell for cell in cells.tolist()], object)
    return cells[:, None]

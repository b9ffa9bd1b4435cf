"""Build an ONNX graph node by node."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlpax.errors import InputError

if TYPE_CHECKING:
    import onnx

__all__ = ["ROWS", "TYPES", "Graph", "Value"]

Value = str  # the name of a tensor in the graph
Attribute = int | float | str | Sequence[int] | Sequence[str]
ROWS = "rows"  # the symbolic size of a batch
OPSETS = {"": 20, "ai.onnx.ml": 3}  # of onnx 1.15 and onnxruntime 1.17, both of early 2024
IR_VERSION = 9
OF_ML = ("LabelEncoder",)
TYPES = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7, "str": 8, "bool": 9, "float64": 11}  # ONNX's


class Graph:
    """An ONNX graph that grows.

    Parameters
    ----------
    dates : {"text", "epoch"}, default "text"
        How the inputs write dates: as text, or as whole microseconds since 1970.

    Attributes
    ----------
    inputs, outputs : dict
        The type and the shape of each, by its name.

    Examples
    --------
    >>> graph = Graph()
    >>> x = graph.input("x", "float32", (ROWS, 1))
    >>> graph.output("twice", graph("Add", x, x), "float32", (ROWS, 1))
    >>> [node.op_type for node in graph.model("a graph", {}).graph.node]
    ['Add', 'Identity']
    """

    def __init__(self, dates: str = "text"):
        try:
            import onnx
        except ImportError:
            raise InputError("export to ONNX needs onnx: pip install 'mlpax[export]'") from None
        self._onnx, self.dates = onnx, dates
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], onnx.TensorProto] = {}
        self._notes: dict[str, str] = {}
        self.inputs: dict[str, tuple[str, tuple[int | str, ...]]] = {}
        self.outputs: dict[str, tuple[str, tuple[int | str, ...]]] = {}

    def input(self, name: str, type: str, shape: tuple[int | str, ...], note: str = "") -> Value:
        """Return the input of this name, which is added when it is first asked for.

        Raises
        ------
        InputError
            If the name is empty, which in ONNX means that there is no input, or two inputs have it.
        """
        if not name:
            raise InputError("a column has no name, and an input of ONNX needs one; name it in the file")
        if self.inputs.get(name, (type, shape)) != (type, shape) or self._notes.get(name, note) != note:
            raise InputError(f"two inputs of ONNX would have the name {name!r}; rename the column")
        self.inputs[name] = type, shape
        self._notes[name] = note
        return name

    def constant(self, values: object, type: str) -> Value:
        """Return a constant of these values. Equal constants are one."""
        array = np.asarray(values, object if type == "str" else type)
        key = type, array.shape, repr(array.tolist()).encode() if type == "str" else array.tobytes()
        if key not in self._constants:
            tensor = self._onnx.numpy_helper.from_array(array, f"/constant_{len(self._constants)}")
            self._constants[key] = tensor
        return self._constants[key].name

    def __call__(self, op: str, *values: Value, **attributes: Attribute) -> Value:
        """Add a node, and return its first output."""
        name = f"/{op}_{len(self._nodes)}"
        domain = "ai.onnx.ml" if op in OF_ML else ""
        names = [name, f"{name}_"] if op == "StringSplit" else [name]
        node = self._onnx.helper.make_node(op, values, names, name, domain=domain, **attributes)  # pyright: ignore[reportArgumentType]
        self._nodes.append(node)
        return name

    def cast(self, value: Value, type: str) -> Value:
        """Return a value in another type."""
        return self("Cast", value, to=TYPES[type])

    def output(self, name: str, value: Value, type: str, shape: tuple[int | str, ...]) -> None:
        """Make a value an output of the graph. If an input has its name, the output's ends in `_`."""
        while name in self.inputs or name in self.outputs:
            name += "_"
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [name], f"/{name}"))
        self.outputs[name] = type, shape

    def model(self, about: str, facts: Mapping[str, str]) -> "onnx.ModelProto":
        """Return the whole, checked by ONNX's own checker.

        Parameters
        ----------
        about : str
            What the model does, for people.
        facts : mapping of str to str
            The metadata of the file.
        """
        helper = self._onnx.helper

        def infos(values: Mapping[str, tuple[str, tuple[int | str, ...]]]) -> "list[onnx.ValueInfoProto]":
            return [
                helper.make_tensor_value_info(name, TYPES[type], shape, self._notes.get(name, ""))
                for name, (type, shape) in values.items()
            ]

        used = {name for node in self._nodes for name in node.input}
        constants = [tensor for tensor in self._constants.values() if tensor.name in used]
        inside = helper.make_graph(self._nodes, "mlpax", infos(self.inputs), infos(self.outputs), constants)
        opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        model = helper.make_model(
            inside, opset_imports=opsets, ir_version=IR_VERSION, producer_name="mlpax", doc_string=about
        )
        helper.set_model_props(model, dict(facts))
        self._onnx.checker.check_model(model)
        return model

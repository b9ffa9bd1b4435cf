"""Model files with faults, and what a plain reading of their bytes in NumPy makes of them.

`attack` changes one of a few whole files and opens it. What `load` returns must be what the file's bytes say:
the same header, and the same outputs as an independent forward pass in float64.
"""

import functools
import itertools
import json
import math
import random
import struct
import tempfile
import warnings
from pathlib import Path

import numpy as np
import scipy.special

import mlpax
from mlpax.data.columns import Category, Columns, Date, LeftOut, Number, Text
from mlpax.data.numerals import Numerals
from mlpax.data.text import Vocabulary
from mlpax.engine.rows import Scaling
from mlpax.errors import MlpaxError
from mlpax.model.model import Calibration, Model, Network, Target

FORMAT_1 = Path(__file__).with_name("format_1")
ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "logistic": scipy.special.expit,
    "gelu": lambda x: x * scipy.special.ndtr(x),
    "silu": lambda x: x * scipy.special.expit(x),
    "selu": lambda x: (
        1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0)))
    ),
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "identity": lambda x: x,
}
# Of an object of a header that a file need not state.
OPTIONAL = {
    "number": {"numerals": Numerals().to_json(), "clock": False},
    "date": {"marks": [], "lenient": False},
    "category": {"marks": list(Category("", ()).marks)},
}
VALUES = [
    None, True, False, 0, -1, 1, 2, 3, 999, 2**53 + 1, 2**63, 10**400, -(10**30), 0.5, -1.5, 1e-300, 1e38,
    1e300,
    math.nan, math.inf, -math.inf, "", "x", "cat", "a\nb", "\x1b[31m", "\u202e", "\ud800", "relu", "gelu",
    "mish",
    "exp", "regression", "classification", "xla", "number", [], [1], [1, 1], [True, 1], [1, 1.0], ["a", "a"],
    {},
    {"a": 1}, {"format": 999, "classes": "all safe"},
]  # fmt: skip


def _layers(generator: np.random.Generator, *sizes: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (generator.normal(size=shape).astype(np.float32), generator.normal(size=shape[1]).astype(np.float32))
        for shape in itertools.pairwise(sizes)
    ]


@functools.cache
def whole() -> list[bytes]:
    """Files of every kind: pictures, several networks or targets, an embedding, text, a link, format 1."""
    generator = np.random.default_rng(0)
    recipe, said = {"hidden": [4], "seed": 3, "patience": None}, {"valid_accuracy": 0.5}
    levels = tuple(sorted(f"level {i}" for i in range(70)))
    columns = Columns((
        Number("size", 1.5, 2.0, True), Date("day", "day-first", (0.0,) * 6, (1.0,) * 6),
        Category("town", levels), Category("side", ("left", "right")), LeftOut("id", "id"),
    ))  # fmt: skip
    vocabulary = Vocabulary(("good", "bad"), (" go",), (2, 1, 2), 3)
    texts = Columns((Text("note", vocabulary, (0.5,), True, directions=np.ones((3, 1), np.float32)),))
    table = Network(_layers(generator, 11, 5, 2), "silu", [generator.normal(size=(72, 2)).astype(np.float32)])
    models = [
        Model((Network(_layers(generator, 6, 4, 3), "tanh"),), (Target(classes=("cat", "dog", "owl")),),
              Scaling(2.0, 0.5), (2, 3), calibration=Calibration(1.5), recipe=recipe, metrics=said),
        Model((Network(_layers(generator, 6, 4, 3)),
               Network(_layers(generator, 6, 5, 7, 3), ("selu", "mish"))),
              (Target(classes=(3, 5, 9)),), provenance={"dataset": "made up"}),
        Model((table,), (Target("price", "classification", (True, False)),), columns=columns, recipe=recipe),
        Model((Network(_layers(generator, 2, 3, 1)),), (Target("price", "regression"),), columns=texts),
        Model((Network(_layers(generator, 3, 4, 5)),),
              (Target("a", classes=("cat", "dog", "owl")), Target("b", classes=(False, True))),
              calibration=Calibration((1.5, 0.7))),
        Model((Network(_layers(generator, 3, 4, 2), "logistic"),),
              (Target("", "regression", (), "exp"),) * 2),
    ]  # fmt: skip
    found = [(FORMAT_1 / f"{name}.safetensors").read_bytes() for name in ("dense", "table", "regression")]
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            model.save(Path(folder) / "m.safetensors")
            found.append((Path(folder) / "m.safetensors").read_bytes())
    return found


# The faults


def mutated(rng: random.Random, content: bytes) -> bytes:
    """Return a file with one fault or a few: in its bytes, its header, its arrays, or all of them."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        change = rng.choice((_bytes, _bytes, _field, _field, _field, _text, _entry, _array, _bomb))
        try:
            content = change(rng, content)
        except (ValueError, KeyError, TypeError, struct.error, AttributeError, OverflowError, RecursionError):
            content = _bytes(rng, content)  # an earlier fault left nothing for this one
    return content


def _bytes(rng: random.Random, content: bytes) -> bytes:
    """Flip bits, cut, insert, or repeat a part."""
    found = bytearray(content)
    at = rng.randrange(min(len(found), rng.choice((8, 4000, 10**9)))) if found else 0
    match rng.choice(("flip", "cut", "insert", "repeat", "length", "append")):
        case "flip" if found:
            found[at] ^= 1 << rng.randrange(8)
        case "cut":
            del found[at:]
        case "insert":
            found[at:at] = rng.randbytes(rng.randrange(1, 9))
        case "repeat":
            found[at:at] = found[at : at + rng.randrange(1, 200)]
        case "length":
            found[:8] = struct.pack(
                "<Q", rng.choice((0, 1, 2, max(0, len(found) - 8), len(found), 2**31, 2**63, 10**8))
            )
        case _:
            found += bytes(rng.randrange(1, 9))
    return bytes(found)


def parts(content: bytes) -> tuple[dict, dict, bytes]:
    """Return the entries of the arrays, our header, and the arrays' bytes."""
    length = struct.unpack("<Q", content[:8])[0]
    entries = json.loads(content[8 : 8 + length].decode())
    return entries, json.loads(entries.pop("__metadata__")["mlpax"]), content[8 + length :]


def joined(entries: dict, text: str, data: bytes) -> bytes:
    header = json.dumps({"__metadata__": {"mlpax": text}} | entries).encode()
    return struct.pack("<Q", len(header)) + header + data


def _field(rng: random.Random, content: bytes) -> bytes:
    """Change a field of the header, at any depth."""
    entries, header, data = parts(content)
    record, key = rng.choice(list(_places(header)))
    match rng.choice(("put", "put", "put", "drop", "add", "copy")):
        case "put":
            record[key] = rng.choice(VALUES)
        case "drop":
            del record[key]
        case "add" if isinstance(record, dict):
            record[rng.choice(("more", "format", "classes", "\ud800", "a\nb"))] = rng.choice(VALUES)
        case _ if isinstance(record, list):
            record.append(record[key])
        case _:
            other, name = rng.choice(list(_places(header)))
            record[key] = json.loads(json.dumps(other[name]))
    return joined(entries, json.dumps(header), data)


def _places(value):
    inside = (
        list(value.items() if isinstance(value, dict) else enumerate(value))
        if isinstance(value, (dict, list))
        else []
    )
    for key, item in inside:
        yield value, key
        yield from _places(item)


def _text(rng: random.Random, content: bytes) -> bytes:
    """Change the header's text: names twice, numbers and texts that JSON's readers take in several ways."""
    entries, header, data = parts(content)
    text = json.dumps(header)
    old, new = rng.choice((
        ('"format": ', '"format": 1, "format": '), ('"metrics": {', '"metrics": {"a": 1, "a": 2, '),
        ('"metrics": {}', '"metrics": {"a": 1e999}'),
        ('"recipe": {', '"recipe": {"big": 123456789012345678901234, '),
        ('"recipe": {', '"recipe": {"a": NaN, '), ('"recipe": {', '"recipe": {"a": "\\ud83d", '),
        ('"classes": [', '"classes": [1.0, '), ('"provenance": {', '"provenance": {"a": "\\udc00\\ud83d", '),
        ("0.5", "5e-1"), ("1.5", "1.50000000000000000000000001"), ('"a"', '"\\u0061"'), ("{", "{ "),
        ('"recipe": {', '"recipe": {"deep": ' + "[" * 500 + "]" * 500 + ", "),
    ))  # fmt: skip
    return joined(entries, text.replace(old, new, 1), data)


def _entry(rng: random.Random, content: bytes) -> bytes:
    """Change where the arrays lie: overlaps, holes, other shapes and types, other names."""
    entries, header, data = parts(content)
    name, other = rng.choice(list(entries)), rng.choice(list(entries))
    match rng.choice(("swap", "offsets", "shape", "dtype", "name", "drop", "transpose")):
        case "swap":  # two arrays of one shape change places: the file says so, and is right
            entries[name]["data_offsets"], entries[other]["data_offsets"] = (
                entries[other]["data_offsets"], entries[name]["data_offsets"])  # fmt: skip
        case "offsets":
            entries[name]["data_offsets"][rng.randrange(2)] += rng.choice((-8, -4, -1, 1, 4, 2**40, 0.0))
        case "shape":
            entries[name]["shape"] = rng.choice(
                ([], [0], [-1], [2**62, 4], [1.0], None, [True], [len(data) // 4])
            )
        case "dtype":
            entries[name]["dtype"] = rng.choice(("F16", "BF16", "I32", "F64", "U8", None, "f32"))
        case "name":
            entries[rng.choice(("networks.0.W0", "networks.9.W0", "W\n", ""))] = entries.pop(name)
        case "transpose":
            entries[name]["shape"] = entries[name]["shape"][::-1]
        case _:
            del entries[name]
    return joined(entries, json.dumps(header), data)


def _array(rng: random.Random, content: bytes) -> bytes:
    """Put numbers into the arrays: NaN, infinities, and some so large that outputs overflow."""
    entries, header, data = parts(content)
    values = np.frombuffer(data[: len(data) // 4 * 4], "<f4").copy()
    scale = rng.choice((1, 1e10, 1e30, 3e38))
    start = rng.randrange(len(values))
    values[start : start + rng.choice((1, 5, len(values)))] = rng.choice(
        (math.nan, math.inf, -0.0, scale, -scale)
    )
    return joined(entries, json.dumps(header), values.tobytes())


def _bomb(rng: random.Random, content: bytes) -> bytes:
    """Blow the header up: depth, names, numbers, texts, levels."""
    entries, header, data = parts(content)
    text, n = json.dumps(header), rng.choice((10**3, 10**5, 3 * 10**5))
    if n > 10**5 and rng.random() < 0.8:  # the large ones are slow
        n = 10**5
    filler = rng.choice((
        "[" * n, "[" * n + "]" * n, '{"a":' * n, "[" + "[]," * n + "0]", "[" + '"ab",' * n + "0]",
        "[" + "1.5," * n + "0]", '"' + "x" * n + '"', "9" * n,
        "{" + ",".join(f'"{i}":1' for i in range(n)) + "}",
        "[" + "{}," * n + "0]", "0." + "1" * n, f"1e{n}",
    ))  # fmt: skip
    field = rng.choice(('"recipe": {', '"metrics": {', '"provenance": {'))
    if rng.random() < 0.2:  # in the outer header
        header = json.dumps({"__metadata__": {"mlpax": text}} | entries)
        header = (header[:-1] + f', "more": {filler}}}').encode()
        return struct.pack("<Q", len(header)) + header + data
    return joined(entries, text.replace(field, f'{field}"bomb": {filler}, ', 1).replace(", }", "}"), data)


# The oracle


def expected_outputs(header: dict, arrays: dict[str, np.ndarray], X: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the model's outputs in float64, and whether they stay far from float32's range on the way."""
    each, small = [], True
    for k, network in enumerate(header["networks"]):
        found = {name.removeprefix(f"networks.{k}."): a.astype(np.float64) for name, a in arrays.items()
                 if name.startswith(f"networks.{k}.")}  # fmt: skip
        embeddings = [found[f"E{i}"] for i in range(len(network["embeddings"]))]
        dense = X.shape[1] - len(embeddings)
        x = (X - header["scaling"]["shift"]) * header["scaling"]["scale"]
        x = np.hstack([x[:, :dense], *(E[x[:, dense + i].astype(int)] for i, E in enumerate(embeddings))])
        names = network["activation"]
        hidden = len(network["sizes"]) - 2
        names = [names] * hidden if isinstance(names, str) else names
        for i, name in enumerate([*names, "identity"]):
            x = x @ found[f"W{i}"] + found[f"b{i}"]
            small &= bool(np.abs(x).max() < 1e30)
            x = ACTIVATIONS[name](x)
        each.append(x)
    if header["targets"][0]["task"] == "regression":
        if header["targets"][0]["link"] == "exp":
            small &= bool(np.max(each) < 80)
            each = [np.exp(np.minimum(x, 700)) for x in each]
        return np.mean(each, axis=0), small
    if len(each) == 1:
        return each[0], small
    return np.log(
        np.maximum(np.mean([scipy.special.softmax(x, axis=1) for x in each], axis=0), 1.2e-38)
    ), small


def read_plainly(content: bytes) -> tuple[dict, dict[str, np.ndarray]]:
    """Return the header, as one of format 2, and the arrays, by the description in docs/model-file.md."""
    entries, header, data = parts(content)
    arrays = {}
    for name, entry in entries.items():
        start, stop = entry["data_offsets"]
        arrays[name] = np.frombuffer(data[start:stop], "<f4").reshape(entry["shape"])
    if header["format"] == 1:
        arrays = {f"networks.0.{name}": array for name, array in arrays.items()}
        header["networks"] = [{name: header.get(name) for name in ("sizes", "activation", "embeddings")}]
        target = {"name": header["target"], "task": header["task"], "classes": header["classes"],
                  "link": header.get("link", "identity")}  # fmt: skip
        header["targets"] = [target] * (header["sizes"][-1] if header["task"] == "regression" else 1)
        header = {"columns": None, "image_shape": None} | header | {"backend": "xla", "calibration": None}
    return header, arrays


def same(model: Model, header: dict) -> None:
    """Assert that a model says what the header of its file says."""
    said = {
        "backend": model.backend, "recipe": model.recipe, "metrics": model.metrics,
        "provenance": model.provenance,
        "scaling": model.scaling._asdict(), "image_shape": model.image_shape and list(model.image_shape),
        "calibration": model.calibration and vars(model.calibration),
    }  # fmt: skip
    for name, value in said.items():
        assert _exactly(value, header[name]), (
            f"{name} is {value!r:.80}, but the file says {header[name]!r:.80}"
        )
    for network, record in zip(model.networks, header["networks"], strict=True):
        names = network.activation
        assert list(network.sizes) == record["sizes"], "other sizes"
        assert (names if isinstance(names, str) else list(names)) == record["activation"], (
            "another activation"
        )
    for target, record in zip(model.targets, header["targets"], strict=True):
        found = {
            "name": target.name,
            "task": target.task,
            "classes": list(target.classes),
            "link": target.link,
        }
        assert all(_exactly(value, record[name]) for name, value in found.items()), f"another target: {found}"
        assert target.numerals.to_json() == record.get("numerals", Numerals().to_json()), "other numerals"
    assert (model.columns is None) == (header["columns"] is None), "with or without columns"
    if model.columns and header["format"] == 2:
        said = [OPTIONAL.get(c["kind"], {}) | c for c in header["columns"]]
        found, said = (_as_floats(columns) for columns in (model.columns.to_json(), said))
        assert found == said, "other columns"


def _as_floats(columns: object) -> object:
    """Return columns as JSON, with integers as float64, which is what the network computes with."""
    return json.loads(json.dumps(columns), parse_int=float)


def _exactly(value: object, other: object) -> bool:
    """Whether two values are one as JSON, in which 1, 1.0 and true are three."""
    return json.dumps(value, sort_keys=True) == json.dumps(other, sort_keys=True)


def opened(path: Path) -> str:
    """Load a file and compare with what its bytes say."""
    model = mlpax.load(path)
    header, arrays = read_plainly(path.read_bytes())
    same(model, header)
    generator, features = np.random.default_rng(0), model.networks[0].features
    X = generator.normal(size=(3, features))
    codes = len(model.embeddings)
    X[:, features - codes :] = 0
    expected, small = expected_outputs(header, arrays, X)
    try:
        found = model.forward(X)
    except MlpaxError:
        assert not small, "no outputs, though none overflows"
        raise
    if small:
        size = max(1.0, *(float(np.abs(a).max()) for a in arrays.values())) ** 2
        np.testing.assert_allclose(
            found, expected, rtol=1e-3, atol=1e-4 * size * max(1, abs(header["scaling"]["scale"]))
        )
    else:
        assert np.isfinite(found).all(), "outputs that are not finite"
    return "a value"


def attack(rng: random.Random, folder: Path) -> str:
    """Open a file with a fault.

    Returns
    -------
    str
        "a value" if the file says something, which was found; "our error" if it was refused.

    Raises
    ------
    AssertionError
        If neither is so.
    """
    path = folder / "mutant.safetensors"
    path.write_bytes(mutated(rng, rng.choice(whole())))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return opened(path)
        except MlpaxError as error:  # of the file, or of a prediction
            return _refused(error)
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error}"[:300]) from error


def _refused(error: MlpaxError) -> str:
    assert str(error).isprintable(), f"an error of several lines: {str(error)!r:.300}"
    assert len(str(error)) <= 500, f"an error of {len(str(error))} characters"
    return "our error"

"""A model file cannot deceive: what loads is what the file says; all else is one line, in bounded memory."""

import collections
import json
import os
import random
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from mutants_of_models import FORMAT_1, attack, joined, parts, whole

from mlpax.errors import InputError, ModelFileError
from mlpax.model import model_file, schema, tensors
from mlpax.model.model import Calibration, Model, Network, Target
from mlpax.model.model_file import load

EYE = Network([(np.eye(2, dtype=np.float32), np.zeros(2, np.float32))])


def two_classes(*classes, **changes) -> Model:
    return Model(**{"networks": (EYE,), "targets": (Target(classes=classes or ("a", "b")),)} | changes)


def saved(folder: Path, change=lambda header: header, text=lambda text: text) -> Path:
    """A model's file whose header, or its text, says something else."""
    path = folder / "m.safetensors"
    two_classes().save(path)
    entries, header, data = parts(path.read_bytes())
    path.write_bytes(joined(entries, text(json.dumps(change(header))), data))
    return path


@pytest.mark.parametrize("count", [300, pytest.param(20_000, marks=pytest.mark.slow)])
def test_mutants_give_what_they_say_or_our_error(tmp_path, count):
    """`python -m benchmarks.hostile --what models` does so under limits of memory and time."""
    ends = collections.Counter(attack(random.Random(seed), tmp_path) for seed in range(count))
    assert ends.keys() == {"a value", "our error"}
    assert ends["a value"] > count / 20


def test_a_reader_with_a_fault_is_caught(tmp_path, monkeypatch):
    read = tensors._arrays
    monkeypatch.setattr(tensors, "_arrays", lambda *a: {n: -array for n, array in read(*a).items()})
    with pytest.raises(AssertionError):
        collections.Counter(attack(random.Random(seed), tmp_path) for seed in range(100))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace('"a", "b"', '"a", "a"'), "it has a class twice"),
        (lambda text: text.replace('"a", "b"', "1, true"), "classes"),
        (lambda text: text.replace('"a", "b"', "1, 1.0"), "classes"),
        (lambda text: text.replace('"a", "b"', "-1, 9223372036854775808"), "do not fit one type"),
        (lambda text: text.replace('"a", "b"', "1, 1" + "0" * 400), "takes more than 64 bits"),
        (lambda text: text.replace('"a", "b"', '"a", "\\ud800"'), "half of a surrogate pair"),
        (lambda text: text.replace('"metrics": {', '"metrics": {"loss": NaN'), "NaN, which is not a finite"),
        (lambda text: text.replace('"metrics": {', '"metrics": {"loss": 1e999'), "1e999, which is not"),
        (lambda text: text.replace('"recipe": {', '"recipe": {"rate": -Infinity'), "Infinity, which is not"),
        (lambda text: text.replace('"recipe": {', '"recipe": {"seed": 1' + "0" * 30), "more than 64 bits"),
        (lambda text: text.replace('"recipe": {', '"recipe": {"\\udc00": 1'), "half of a surrogate pair"),
        (lambda text: text.replace('"recipe": {', '"recipe": {"a": 1, "a": 2'), "some are alike"),
        (lambda text: text.replace('"format": 2', '"format": 2, "format": 2'), "some are alike"),
        (lambda text: text.replace('"recipe": {', '"recipe": {"a": ' + "[" * 30 + "]" * 30),
         "more than 20 levels"),
        (lambda text: text.replace('"recipe": {', '"recipe": {"a": ' + "[" * 10**6), "damaged"),
        (lambda text: text.replace('"shift": 0.0', '"shift": 1e39'), "scaling or temperature"),
        (lambda text: text.replace('"calibration": null', '"calibration": {"temperature": 1e-60, "fitted_on":'
                                   ' "validation"}'), "temperature is 0 as float32"),
    ],
)  # fmt: skip
def test_what_readers_take_in_several_ways_is_refused(tmp_path, change, words):
    with pytest.raises(ModelFileError, match=words) as caught:
        load(saved(tmp_path, text=change))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 500


@pytest.mark.parametrize("scaling", [{"shift": 2**63, "scale": 1.0}, {"shift": 0, "scale": 2}])
def test_codes_of_embeddings_are_not_scaled(tmp_path, scaling):
    entries, header, data = parts((FORMAT_1 / "table.safetensors").read_bytes())
    assert header["embeddings"]
    path = tmp_path / "m.safetensors"
    path.write_bytes(joined(entries, json.dumps(header | {"scaling": scaling}), data))
    with pytest.raises(ModelFileError, match="its scaling changes the codes of its embeddings"):
        load(path)


def test_text_of_other_planes_is_kept(tmp_path):
    two_classes("\U0001f600", "é").save(tmp_path / "m.safetensors")
    assert load(tmp_path / "m.safetensors").classes == ("\U0001f600", "é")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda e: e["networks.0.W0"].update(dtype="F16"), "not float32"),
        (lambda e: e["networks.0.b0"].update(shape=[3]), "does not lie where it should"),
        (lambda e: e["networks.0.b0"].update(data_offsets=[8, 16]), "does not lie where it should"),
        (lambda e: e["networks.0.b0"].update(shape=[2.0]), "no shape or no place"),
        (lambda e: e.pop("networks.0.b0"), "its arrays take 16 bytes, but 24 follow its header"),
        (lambda e: e.update(more={"dtype": "F32", "shape": [0], "data_offsets": [24, 24]}), "does not lie"),
    ],
)
def test_arrays_that_do_not_fill_the_file_are_refused(tmp_path, change, words):
    path = saved(tmp_path)
    entries, header, data = parts(path.read_bytes())
    change(entries)
    path.write_bytes(joined(entries, json.dumps(header), data))
    with pytest.raises(ModelFileError, match=words):
        load(path)


def test_a_file_that_is_truncated_while_it_is_read_is_an_error(tmp_path, monkeypatch):
    """Where the file was mapped, the process died of SIGBUS."""
    weights = np.ones((2000, 2), np.float32)
    two_classes(networks=(Network([(weights, np.zeros(2, np.float32))]),)).save(tmp_path / "m.safetensors")

    def cut(text):
        os.truncate(tmp_path / "m.safetensors", 9000)
        return schema.parsed(text)

    monkeypatch.setattr(model_file, "parsed", cut)
    with pytest.raises(ModelFileError, match=r"is damaged: it ended while it was read, \d+ bytes too early"):
        load(tmp_path / "m.safetensors")


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "run").mkdir()
    os.mkfifo(tmp_path / "run" / "model.safetensors")

    def said(path, found):
        with pytest.raises(ModelFileError) as caught:
            load(path)
        found.append(str(caught.value))

    for path in (tmp_path / "pipe", tmp_path / "run", Path("/dev/zero")):
        found = []
        reader = threading.Thread(target=said, args=(path, found), daemon=True)
        reader.start()
        reader.join(10)
        assert "is no file" in found[0]


def test_a_link_to_a_model_is_followed(tmp_path):
    two_classes().save(tmp_path / "m.safetensors")
    (tmp_path / "link").symlink_to(tmp_path / "m.safetensors")
    assert load(tmp_path / "link").classes == ("a", "b")


def test_the_arrays_are_read_once(tmp_path, monkeypatch):
    reads, read = [], tensors._arrays
    monkeypatch.setattr(tensors, "_arrays", lambda *a: reads.append(1) or read(*a))
    path = saved(tmp_path)
    load(path)
    assert model_file.format_of(path) == 2
    assert len(reads) == 1


BOMBS = {
    "lists": "[" + "[]," * 25_000_000 + "0]",
    "objects": "[" + "{}," * 25_000_000 + "0]",
    "texts": "[" + '"ab",' * 12_000_000 + "0]",
    "depth": "[" * 90_000_000,
    "one text": '"' + "x" * 90_000_000 + '"',
}


@pytest.mark.slow
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_large_header_takes_bounded_memory(tmp_path, bomb):
    """In a process of its own, of 2 GB; the header of lists would take 3."""
    path = saved(tmp_path, text=lambda text: text.replace('"recipe": {', '"recipe": {"a": ' + BOMBS[bomb]))
    code = f"""
import resource
import mlpax
resource.setrlimit(resource.RLIMIT_DATA, (2 * 1024**3,) * 2)
try:
    print(mlpax.load({str(path)!r}))
except mlpax.ModelFileError as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert told.stderr == ""
    said = "Model(classification" if bomb == "one text" else "is damaged: "
    assert said in told.stdout
    assert "memory" not in told.stdout


def test_a_header_beyond_the_limit_is_refused_unread(tmp_path):
    path = tmp_path / "m.safetensors"
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", 10**8 + 8))
        file.truncate(2 * 10**8)  # of holes
    with pytest.raises(ModelFileError, match="its header does not fit"):
        load(path)


# What `save` writes, `load` takes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"targets": (Target(classes=("a", "a")),)}, "a class twice"),
        ({"targets": (Target(classes=("a", "\ud800")),)}, "half of a surrogate pair"),
        ({"targets": (Target(classes=(1, 10**400)),)}, "more than 64 bits"),
        ({"recipe": {"a": 10**400}}, "more than 64 bits"),
        ({"metrics": {"loss": float("inf")}}, "JSON"),
        ({"recipe": {"a": {1, 2}}}, "no file can hold this model"),
        ({"calibration": Calibration(1e-60)}, "temperature"),
        ({"networks": (Network([(np.ones((2, 3), np.float32), np.zeros(2, np.float32))]),)}, "shapes"),
    ],
)
def test_what_load_refuses_is_not_saved(tmp_path, changes, words):
    with pytest.raises(InputError, match=words):
        two_classes(**changes).save(tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", [(tensors, "HEADER_LIMIT", 10**4), (schema, "MOST_PARTS", 500)])
def test_save_and_load_have_the_same_limits(tmp_path, monkeypatch, limit):
    path = tmp_path / "m.safetensors"
    two_classes(recipe={"a": list(range(600)), "b": "x" * 10**4}).save(path)
    monkeypatch.setattr(*limit)
    with pytest.raises(ModelFileError):
        load(path)
    with pytest.raises(InputError, match="no file can hold this model"):
        two_classes(recipe={"a": list(range(600)), "b": "x" * 10**4}).save(path)


# Answers that are not finite


@pytest.mark.parametrize(
    ("model", "X", "words"),
    [
        (two_classes(), [[0.0, 1e39]], r"X holds 1e\+39 at row 0, column 1; numbers lie within ±3.4e38"),
        (two_classes(), [[0.0, 1.0], [0.0, np.nan]],
         "X holds nan at row 1, column 1; all values must be finite"),
        (Model((EYE,), (Target("", "regression", (), "exp"),) * 2), [[0.0, 1.0], [0.0, 90.0]],
         "the model answers inf for row 1, output 1: its weights are too large, or the row is far"),
        (Model((Network([(np.full((2, 2), 1e30, np.float32), np.zeros(2, np.float32))] * 2),),
               (Target(classes=("a", "b")),)), [[1.0, 1.0]], "the model answers inf for row 0, output 0"),
    ],
)  # fmt: skip
def test_answers_that_are_not_finite_are_said(tmp_path, recwarn, model, X, words):
    X, y = np.array(X), np.array(["a"] * len(X)) if model.classes else np.ones((len(X), 2))
    for ask in (
        model.predict,
        lambda X: model.evaluate(X, y),
        lambda X: model.write_predictions([X], tmp_path / "p.csv"),
    ):
        with pytest.raises(InputError, match=words):
            ask(X)
    assert not recwarn.list
    assert list(tmp_path.iterdir()) == []


def test_a_tiny_temperature_gives_probabilities_or_our_error():
    model = two_classes(calibration=Calibration(1e-30))
    np.testing.assert_array_equal(model.predict_proba(np.array([[1.0, 2.0]])), [[0, 1]])
    with pytest.raises(InputError, match="its temperature, are not finite"):
        model.predict_proba(np.array([[1e30, 2.0]]))


def test_whole_files_are_read():
    """The attacks begin at files that load."""
    assert len(whole()) == 9

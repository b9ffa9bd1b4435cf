"""Small models to serve, and an application of each."""

from pathlib import Path

import numpy as np
from starlette.testclient import TestClient

from mlpax.data.columns import Category, Columns, Date, LeftOut, Number, Text
from mlpax.data.text import Vocabulary
from mlpax.engine.forward import Network
from mlpax.model.model import Intervals, Model, Target
from mlpax.serve.app import Service, application
from mlpax.serve.options import Options
from mlpax.serve.served import Served

CITIES = ("Bonn", "Köln", "Ulm")
ROW = {"age": 40.0, "city": "Ulm", "since": "2024-05-06"}


def linear(*weights, bias=0.0):
    """Return a network that adds up its inputs with these weights."""
    return Network([(np.array(weights, np.float32)[:, None], np.array([bias], np.float32))])


def table_model(bias=100.0, **more):
    """Return a regression of the price: 10 for each unit of age, 1, 2 or 3 for the city, 0 for the date."""
    columns = Columns((
        Number("age", 40.0, 1.0, missing=True),
        Category("city", CITIES),
        Date("since", "", (0.0,) * 6, (1.0,) * 6),
        LeftOut("name", "id"),
    ))  # fmt: skip
    network = linear(10, 0, 1, 2, 3, *([0] * 6), bias=bias)
    return Model((network,), (Target("price", "regression"),), columns=columns, **more)


def text_model():
    """Return a regression: 0, and 3 more for a note of `good`, 3 less of `bad`, 5 more if it is missing."""
    vocabulary = Vocabulary(("good", "bad"), (), (2, 2), 2)
    directions = np.array([[1], [-1]], np.float32)
    columns = Columns((Text("note", vocabulary, (0.0,), missing=True, directions=directions),))
    return Model((linear(3, 5),), (Target("price", "regression"),), columns=columns)


def folds_model():
    """Return a regression of two folds, whose networks answer 0 and 2 more than `table_model`."""
    first, second = table_model(), table_model(102.0)
    intervals = Intervals(2, 100, tuple(float(i) for i in range(100)))
    return Model(
        (*first.networks, *second.networks), first.targets, columns=first.columns,
        fold_columns=(first.columns,), intervals=intervals,
    )  # fmt: skip


def labels_model():
    """Return a classification of two targets, by one number: `size`, and `new`, which is true from 1 on."""
    columns = Columns((Number("x", 1.0, 1.0),))
    W = np.array([[0, 0, 0, -1, 1]], np.float32)
    b = np.log(np.array([2, 1, 1, 1, 1], np.float32))
    targets = Target("size", classes=("s", "m", "l")), Target("new", classes=(False, True))
    return Model((Network([(W, b)]),), targets, columns=columns)


def picture_model(shape=(2, 3)):
    """Return a classification of pictures: the first class is as sure as the first pixel is bright."""
    weights = np.zeros((int(np.prod(shape)), 2), np.float32)
    weights[0, 0] = 0.01
    network = Network([(weights, np.zeros(2, np.float32))])
    return Model((network,), (Target("", "classification", ("bright", "dark")),), image_shape=shape)


def array_model():
    """Return a regression of three numbers: their sum."""
    return Model((linear(1, 1, 1),), (Target("", "regression"),))


def client(model, *, path=Path("own.safetensors"), said=None, lines=None, **options):
    """Return a client of an application of the model. Notices go to the list `said`, log lines to `lines`."""
    notice, log = (([] if found is None else found).append for found in (said, lines))
    service = Service(Served(model, path), Options(**options), notice, log)
    return TestClient(application(service), base_url="http://localhost:8000")

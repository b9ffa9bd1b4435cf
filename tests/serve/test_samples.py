"""Samples are held-out rows of a run, the surest mistakes among them."""

from pathlib import Path

import numpy as np
import pytest
from served_models import client

from mlpax.data.named_sets import load as load_set
from mlpax.errors import InputError
from mlpax.model.model_file import load
from mlpax.serve.samples import samples


@pytest.fixture(scope="module")
def digits():
    return load_set("digits")


def test_samples_are_held_out_rows_and_a_third_is_wrong(mlpax, digits):
    assert mlpax("train", "digits", "--recipe", "quick", "--epochs", 3, "--out", "run", "--quiet")[0] == 0
    found, model = samples(Path("run")), load("run")
    assert len(found) == 24
    X = np.array([one.pixels for one in found])
    assert X.shape == (24, 8, 8)
    assert X.max() == 16
    p = model.predict_proba(digits.X_test)
    names = [str(model.classes[k]) for k in p.argmax(axis=1)]
    surest = [
        tuple(digits.X_test[i])
        for i in sorted(np.flatnonzero(p.argmax(axis=1) != digits.y_test), key=lambda i: -p[i].max())[:8]
    ]
    assert len(surest) == 8
    rows = {
        tuple(row): (str(y), name) for row, y, name in zip(digits.X_test, digits.y_test, names, strict=True)
    }
    for one, pixels in zip(found, X, strict=True):
        assert (one.label, one.prediction) == rows[tuple(pixels.ravel())]
        assert one.right == (one.label == one.prediction)
    assert {tuple(x.ravel()) for one, x in zip(found, X, strict=True) if not one.right} == set(surest)
    assert len({tuple(x.ravel()) for x in X}) == 24
    assert samples(Path("run")) == found
    Path("run/model.safetensors").write_bytes(b"damaged")
    answered = client(model, path=Path("run")).get("/samples").json()["samples"]
    assert [one["prediction"] for one in answered] == [one.prediction for one in found]


def test_data_that_are_gone_are_said(mlpax, digits, tmp_path):
    from PIL import Image

    for label in (0, 1):
        (tmp_path / f"set/{label}").mkdir(parents=True)
        for i, row in enumerate(digits.X_train[digits.y_train == label][:12]):
            Image.fromarray(15 * row.reshape(8, 8)).save(tmp_path / f"set/{label}/{i}.png")
    words = ("--size", 8, "--epochs", 2, "--out", "run", "--quiet")
    assert mlpax("train", "set", *words)[0] == 0
    assert {one.label for one in samples(Path("run"))} == {"0", "1"}
    (tmp_path / "set").rename(tmp_path / "moved")
    with pytest.raises(InputError, match="set"):
        samples(Path("run"))
    told = client(load("run"), path=Path("run")).get("/samples")
    assert told.status_code == 404
    assert str(tmp_path) not in told.text
    assert "set" in told.text

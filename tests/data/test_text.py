"""Columns of free text: terms and weights against scikit-learn's, what is told, what a file holds."""

import json

import numpy as np
import polars as pl
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

import mlpax
from mlpax.data import text
from mlpax.data.columns import Columns, LeftOut, Text, fit_columns
from mlpax.data.kinds import tell_kinds
from mlpax.data.reading import Reading
from mlpax.data.text import Vocabulary, directions_of, is_prose, parts_of, words_of
from mlpax.errors import Guess, InputError, ModelFileError
from mlpax.estimators.table import DataWarning
from mlpax.model.examples import made_up

SENTENCES = [
    "The QUICK brown fox jumps over the lazy dog!",
    "A dog's life, 24 hours a day; naïve Füchse_2 laufen.",
    "no",
    "",
    "quick quick quick dog DOG  a\tb",
    "Ἀλήθεια καὶ ζωή, 東京 は 大きい",
]


def notes(rows=200, seed=0):
    """Return a table of sentences whose words tell the class, and a number that tells nothing."""
    rng = np.random.default_rng(seed)
    sides = rng.integers(0, 2, rows)
    words = [["sunny", "warm", "bright", "gentle"], ["rainy", "cold", "grey", "stormy"]]
    cells = [
        f"the {words[side][rng.integers(4)]} morning number {i} was {words[side][rng.integers(4)]} and long"
        for i, side in enumerate(sides)
    ]
    kind = np.where(sides, "bad", "good")
    return pl.DataFrame({"note": cells, "size": rng.normal(size=rows).round(3), "kind": kind})


FRAME = notes()
FORCED = Reading(column={"note": "text"})


def fitted(cells):
    frame = pl.DataFrame({"note": cells}, schema={"note": pl.String})
    columns = fit_columns(frame, tell_kinds(frame, FORCED))
    return columns.columns[0], columns


# Terms and weights


@pytest.mark.parametrize("sentence", SENTENCES)
def test_terms_are_those_of_scikit_learn(sentence):
    words = TfidfVectorizer().build_analyzer()
    parts = TfidfVectorizer(analyzer="char_wb", ngram_range=text.LENGTHS[::2]).build_analyzer()
    assert words_of(sentence) == words(sentence)
    assert sorted(parts_of(sentence)) == sorted(parts(sentence))


def test_weights_are_those_of_scikit_learn():
    cells = [*SENTENCES, *FRAME["note"].to_list()]
    vocabulary = Vocabulary.of(cells)
    expected = [
        TfidfVectorizer(sublinear_tf=True, vocabulary=terms, **more).fit(cells).transform(cells).toarray()
        for terms, more in (
            (vocabulary.words, {}),
            (vocabulary.parts, {"analyzer": "char_wb", "ngram_range": text.LENGTHS[::2]}),
        )
    ]
    found = vocabulary.tfidf(cells).toarray()
    words, parts = expected
    np.testing.assert_allclose(found, np.hstack([words, parts / 2]), atol=1e-14)


def test_the_most_frequent_terms_are_kept_then_by_name(monkeypatch):
    monkeypatch.setattr(text, "WORDS", 3)
    vocabulary = Vocabulary.of(["bee ant cow", "cow ant bee", "cow dog", "emu"])
    assert vocabulary.words == ("cow", "ant", "bee")
    assert vocabulary.counts[:3] == (3, 2, 2)
    assert vocabulary.rows == 4


def test_weights_by_hand(monkeypatch):
    """Three rows; `aa` in all, `bb` in two: idf 1 and ln(4/3) + 1; twice `bb` weighs 1 + ln 2."""
    monkeypatch.setattr(text, "PARTS", 0)
    vocabulary = Vocabulary.of(["aa bb", "aa bb cc", "aa dd"])
    one, two = 1.0, (1 + np.log(2)) * (np.log(4 / 3) + 1)
    expected = np.array([one, two]) / np.hypot(one, two)
    np.testing.assert_allclose(vocabulary.tfidf(["bb aa zz bb"]).toarray(), [expected], rtol=1e-15)


def test_directions_are_the_first_singular_vectors(monkeypatch):
    monkeypatch.setattr(text, "DIRECTIONS", 3)
    cells = FRAME["note"].to_list()
    vocabulary = Vocabulary.of(cells)
    directions, means = directions_of(vocabulary, cells)
    weights = vocabulary.tfidf(cells).toarray()
    expected = np.linalg.svd(weights)[2][:3].T
    cosines = np.abs((directions * expected).sum(axis=0)) / np.linalg.norm(directions, axis=0)
    np.testing.assert_allclose(cosines, 1, atol=1e-3)
    rows = weights @ directions
    np.testing.assert_allclose(rows.mean(axis=0), means, atol=1e-12)
    assert rows.var(axis=0).mean() == pytest.approx(1, rel=1e-5)


# Inputs of the network


def test_rows_alone_and_together_are_the_same_bits(monkeypatch):
    column, columns = fitted(FRAME["note"])
    together = columns(FRAME)
    assert together.shape == (200, column.features)
    assert together.dtype == np.float32
    assert all(np.array_equal(columns(FRAME[i]), together[i : i + 1]) for i in range(0, 200, 17))
    monkeypatch.setattr(text, "AT_ONCE", 7)
    np.testing.assert_array_equal(columns(FRAME), together)
    np.testing.assert_array_equal(fitted(FRAME["note"])[1](FRAME), together)  # and so is a second fit


def test_texts_that_say_nothing_are_the_mean_text():
    column, columns = fitted([None, "n/a", *FRAME["note"]])
    assert column.missing
    asked = pl.DataFrame({"note": ["zzz qqq", "", "?!", None, "N/A", FRAME["note"][0]]})
    found = columns(asked)
    assert not found[:5, :-1].any()
    assert found[:, -1].tolist() == [0, 0, 0, 1, 1, 0]
    assert found[5, :-1].any()
    assert columns(asked.clear()).shape == (0, column.features)


def test_only_the_start_of_a_long_text_is_read():
    _, columns = fitted(FRAME["note"])
    first, filler = FRAME["note"][0], " zzz" * text.READ
    found = columns(pl.DataFrame({"note": [first, first + filler, filler + first]}))
    np.testing.assert_array_equal(found[0], found[1])
    assert not found[2].any()


def test_without_a_term_of_two_rows_the_column_is_left_out():
    frame = pl.DataFrame({"note": ["aa", "bb", "cc"], "x": [1.0, 2.0, 4.0]})
    columns = fit_columns(frame, tell_kinds(frame, FORCED))
    assert columns.columns[0] == LeftOut("note", "text")


# What is told


@pytest.mark.parametrize(
    ("cells", "prose"),
    [
        ([f"this is sentence number {i}" for i in range(100)], True),
        ([f"this is sentence number {i}" for i in range(60)], False),  # few
        ([f"this is sentence number {i}" for i in range(100)] * 2, False),  # each twice
        ([f"id-{i}" for i in range(100)], False),
        ([f"{first}{i} Smith" for i in range(50) for first in ("Ann", "Bob")], False),  # names
        ([f"{i} Main St." for i in range(100)], False),
        ([f"{i}" for i in range(100)], False),
    ],
)
def test_what_is_prose(cells, prose):
    assert is_prose(pl.Series(cells)) is prose


@pytest.mark.parametrize("cell", ["a fine sentence of letters {}", "a fine sentence, Nº {}; 2nd try"])
def test_the_kind_is_told_in_one_line_with_the_option(cell):
    letters = ["".join(chr(97 + int(digit)) for digit in f"{i:03}") for i in range(100)]
    frame = pl.DataFrame({"my note": [cell.format(word) for word in letters]})
    said = []
    assert tell_kinds(frame, notice=said.append)["my note"].name == "text"
    assert said == [
        "column 'my note' holds free text, whose words are inputs; --column 'my note=drop' says otherwise"
    ]
    assert isinstance(said[0], Guess)
    assert said[0].option == "--column 'my note=text'"
    for kind in ("text", "category", "drop"):
        said.clear()
        assert tell_kinds(frame, Reading(column={"my note": kind}), said.append)["my note"].name == kind
        assert said == []
    assert tell_kinds(frame, Reading(target="my note"))["my note"].name == "category"


# A model with a column of text


@pytest.fixture(scope="module")
def model():
    frame = FRAME.with_columns(pl.when(pl.int_range(200) % 20 > 0).then("note"))
    return mlpax.TableClassifier(
        members=2, settings={"epochs": 20}, columns={"note": "text"}, random_state=0
    ).fit(frame.drop("kind"), frame["kind"])


def test_an_estimator_learns_from_words(model):
    new = notes(seed=1)
    assert model.score(new.drop("kind"), new["kind"]) > 0.9
    assert model.model_.importance(new.drop("kind"), new["kind"])[0].column == "note"
    with pytest.warns(
        DataWarning, match=r"'note' holds free text.*columns=\{'note': 'drop'\} says otherwise"
    ):
        mlpax.TableClassifier(members=1, settings={"epochs": 1}, random_state=0).fit(
            FRAME.drop("kind"), FRAME["kind"]
        )


def test_a_saved_model_answers_the_same_bits(model, tmp_path):
    model.save(tmp_path / "a.safetensors")
    back = mlpax.load(tmp_path / "a.safetensors")
    new = notes(seed=1)
    np.testing.assert_array_equal(back.predict_proba(new), model.predict_proba(new))
    column = back.columns.columns[0]
    assert isinstance(column, Text)
    assert column == model.model_.columns.columns[0]
    np.testing.assert_array_equal(column.directions, model.model_.columns.columns[0].directions)
    back.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    rows = made_up(back, 50)
    assert sum(cell is None for cell in rows["note"]) in range(1, 20)
    assert back.predict_proba(rows).shape == (50, 2)


def test_folds_have_terms_of_their_own(tmp_path):
    model = mlpax.TableClassifier(
        members=1, folds=2, settings={"epochs": 3}, columns={"note": "text"}, random_state=0
    ).fit(FRAME.drop("kind"), FRAME["kind"])
    first, second = model.model_.columns.columns[0], model.model_.fold_columns[0].columns[0]
    assert first != second
    model.save(tmp_path / "a.safetensors")
    back = mlpax.load(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(back.predict_proba(FRAME), model.predict_proba(FRAME))


def test_a_dataset_goes_to_another_machine_and_back():
    from mlpax.data.dataset import from_arrays
    from mlpax.data.targets import from_frame

    dataset = from_frame(FRAME, Reading(target="kind", column={"note": "text"}))
    back = from_arrays(*dataset.to_arrays())
    np.testing.assert_array_equal(back.columns(FRAME), dataset.columns(FRAME))
    assert back.fingerprint == dataset.fingerprint


RECORD = {
    "kind": "text", "name": "n", "words": ["ab", "cd"], "parts": [" ab"], "counts": [2, 1, 2], "rows": 2,
    "means": [0.5], "missing": False, "marks": ["NA"],
}  # fmt: skip


def test_records_come_back():
    columns = Columns.from_json([RECORD])
    assert json.loads(json.dumps(columns.to_json())) == [RECORD]
    assert columns.shapes == {"0.directions": (3, 1)}
    whole = columns.with_arrays({"0.directions": np.ones((3, 1), np.float32)})
    assert whole.arrays["0.directions"].shape == (3, 1)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"words": ["ab", "ab"]}, "does not fit its kind"),
        ({"words": ["ab"]}, "does not fit its kind"),
        ({"words": ["ab", 1]}, "wrong types"),
        ({"counts": [2, 1, 3]}, "counts no rows"),
        ({"counts": [2, 0, 2]}, "counts no rows"),
        ({"counts": [2, 1, 2.0]}, "counts no rows"),
        ({"counts": [2, 1, True]}, "counts no rows"),
        ({"rows": "2"}, "counts no rows"),
        ({"rows": 2**63}, "counts no rows"),
        ({"means": []}, "does not fit its kind"),
        ({"means": [0.1] * 4}, "does not fit its kind"),
        ({"means": [1e400]}, "wrong types"),
        ({"missing": 1}, "wrong types"),
        ({"vocabulary": 1}, "does not fit its kind"),
    ],
)
def test_damaged_records_are_refused(changed, says):
    with pytest.raises(ValueError, match=says):
        Columns.from_json([RECORD | changed])


def test_directions_that_are_not_finite_are_refused(model, tmp_path):
    model.save(tmp_path / "a.safetensors")
    content = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(content[:-4] + np.float32(np.inf).tobytes())
    with pytest.raises(ModelFileError, match="column 'note' holds a number that is not finite"):
        mlpax.load(tmp_path / "a.safetensors")


def test_onnx_refuses_text_by_name(model):
    with pytest.raises(InputError, match=r"column 'note' is free text.*--column note=drop"):
        model.to_onnx()

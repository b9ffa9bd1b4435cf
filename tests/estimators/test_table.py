"""The table estimators as scikit-learn's users use them."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

import mlpax
from mlpax import TableClassifier, TableRegressor
from mlpax.engine.native import library
from mlpax.errors import DataWarning, InputError
from mlpax.model.fit_model import prepare
from mlpax.recipes import table
from small_data import dataset_of

SETTINGS = {"hidden": (16, 16), "epochs": 30}
BRIEF = {"hidden": (8,), "epochs": 2}
KINDS = (TableClassifier, TableRegressor)


# What scikit-learn checks and is not so here, each with the reason.
EXCEPTIONS = {
    "check_sample_weight_equivalence_on_dense_data": "the rows of a minibatch, and those that validate, are"
    " drawn whatever their weight",
    "check_regressor_multioutput": "predictions are float32, of several targets as of one",
}
# Of a classifier that takes categories, it rounds the rows and makes classes of them.
ONE_ROW = dict.fromkeys(
    (
        "check_dont_overwrite_parameters", "check_f_contiguous_array_estimator", "check_dict_unchanged",
        "check_methods_sample_order_invariance", "check_methods_subset_invariance", "check_fit2d_predict1d",
    ),
    "it has a class of one row, which is refused",
)  # fmt: skip


@pytest.mark.slow  # each check compiles a network of its own
@parametrize_with_checks(
    [kind(settings={"hidden": (8,), "epochs": 20, "batch_size": 4}) for kind in KINDS],
    expected_failed_checks=lambda e: EXCEPTIONS | (ONE_ROW if isinstance(e, TableClassifier) else {}),
    xfail_strict=True,
)
@pytest.mark.filterwarnings("default")  # they warn where scikit-learn's do
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def frame(n=240, seed=0):
    rng = np.random.default_rng(seed)
    size = rng.normal(size=n) * 10 + 50
    colour = rng.choice(["red", "green", "blue"], n)
    cells = [None if i % 17 == 0 else v for i, v in enumerate(size.tolist())]
    kind = np.where(size + 8 * (colour == "red") > 52, "large", "small")
    return pl.DataFrame({"size": cells, "colour": colour}), kind, 3 * size + 20 * (colour == "red")


def test_classifier_learns_and_answers_with_the_classes():
    X, kind, _ = frame()
    model = TableClassifier(settings=SETTINGS, random_state=0).fit(X, kind)
    assert model.classes_.tolist() == ["large", "small"]
    assert model.feature_names_in_.tolist() == ["size", "colour"]
    assert model.score(X, kind) > 0.85
    p = model.predict_proba(X)
    assert p.shape == (240, 2)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert (model.classes_[p.argmax(axis=1)] == model.predict(X)).all()


def test_regressor_answers_in_the_targets_units():
    X, _, price = frame()
    model = TableRegressor(settings=SETTINGS | {"epochs": 100}, random_state=0).fit(X, price)
    assert model.score(X, price) > 0.8
    assert abs(model.predict(X).mean() - price.mean()) < 5


@pytest.mark.parametrize(
    "labels",
    [[0, 1], [-1, 1], ["no", "yes"], [False, True], ["0", "1"], ["007", "012"], [2**53, 2**53 + 1],
     [2**63, 2**63 + 1]],
)  # fmt: skip
@pytest.mark.parametrize("box", [np.array, list, pd.Series, pd.Categorical, lambda y: np.array(y, object)])
def test_classes_come_back_as_they_came(labels, box):
    X, kind, _ = frame(40)
    y = np.array(labels)[(kind == "large").astype(int)]
    model = TableClassifier(settings=BRIEF, random_state=0, class_weight={labels[0]: 1, labels[1]: 2})
    model.fit(X, box(y))
    assert model.classes_.tolist() == labels
    assert model.predict(X).dtype.kind == y.dtype.kind
    assert set(model.predict(X).tolist()) <= set(labels)
    assert 0 <= model.score(X, y) <= 1


def test_the_seed_decides():
    X, kind, _ = frame()
    one, same, other = (
        TableClassifier(settings=SETTINGS, random_state=seed).fit(X, kind).predict_proba(X)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_scikit_learn_clones_searches_and_validates():
    X, kind, _ = frame()
    model = TableClassifier(settings=SETTINGS, random_state=0)
    assert clone(model).get_params() == model.get_params()
    assert cross_val_score(model, X, kind, cv=3).mean() > 0.8
    search = GridSearchCV(model, {"settings": [SETTINGS, SETTINGS | {"learning_rate": 0.001}]}, cv=2)
    assert search.fit(X, kind).best_score_ > 0.8


def test_values_far_from_0_keep_their_digits():
    """Of 1e8 float32 knows every eighth: what is learned of that is as of 0, answers are rounded once."""
    X = pl.DataFrame({"x": np.arange(200.0)})
    y = np.sin(np.arange(200.0)) * 2e4
    model = TableRegressor(settings=BRIEF, random_state=0)
    near, far = (model.fit(X, y + c).predict(X).astype(float) - c for c in (0, 1e8))
    np.testing.assert_allclose(far, near, atol=10)


def test_weights_count():
    """Rows of weight 0 teach nothing."""
    X, kind, _ = frame()
    wrong = np.where(kind == "large", "small", "large")
    both = pl.concat([X, X])
    weight = np.r_[np.ones(240), np.zeros(240)]
    model = TableClassifier(settings=SETTINGS, random_state=0, validation=0, recipe="default")
    model.fit(both, np.r_[kind, wrong], sample_weight=weight)
    assert model.score(X, kind) > 0.85


@pytest.mark.parametrize("kind", KINDS)
def test_all_rows_may_train(kind):
    X, classes, price = frame()
    model = kind(settings={"hidden": (8,), "epochs": 3}, validation=0)
    model.fit(X, classes if kind is TableClassifier else price)
    assert [set(row) for row in model.history_] == [{"epoch", "loss", "seconds"}] * 3


def test_the_model_is_saved_and_loaded(tmp_path):
    X, kind, _ = frame()
    model = TableClassifier(settings=SETTINGS, random_state=0).fit(X, kind)
    model.save(tmp_path / "m.safetensors")
    loaded = mlpax.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert loaded.predict(X.head(3)).tolist() == model.predict(X.head(3)).tolist()


def test_arrays_do_as_well():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    y = (X[:, 0] > 0).astype(int)
    assert TableClassifier(settings=SETTINGS).fit(X, y).score(X, y) > 0.9


def test_what_does_not_fit_is_named():
    X, kind, _ = frame()
    with pytest.raises(InputError, match="X has 240 rows but y has 239"):
        TableClassifier().fit(X, kind[:-1])
    model = TableClassifier(settings=SETTINGS).fit(X, kind)
    with pytest.raises(InputError, match="column 'size' is missing; is it 'sizes'"):
        model.predict(X.rename({"size": "sizes"}))
    with pytest.raises(InputError, match="unknown recipe 'tables'; did you mean 'table'"):
        TableClassifier("tables").fit(X, kind)


@pytest.mark.parametrize("column", [pl.DataFrame, pd.DataFrame, lambda y: y["price"][:, None]])
def test_a_column_of_targets_is_the_targets(column):
    X, _, price = frame()
    y = {"price": price}
    model = TableRegressor(settings=BRIEF, random_state=0)
    expected = model.fit(X, pl.Series("price", price)).predict(X)
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        np.testing.assert_array_equal(model.fit(X, column(y)).predict(X), expected)
    with pytest.raises(InputError, match=r"y has shape \(240, 2, 1\); y should be a 1d array"):
        TableClassifier().fit(X, np.c_[price, price][:, :, None])


@pytest.mark.parametrize("kind", [np.asarray, pd.DataFrame, pl.DataFrame])
def test_several_targets(kind):
    X, _, price = frame()
    tall = np.sqrt(price - price.min())
    model = TableRegressor(settings=SETTINGS, random_state=0).fit(X, kind(np.c_[price, tall]))
    predicted = model.predict(X)
    assert predicted.shape == (240, 2)
    assert min(r2_score(np.c_[price, tall], predicted, multioutput="raw_values")) > 0.8
    assert {"valid_r2", "members_valid_r2"} < model.history_[-1].keys()
    # A target in another unit leaves the network as it is, to rounding.
    again = TableRegressor(settings=SETTINGS, random_state=0).fit(X, kind(np.c_[1000 * price + 5, tall]))
    np.testing.assert_allclose(again.predict(X)[:, 0], 1000 * predicted[:, 0] + 5, rtol=1e-3)
    np.testing.assert_allclose(again.predict(X)[:, 1], predicted[:, 1], atol=2e-3 * tall.std())


def test_several_targets_on_folds():
    X, _, price = frame()
    model = TableRegressor(folds=3, settings=SETTINGS, random_state=0).fit(X, np.c_[price, -price])
    assert model.fold_scores_.keys() == {"fold_r2"}
    assert 0.8 < model.fold_scores_["fold_r2"] < 1
    assert model.predict(X).shape == (240, 2)
    with pytest.raises(InputError, match="intervals are of one target, and this model has several"):
        model.predict_interval(X)


@pytest.mark.parametrize("wide", [pd.DataFrame, pl.DataFrame])
def test_several_targets_of_classes(wide):
    X, kind, price = frame()
    y = wide({"kind": kind, "dear": np.where(price > np.median(price), 1, 0)})
    model = TableClassifier(settings=SETTINGS, random_state=0).fit(X, y)
    assert [classes.tolist() for classes in model.classes_] == [sorted({*kind}), [0, 1]]
    p, predicted = model.predict_proba(X), model.predict(X)
    assert [own.shape for own in p] == [(240, len({*kind})), (240, 2)]
    for own, classes, found in zip(p, model.classes_, predicted.T, strict=True):
        assert classes[own.argmax(axis=1)].tolist() == found.tolist()
    assert model.score(X, y) == (predicted == np.asarray(y)).all(axis=1).mean() > 0.8
    assert model.evaluate(X, y)["subset_accuracy"] == model.score(X, y)
    assert {"valid_accuracy", "valid_log_loss"} < model.history_[-1].keys()
    with pytest.raises(InputError, match=r"y has shape \(240,\); X has 240 rows of 2 targets"):
        model.score(X, kind)


def test_labels_of_which_a_row_may_have_several():
    """The score is scikit-learn's subset accuracy, and the backends agree."""
    X, _, price = frame()
    y = np.c_[price > np.median(price), price > np.quantile(price, 0.3), np.arange(240) % 2 == 0].astype(int)
    by = {
        backend: TableClassifier(settings=BRIEF | {"backend": backend}, random_state=0).fit(X, y)
        for backend in ("native", "xla")
        if backend == "xla" or not library.missing()
    }
    for model in by.values():
        assert model.score(X, y) == accuracy_score(y, model.predict(X))
        for ours, theirs in zip(model.predict_proba(X), by["xla"].predict_proba(X), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-3)
    with pytest.raises(InputError, match="class_weight is for one target, and y has 3; give sample_weight"):
        TableClassifier(class_weight="balanced").fit(X, y)
    with pytest.raises(InputError, match="target 'y1' holds one class only, 1; there is nothing to learn"):
        TableClassifier(settings=BRIEF).fit(X, np.c_[y[:, 0], np.ones(240, int)])


def test_several_targets_of_classes_on_folds_and_by_weight():
    X, kind, price = frame()
    y = [[own, int(p > np.median(price))] for own, p in zip(kind, price, strict=True)]
    weight = np.arange(240) % 3
    model = TableClassifier(folds=2, members=2, settings=BRIEF, random_state=0).fit(X, y, weight)
    assert model.fold_scores_.keys() == {"fold_accuracy", "fold_log_loss"}
    assert model.classes_[1].tolist() == [0, 1]
    assert [own.shape[:2] for own in model.predict_proba(X, members=True)] == [(4, 240)] * 2
    with pytest.raises(InputError, match="intervals are of one target, and this model has several"):
        model.predict_set(X)


def test_several_targets_lack_no_cell():
    X, _, price = frame()
    with pytest.raises(InputError, match=r"y is missing \(NaN or null\) in 1 row of 'y1'; drop them"):
        TableRegressor(settings=BRIEF).fit(X, np.c_[price, np.where(np.arange(240) == 7, np.nan, price)])
    with pytest.raises(InputError, match="target 'y1' holds one value only, 3; there is nothing to learn"):
        TableRegressor(settings=BRIEF).fit(X, np.c_[price, np.full(240, 3.0)])


def test_the_target_is_called_what_it_is_called():
    X, _, price = frame()
    model = TableRegressor(settings=BRIEF)
    assert model.fit(X, price).model_.target == "y"
    assert model.fit(X, pd.Series(price, name="price")).model_.target == "price"
    assert model.fit(X.rename({"size": "y"}), price).model_.target == "y_"


def test_only_columns_with_names_have_names():
    X, _, price = frame()
    model = TableRegressor(settings=BRIEF)
    for named in (X, X.to_pandas(), X.to_arrow(), X.to_dict()):
        assert model.fit(named, price).feature_names_in_.tolist() == ["size", "colour"]
    model.fit(X.to_numpy(), price)
    assert not hasattr(model, "feature_names_in_")
    assert model.n_features_in_ == 2


def test_a_numpy_generator_seeds():
    X, _, price = frame()
    seeded = (TableRegressor(settings=BRIEF, random_state=np.random.RandomState(seed)) for seed in (1, 1, 2))
    one, same, other = (model.fit(X, price).predict(X) for model in seeded)
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_classes_have_weights():
    X, kind, _ = frame()
    noise = np.random.default_rng(0).permutation(kind)
    shares = [
        np.mean(TableClassifier(settings=SETTINGS, class_weight=weight).fit(X, noise).predict(X) == "large")
        for weight in ({"large": 9, "small": 1}, {"large": 1, "small": 9})
    ]
    assert shares == [1, 0]
    with pytest.raises(InputError, match=r"class_weight names 'big', which is no class of y; they are"):
        TableClassifier(class_weight={"big": 9, "small": 1}).fit(X, noise)


def test_weights_count_on_the_rows_that_validate():
    """Of noise, the share of a class is its share of the weights: 5 in 6."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(600, 3)), rng.random(600) < 0.5
    model = TableClassifier(settings={"hidden": (16,), "epochs": 10}, random_state=0)
    p = model.fit(X, y, sample_weight=np.where(y, 5.0, 1.0)).predict_proba(X)
    assert 0.78 < p[:, 1].mean() < 0.88


def test_a_new_level_of_many_is_as_the_mean_level():
    """Of 80 shops, each with a price of its own: one that is new is worth none of them."""
    shop = np.repeat(np.arange(80), 8)
    price = np.random.default_rng(0).normal(size=80)[shop] * 10 + 50
    X = pl.DataFrame({"shop": [f"s{i}" for i in shop], "size": np.arange(640.0) % 7})
    model = TableRegressor(settings={"hidden": (32,), "epochs": 40}, random_state=0, validation=0).fit(
        X, price
    )
    new = pl.DataFrame({"shop": ["new", None], "size": [3.0, 3.0]})
    np.testing.assert_allclose(model.predict(new), price.mean(), atol=4)
    (E,) = model.model_.embeddings
    np.testing.assert_allclose(E[80:], np.tile(E[:80].mean(axis=0), (2, 1)), rtol=1e-5)
    dataset = dataset_of(X.with_columns(y=pl.Series(price)), task="regression")
    (E,) = prepare(dataset, table(640, "regression").replace(members=1)).params["embeddings"]
    np.testing.assert_allclose(E[80:], np.tile(E[:80].mean(axis=0), (2, 1)), rtol=1e-5)  # as it validates


def test_tags_say_what_tables_hold():
    tags = get_tags(TableClassifier()).input_tags
    assert tags.allow_nan
    assert tags.categorical
    assert tags.string
    assert not tags.sparse


def test_tags_say_that_y_may_have_several_columns():
    classifier, regressor = get_tags(TableClassifier()), get_tags(TableRegressor())
    for tags in (classifier, regressor):
        assert tags.target_tags.multi_output
        assert tags.target_tags.single_output
    assert classifier.classifier_tags.multi_label


@pytest.mark.parametrize(
    ("X", "y", "says"),
    [
        (frame()[0], frame()[2], r"target 'y' holds [\d.]+, which is continuous and no class; its task is"),
        (frame()[0].head(0), [], r"X has 0 sample\(s\) \(shape=\(0, 2\)\) while a minimum of 2 is required"),
        (frame()[0].select([]), [], r"X has 0 feature\(s\)"),
        (
            scipy.sparse.eye_array(9).tocsr(),
            [0] * 9,
            r"X is sparse, which tables are not; give X.toarray\(\)",
        ),
        (np.eye(4), [0, 1, None, 1], "y is missing .* in 1 of 4 rows; drop them"),
        (np.eye(4), [0, 1, np.nan, 1], "y is missing .* in 1 of 4 rows; drop them"),
    ],
)
def test_what_cannot_be_learned_is_said_in_pythons_words(X, y, says):
    with pytest.raises(InputError, match=says):
        TableClassifier().fit(X, y)


def test_weights_that_do_not_fit():
    X, _, price = frame()
    with pytest.raises(InputError, match=r"sample_weight has shape \(3,\); X has 240 rows"):
        TableRegressor().fit(X, price, sample_weight=[1, 2, 3])
    with pytest.raises(InputError, match="weight 'sample_weight' is zero in every training row"):
        TableRegressor().fit(X, price, sample_weight=0 * price)


def test_a_model_file_answers_the_arrays_its_estimator_learned_from(tmp_path):
    X = np.random.default_rng(0).normal(size=(120, 2)) * [1e3, 1e-3]
    X[::7, 1] = np.nan
    y = 1e3 * np.nan_to_num(X[:, 1]) + X[:, 0] / 1e3
    estimator = TableRegressor(settings=SETTINGS, random_state=0).fit(X, y)
    estimator.save(tmp_path / "m.safetensors")
    model = mlpax.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(model.predict(X), estimator.predict(X))
    assert model.evaluate(X, y)["r2"] == pytest.approx(estimator.score(X, y), abs=1e-5)
    as_columns = {f"x{i}": X[:, i] for i in range(2)}
    assert model.evaluate(as_columns, y) == model.evaluate(X, y)
    assert model.write_predictions([X], tmp_path / "p.csv") == model.write_predictions(
        [pl.LazyFrame(as_columns)], tmp_path / "p.parquet"
    )
    with pytest.raises(InputError, match="2"):
        model.predict(X[:, :1])
    with pytest.raises(InputError, match="2"):
        model.predict(np.hstack([X, X]))


def test_importance_shuffles_what_the_network_sees_of_a_column():
    """The same as shuffling the frame's cells, of one-hot, embedded, dated and missing ones too."""
    generator = np.random.default_rng(0)
    n = 800
    frame = pl.DataFrame(
        {
            "town": generator.choice(["a", "b", "c"], n),
            "code": [f"k{i}" for i in generator.integers(0, 100, n)],
            "one": np.ones(n),
            "x": np.where(generator.random(n) < 0.1, np.nan, generator.normal(size=n)),
            "day": pl.Series(generator.integers(0, 900, n)).cast(pl.Date),
        }
    ).with_columns(pl.col("x").fill_nan(None))
    kind = np.where((frame["town"] == "a").to_numpy(), "yes", "no")
    model = TableClassifier(settings=SETTINGS, random_state=0).fit(frame, kind).model_
    assert model.columns.embeddings
    for score, sign in ((None, -1), ("accuracy", 1)):
        found = {row.column: row for row in model.importance(frame, kind, repeats=2, seed=3, score=score)}
        assert found.keys() == {"town", "code", "x", "day"}
        assert max(found, key=lambda name: found[name].loss) == "town"
        name_of_score = score or "log_loss"
        whole, shuffle = model.evaluate(frame, kind)[name_of_score], np.random.default_rng(3)
        for name in ("town", "x", "day", "code"):  # in the inputs' order: codes are last
            losses = []
            for _ in range(2):
                cells = frame[name].gather(shuffle.permutation(n))
                shuffled = model.evaluate(frame.with_columns(cells), kind)[name_of_score]
                losses.append(sign * (whole - shuffled))
            assert found[name].loss == pytest.approx(np.mean(losses), abs=1e-7)
    with pytest.raises(InputError, match="unknown score 'rmse'; choose one of: log_loss, accuracy"):
        model.importance(frame, kind, score="rmse")
    with pytest.raises(InputError, match=r"repeats 0 is outside \[1, inf\)"):
        model.importance(frame, kind, repeats=0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"settings": {"epoch": 5}}, "unknown setting 'epoch'; did you mean 'epochs'"),
        ({"settings": {"rows": 3}}, "give fields of Recipe"),
        ({"settings": "epochs=5"}, "give fields of Recipe"),
        ({"settings": {"optimizer": ["sgd"]}}, "unknown optimizer"),
        ({"recipe": ["table"]}, "unknown recipe"),
        ({"time_ordered": "yes"}, "time_ordered 'yes' is no True or False"),
    ],
)
def test_wrong_constructor_parameters_are_named(options, words):
    X = np.arange(40.0).reshape(20, 2)
    with pytest.raises(InputError, match=words):
        TableRegressor(**options).fit(X, X[:, 0])


@pytest.mark.parametrize("weight", [np.ones(19), np.ones((20, 1)), 2.0])
def test_sample_weights_are_one_a_row_beside_class_weights_too(weight):
    X, y = np.arange(40.0).reshape(20, 2), ["a", "b"] * 10
    with pytest.raises(InputError, match="sample_weight has shape"):
        TableClassifier(class_weight={"a": 2}).fit(X, y, sample_weight=weight)


@pytest.mark.parametrize("unit", [1e-20, 1e21])
def test_targets_whose_squares_pass_float32_are_refused(unit):
    X = np.arange(40.0).reshape(20, 2)
    with pytest.raises(InputError, match="passes the range of float32; multiply it by 1e"):
        TableRegressor(settings=BRIEF).fit(X, unit * X[:, 0])


@pytest.mark.parametrize("estimator", [TableRegressor, TableClassifier])
@pytest.mark.parametrize("box", [pd.Series, lambda y: pl.Series("t", y.astype("m8[us]")), np.array])
def test_targets_of_lengths_of_time_are_refused(estimator, box):
    y = box(np.arange(40).astype("m8[s]"))
    says = r"target '.*' holds lengths of time, such as 0:00:00; give numbers, for example seconds: y.dt"
    with pytest.raises(InputError, match=says):
        estimator(settings=BRIEF).fit({"x": np.arange(40.0)}, y)


@pytest.mark.parametrize("estimator", [TableRegressor, TableClassifier])
def test_each_fit_draws_a_seed_and_records_it(estimator):
    X, y = {"x": np.arange(40.0)}, np.arange(40) % 2 if estimator is TableClassifier else np.arange(40.0)
    model = estimator(settings=BRIEF)
    drawn = {model.fit(X, y).random_state_ for _ in range(3)}
    assert len(drawn) == 3
    again = estimator(settings=BRIEF, random_state=model.random_state_).fit(X, y)
    assert again.random_state_ == model.random_state_
    losses = [[epoch["loss"] for epoch in fitted.history_] for fitted in (again, model)]
    assert losses[0] == losses[1]
    assert estimator(settings=BRIEF, random_state=7).fit(X, y).random_state_ == 7


def test_what_is_guessed_is_warned_of():
    rows = 200
    draw = np.random.default_rng(0)
    x = draw.normal(size=rows)
    frame = pd.DataFrame(
        {
            "x": x, "zip": draw.choice(["00501", "07302", "99501"], rows),
            "price": [f"${1000 + i * 7.5:,.2f}" for i in draw.permutation(rows)],
            "age": ["n/a" if i % 20 == 0 else str(i % 60) for i in range(rows)],
            "day": [f"{1 + i % 28}/{1 + i % 12}/2023" for i in range(rows)],
        }
    )  # fmt: skip
    y = np.where(x > 0, "yes", "no")
    model = TableClassifier(settings={"epochs": 2, "hidden": (4,)}, random_state=0)
    with pytest.warns(DataWarning) as caught:
        model.fit(frame, y)
    said = [str(warning.message) for warning in caught]
    assert any("columns={'zip': 'number'} says otherwise" in text for text in said)
    assert any(
        "'age' has 'n/a' in 10 cells, taken as missing; missing=['n/a'] makes sure" in text for text in said
    )
    assert any("dates='day-first' makes sure" in text for text in said)
    assert any("columns={'price': 'number'} makes sure" in text for text in said)
    assert not any("--" in text for text in said)
    assert all(warning.filename == __file__ for warning in caught)
    sure = {
        "columns": {"zip": "category", "price": "number"},
        "missing": ["n/a"],
        "dates": "day-first",
        "strict": True,
    }
    model.set_params(**sure).fit(frame, y)  # which warns of nothing: a warning is an error here
    model.set_params(dates=None)
    with pytest.raises(InputError, match=r"strict reading guesses nothing; give dates='day-first'"):
        model.fit(frame, y)
    dropped = TableClassifier(settings=model.settings, columns=dict.fromkeys(frame.columns[1:], "drop"))
    dropped.fit(frame, y)
    assert [c.kind for c in dropped.model_.columns.columns] == ["number", "drop", "drop", "drop", "drop"]
    with pytest.raises(InputError, match=r"which may be 1234 or 1.234; say thousands=',' or decimal=','"):
        dropped.set_params(columns=None).fit(pd.DataFrame({"n": ["1,234", "2,345"] * 100}), y)


def test_members_are_given_once():
    X, kind, _ = frame(60)
    with pytest.raises(InputError, match="members are given twice, also in settings"):
        TableClassifier(members=3, settings=BRIEF | {"members": 2}).fit(X, kind)
    model = TableClassifier(members=3, settings=BRIEF, random_state=0).fit(X, kind)
    assert len(model.model_.networks) == 3
    assert model.predict_proba(X, members=True).shape == (3, 60, 2)


def test_the_best_quality():
    X, kind, _ = frame(60)
    model = TableClassifier(quality="best", settings=BRIEF | {"members": 3}, random_state=0).fit(X, kind)
    assert (
        model.model_.recipe["patience"]
        > TableClassifier(settings=BRIEF).fit(X, kind).model_.recipe["patience"]
    )
    with pytest.raises(InputError, match="unknown quality 'good'"):
        TableClassifier(quality="good").fit(X, kind)


def test_each_epoch_is_told(capsys):
    X, y = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 2
    heard = []
    quick = {"members": 1, "settings": {"epochs": 3, "hidden": (4,), "patience": 0}, "random_state": 0}
    fitted = TableClassifier(**quick, verbose=True, callbacks=[heard.append]).fit(X, y)
    assert heard == fitted.history_
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["Epoch 1/3", "Epoch 2/3", "Epoch 3/3"]
    assert TableClassifier(**quick).fit(X, y).history_ is not heard
    assert capsys.readouterr().out == ""


def test_evaluate_tells_all_scores():
    X, y = np.random.default_rng(0).normal(size=(80, 2)), np.array(["no", "yes"])[np.arange(80) % 2]
    quick = {"members": 1, "settings": {"epochs": 3, "hidden": (4,)}, "random_state": 0}
    fitted = TableClassifier(**quick).fit(X, y)
    found = fitted.evaluate(X, y)
    assert found["accuracy"] == fitted.score(X, y)
    weight = (y == "yes").astype(float)
    assert fitted.evaluate(X, y, weight)["accuracy"] == fitted.score(X, y, weight)
    values = X[:, 0] + 0.1 * X[:, 1]
    regressor = TableRegressor(**quick).fit(X, values)
    assert regressor.evaluate(X, values)["r2"] == pytest.approx(regressor.score(X, values))
    with pytest.raises(InputError, match="give each of 80 rows a number >= 0"):
        fitted.evaluate(X, y, weight[:5])


def test_a_device_that_is_not_there_is_told():
    with pytest.raises(InputError, match="device='cpu:99', but the numbers of 'cpu' here are 0 to"):
        TableClassifier(device="cpu:99").fit([[1.0], [2.0], [3.0], [4.0]], [0, 1, 0, 1])

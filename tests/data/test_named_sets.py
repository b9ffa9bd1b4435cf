"""Named sets come whole or with one line that says why not; a reader of foreign bytes trusts nothing."""

import gzip
import hashlib
import http.server
import math
import struct
import threading
import time
import tracemalloc
import types
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpax.data import named_sets
from mlpax.data.arrays import read_idx, read_rows
from mlpax.data.dataset import Dataset
from mlpax.data.named_sets import FILES, SOURCES, catalogue, fetch, load
from mlpax.errors import InputError

NOWHERE = "http://127.0.0.1:1/"  # refuses at once


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """An empty cache, no data folder, no network."""
    cache = tmp_path / "cache"
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(cache / name))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("MLPAX_DATA_DIR", raising=False)
    for name, source in SOURCES.items():
        monkeypatch.setitem(SOURCES, name, source._replace(mirrors=(NOWHERE,)))
    return cache / "mlpax"


def says(function, *args, **kwargs) -> str:
    """The one line with which a call is refused."""
    with pytest.raises(InputError) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def idx(shape, body, kind=0x08) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", 0, kind, len(shape), *shape) + bytes(body)


PIXELS = [[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 255]], [[0, 20, 40, 60, 80, 100]]
SMALL = (  # two training images of 2x3 pixels and a test image
    idx((2, 2, 3), [*PIXELS[0][0], *PIXELS[0][1]]),
    idx((2,), [9, 0]),
    idx((1, 2, 3), PIXELS[1][0]),
    idx((1,), [4]),
)


def place(folder, contents=SMALL, name="{}.gz"):
    """Four files in a folder, gzipped if their names say so."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in zip(FILES, contents, strict=True):
        path = folder / name.format(file)
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return folder


def official(monkeypatch, name, contents=SMALL, mirrors=(NOWHERE,)):
    """Make these the set's official files; returns them gzipped, by name."""
    packed = {f"{file}.gz": gzip.compress(c, mtime=0) for file, c in zip(FILES, contents, strict=True)}
    sha256 = tuple(hashlib.sha256(p).hexdigest() for p in packed.values())
    monkeypatch.setitem(SOURCES, name, SOURCES[name]._replace(mirrors=tuple(mirrors), sha256=sha256))
    return packed


def unpack(folder, packed):
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in packed.items():
        (folder / file).write_bytes(content)


# The IDX reader


@pytest.mark.parametrize(
    ("kind", "code", "dtype", "values"),
    [
        (0x08, "B", np.uint8, [0, 127, 128, 255, 1, 2]),
        (0x09, "b", np.int8, [0, 127, -128, -1, 1, 2]),
        (0x0B, "h", np.int16, [0, 1, -2, 256, 32767, -32768]),
        (0x0C, "i", np.int32, [0, 1, -2, 65536, 2**31 - 1, -(2**31)]),
        (0x0D, "f", np.float32, [0, 1, -2.5, 2.0**127, math.inf, 2**-149]),
        (0x0E, "d", np.float64, [0, 1, -2.5, 1e300, -math.inf, 2**-1074]),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("name", ["data", "data.gz"])  # the first bytes decide, not the name
def test_every_type_is_read(tmp_path, kind, code, dtype, values, pack, name):
    (tmp_path / name).write_bytes(pack(idx((3, 2), struct.pack(f">6{code}", *values), kind)))
    array = read_idx(tmp_path / name)
    assert array.dtype == dtype
    assert array.dtype.isnative
    assert array.tolist() == [values[:2], values[2:4], values[4:]]


@pytest.mark.parametrize("shape", [(1,), (1,) * 64, (300,), (2, 3, 5, 7)])
def test_every_shape_is_read(tmp_path, shape):
    body = np.arange(math.prod(shape), dtype=np.uint8)
    for content in (idx(shape, body), gzip.compress(idx(shape, body))):
        (tmp_path / "x").write_bytes(content)
        np.testing.assert_array_equal(read_idx(tmp_path / "x"), body.reshape(shape))


GOOD = idx((3, 2), range(6))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "starts with nothing"),
        (b"\0\0\x08", "starts with 00 00 08,"),
        (b"PK\x03\x04" + GOOD, "starts with 50 4b 03 04"),
        (b"\0\1" + GOOD[2:], "starts with 00 01 08 02"),
        (b"\1\0" + GOOD[2:], "starts with 01 00 08 02"),
        (idx((1,), [1], kind=0x0A), "starts with 00 00 0a 01"),
        (idx((), [1]), "states 0 dimensions, not 1 to 64"),
        (idx((1,) * 65, [1]), "states 65 dimensions, not 1 to 64"),
        (GOOD[:11], "header of 2 dimensions is cut short"),
        (idx((0, 2), []), "states (0, 2), which is empty"),
        (idx((0, 2**32 - 1, 2**32 - 1, 2**32 - 1), []), "which is empty"),
        (GOOD[:-1], "states (3, 2), 6 bytes, but 5 follow"),
        (idx((3, 2), [], kind=0x0E), "states (3, 2), 48 bytes, but 0 follow"),
    ],
)
def test_what_is_no_idx_is_refused(tmp_path, content, reason):
    for packed in (content, gzip.compress(content)):
        (tmp_path / "x").write_bytes(packed)
        line = says(read_idx, tmp_path / "x")
        assert line.startswith(f"{tmp_path / 'x'} is no whole IDX file: ")
        assert reason in line


def test_trailing_bytes_are_refused(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(GOOD + b"12")
    assert "6 bytes, but at least 8 follow" in says(read_idx, path)
    path.write_bytes(gzip.compress(GOOD + b"12"))
    assert "6 bytes, but at least" in says(read_idx, path)
    path.write_bytes(gzip.compress(GOOD) + b"12")
    assert "2 bytes follow its gzip stream" in says(read_idx, path)
    path.write_bytes(gzip.compress(idx((300,), [0] * 300) + b"1"))  # more than is first unpacked
    assert "300 bytes, but at least 301 follow" in says(read_idx, path)


@pytest.mark.parametrize("rows", [6, 300])  # within what is first unpacked, and beyond
def test_gzip_cut_anywhere_is_refused(tmp_path, rows):
    body = np.random.default_rng(0).integers(0, 256, rows).astype(np.uint8).tobytes()
    content = gzip.compress(idx((rows,), body))
    for length in range(0, len(content), 1 + rows // 100):
        (tmp_path / "x").write_bytes(content[:length])
        line = says(read_idx, tmp_path / "x")
        if length >= 2:
            assert "its gzip stream is cut short" in line


def test_gzip_with_a_wrong_checksum_is_refused(tmp_path):
    content = bytearray(gzip.compress(GOOD))
    content[-8] ^= 1
    (tmp_path / "x.gz").write_bytes(content)
    assert "is corrupted gzip: " in says(read_idx, tmp_path / "x.gz")


@pytest.mark.parametrize(
    "content",
    [
        idx((2**20, 2**20), []),
        idx((2**32 - 1,) * 64, []),
        gzip.compress(idx((2**20, 2**20), [])),
        gzip.compress(idx((2**20, 20), [])),  # 20 MB: no deflate stream as short as this holds them
        gzip.compress(idx((6,), bytes(2**25))),  # 32 MB in 32 kB
        gzip.compress(bytes(2**25)),
    ],
    ids=["terabyte", "absurd", "zipped terabyte", "zipped 20 MB", "bomb", "headless bomb"],
)
def test_no_more_is_allocated_than_the_file_holds(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    tracemalloc.start()
    try:
        says(read_idx, tmp_path / "x")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 500_000


def test_a_header_that_gzip_cannot_keep_is_refused_first(tmp_path):
    content = gzip.compress(idx((2**20, 20), []))
    (tmp_path / "x").write_bytes(content)
    stated = 2**20 * 20 + 12
    assert f"states {stated} bytes, more than {len(content)} gzipped ones" in says(read_idx, tmp_path / "x")
    zeros = gzip.compress(idx((2**21,), bytes(2**21)))  # the best that gzip can do
    (tmp_path / "x").write_bytes(zeros)
    assert read_idx(tmp_path / "x").shape == (2**21,)


def test_what_cannot_be_read_is_named(tmp_path):
    assert says(read_idx, tmp_path / "x") == f"{tmp_path / 'x'} cannot be read: No such file or directory"
    assert says(read_idx, tmp_path) == f"{tmp_path} cannot be read: Is a directory"


MUTANT = idx((3, 2, 2), struct.pack(">12h", *range(12)), kind=0x0B)


@given(
    pack=st.sampled_from([bytes, gzip.compress, lambda c: zlib.compress(c, wbits=31)]),
    inner=st.lists(st.tuples(st.integers(0, len(MUTANT) - 1), st.integers(0, 255)), max_size=4),
    outer=st.lists(st.tuples(st.integers(0, 59), st.integers(0, 255)), max_size=2),
    cut=st.integers(0, 8),
    tail=st.binary(max_size=4),
)
def test_any_bytes_are_an_array_or_refused(tmp_path_factory, pack, inner, outer, cut, tail):
    content = bytearray(MUTANT)
    for at, byte in inner:
        content[at] = byte
    content = bytearray(pack(bytes(content)))
    for at, byte in outer:
        content[at % len(content)] = byte
    content = bytes(content[: len(content) - cut]) + tail
    path = tmp_path_factory.getbasetemp() / "mutant"
    path.write_bytes(content)
    try:
        array = read_idx(path)
    except InputError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)
        assert inner or outer or cut or tail
    else:
        plain = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        assert plain == idx(array.shape, array.astype(array.dtype.newbyteorder(">")).tobytes(), plain[2])


# Rows from files


def test_rows_come_from_idx_and_npy(tmp_path):
    (tmp_path / "x").write_bytes(GOOD)
    np.testing.assert_array_equal(read_rows(tmp_path / "x"), [[0, 1], [2, 3], [4, 5]])
    X = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(tmp_path / "x.npy", X)
    np.testing.assert_array_equal(read_rows(str(tmp_path / "x.npy")), X)


def test_npy_files_are_checked(tmp_path):
    path = tmp_path / "x.npy"
    assert "cannot be read: No such file" in says(read_rows, path)
    np.save(path, np.zeros((3, 4)))
    good = path.read_bytes()
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    pickled = path.read_bytes()
    start = good.index(b"(3, 4)")
    shapes = ["(-3, 4)", "(9999, 9999)", f"({10**40},)", "('a', 4)", "(3", "(3, (((", "3 4", "\0"]
    shaped = [good[:start] + f"{shape}, }}".encode().ljust(127 - start) + good[127:] for shape in shapes]
    assert good[127:128] == b"\n", "the header's end, which must stay where it is"
    for content in (b"", b"PK\x03\x04" + good, good[:5], good[:30], good[:-1], pickled, *shaped):
        path.write_bytes(content)
        assert "is no .npy file of numbers: " in says(read_rows, path)


@pytest.mark.parametrize("array", [np.array(["a", "bb"]), np.zeros(3, "i4,f4"), np.zeros(3, complex)])
def test_npy_of_no_real_numbers_is_refused(tmp_path, array):
    np.save(tmp_path / "x.npy", array)
    assert says(read_rows, tmp_path / "x.npy").endswith(f"its type is {array.dtype}")


@pytest.mark.parametrize("shape", [(99999999999, 99999999999), (2**32, 2**32), (2**62, 4, 3)])
def test_npy_whose_size_would_wrap_around_is_refused(tmp_path, shape):
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    content = b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + bytes(64)
    (tmp_path / "x.npy").write_bytes(content)
    assert "is no .npy file of numbers: " in says(read_rows, tmp_path / "x.npy")


# The bundled digits


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    digits = load("digits")
    assert (digits.name, digits.image_shape, len(digits.classes)) == ("digits", (8, 8), 10)
    assert digits.X_train.dtype == digits.X_test.dtype == np.uint8
    assert digits.y_train.dtype == digits.y_test.dtype == np.int32
    assert digits.X_train.shape == (1438, 64)
    assert digits.X_test.shape == (359, 64)
    ours = np.column_stack(
        [np.vstack([digits.X_train, digits.X_test]), np.concatenate([digits.y_train, digits.y_test])]
    )
    assert sorted(ours.tolist()) == sorted(np.column_stack([X, y]).astype(int).tolist())


def test_digits_are_split_alike_for_each_digit():
    digits = load("digits")
    train, test = np.bincount(digits.y_train), np.bincount(digits.y_test)
    assert np.abs(test - (train + test) / 5).max() <= 0.5


def test_digits_are_always_the_same():
    """Runs are compared across machines and versions by these rows."""
    assert load("digits").fingerprint == "759ccb69ebf2f9ce6520243ab0e4979e3efa81ff8c44bd27b504d35d966fe645"


def test_digits_without_their_file_come_from_scikit_learn(monkeypatch, tmp_path):
    from sklearn.datasets import load_digits  # noqa: F401 - not while it cannot be found

    expected = load("digits").fingerprint
    elsewhere = types.SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(named_sets.importlib.util, "find_spec", lambda name: elsewhere)
    assert load("digits").fingerprint == expected


def test_a_fingerprint_is_of_the_arrays_alone():
    X, y = np.arange(6, dtype=np.uint8).reshape(3, 2), np.array([0, 1, 0], np.int32)
    arrays = {"X_train": X, "y_train": y, "X_test": X[:1], "y_test": y[:1]}
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode() + array.tobytes())
    assert Dataset("one", **arrays, classes=(0, 1)).fingerprint == digest.hexdigest()
    assert Dataset("two", **arrays, classes=("a", "b")).fingerprint == digest.hexdigest()
    spread = {name: np.repeat(array, 2, axis=0)[::2] for name, array in arrays.items()}  # not contiguous
    assert Dataset("one", **spread, classes=(0, 1)).fingerprint == digest.hexdigest()
    for name, other in (
        ("X_train", X[::-1]),
        ("X_train", X.reshape(2, 3)),
        ("X_test", X[:1].astype(np.int8)),
        ("y_train", y[::-1] + 1),
        ("y_test", y[1:2]),
    ):
        assert Dataset("one", **arrays | {name: other}, classes=(0, 1)).fingerprint != digest.hexdigest()
    for name in ("weight", "weight_valid"):
        assert Dataset("one", **arrays, classes=(0, 1), **{name: y}).fingerprint != digest.hexdigest()


def test_unknown_sets_are_named():
    assert says(load, "mnits") == "unknown data set 'mnits'; did you mean 'mnist'?"
    assert says(fetch, "fashion") == "unknown data set 'fashion'; did you mean 'fashion_mnist'?"
    assert says(fetch, "digits").startswith("digits is bundled")


# Finding files


@pytest.mark.parametrize("name", ["{}", "{}.gz", "dotted", "dotted.gz"])
@pytest.mark.parametrize("folder", ["given", "given/mnist", "cache/mlpax/mnist"])
@pytest.mark.parametrize("environment", [False, True])
def test_files_are_found(tmp_path, monkeypatch, name, folder, environment):
    place(tmp_path / folder)
    if "dotted" in name:
        for file in FILES:
            packed = tmp_path / folder / f"{file}.gz"
            content = gzip.decompress(packed.read_bytes())
            packed.unlink()
            dotted = name.replace("dotted", file.replace("-idx", ".idx"))
            (tmp_path / folder / dotted).write_bytes(gzip.compress(content) if "gz" in name else content)
    if environment:
        monkeypatch.setenv("MLPAX_DATA_DIR", str(tmp_path / "given"))
    mnist = load("mnist", None if environment else str(tmp_path / "given"), download=False)
    assert mnist.name == "mnist"
    assert mnist.image_shape == (2, 3)
    assert mnist.X_train.tolist() == PIXELS[0]
    assert mnist.X_test.tolist() == PIXELS[1]
    assert mnist.y_train.tolist() == [9, 0]
    assert mnist.y_test.tolist() == [4]
    assert mnist.X_train.dtype == mnist.X_test.dtype == np.uint8
    assert mnist.y_train.dtype == mnist.y_test.dtype == np.int32


def labelled(label):
    return SMALL[0], idx((2,), [label, 0]), SMALL[2], idx((1,), [label])


def test_the_nearest_folder_wins(tmp_path, monkeypatch, cache):
    """The argument before the environment, the set's own folder before the one above, the cache last."""
    monkeypatch.setenv("MLPAX_DATA_DIR", str(tmp_path / "environment"))
    places = ["cache/mlpax/mnist", "environment", "environment/mnist", "given", "given/mnist"]
    for label, folder in enumerate(places):
        place(tmp_path / folder, labelled(label))
        given = tmp_path / "given" if "given" in folder else None
        assert load("mnist", given).y_test.tolist() == [label]


def test_an_empty_variable_is_not_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(place(tmp_path / "here", labelled(1)))
    place(tmp_path / "cache/mlpax/mnist", labelled(2))
    monkeypatch.setenv("MLPAX_DATA_DIR", "")
    assert load("mnist").y_test.tolist() == [2]
    assert load("mnist", ".").y_test.tolist() == [1]


def test_a_missing_file_is_named(tmp_path, cache):
    place(cache / "mnist")  # must not hide that the folder given is not whole
    place(tmp_path / "given")
    (tmp_path / "given" / "t10k-images-idx3-ubyte.gz").unlink()
    line = says(load, "mnist", tmp_path / "given")
    assert line.startswith(f"{tmp_path / 'given'} lacks t10k-images-idx3-ubyte.gz;")
    (tmp_path / "given" / "train-labels-idx1-ubyte.gz").unlink()
    assert "lacks train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz;" in says(
        load, "mnist", tmp_path / "given"
    )


def test_a_set_is_not_taken_for_another(tmp_path, monkeypatch):
    """Their files have the same names."""
    given = tmp_path / "given"
    packed = official(monkeypatch, "mnist")
    official(monkeypatch, "fashion_mnist", labelled(7))
    unpack(given / "mnist", packed)
    assert load("mnist", given, download=False).y_test.tolist() == [4]
    assert "fashion_mnist is not in" in says(load, "fashion_mnist", given, download=False)

    unpack(given, packed)
    line = says(load, "fashion_mnist", given)
    assert line == f"the files in {given} are mnist's; put fashion_mnist's into {given / 'fashion_mnist'}"
    (given / "t10k-labels-idx1-ubyte.gz").unlink()
    assert says(load, "fashion_mnist", given) == line, "the training labels tell it, too"

    unpack(given / "fashion_mnist", packed)  # a copy gone astray
    assert f"the files in {given / 'fashion_mnist'} are mnist's" in says(load, "fashion_mnist", given)
    place(given / "fashion_mnist", labelled(7))
    assert load("fashion_mnist", given).y_test.tolist() == [7]


def test_absurd_folders_are_only_empty(tmp_path):
    for folder in ("x" * 5000, "nul\0byte", tmp_path / "nothing"):
        assert "mnist is not in" in says(load, "mnist", folder, download=False)


# Images and labels that do not fit


@pytest.mark.parametrize(
    ("which", "content", "reason"),
    [
        (0, idx((2, 6), range(12)), "train-images-idx3-ubyte.gz has shape (2, 6) of uint8; images are"),
        (0, idx((2, 2, 3), range(12), kind=9), "has shape (2, 2, 3) of int8; images are"),
        (0, idx((0, 2, 3), []), "states (0, 2, 3), which is empty"),
        (0, idx((3, 2, 3), range(18)), "has 3 images, but"),
        (1, idx((2, 1), [1, 2]), "train-labels-idx1-ubyte.gz has shape (2, 1) of uint8; labels are"),
        (1, idx((2,), [1, 2], kind=9), "has shape (2,) of int8; labels are"),
        (1, idx((0,), []), "states (0,), which is empty"),
        (1, idx((3,), [1, 2, 3]), "train-labels-idx1-ubyte.gz 3 labels"),
        (1, idx((2,), [9, 10]), "train-labels-idx1-ubyte.gz has label 10 at row 1; labels are 0 to 9"),
        (2, idx((1, 3, 2), range(6)), "has images of (3, 2), "),
        (3, b"", "t10k-labels-idx1-ubyte.gz is no whole IDX file"),
    ],
)
def test_files_must_fit_each_other(tmp_path, which, content, reason):
    place(tmp_path, [*SMALL[:which], content, *SMALL[which + 1 :]])
    assert reason in says(load, "mnist", tmp_path)


# Downloads


@pytest.fixture
def server():
    """A server on this machine: `replies[path]` lists what it answers, the last one for ever after.

    An answer is a status, or bytes, which a negative number before them cuts short.
    """
    replies: dict[str, list] = {}
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            answers = replies.get(self.path, [404])
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(answer, int):
                self.send_error(answer)
                return
            cut, body = answer if isinstance(answer, tuple) else (None, answer)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:cut])

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield types.SimpleNamespace(url=f"http://127.0.0.1:{httpd.server_port}", replies=replies, asked=asked)
        httpd.shutdown()
        thread.join()


@pytest.fixture
def mirrors(server, monkeypatch):
    """Fashion-MNIST in small on two mirrors, `/a` and `/b`; both have all of it."""
    packed = official(monkeypatch, "fashion_mnist", mirrors=[f"{server.url}/{m}/" for m in "ab"])
    server.replies.update({f"/{m}/{file}": [content] for m in "ab" for file, content in packed.items()})
    server.packed = packed
    return server


def lies_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_set_is_downloaded_once(mirrors, cache):
    fashion = load("fashion_mnist")
    assert fashion.X_train.tolist() == PIXELS[0]
    assert fashion.classes[9] == "Ankle boot"
    assert mirrors.asked == [f"/a/{file}.gz" for file in FILES]
    assert lies_in(cache / "fashion_mnist") == mirrors.packed
    assert load("fashion_mnist").fingerprint == fashion.fingerprint
    assert fetch("fashion_mnist") == cache / "fashion_mnist"
    assert len(mirrors.asked) == 4


FIRST = "train-images-idx3-ubyte.gz"


@pytest.mark.parametrize("failure", [404, 503, b"not what was asked for", b"", (-1, b"cut short")])
def test_a_mirror_that_fails_has_a_second(mirrors, cache, failure):
    mirrors.replies[f"/a/{FIRST}"] = [failure]
    assert load("fashion_mnist").y_test.tolist() == [4]
    assert mirrors.asked[:3] == [f"/a/{FIRST}", f"/b/{FIRST}", f"/a/{FILES[1]}.gz"]
    assert lies_in(cache / "fashion_mnist") == mirrors.packed


def test_a_mirror_that_fails_once_is_asked_again(mirrors, cache):
    mirrors.replies[f"/a/{FIRST}"] = [503, mirrors.packed[FIRST]]
    mirrors.replies[f"/b/{FIRST}"] = [404]
    fetch("fashion_mnist")
    assert lies_in(cache / "fashion_mnist") == mirrors.packed


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (404, "HTTPError"),
        (b"not what was asked for", "wrong SHA-256"),
        ((-1, b"cut short"), "ChunkedEncodingError"),
    ],
)
def test_where_all_mirrors_fail_nothing_is_left(mirrors, cache, failure, reason):
    last = f"{FILES[3]}.gz"
    mirrors.replies.update({f"/a/{last}": [failure], f"/b/{last}": [failure]})
    line = says(fetch, "fashion_mnist")
    tried = ", ".join(f"{mirrors.url}/{m}/{last} ({reason})" for m in "ab")
    assert line.startswith(f"fashion_mnist cannot be downloaded: {tried}; place ")
    del mirrors.packed[last]
    assert lies_in(cache / "fashion_mnist") == mirrors.packed  # what was whole stays; no temporary file
    mirrors.asked.clear()
    says(load, "fashion_mnist")
    assert set(mirrors.asked) == {f"/a/{last}", f"/b/{last}"}


def test_an_interrupted_download_leaves_nothing(mirrors, cache, monkeypatch):
    import pooch

    whole = pooch.HTTPDownloader.__call__

    def interrupted(self, *args, **kwargs):
        whole(self, *args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch("fashion_mnist")
    assert lies_in(cache / "fashion_mnist") == {}


def test_a_damaged_file_in_the_cache_is_fetched_again(mirrors, cache):
    fetch("fashion_mnist")
    (cache / "fashion_mnist" / FIRST).write_bytes(b"")
    assert f"{FIRST} is no whole IDX file" in says(load, "fashion_mnist")
    fetch("fashion_mnist")
    assert lies_in(cache / "fashion_mnist") == mirrors.packed


def test_a_cache_that_cannot_be_written_is_named(mirrors, cache):
    cache.parent.mkdir(exist_ok=True)
    cache.write_text("a file where the folder should be")
    assert f"cannot write to {cache / 'fashion_mnist'}: " in says(fetch, "fashion_mnist")


def test_offline_says_what_to_do(tmp_path, cache):
    given = tmp_path / "given"
    line = says(load, "mnist", given)
    assert line.startswith(
        f"mnist is not in {given / 'mnist'} or {given} or {cache / 'mnist'}; mnist cannot be downloaded: "
    )
    assert f"{NOWHERE}train-images-idx3-ubyte.gz (ConnectionError)" in line
    assert f"place {', '.join(f'{file}.gz' for file in FILES)} in {cache / 'mnist'}" in line
    assert line.endswith("or train on digits, which needs no download")


def test_no_download_where_none_is_wanted(mirrors, cache):
    line = says(load, "fashion_mnist", download=False)
    assert line.startswith(
        f"fashion_mnist is not in {cache / 'fashion_mnist'}, and downloading is off; place "
    )
    assert line.endswith("or train on digits, which needs no download")
    assert mirrors.asked == []
    assert not cache.exists()


def test_progress_is_drawn_and_ends(mirrors, capsys):
    """A bar left running would draw over what follows."""
    mirrors.replies[f"/a/{FIRST}"] = [404]
    threads = {t for t in threading.enumerate() if "process_request" not in t.name}
    fetch("fashion_mnist", progress=True)
    fetch("fashion_mnist", progress=True)  # nothing to do
    for _ in range(100):
        left = {t for t in threading.enumerate() if "process_request" not in t.name} - threads
        if not left:
            break
        time.sleep(0.01)
    assert not left
    assert capsys.readouterr() == ("", "")  # no terminal: not an empty line


def test_every_official_file_has_a_checksum():
    for source in SOURCES.values():
        assert len(source.classes) == 10
        assert all(len(bytes.fromhex(sha256)) == 32 for sha256 in source.sha256)
    assert len({sha256 for source in SOURCES.values() for sha256 in source.sha256}) == 12


# The catalogue


def test_the_catalogue_tells_where_sets_lie(tmp_path, monkeypatch, cache):
    def states():
        return {entry.name: (entry.state, entry.path) for entry in catalogue(given)}

    given = tmp_path / "given"
    absent = ("not here", "")
    expected = {
        "digits": ("bundled", ""), "mnist": absent, "fashion_mnist": absent, "kmnist": absent,
    }  # fmt: skip
    assert states() == expected
    assert [entry.name for entry in catalogue()] == list(expected) == list(named_sets.NAMES)

    unpack(given, official(monkeypatch, "mnist"))
    expected["mnist"] = ("checksums hold", str(given))
    assert states() == expected, "the files of one set say nothing of the others"

    unpack(cache / "fashion_mnist", official(monkeypatch, "fashion_mnist", labelled(5)))
    place(given / "kmnist", labelled(6))
    expected["fashion_mnist"] = ("checksums hold", str(cache / "fashion_mnist"))
    expected["kmnist"] = ("checksums differ", str(given / "kmnist"))
    assert states() == expected

    (given / "kmnist" / FIRST).unlink()
    expected["kmnist"] = ("incomplete", "")
    assert states() == expected


# The real thing


def test_real_mnist(data_dir):
    mnist = load("mnist", data_dir, download=False)
    assert mnist.X_train.shape == (60000, 784)
    assert mnist.X_test.shape == (10000, 784)
    assert mnist.X_train.dtype == mnist.X_test.dtype == np.uint8
    assert mnist.image_shape == (28, 28)
    assert np.bincount(mnist.y_train).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert np.bincount(mnist.y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert mnist.y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert catalogue(data_dir)[1].state == "checksums hold"

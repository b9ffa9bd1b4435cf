"""Load named data sets: the bundled digits; MNIST and its kin, found or fetched by checksum."""

import hashlib
import importlib.util
import os
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from mlpax.data.arrays import read_idx
from mlpax.data.dataset import Dataset
from mlpax.errors import InputError, unknown

__all__ = ["NAMES", "SOURCES", "Entry", "catalogue", "fetch", "load"]


class Source(NamedTuple):
    """Where a set's four IDX files come from."""

    description: str
    classes: tuple[int, ...] | tuple[str, ...]
    mirrors: tuple[str, ...]
    sha256: tuple[str, str, str, str]  # of the gzipped FILES


FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
SOURCES = {
    "mnist": Source(
        "handwritten digits, 28x28 (LeCun et al. 1998)",
        tuple(range(10)),
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
    "fashion_mnist": Source(
        "articles of clothing, 28x28 (Xiao et al. 2017)",
        (
            "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
            "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
        ),
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
        (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ),
    "kmnist": Source(
        "cursive hiragana, 28x28 (Clanuwat et al. 2018)",
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        (
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ),
    ),
}  # fmt: skip
NAMES = ("digits", *SOURCES)


def load(
    name: str, data_dir: str | Path | None = None, *, download: bool = True, progress: bool = False
) -> Dataset:
    """Load a named data set.

    The IDX files are looked for in `data_dir` (else the environment's `MLPAX_DATA_DIR`), in its folder
    of the set's name first, gzipped or not; then in the user's cache; then they are downloaded there.
    Files in `data_dir` need not be the official ones, but must not be another set's.

    Parameters
    ----------
    name : {"digits", "mnist", "fashion_mnist", "kmnist"}
        `digits` is bundled with scikit-learn: 1,438 training and 359 test rows of 8x8 pixels.
    data_dir : path, optional
    download : bool, default True
        Whether files may be downloaded; their SHA-256 is checked.
    progress : bool, default False
        Whether to show a bar while downloading.

    Raises
    ------
    InputError
        If the set is unknown, not to be had, or its files are damaged or do not fit each other.
    """
    if name not in NAMES:
        raise unknown("data set", name, NAMES)
    if name == "digits":
        return _digits()
    folders = _folders(name, data_dir)
    files = _look(name, folders)
    where = f"{name} is not in {' or '.join(str(folder) for folder in (*folders, _cache(name)))}"
    if files is None and download:
        try:
            files = _in_folder(fetch(name, progress=progress))
        except InputError as error:
            raise InputError(f"{where}; {error}") from None
    if files is None:
        raise InputError(f"{where}, and downloading is off; {_remedy(name)}")
    images_train, labels_train, images_test, labels_test = files
    X_train, y_train, shape = _pair(images_train, labels_train)
    X_test, y_test, shape_test = _pair(images_test, labels_test)
    if shape != shape_test:
        raise InputError(f"{images_test} has images of {shape_test}, {images_train} of {shape}")
    return Dataset(name, X_train, y_train, X_test, y_test, SOURCES[name].classes, shape)


def _digits() -> Dataset:
    package = importlib.util.find_spec("sklearn")
    home = Path(package.origin or "") if package else Path()
    file = home.parent / "datasets" / "data" / "digits.csv.gz"
    if file.exists():  # the file alone, since importing scikit-learn takes a second
        table = np.loadtxt(file, delimiter=",", dtype=np.float32)
        X, y = table[:, :-1], table[:, -1]
    else:
        from sklearn.datasets import load_digits

        X, y = cast("tuple[np.ndarray, np.ndarray]", load_digits(return_X_y=True))
    X, y = np.asarray(X, np.uint8), np.asarray(y, np.int32)
    generator = np.random.default_rng(0)  # a fixed fifth of each digit's rows is the test set
    test = np.zeros(len(y), bool)
    for digit in range(10):
        rows = generator.permutation(np.flatnonzero(y == digit))
        test[rows[: round(len(rows) / 5)]] = True
    return Dataset("digits", X[~test], y[~test], X[test], y[test], tuple(range(10)), (8, 8))


# Finding and fetching


def _cache(name: str) -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("mlpax")) / name


def _folders(name: str, data_dir: str | Path | None) -> list[Path]:
    """The user's folders that may hold a set, the likeliest first."""
    given = data_dir or os.environ.get("MLPAX_DATA_DIR")  # set to nothing is not set
    return [Path(given) / name, Path(given)] if given else []


def _remedy(name: str) -> str:
    files = ", ".join(f"{file}.gz" for file in FILES)
    return f"place {files} in {_cache(name)}, or train on digits, which needs no download"


def _find(folder: Path, file: str) -> Path | None:
    for spelling in (file, file.replace("-idx", ".idx")):
        for path in (folder / spelling, folder / f"{spelling}.gz"):
            if os.path.isfile(path):  # unlike Path.is_file, never raises
                return path
    return None


def _in_folder(folder: Path) -> list[Path] | None:
    """The four files of a folder; None if it has none of them."""
    found = {file: _find(folder, file) for file in FILES}
    missing = [f"{file}.gz" for file, path in found.items() if path is None]
    if len(missing) == len(FILES):
        return None
    if missing:
        raise InputError(f"{folder} lacks {', '.join(missing)}; all four files are needed")
    return [path for path in found.values() if path is not None]


def _look(name: str, folders: list[Path]) -> list[Path] | None:
    """The four files, in the user's folders or the cache; None if they are not here."""
    for folder in folders:
        if other := _another(name, folder):
            raise InputError(f"the files in {folder} are {other}'s; put {name}'s into {folders[0]}")
        if files := _in_folder(folder):
            return files
    cached = [_find(_cache(name), file) for file in FILES]
    return None if None in cached else [path for path in cached if path]


def _another(name: str, folder: Path) -> str | None:
    """The other set whose labels these are: all sets' files have the same names. Images are large."""
    found = {_sha256(path) for file in FILES if "labels" in file and (path := _find(folder, file))}
    return next((n for n, source in SOURCES.items() if n != name and found & set(source.sha256)), None)


def _sha256(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None


def fetch(name: str, *, progress: bool = False) -> Path:
    """Download a set's files into the user's cache, from the first mirror that gives the right bytes.

    Parameters
    ----------
    name : {"mnist", "fashion_mnist", "kmnist"}
    progress : bool, default False
        Whether to show a bar.

    Returns
    -------
    Path
        The folder that holds the four files; nothing in it is ever half-written.

    Raises
    ------
    InputError
        If the set needs no download or is unknown, or no mirror gives a file of the right SHA-256.
    """
    if name == "digits":
        raise InputError("digits is bundled and needs no download; run mlpax train digits")
    if name not in SOURCES:
        raise unknown("data set", name, SOURCES)
    import pooch
    import requests

    pooch.get_logger().setLevel("ERROR")
    source, folder = SOURCES[name], _cache(name)
    for file, sha256 in zip(FILES, source.sha256, strict=True):
        failures: list[str] = []
        for url in [f"{mirror}{file}.gz" for mirror in source.mirrors] * 2:  # each mirror is tried twice
            bar = _Bar(f"{name} {file}") if progress else None
            http = pooch.HTTPDownloader(progressbar=cast(Any, bar or False), chunk_size=1 << 16, timeout=30)
            try:  # pooch renames a file to its name once its bytes are right
                cast(Any, pooch).retrieve(url, f"sha256:{sha256}", f"{file}.gz", folder, downloader=http)
                break
            except requests.RequestException as error:
                failures.append(f"{url} ({type(error).__name__})")
            except ValueError:
                failures.append(f"{url} (wrong SHA-256)")
            except OSError as error:
                raise InputError(f"cannot write to {folder}: {error.strerror or error}") from None
            finally:
                if bar:
                    bar.close()  # pooch closes it only after a whole download
        else:
            tried = ", ".join(dict.fromkeys(failures))
            raise InputError(f"{name} cannot be downloaded: {tried}; {_remedy(name)}")
    return folder


class _Bar:
    """rich's progress bar in the form that pooch drives."""

    def __init__(self, text: str):
        from rich.console import Console
        from rich.progress import Progress

        self.total = 0
        console = Console(stderr=True)
        # In a pipe the bar would leave an empty line.
        self.progress = Progress(transient=True, console=console, disable=not console.is_terminal)
        self.task = self.progress.add_task(text)
        self.progress.start()

    def update(self, bytes: int) -> None:
        self.progress.update(self.task, total=self.total, advance=bytes)

    def reset(self) -> None:
        self.progress.reset(self.task)

    def close(self) -> None:
        if self.progress.live.is_started:
            self.progress.stop()


class Entry(NamedTuple):
    """A line of the catalogue."""

    name: str
    description: str
    state: str  # "bundled", "checksums hold", "checksums differ", "incomplete" or "not here"
    path: str


def catalogue(data_dir: str | Path | None = None) -> list[Entry]:
    """What sets there are, where they lie, and whether they are the official gzipped files."""
    entries = [Entry("digits", "handwritten digits, 8x8 (scikit-learn's)", "bundled", "")]
    for name, source in SOURCES.items():
        files, state = None, "not here"
        try:
            # A folder of another set's files is an error to load from, but no news here.
            files = _look(name, [f for f in _folders(name, data_dir) if not _another(name, f)])
            if files:
                official = [_sha256(path) for path in files] == list(source.sha256)
                state = "checksums hold" if official else "checksums differ"
        except InputError:
            state = "incomplete"
        entries.append(Entry(name, source.description, state, str(files[0].parent) if files else ""))
    return entries


def _pair(images: Path, labels: Path) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Images as rows of pixels, labels as int32, and the images' shape."""
    X, y = read_idx(images), read_idx(labels)
    if X.ndim != 3 or X.dtype != np.uint8:
        raise InputError(
            f"{images} has shape {X.shape} of {X.dtype}; images are (rows, height, width) of uint8"
        )
    if y.ndim != 1 or y.dtype != np.uint8:
        raise InputError(f"{labels} has shape {y.shape} of {y.dtype}; labels are (rows,) of uint8")
    if len(X) != len(y):
        raise InputError(f"{images} has {len(X)} images, but {labels} {len(y)} labels")
    if y.max() > 9:
        row = int(np.argmax(y > 9))
        raise InputError(f"{labels} has label {y[row]} at row {row}; labels are 0 to 9")
    return X.reshape(len(X), -1), y.astype(np.int32), (X.shape[1], X.shape[2])

"""Pictures from a folder with one sub-folder a class, read once and kept as one array."""

import hashlib
import io
import math
import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeVar

import numpy as np

from mlpax.errors import InputError
from mlpax.files import atomic

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["SUFFIXES", "Images", "read_image_folder", "read_pictures"]

SUFFIXES = (".png", ".jpg", ".jpeg")
FORMAT = 1  # of the cache; another number makes all that was kept unknown

Item = TypeVar("Item")
Result = TypeVar("Result")


class Images(NamedTuple):
    """Pictures of one size as rows.

    Attributes
    ----------
    X : array of shape (pictures, height * width * channels), uint8
        Row-major, the channels of a pixel side by side.
    y : array of shape (pictures,), int32
        Labels in 0 .. len(classes) - 1.
    classes : tuple of str
        The sub-folders' names, sorted.
    shape : tuple of int
        (height, width) of a grey row, (height, width, 3) of one in colour.
    """

    X: np.ndarray
    y: np.ndarray
    classes: tuple[str, ...]
    shape: tuple[int, ...]


def read_image_folder(
    path: str | Path,
    *,
    size: int = 28,
    colour: bool = False,
    skip_bad: bool = False,
    progress: bool = False,
    notice: Callable[[str], object] = lambda text: None,
) -> Images:
    """Read the PNG and JPEG files of a folder that has a sub-folder for each class.

    Pictures lie in the sub-folders at any depth; hidden files and folders, other files and what linked
    folders within a class hold are passed over. The rows are in the order of the classes, then of the
    paths within them. What is transparent is read as white, deeper pixels as their upper 8 bits. The
    array is kept in the user's cache, where the same files with the same settings find it again.

    Parameters
    ----------
    path : path
    size : int, default 28
        Height and width in pixels, at least 1, to which pictures of another size are resized.
    colour : bool, default False
        Whether to keep red, green and blue, not only grey.
    skip_bad : bool, default False
        Whether to leave out the files that cannot be read.
    progress : bool, default False
        Whether to show a bar on stderr.
    notice : callable, optional
        Is told of pictures left out, in one line.

    Returns
    -------
    Images

    Raises
    ------
    InputError
        If the size is out of range, the folder is missing or a file, has fewer than two classes or one
        without pictures, or a file is damaged or of more pixels than Pillow thinks safe.
    """
    _check_size(size)
    found = _scan(os.fspath(path))
    names = [f"{label}/{name}" for label in found for name in found[label]]
    files = [os.path.join(path, name) for name in names]
    y = np.repeat(np.arange(len(found), dtype=np.int32), [len(inside) for inside in found.values()])
    shape = (size, size, 3) if colour else (size, size)
    settings = f"mlpax images {FORMAT}: size {size}, colour {bool(colour)}, skip_bad {bool(skip_bad)}"

    cache = _cache(settings, names, _each(_fingerprint, files, "looking at pictures", progress))
    cached = _cached(cache, len(files), math.prod(shape), skip_bad)
    if cached:
        X, kept = cached
    else:
        X, kept, fingerprints = _read(files, shape, skip_bad, progress)
        # Of the bytes that were read now, should a file have changed since it was looked at.
        _keep(_cache(settings, names, fingerprints), X, kept)
    y = y[kept]
    _check_classes(path, found, y)
    _tell_left_out(files, kept, notice)
    return Images(X, y, tuple(found), shape)


def read_pictures(
    path: str | Path,
    shape: tuple[int, ...],
    *,
    skip_bad: bool = False,
    progress: bool = False,
    notice: Callable[[str], object] = lambda text: None,
) -> tuple[np.ndarray, list[str]]:
    """Read a picture, or all of a folder at any depth in the order of their paths, without classes.

    Parameters
    ----------
    path : path
    shape : tuple of int
        (height, width), or (height, width, 3) in colour, to which they are resized.
    skip_bad, progress, notice
        See `read_image_folder`.

    Returns
    -------
    X : array of shape (pictures, height * width * channels), uint8
    names : list of str
        Their paths within the folder; of a picture its name.

    Raises
    ------
    InputError
        If there is none, or one cannot be read.
    """
    path = os.fspath(path)
    folder, names = os.path.split(path)[0], [os.path.basename(path)]
    if os.path.isdir(path):
        folder, names = path, sorted(_pictures(path))
    if not names:
        raise InputError(f"{path} holds no PNG or JPEG files")
    files = [os.path.join(folder, name) for name in names]
    X, kept, _ = _read(files, shape, skip_bad, progress)
    if not kept.any():
        raise InputError(f"{path} has no picture that can be read")
    _tell_left_out(files, kept, notice)
    return X, [name for name, good in zip(names, kept, strict=True) if good]


def _tell_left_out(files: Sequence[str], kept: np.ndarray, notice: Callable[[str], object]) -> None:
    if not kept.all():
        first = files[int(np.argmin(kept))]
        notice(f"left out {np.sum(~kept)} of {len(kept)} pictures that cannot be read, the first {first}")


def _check_size(size: object) -> None:
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise InputError(f"size is {size!r}, but must be an integer of at least 1, in pixels")


# Finding the files


def _scan(path: str) -> dict[str, list[str]]:
    """The relative paths of each class's pictures, with slashes; both sorted."""
    if not os.path.isdir(path):
        said = "is a file" if os.path.exists(path) else "does not exist"
        raise InputError(f"{path} {said}; give a folder with a sub-folder for each class")
    try:
        with os.scandir(path) as entries:
            classes = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    except OSError as error:
        _refuse(error)
    if not classes:
        raise InputError(
            f"{path} has no sub-folders; give one for each class, with PNG or JPEG files in them"
        )
    found = {name: sorted(_pictures(os.path.join(path, name))) for name in classes}
    for name, inside in found.items():
        if not inside:
            raise InputError(
                f"{os.path.join(path, name)} has no PNG or JPEG files; put some there or remove the folder"
            )
    if len(classes) < 2:
        raise InputError(f"{path} has the one class {classes[0]}; at least two sub-folders are needed")
    return found


def _pictures(folder: str) -> list[str]:
    found: list[str] = []
    for inside, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            file = os.path.join(inside, name)
            if name.startswith(".") or not name.lower().endswith(SUFFIXES):
                continue
            # A pipe would never end; a link to nothing is a picture lost, which must be told.
            if os.path.isfile(file) or not os.path.exists(file):
                found.append(os.path.relpath(file, folder) if inside != folder else name)
    return [name.replace(os.sep, "/") for name in found]


def _refuse(error: OSError) -> NoReturn:
    raise InputError(f"{error.filename} cannot be read: {error.strerror or error}") from None


def _check_classes(path: str | Path, found: dict[str, list[str]], y: np.ndarray) -> None:
    """Refuse to go on where leaving out pictures has emptied a class."""
    for label, name in enumerate(found):
        if not np.any(y == label):
            raise InputError(f"{os.path.join(path, name)} has no picture that can be read")


# Reading them


def _each(
    function: Callable[[Item], Result], items: Sequence[Item], text: str, progress: bool
) -> list[Result]:
    """`function` of each item, worked out in threads; of several errors the first item's is raised."""
    from concurrent.futures import ThreadPoolExecutor

    from rich.console import Console
    from rich.progress import Progress

    step = 1 + min(15, len(items) // 100)  # a thread's errand costs more than a small file
    batches = [items[start : start + step] for start in range(0, len(items), step)]
    console = Console(stderr=True)
    # In a pipe the bar would leave an empty line.
    bar = Progress(transient=True, console=console) if progress and console.is_terminal else None
    task = bar.add_task(text, total=len(items)) if bar else None
    results: list[Result] = []
    pool = ThreadPoolExecutor()
    with bar or nullcontext():
        try:
            for batch in pool.map(lambda batch: [function(item) for item in batch], batches):
                results += batch
                if bar and task is not None:
                    bar.update(task, completed=len(results))
        finally:
            pool.shutdown(cancel_futures=True)  # an error or Ctrl-C does not wait for the rest
    return results


def _content(file: str) -> bytes:
    with open(file, "rb", buffering=0) as opened:
        return opened.readall()


def _fingerprint(file: str) -> bytes:
    """SHA-256 of a file's bytes; nothing where it cannot be read."""
    try:
        return hashlib.sha256(_content(file)).digest()
    except OSError:
        return b""


def _read(
    files: Sequence[str], shape: tuple[int, ...], skip_bad: bool, progress: bool
) -> tuple[np.ndarray, np.ndarray, list[bytes]]:
    """Rows of the readable pictures, which of all those are, and each file's fingerprint."""
    from PIL import Image

    try:
        X = np.empty((len(files), math.prod(shape)), np.uint8)
    except (MemoryError, OverflowError, ValueError):
        raise InputError(
            f"{len(files)} pictures of size {shape[0]} do not fit into memory; choose a smaller --size"
        ) from None

    def read(row: int) -> tuple[bool, bytes]:
        fingerprint = b""
        try:
            content = _content(files[row])
            fingerprint = hashlib.sha256(content).digest()
            X[row] = _pixels(content, shape).reshape(-1)
        except Exception as error:  # Pillow's decoders let many kinds through
            if not skip_bad or isinstance(error, MemoryError):  # which is no fault of the file's
                raise InputError(
                    f"{files[row]} is no picture that can be read: {_reason(error)}; replace it, or leave"
                    " such files out with --skip-bad"
                ) from None
            return False, fingerprint
        return True, fingerprint

    Image.preinit()  # here, since threads would do it all at once
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of oddities in what is readable nonetheless
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        results = _each(read, range(len(files)), "reading pictures", progress)
    kept = np.array([good for good, _ in results])
    return X if kept.all() else X[kept], kept, [fingerprint for _, fingerprint in results]


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "it is neither PNG nor JPEG"  # Pillow names a buffer
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.split())[:200].rstrip(".") or type(error).__name__


def _pixels(content: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """A file's picture as array of this shape, uint8."""
    from PIL import Image

    image = Image.open(io.BytesIO(content), formats=("PNG", "JPEG"))
    image.load()
    if image.format == "PNG":
        _rescale_key(image, depth=content[24])  # where every PNG file states it
    if image.mode.startswith("I"):
        whole = _upper_bits(image)
    elif image.has_transparency_data:  # before resizing, which would mix in the colour of what is not seen
        whole = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    else:
        whole = image
    whole = whole.convert("L" if len(shape) == 2 else "RGB")
    if whole.size != (shape[1], shape[0]):
        whole = whole.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(whole)


def _upper_bits(image: "Image.Image") -> "Image.Image":
    """A 16-bit grey picture in 8 bits, over white; Pillow's own conversion clips at 255."""
    from PIL import Image

    deep = np.asarray(image)
    grey = (deep >> 8).astype(np.uint8)
    grey[deep == image.info.get("transparency", -1)] = 255
    return Image.fromarray(grey)


def _rescale_key(image: "Image.Image", depth: int) -> None:
    """Bring the colour stated transparent to the 8 bits that Pillow brings the pixels to."""
    key = image.info.get("transparency")
    if image.mode == "L" and depth in (2, 4) and isinstance(key, int):
        image.info["transparency"] = key * 255 // (2**depth - 1)
    elif image.mode == "RGB" and depth == 16 and isinstance(key, tuple):
        image.info["transparency"] = tuple(part >> 8 for part in key)


# The cache


def _cache(settings: str, names: Sequence[str], fingerprints: Sequence[bytes]) -> Path:
    """Where the array of these files, read with these settings, is kept."""
    import platformdirs

    digest = hashlib.sha256(settings.encode())
    for name, fingerprint in zip(names, fingerprints, strict=True):
        digest.update(b"\0%b\0%d\0%b" % (os.fsencode(name), len(fingerprint), fingerprint))
    return Path(platformdirs.user_cache_dir("mlpax")) / "images" / f"{digest.hexdigest()}.npz"


def _cached(
    cache: Path, pictures: int, features: int, skip_bad: bool
) -> tuple[np.ndarray, np.ndarray] | None:
    """Rows and which pictures they are of; None where nothing whole is kept. Labels are the folders'."""
    try:
        # NumPy leaves open what it opened and then finds damaged.
        with open(cache, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            X, kept = arrays["X"], arrays["kept"]
    except Exception:  # a damaged file can raise anything, and is replaced
        return None
    if kept.dtype != np.bool_ or kept.shape != (pictures,) or not (skip_bad or kept.all()):
        return None
    if X.dtype != np.uint8 or X.shape != (np.sum(kept), features):
        return None
    return X, kept


def _keep(cache: Path, X: np.ndarray, kept: np.ndarray) -> None:
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with atomic(cache) as file:
            np.savez(file, X=X, kept=kept)
    except OSError:
        pass  # a full or read-only disk costs time at the next call, and nothing else

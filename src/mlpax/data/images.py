"""Pictures from a folder with one sub-folder a class, as the rows of one array."""

import hashlib
import io
import math
import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar, cast

import numpy as np

from mlpax.data import image_cache
from mlpax.data.memory import memory_limit, refuse_beyond, shared
from mlpax.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["SUFFIXES", "UNREAD", "Images", "decoded", "holds_pictures", "read_image_folder", "read_pictures"]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")  # Pillow opens no other, whatever a file is called
READ = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif")
UNREAD = (".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".ppm", ".pgm", ".svg")
SETS = {"train", "training", "test", "testing", "val", "valid", "validation"}  # of examples, not classes
COPIES = 3  # of the rows that are in memory while some are held out
PIXEL = 20  # bytes that one takes while a picture is decoded, laid over white and resized
BLOCK = 64 * 2**20
AT_ONCE = 2 * 2**30  # bytes that all threads together decode into

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


def background(X: np.ndarray, shape: tuple[int, ...]) -> str:
    """Return "dark" or "light" if the edges of pictures are nearly all so; else an empty text.

    Parameters
    ----------
    X : array of shape (pictures, height * width * channels), uint8
    shape : tuple of int
        (height, width), or (height, width, 3) in colour.
    """
    if X.dtype != np.uint8 or len(X) == 0 or min(shape[:2]) < 3:
        return ""
    inside = np.zeros(shape, bool)
    inside[1:-1, 1:-1] = True
    edge = X[:1000].reshape(-1, inside.size)[:, ~inside.ravel()]
    return "dark" if (edge < 64).mean() > 0.8 else "light" if (edge > 191).mean() > 0.8 else ""


def read_image_folder(
    path: str | Path,
    *,
    size: int | tuple[int, ...] = 28,
    colour: bool = False,
    skip_bad: bool = False,
    progress: bool = False,
    notice: Callable[[str], object] = lambda text: None,
    memory: str | None = None,
) -> Images:
    """Read the pictures (PNG, JPEG, WEBP, BMP, GIF) of a folder that has a sub-folder for each class.

    They lie in the sub-folders at any depth; hidden files and folders, other files and what linked folders
    within a class hold are passed over. The rows are in the order of the classes, then of the paths within
    them. Pictures are turned as EXIF says they were held, of an animation the first is read, what is
    transparent as white, deeper pixels as their upper 8 bits. The array is kept in the user's cache, where
    the same files with the same settings find it again.

    Parameters
    ----------
    path : path
    size : int or tuple of int, default 28
        Height and width in pixels, one number or two, at least 1, to which other pictures are resized.
    colour : bool, default False
        Whether to keep red, green and blue, not only grey.
    skip_bad : bool, default False
        Whether to leave out the files that cannot be read.
    progress : bool, default False
        Whether to show a bar on stderr.
    notice : callable, optional
        Is told in a line of pictures left out, and of those in formats that are not read.
    memory : str, optional
        The most memory that the pictures may take, such as "4G"; by default half of what is available.

    Returns
    -------
    Images

    Raises
    ------
    InputError
        If the size is out of range, the folder is missing, a file, or has fewer than two classes, an empty
        one or sets in their place, a file is damaged or of more pixels than Pillow thinks safe, or the
        pictures take too much memory.
    """
    sides = _sides(size)
    unread: list[str] = []
    found = _scan(os.fspath(path), unread)
    _tell_unread(unread, notice)
    names = [f"{label}/{name}" for label in found for name in found[label]]
    files = [os.path.join(path, name) for name in names]
    y = np.repeat(np.arange(len(found), dtype=np.int32), [len(inside) for inside in found.values()])
    shape = (*sides, 3) if colour else sides
    refuse_beyond(path, COPIES * len(files) * math.prod(shape), memory)
    settings = f"shape {shape}, skip_bad {bool(skip_bad)}"

    cache = image_cache.place(settings, names, _each(_fingerprint, files, "looking at pictures", progress))
    cached = image_cache.find(cache, len(files), math.prod(shape), skip_bad)
    if cached:
        X, kept = cached
    else:
        X, kept, fingerprints = _read(files, shape, skip_bad, progress, memory)
        # Of the bytes that were read now, should a file have changed since it was looked at.
        image_cache.keep(image_cache.place(settings, names, fingerprints), X, kept)
    y = y[kept]
    for label, name in enumerate(found):  # leaving out pictures may have emptied a class
        if not np.any(y == label):
            raise InputError(f"{os.path.join(path, name)} has no picture that can be read")
    _tell_left_out(files, kept, notice)
    return Images(X, y, tuple(found), shape)


def read_pictures(
    path: str | Path,
    shape: tuple[int, ...],
    *,
    skip_bad: bool = False,
    progress: bool = False,
    notice: Callable[[str], object] = lambda text: None,
    memory: str | None = None,
) -> tuple[np.ndarray, list[str]]:
    """Read a picture, or all that `read_image_folder` finds and those beside them, without classes.

    Parameters
    ----------
    path : path
    shape : tuple of int
        (height, width), or (height, width, 3) in colour, to which they are resized.
    skip_bad, progress, notice, memory
        See `read_image_folder`.

    Returns
    -------
    X : array of shape (pictures, height * width * channels), uint8
    names : list of str
        Their paths within the folder, sorted; of a picture its name. What is no UTF-8 is escaped.

    Raises
    ------
    InputError
        If there is none, or one cannot be read.
    """
    path = os.fspath(path)
    folder, names = os.path.split(path)[0], [os.path.basename(path)]
    if os.path.isdir(path):
        unread: list[str] = []
        folder, names = path, _pictures(path, unread)
        for name in _folders(path):
            if os.path.islink(linked := os.path.join(path, name)):
                names += [f"{name}/{inside}" for inside in _pictures(linked, unread)]
        names.sort()
        _tell_unread(unread, notice)
    if not names:
        raise InputError(f"{path} holds no {READ} files")
    files = [os.path.join(folder, name) for name in names]
    refuse_beyond(path, COPIES * len(files) * math.prod(shape), memory)
    X, kept, _ = _read(files, shape, skip_bad, progress, memory)
    if not kept.any():
        raise InputError(f"{path} has no picture that can be read")
    _tell_left_out(files, kept, notice)
    return X, [_text(name) for name, good in zip(names, kept, strict=True) if good]


def _tell_left_out(files: Sequence[str], kept: np.ndarray, notice: Callable[[str], object]) -> None:
    if not kept.all():
        first = files[int(np.argmin(kept))]
        notice(f"left out {np.sum(~kept)} of {len(kept)} pictures that cannot be read, the first {first}")


def _tell_unread(files: Sequence[str], notice: Callable[[str], object]) -> None:
    if files:
        notice(f"passed over {len(files)} pictures that are not {READ}, as {min(files)}; convert them to PNG")


def _sides(size: Any) -> tuple[int, int]:
    sides = cast("tuple[Any, ...]", size) if isinstance(size, tuple) else (size, size)
    if len(sides) != 2 or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in sides):
        raise InputError(f"size is {size!r}, but must be an integer of at least 1, in pixels, or two")
    return sides[0], sides[1]


# Finding the files


def _scan(path: str, unread: list[str]) -> dict[str, list[str]]:
    """The relative paths of each class's pictures, with slashes; both sorted."""
    if not os.path.isdir(path):
        said = "is a file" if os.path.exists(path) else "does not exist"
        raise InputError(f"{path} {said}; give a folder with a sub-folder for each class")
    classes = _folders(path)
    if not classes:
        raise InputError(f"{path} has no sub-folders; give one for each class, with {READ} files in them")
    found = {name: sorted(_pictures(os.path.join(path, name), unread)) for name in classes}
    for name, inside in found.items():
        folder = os.path.join(path, name)
        if _text(name) != name:
            raise InputError(f"{_text(folder)} has a name that is not UTF-8, as a class's must be; rename it")
        if not inside:
            raise InputError(f"{folder} has no {READ} files; put some there or remove the folder")
    if len(classes) < 2:
        raise InputError(f"{path} has the one class {classes[0]}; at least two sub-folders are needed")
    if SETS.issuperset(map(str.lower, found)) and any(all("/" in n for n in found[name]) for name in found):
        train, test, *_ = sorted(classes, key=lambda name: not name.lower().startswith("train"))
        raise InputError(
            f"{path} has sets of examples, {', '.join(classes)}, not classes; train on"
            f" {os.path.join(path, train)} and evaluate on {os.path.join(path, test)}"
        )
    return found


def holds_pictures(path: str | Path) -> bool:
    """Whether a folder has pictures in its sub-folders."""
    return any(
        name.lower().endswith(SUFFIXES) and not name.startswith(".")
        for folder in _folders(os.fspath(path))
        for _, _, names in os.walk(os.path.join(path, folder))
        for name in names
    )


def _folders(path: str) -> list[str]:
    """The names of the folders in this one, linked ones too, sorted."""
    try:
        with os.scandir(path) as entries:
            shown = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
        for e in shown:  # what may have been a class is lost, which must be told
            if e.is_symlink() and not os.path.exists(e.path) and not e.name.lower().endswith(SUFFIXES):
                raise InputError(f"{_text(e.path)} is a link to nothing; mend or remove it")
        return [e.name for e in shown if e.is_dir()]
    except OSError as error:
        _refuse(error)


def _pictures(folder: str, unread: list[str]) -> list[str]:
    """The relative paths of the pictures, with slashes; those of formats that are not read are appended."""
    found: list[str] = []
    for inside, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            file = os.path.join(inside, name)
            if name.startswith(".") or not name.lower().endswith(SUFFIXES + UNREAD):
                continue
            if name.lower().endswith(UNREAD):
                unread.append(file)
            # A pipe would never end; a link to nothing is a picture lost, which must be told.
            elif os.path.isfile(file) or not os.path.exists(file):
                found.append(os.path.relpath(file, folder) if inside != folder else name)
    return [name.replace(os.sep, "/") for name in found]


def _text(name: str) -> str:
    """A file's name with the bytes escaped that are no UTF-8, and else as it is."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _refuse(error: OSError) -> NoReturn:
    raise InputError(f"{error.filename} cannot be read: {error.strerror or error}") from None


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

    def each_of(batch: Sequence[Item]) -> list[Result]:
        return [function(item) for item in batch]

    pool = ThreadPoolExecutor()
    with bar or nullcontext():
        try:
            for batch in pool.map(each_of, batches):
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
        with open(file, "rb", buffering=0) as opened:
            return hashlib.file_digest(opened, "sha256").digest()
    except OSError:
        return b""


def _read(
    files: Sequence[str], shape: tuple[int, ...], skip_bad: bool, progress: bool, memory: str | None
) -> tuple[np.ndarray, np.ndarray, list[bytes]]:
    """Rows of the readable pictures, which of all those are, and each file's fingerprint."""
    from PIL import Image

    X = np.empty((len(files), math.prod(shape)), np.uint8)
    most = min(AT_ONCE, memory_limit(memory))
    room_for_files, room_for_pixels = shared(most // 2), shared(most)  # entered in this order by all threads

    def read(row: int) -> tuple[bool, bytes]:
        fingerprint = b""
        try:
            size = os.stat(files[row]).st_size
            refuse_beyond(files[row], size, memory)
            with room_for_files(size):
                content = _content(files[row])
                fingerprint = hashlib.sha256(content).digest()
                image = Image.open(io.BytesIO(content), formats=FORMATS)
                taken = PIXEL * math.prod(image.size) + PIXEL * math.prod(shape)
                refuse_beyond(files[row], taken, memory)
                with room_for_pixels(taken):
                    X[row] = _pixels(image, content, shape).reshape(-1)
        except InputError:
            raise
        except Exception as error:  # Pillow's decoders let many kinds through
            if not skip_bad or isinstance(error, MemoryError):  # which is no fault of the file's
                raise InputError(
                    f"{files[row]} is no picture that can be read: {_reason(error)}; replace it, or leave"
                    " such files out with --skip-bad"
                ) from None
            return False, fingerprint
        return True, fingerprint

    # Pillow's usual blocks of 16 MB stay with the thread that freed them; larger ones go back.
    Image.core.set_block_size(BLOCK)
    Image.init()  # here, since threads would do it all at once
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of oddities in what is readable nonetheless
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        results = _each(read, range(len(files)), "reading pictures", progress)
    kept = np.array([good for good, _ in results])
    return X if kept.all() else X[kept], kept, [fingerprint for _, fingerprint in results]


def decoded(
    content: bytes, shape: tuple[int, ...], *, formats: tuple[str, ...], most_pixels: int
) -> np.ndarray:
    """Return the picture that a file's bytes hold, resized, as a row.

    Parameters
    ----------
    content : bytes
    shape : tuple of int
        (height, width), or (height, width, 3) in colour.
    formats : tuple of str
        The formats that may be read, of `FORMATS`.
    most_pixels : int
        A picture of more pixels is refused before it is decoded.

    Returns
    -------
    array of shape (height * width * channels,), uint8

    Raises
    ------
    InputError
        If the bytes are no such picture, or are damaged.
    """
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(content), formats=formats)
        if math.prod(image.size) > most_pixels:
            sides = " x ".join(map(str, image.size))
            raise InputError(f"the picture has {sides} pixels; send one of at most {most_pixels:,} in all")
        return _pixels(image, content, shape).reshape(-1)
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise InputError(f"the picture has too many pixels; send one of at most {most_pixels:,}") from None
    except Exception as error:  # Pillow's decoders let many kinds through
        if isinstance(error, MemoryError):
            raise
        wanted = " or ".join(formats)
        raise InputError(
            f"the picture cannot be read: {_reason(error, wanted)}; send a whole {wanted} file"
        ) from None


def _reason(error: Exception, wanted: str = READ) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return f"it is not {wanted}"  # Pillow names a buffer
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.split())[:200].rstrip(".") or type(error).__name__


def _pixels(image: "Image.Image", content: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """A file's picture, opened but not decoded, as array of this shape, uint8."""
    from PIL import Image, ImageOps

    image.load()
    if image.format == "PNG":
        _rescale_key(image, depth=content[24])  # where every PNG file states it
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception as error:  # many kinds, of damaged EXIF, which makes no picture unreadable
        if isinstance(error, MemoryError):
            raise
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
        image.info["transparency"] = tuple(part >> 8 for part in cast("tuple[int, ...]", key))

"""A folder of pictures comes as the array that Pillow makes by hand, or with one line that says why not."""

import io
import os
import shutil
import struct
import sys
import threading
import time
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from mlpax.atomic import TEMPORARY
from mlpax.data import image_cache, images
from mlpax.data.images import READ, Images, read_image_folder, read_pictures
from mlpax.errors import InputError


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """An empty cache."""
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache" / name))
    return tmp_path / "cache" / "mlpax" / "images"


@pytest.fixture
def undecoded(monkeypatch):
    """Call it, and from then on no picture is decoded."""

    def refuse(*args, **kwargs):
        raise AssertionError("a picture is decoded")

    return lambda: monkeypatch.setattr(Image, "open", refuse)


def says(function, *args, **kwargs) -> str:
    """The one line with which a call is refused."""
    with pytest.raises(InputError) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def noise(*shape, seed=0, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def save(path, pixels, **kwargs):
    """Write an array, or a picture, under this name; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(path, **kwargs)
    return path


def png(width, height, depth, kind, rows, *extra) -> bytes:
    """A PNG file by hand: colour type `kind`, rows as bytes, and chunks before the pixels."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunk(*e) for e in extra) + pixels + chunk(b"IEND", b"")


@pytest.fixture
def folder(tmp_path):
    """Two classes of three pictures of 4x4 pixels."""
    for i in range(6):
        save(tmp_path / "data" / ("cat", "dog")[i // 3] / f"{i}.png", noise(4, 4, seed=i))
    return tmp_path / "data"


def one(tmp_path, content, name="x.png", **kwargs):
    """The pixels that one file is read as, of the shape of a picture."""
    shutil.rmtree(tmp_path / "one", ignore_errors=True)
    save(tmp_path / "one" / "b" / "other.png", np.zeros((2, 2), np.uint8))
    path = tmp_path / "one" / "a" / name
    path.parent.mkdir()
    path.write_bytes(content)
    found = read_image_folder(tmp_path / "one", **kwargs)
    return found.X[0].reshape(found.shape)


def encoded(picture, kind="PNG", **kwargs) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **kwargs)
    return file.getvalue()


# Files, order, labels


def test_rows_are_the_pictures_in_order(folder):
    found = read_image_folder(folder, size=4)
    assert isinstance(found, Images)
    assert (found.X.dtype, found.y.dtype) == (np.uint8, np.int32)
    assert found.classes == ("cat", "dog")
    assert found.shape == (4, 4)
    assert found.y.tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(found.X, [noise(4, 4, seed=i).ravel() for i in range(6)])


def test_classes_and_paths_are_sorted_at_any_depth(tmp_path):
    names = [
        "b/10.png",
        "b/9.PNG",
        "b/a/deep/er/1.png",
        "b/z.png",
        "B/x.png",
        "a-b/x.png",
        "a/x.jPeG",
        "é/x.JPG",
    ]
    for i, name in enumerate(names):
        save(tmp_path / "d" / name, np.full((2, 2), i * 20, np.uint8))
    for passed in ("b/.hidden.png", "b/.thumbs/x.png", ".git/x.png", "b/x.tif", "loose.png"):
        save(tmp_path / "d" / passed, np.full((2, 2), 255, np.uint8))
    (tmp_path / "d" / "b" / "notes.txt").write_text("no picture")
    found = read_image_folder(str(tmp_path / "d"), size=2)
    assert found.classes == ("B", "a", "a-b", "b", "é")
    assert found.y.tolist() == [0, 1, 2, 3, 3, 3, 3, 4]
    assert (found.X[:, 0] // 20).tolist() == [4, 6, 5, 0, 1, 2, 3, 7]


def test_many_batches_keep_the_order(tmp_path):
    for i in range(250):
        save(tmp_path / "d" / str(i % 2) / f"{i:03}.png", np.full((1, 1), i, np.uint8))
    found = read_image_folder(tmp_path / "d", size=1)
    assert found.X.ravel().tolist() == [*range(0, 250, 2), *range(1, 250, 2)]
    assert found.y.tolist() == [0] * 125 + [1] * 125


def test_links_are_read_but_pipes_are_not(folder, tmp_path):
    elsewhere = save(tmp_path / "elsewhere" / "x.png", noise(4, 4, seed=9))
    (folder / "cat" / "3.png").symlink_to(elsewhere)
    (folder / "mouse").symlink_to(elsewhere.parent)
    os.mkfifo(folder / "cat" / "4.png")
    found = read_image_folder(folder, size=4)
    assert found.y.tolist() == [0, 0, 0, 0, 1, 1, 1, 2]
    np.testing.assert_array_equal(found.X[[3, 7]], [noise(4, 4, seed=9).ravel()] * 2)
    elsewhere.unlink()
    save(elsewhere.with_name("y.png"), noise(4, 4))
    assert f"{folder / 'cat' / '3.png'} is no picture that can be read: No such file" in says(
        read_image_folder, folder
    )


def test_linked_classes_are_predicted_as_they_are_trained_on(folder, tmp_path):
    save(tmp_path / "elsewhere" / "deep" / "x.png", noise(4, 4, seed=9))
    (folder / "mouse").symlink_to(tmp_path / "elsewhere")
    (folder / "cat" / "linked").symlink_to(tmp_path / "elsewhere")  # within a class none is followed
    (folder / "cat" / "loop").symlink_to(folder)
    trained = read_image_folder(folder, size=4)
    X, names = read_pictures(folder, (4, 4))
    assert names == [f"{'cat' if i < 3 else 'dog'}/{i}.png" for i in range(6)] + ["mouse/deep/x.png"]
    np.testing.assert_array_equal(X, trained.X)


def test_a_class_that_is_a_link_to_nothing_is_told(folder):
    (folder / "mouse").symlink_to("nowhere")
    for call in (lambda: read_image_folder(folder), lambda: read_pictures(folder, (4, 4))):
        assert says(call) == f"{folder / 'mouse'} is a link to nothing; mend or remove it"
    (folder / "mouse").rename(folder / "lost.png")  # a picture, and none of a class
    assert len(read_image_folder(folder).y) == 6
    assert f"{folder / 'lost.png'} is no picture" in says(read_pictures, folder, (4, 4))
    assert len(read_pictures(folder, (4, 4), skip_bad=True)[0]) == 6


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
def test_names_that_are_no_utf8_are_refused_or_escaped(folder):
    save(folder / "cat" / os.fsdecode(b"\xff.png"), noise(4, 4, seed=9))
    assert len(read_image_folder(folder).y) == 7, "the name of a picture is no matter"
    X, names = read_pictures(folder, (4, 4))
    assert names[3] == r"cat/\xff.png"
    np.testing.assert_array_equal(X[3], noise(4, 4, seed=9).ravel())
    save(folder / os.fsdecode(b"caf\xe9") / "x.png", noise(4, 4))
    line = f"{folder}/caf\\xe9 has a name that is not UTF-8, as a class's must be; rename it"
    assert says(read_image_folder, folder) == line
    assert read_pictures(folder, (4, 4))[1][0] == r"caf\xe9/x.png"


# Pixels


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("given", [(40, 30), (28, 28), (3, 5), (28, 20)])
def test_pictures_are_resized_as_pillow_does(tmp_path, colour, given):
    picture = Image.fromarray(noise(*given, 3))
    expected = picture.convert("RGB" if colour else "L")
    if given != (28, 28):
        expected = expected.resize((28, 28), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(one(tmp_path, encoded(picture), colour=colour), np.asarray(expected))


@pytest.mark.parametrize("colour", [False, True])
def test_pictures_need_not_be_square(folder, cache, colour):
    X, _ = read_pictures(folder, (3, 5, 3) if colour else (3, 5))
    for _ in range(2):
        found = read_image_folder(folder, size=(3, 5), colour=colour)
        assert found.shape == ((3, 5, 3) if colour else (3, 5))
        np.testing.assert_array_equal(found.X, X)
    read_image_folder(folder, size=(5, 3), colour=colour)
    assert len(list(cache.iterdir())) == 2
    assert same(read_image_folder(folder, size=(4, 4)), read_image_folder(folder, size=4))


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("kind", ["WEBP", "BMP", "GIF", "GIF of two"])
def test_other_formats_are_as_pillow_converts_them(tmp_path, kind, colour):
    others = {"save_all": True, "append_images": [Image.new("RGB", (9, 9))]} if kind == "GIF of two" else {}
    content = encoded(Image.fromarray(noise(9, 9, 3)), kind.split()[0], **others)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB" if colour else "L"))
    name = f"x.{kind.split()[0].lower()}"
    np.testing.assert_array_equal(one(tmp_path, content, name, size=9, colour=colour), expected)


@pytest.mark.parametrize("kind", ["WEBP", "GIF"])
def test_other_formats_are_laid_over_white(tmp_path, kind):
    pixels = np.zeros((6, 6, 4), np.uint8)
    pixels[:3, :, 3] = 255
    content = encoded(Image.fromarray(pixels), kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert one(tmp_path, content, size=6)[:, 0].tolist() == [0] * 3 + [255] * 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "16 bits", "palette", "alpha"])
def test_pictures_are_turned_as_they_were_held(tmp_path, kind, orientation):
    stored = np.repeat(np.repeat(np.array([[0, 60, 120], [180, 240, 30]], np.uint8), 16, 0), 16, 1)
    turned = {
        1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1], 5: stored.T,
        6: stored[::-1].T, 7: stored[::-1, ::-1].T, 8: stored[:, ::-1].T,
    }[orientation]  # fmt: skip
    picture = Image.fromarray(stored)
    if kind == "16 bits":
        picture = Image.fromarray(stored.astype(np.uint16) << 8)
    elif kind == "palette":
        picture = picture.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE)
    elif kind == "alpha":
        picture.putalpha(255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(picture, kind if kind in ("JPEG", "WEBP") else "PNG", exif=exif)
    found = one(tmp_path, content, size=turned.shape)
    np.testing.assert_allclose(found.astype(int), turned, atol=8)


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"no EXIF", b"II*\0\x08\0\0\0\xff\xff\x12\x01"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_makes_no_picture_unreadable(tmp_path, kind, exif):
    assert (one(tmp_path, encoded(Image.new("L", (4, 4)), kind, exif=exif)) < 8).all()


def test_exif_that_cannot_be_written_anew_still_turns(tmp_path):
    """Pillow turns first and raises then."""
    entries = struct.pack("<HHHIIHHIIHHIII", 2, 0x0112, 3, 1, 6, 0x0131, 5, 1, 38, 0, 0, 0, 1, 1)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + entries
    content = encoded(Image.fromarray(np.array([[0, 255]], np.uint8)), exif=exif)
    assert one(tmp_path, content, size=(2, 1)).tolist() == [[0], [255]]


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK"])
def test_opaque_modes_are_as_pillow_converts_them(tmp_path, mode, colour):
    picture = Image.fromarray(noise(9, 9, 3)).convert(mode)
    content = encoded(picture, "JPEG" if mode == "CMYK" else "PNG")
    expected = Image.open(io.BytesIO(content))
    assert expected.mode == mode
    expected = np.asarray(expected.convert("RGB" if colour else "L"))
    found = one(tmp_path, content, "x.jpg", size=9, colour=colour)  # the bytes decide, not the name
    np.testing.assert_array_equal(found, expected)


def test_alpha_is_laid_over_white(tmp_path):
    grey, alpha = noise(8, 8), noise(8, 8, seed=1)
    alpha[0], alpha[1] = 0, 255
    over = (grey * (alpha / 255) + 255 * (1 - alpha / 255))[..., None]
    found = one(tmp_path, encoded(Image.fromarray(np.dstack([grey, alpha]), "LA")), size=8)
    np.testing.assert_allclose(found, over[..., 0], atol=1)
    assert (found[0] == 255).all()
    np.testing.assert_array_equal(found[1], grey[1])

    colours = noise(8, 8, 3)
    over = colours * (alpha / 255)[..., None] + 255 * (1 - alpha / 255)[..., None]
    found = one(tmp_path, encoded(Image.fromarray(np.dstack([colours, alpha]))), size=8, colour=True)
    np.testing.assert_allclose(found, over, atol=1)
    np.testing.assert_array_equal(found[1], colours[1])


def test_colours_under_no_alpha_are_not_resized_in(tmp_path):
    pixels = np.zeros((8, 8, 4), np.uint8)  # black where nothing is seen, and nothing is seen
    assert (one(tmp_path, encoded(Image.fromarray(pixels)), size=5) == 255).all()


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 128])])
def test_palettes_with_transparency_are_laid_over_white(tmp_path, transparency):
    picture = Image.fromarray(np.array([[0, 1, 2]] * 3, np.uint8), "P")
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    found = one(tmp_path, encoded(picture, transparency=transparency), size=3, colour=True)
    half = [70, 80, 90] if transparency == 1 else [162, 167, 172]
    np.testing.assert_allclose(found[0], [[10, 20, 30], [255, 255, 255], half], atol=1)


@pytest.mark.parametrize("colour", [False, True])
def test_16_bits_are_scaled_not_clipped(tmp_path, colour):
    deep = noise(6, 6, dtype=np.uint16)
    deep[0] = 0, 255, 256, 300, 32768, 65535
    picture = Image.fromarray(deep)
    assert picture.mode == "I;16"
    found = one(tmp_path, encoded(picture), size=6, colour=colour)
    assert (found[0, :, 0] if colour else found[0]).tolist() == [0, 0, 1, 1, 128, 255]
    np.testing.assert_array_equal(found, np.dstack([deep >> 8] * 3) if colour else deep >> 8)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png(2, 2, 1, 0, [b"\x40", b"\x80"], (b"tRNS", b"\0\0")), [[255, 255], [255, 255]]),
        (png(2, 2, 2, 0, [b"\x10", b"\xb0"], (b"tRNS", b"\0\1")), [[0, 255], [170, 255]]),
        (png(2, 2, 4, 0, [b"\x01", b"\x2f"], (b"tRNS", b"\0\2")), [[0, 17], [255, 255]]),
        (png(2, 2, 8, 0, [b"\0\1", b"\2\3"], (b"tRNS", b"\0\2")), [[0, 1], [255, 3]]),
        (
            png(2, 2, 16, 0, [b"\0\1\0\2", b"\7\0\7\1"], (b"tRNS", b"\0\2")),
            [[0, 255], [7, 7]],
        ),
        (
            png(2, 2, 8, 2, [b"\1\1\1\2\2\2", b"\3\3\3\4\4\4"], (b"tRNS", b"\0\3\0\3\0\3")),
            [[1, 2], [255, 4]],
        ),
        (
            png(2, 2, 16, 2, [b"\1\0" * 3 + b"\2\0" * 3, b"\3\0" * 3 + b"\4\0" * 3], (b"tRNS", b"\3\0" * 3)),
            [[1, 2], [255, 4]],
        ),
    ],
    ids=["grey 1", "grey 2", "grey 4", "grey 8", "grey 16", "rgb 8", "rgb 16"],
)
def test_the_transparent_colour_of_every_depth_is_white(tmp_path, content, expected):
    assert one(tmp_path, content, size=2).tolist() == expected


def test_odd_but_readable_files_are_read(tmp_path):
    content = png(2, 2, 8, 0, [b"\0\1", b"\2\3"], (b"acTL", bytes(8)))
    with pytest.warns(UserWarning, match="Invalid APNG"):
        Image.open(io.BytesIO(content))
    assert one(tmp_path, content, size=2).tolist() == [[0, 1], [2, 3]]


# The cache


def same(one, other):
    return (
        np.array_equal(one.X, other.X)
        and np.array_equal(one.y, other.y)
        and (one.X.dtype, one.y.dtype, one[2:]) == (other.X.dtype, other.y.dtype, other[2:])
    )


@pytest.mark.parametrize("colour", [False, True])
def test_a_second_call_decodes_nothing(folder, cache, undecoded, colour):
    first = read_image_folder(folder, size=5, colour=colour)
    assert len(list(cache.iterdir())) == 1
    undecoded()
    again = read_image_folder(folder, size=5, colour=colour)
    assert same(first, again)
    assert again.X.flags.writeable
    moved = folder.rename(folder.with_name("moved"))
    assert same(first, read_image_folder(moved, size=5, colour=colour)), (
        "what is above the folder is no matter"
    )


def test_whatever_is_different_is_read_anew(folder, cache):
    def kept(**kwargs):
        found = read_image_folder(folder, **{"size": 4} | kwargs)
        return found, len(list(cache.iterdir()))

    first, count = kept()
    assert count == 1
    assert [kept(size=3)[1], kept(colour=True)[1], kept(skip_bad=True)[1]] == [2, 3, 4]
    assert kept()[1] == 4
    path = folder / "cat" / "1.png"
    content = path.read_bytes()
    path.write_bytes(content + b"\0")  # the picture is the same, its bytes are not
    second, count = kept()
    assert same(first, second)
    assert count == 5
    save(path, noise(4, 4, seed=99))
    assert (kept()[0].X[1] == noise(4, 4, seed=99).ravel()).all()
    path.write_bytes(content)
    assert kept()[1] == 6
    path.rename(folder / "dog" / "1.png")
    third, count = kept()
    assert third.y.tolist() == [0, 0, 1, 1, 1, 1]
    assert count == 7


def test_a_file_that_changes_meanwhile_spoils_no_cache(folder, monkeypatch):
    path, look = folder / "cat" / "0.png", images._each

    def each(function, items, text, progress):
        result = look(function, items, text, progress)
        if function is images._fingerprint:
            save(path, noise(4, 4, seed=99))
        return result

    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(images, "_each", each)
        read_image_folder(folder, size=4)
    path.write_bytes(before)
    assert (read_image_folder(folder, size=4).X[0] == noise(4, 4).ravel()).all()


def archive(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


X, KEPT = np.zeros((6, 16), np.uint8), np.ones(6, bool)
PICKLED = np.array([None] * 6)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"PK\x03\x04", b"no archive", lambda whole: whole[:-30],
        lambda whole: whole[:200] + b"?" + whole[201:],
        archive(X=X), archive(X=X.astype(np.int16), kept=KEPT), archive(X=X[:5], kept=KEPT),
        archive(X=X[:, :9], kept=KEPT), archive(X=X, kept=KEPT.astype(int)), archive(X=X[:5], kept=KEPT[:5]),
        archive(X=X[:5], kept=np.arange(6) > 0), archive(X=X, kept=PICKLED), encoded(Image.new("L", (4, 4))),
    ],
    ids=range(14),
)  # fmt: skip
def test_a_damaged_cache_is_replaced(folder, cache, content):
    first = read_image_folder(folder, size=4)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    damaged = content(whole) if callable(content) else content
    file.write_bytes(damaged)
    assert same(first, read_image_folder(folder, size=4))
    assert list(cache.iterdir()) == [file]
    assert len(file.read_bytes()) == len(whole)
    with np.load(file) as arrays:
        assert np.array_equal(arrays["X"], first.X)


def test_without_a_cache_it_goes_on(folder, cache, monkeypatch):
    cache.parent.parent.write_text("a file where the folder should be")
    first = read_image_folder(folder, size=4)
    cache.parent.parent.unlink()

    def full(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert same(first, read_image_folder(folder, size=4))
    assert list(cache.iterdir()) == []


def test_the_cache_is_bounded(folder, cache, monkeypatch):
    def kept(size):
        before = set(cache.glob("*")) if cache.exists() else set()
        read_image_folder(folder, size=size)
        (new,) = set(cache.iterdir()) - before or {None}
        return new

    first, second, third = kept(20), kept(21), kept(22)
    for age, file in enumerate([third, second, first]):
        os.utime(file, (time.time() - 10 - age,) * 2)
    monkeypatch.setattr(image_cache, "BOUND", first.stat().st_size + third.stat().st_size)
    assert kept(20) is None, "what is used is young again"
    fourth = kept(23)
    assert set(cache.iterdir()) == {first, third, fourth}
    monkeypatch.setattr(image_cache, "BOUND", 0)
    newest = kept(24)
    assert set(cache.iterdir()) == {newest}, "it stays, however large"


def test_what_killed_processes_left_in_the_cache_is_swept(folder, cache):
    cache.mkdir(parents=True)
    dead, lives = (cache / f".{i}.npz.{i}{TEMPORARY}" for i in range(2))
    for file in (dead, lives):
        file.write_bytes(b"half")
    os.utime(dead, (time.time() - 3700,) * 2)
    read_image_folder(folder)
    assert not dead.exists()
    assert lives.exists()


# What is refused


@pytest.mark.parametrize("size", [0, -1, 2.5, "28", None, True, (), (3,), (3, 0), (3, 4, 3)])
def test_a_size_out_of_range_is_named(folder, size):
    line = says(read_image_folder, folder, size=size)
    assert line == f"size is {size!r}, but must be an integer of at least 1, in pixels, or two"


@pytest.mark.parametrize("size", [2**30, 2**40, 10**40])
def test_a_size_beyond_memory_is_refused(folder, size):
    line = says(read_image_folder, folder, size=size)
    assert line.startswith(f"{folder} would take about over 1000 TB of memory, and the limit is ")


def test_what_is_no_folder_of_classes_is_refused(tmp_path):
    path = tmp_path / "data"
    remedy = "; give a folder with a sub-folder for each class"
    assert says(read_image_folder, path) == f"{path} does not exist{remedy}"
    for absurd, shown in (("x" * 5000, "x" * 5000), ("nul\0byte", r"nul\x00byte")):
        assert says(read_image_folder, absurd) == f"{shown} does not exist{remedy}"
    file = save(path / "x.png", noise(4, 4))
    assert says(read_image_folder, file) == f"{file} is a file{remedy}"
    (path / ".hidden").mkdir()
    assert says(read_image_folder, path) == (
        f"{path} has no sub-folders; give one for each class, with {READ} files in them"
    )
    save(path / "cat" / "x.png", noise(4, 4))
    assert (
        says(read_image_folder, path) == f"{path} has the one class cat; at least two sub-folders are needed"
    )
    (path / "dog").mkdir()
    (path / "dog" / "x.tif").write_bytes(b"")
    assert says(read_image_folder, path) == (
        f"{path / 'dog'} has no {READ} files; put some there or remove the folder"
    )


@pytest.mark.parametrize("names", [("train", "test"), ("Training", "TESTING"), ("train", "val", "test")])
def test_sets_are_not_taken_for_classes(folder, tmp_path, names):
    for name in names:
        shutil.copytree(folder, tmp_path / "split" / name)
    path = tmp_path / "split"
    assert says(read_image_folder, path) == (
        f"{path} has sets of examples, {', '.join(sorted(names))}, not classes; train on {path / names[0]}"
        f" and evaluate on {path / ('test' if 'test' in names else names[1])}"
    )
    assert len(read_pictures(path, (4, 4))[0]) == 6 * len(names)
    shutil.copytree(folder, path / "cable cars")  # one of several classes, whatever the others are called
    assert len(read_image_folder(path).classes) == 1 + len(names)


def test_pictures_straight_in_folders_called_as_sets_are_classes(folder):
    (folder / "cat").rename(folder / "train")
    (folder / "dog").rename(folder / "test")
    assert read_image_folder(folder).classes == ("test", "train")
    (folder / "train" / "sub").mkdir()
    (folder / "train" / "0.png").rename(folder / "train" / "sub" / "0.png")
    assert read_image_folder(folder).classes == ("test", "train")


def test_pictures_of_other_formats_are_told(folder):
    said = {"cat": [], "all": []}
    for name in ("dog/b.tif", "cat/deep/a.SVG", "cat/c.heic"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
    for other in (".hidden.tif", "notes.txt"):
        (folder / "cat" / other).write_bytes(b"")
    read_image_folder(folder, notice=said["all"].append)
    read_pictures(folder, (4, 4), notice=said["all"].append)
    line = f"passed over 3 pictures that are not {READ}, as {folder / 'cat' / 'c.heic'}; convert them to PNG"
    assert said["all"] == [line] * 2
    read_pictures(folder / "cat" / "0.png", (4, 4), notice=said["cat"].append)
    assert said["cat"] == []


def test_folders_that_cannot_be_listed_are_named(folder, monkeypatch):
    real = os.scandir

    def scandir(path):
        if os.fspath(path) == str(closed):
            raise PermissionError(13, "Permission denied", str(closed))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    for closed in (folder / "cat", folder):
        assert says(read_image_folder, folder) == f"{closed} cannot be read: Permission denied"


PHOTO = Image.fromarray(noise(64, 64, 3))
TINY_WEBP = encoded(Image.new("L", (2, 2)), "WEBP", lossless=True)
BAD = {
    "empty": (b"", f"it is not {READ}"),
    "foreign": (b"no picture" + bytes(90), f"it is not {READ}"),
    "tiff": (encoded(PHOTO, "TIFF"), f"it is not {READ}"),
    "cut png": (encoded(PHOTO)[:2000], "truncated"),
    "cut jpeg": (encoded(PHOTO, "JPEG")[:1500], "image file is truncated"),
    "cut gif": (encoded(PHOTO, "GIF")[:1500], "truncated"),
    "cut bmp": (encoded(PHOTO, "BMP")[:1500], "truncated"),
    "cut webp": (encoded(PHOTO, "WEBP")[:1500], ""),
    "header": (png(4, 4, 8, 0, [])[:33], ""),
    "damaged": (png(4, 4, 8, 0, [b"abcd"] * 4).replace(b"IDAT", b"IDAT\0"), ""),
    "bomb": (png(20_000, 20_000, 8, 0, []), "decompression bomb"),
    "gif bomb": (encoded(Image.new("L", (2, 2)), "GIF").replace(b"\2\0\2\0", b"\xff" * 4, 1), "bomb"),
    "bmp bomb": (
        encoded(Image.new("L", (2, 2)), "BMP").replace(b"\2\0\0\0" * 2, b"\xff\xff\0\0" * 2, 1),
        "bomb",
    ),
    "webp bomb": (TINY_WEBP[:21] + b"\xff\xff\xff\x0f" + TINY_WEBP[25:], "bomb"),
    "small bomb": (png(10_000, 10_000, 8, 0, []), "decompression bomb"),  # of which Pillow only warns
}


@pytest.mark.parametrize("kind", BAD)
def test_an_unreadable_picture_is_named(folder, cache, kind):
    content, reason = BAD[kind]
    path = folder / "dog" / "4.png"
    path.write_bytes(content)
    (folder / "dog" / "5.png").write_bytes(b"")  # the first is told of
    for _ in range(2):
        line = says(read_image_folder, folder)
        assert line.startswith(f"{path} is no picture that can be read: ")
        assert reason in line
        assert line.endswith("; replace it, or leave such files out with --skip-bad")
    assert not cache.exists()


def test_no_filter_of_warnings_makes_a_bomb_readable(folder):
    (folder / "cat" / "0.png").write_bytes(BAD["small bomb"][0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "decompression bomb" in says(read_image_folder, folder)


def test_the_first_of_many_is_named(tmp_path):
    for i in range(400):
        path = tmp_path / "d" / str(i // 200) / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    assert says(read_image_folder, tmp_path / "d").startswith(
        f"{tmp_path / 'd' / '0' / '0.png'} is no picture"
    )


def test_bad_pictures_are_left_out_and_counted(folder, undecoded):
    told = []
    read_image_folder(folder, skip_bad=True, notice=told.append)
    assert told == []
    for i, name in enumerate(["cat/1.png", "dog/3.png", "dog/9.png"]):
        (folder / name).write_bytes(list(BAD.values())[i * 3][0])
    first = read_image_folder(folder, size=4, skip_bad=True, notice=told.append)
    assert first.y.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(first.X, [noise(4, 4, seed=i).ravel() for i in (0, 2, 4, 5)])
    undecoded()
    assert same(first, read_image_folder(folder, size=4, skip_bad=True, notice=told.append))
    line = f"left out 3 of 7 pictures that cannot be read, the first {folder / 'cat' / '1.png'}"
    assert told == [line] * 2, "what is kept tells of it, too"
    assert same(first, read_image_folder(folder, size=4, skip_bad=True)), "nobody need listen"


def test_a_file_that_cannot_be_opened_is_left_out(folder):
    (folder / "cat" / "1.png").unlink()
    (folder / "cat" / "1.png").symlink_to("nowhere")
    told = []
    assert read_image_folder(folder, skip_bad=True, notice=told.append).y.tolist() == [0, 0, 1, 1, 1]
    assert len(told) == 1
    (folder / "cat" / "1.png").unlink()
    save(folder / "cat" / "1.png", noise(4, 4))
    assert read_image_folder(folder, skip_bad=True, notice=told.append).y.tolist() == [0, 0, 0, 1, 1, 1]
    assert len(told) == 1


def test_want_of_memory_is_no_fault_of_the_picture(folder, cache, monkeypatch):
    def starve(image, content, shape):
        raise MemoryError

    monkeypatch.setattr(images, "_pixels", starve)
    assert "can be read: MemoryError;" in says(read_image_folder, folder, skip_bad=True)
    assert not cache.exists()


def test_a_class_of_bad_pictures_alone_is_refused(folder):
    for file in (folder / "dog").iterdir():
        file.write_bytes(b"")
    told = []
    for _ in range(2):  # from the cache as well
        line = says(read_image_folder, folder, skip_bad=True, notice=told.append)
        assert line == f"{folder / 'dog'} has no picture that can be read"
    for file in (folder / "cat").iterdir():
        file.write_bytes(b"")
    assert says(read_image_folder, folder, skip_bad=True).startswith(f"{folder / 'cat'} has no picture")
    assert told == []


# Progress


def test_progress_is_drawn_on_stderr_and_ends(folder, capsys, monkeypatch):
    """A bar left running would draw over what follows."""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    threads = set(threading.enumerate())
    read_image_folder(folder, progress=True)
    (folder / "cat" / "0.png").write_bytes(b"")
    says(read_image_folder, folder, progress=True)
    for _ in range(100):
        left = set(threading.enumerate()) - threads
        if not left:
            break
        time.sleep(0.01)
    assert not left
    out, err = capsys.readouterr()
    assert out == ""
    assert "looking at pictures" in err


def test_no_progress_is_drawn_in_a_pipe(folder, capsys):
    read_image_folder(folder, progress=True)
    assert capsys.readouterr() == ("", "")


def test_pictures_to_predict_come_with_their_paths(folder):
    X, names = read_pictures(folder, (3, 3))
    assert len(X) == len(names) > 1
    assert names == sorted(names)
    assert "cat/0.png" in names
    one, name = read_pictures(folder / "cat" / "0.png", (3, 3))
    assert name == ["0.png"]
    np.testing.assert_array_equal(one[0], X[names.index("cat/0.png")])


def test_bad_pictures_to_predict_may_be_left_out(folder):
    X, names = read_pictures(folder, (3, 3))
    bad = names.index("cat/0.png")
    (folder / "cat" / "0.png").write_bytes(b"")
    assert says(read_pictures, folder, (3, 3)).endswith("or leave such files out with --skip-bad")
    told = []
    left, others = read_pictures(folder, (3, 3), skip_bad=True, notice=told.append)
    assert others == names[:bad] + names[bad + 1 :]
    np.testing.assert_array_equal(left, np.delete(X, bad, axis=0))
    assert len(told) == 1
    assert told[0].startswith(f"left out 1 of {len(names)} pictures")
    alone = folder / "cat" / "0.png"
    assert says(read_pictures, alone, (3, 3), skip_bad=True) == f"{alone} has no picture that can be read"

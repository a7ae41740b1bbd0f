"""Opening images of every kind, and refusing what is none."""

from __future__ import annotations

import base64
import http.server
import io
import os
import socket
import struct
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from secondsight import ImageError, images
from secondsight.fetching import FetchPolicy
from secondsight.images import WEB_FORMATS, Limits, data_url_bytes, open_image, pad_to_square

MAX_DOWNLOAD = FetchPolicy().max_bytes


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


@pytest.fixture
def photo(make_image: Callable[..., Image.Image]) -> Image.Image:
    return make_image(3, (20, 12))


def test_path_text_bytes_and_image_are_one_image(photo: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    photo.save(path)
    for source in (path, str(path), path.read_bytes(), photo):
        assert pixels(open_image(source)).tolist() == pixels(photo).tolist()


def test_an_image_given_is_left_as_it_was(photo: Image.Image) -> None:
    opened = open_image(photo)
    opened.putpixel((0, 0), (1, 2, 3))
    assert photo.getpixel((0, 0)) != (1, 2, 3)
    frames = [Image.new("L", (4, 4), shade) for shade in (10, 200, 90)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    animated = Image.open(io.BytesIO(data))
    animated.seek(2)
    open_image(animated)
    assert animated.tell() == 2


def test_the_home_folder_is_found(
    photo: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo.save(tmp_path / "photo.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_image("~/photo.png").size == photo.size


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    upright = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    image = Image.fromarray(np.ascontiguousarray(stored))
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = open_image(encoded(image, "PNG", exif=exif))
    assert pixels(opened).tolist() == upright.tolist()


def test_grey() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    opened = pixels(open_image(encoded(Image.fromarray(ramp))))
    assert (opened == ramp[..., None]).all()


def test_one_bit() -> None:
    bits = np.indices((8, 8)).sum(axis=0) % 2 == 0
    opened = pixels(open_image(encoded(Image.fromarray(bits))))
    assert (opened == np.where(bits, 255, 0)[..., None]).all()


def test_palette() -> None:
    colours = [(255, 0, 0), (0, 128, 255), (17, 34, 51)]
    image = Image.new("P", (3, 1))
    image.putpalette([channel for colour in colours for channel in colour])
    image.putdata([0, 1, 2])
    assert pixels(open_image(encoded(image)))[0].tolist() == [list(c) for c in colours]
    white = open_image(encoded(image, transparency=1))
    assert pixels(white)[0].tolist() == [[255, 0, 0], [255, 255, 255], [17, 34, 51]]


def over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return colour * share + 255 * (1 - share)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_over_white(kind: str) -> None:
    rng = np.random.default_rng(0)
    rgba = rng.integers(0, 256, (9, 7, 4), dtype=np.uint8)
    rgba[0, :, 3], rgba[1, :, 3] = 0, 255
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    opened = pixels(open_image(encoded(Image.fromarray(rgba, "RGBA"), kind, **options)))
    want = over_white(rgba[..., :3].astype(float), rgba[..., 3])
    assert np.abs(opened - want).max() <= 1
    assert (opened[0] == 255).all()


def test_grey_with_transparency() -> None:
    grey = np.array([[0, 100, 200]], dtype=np.uint8)
    alpha = np.array([[0, 128, 255]], dtype=np.uint8)
    image = Image.merge("LA", (Image.fromarray(grey), Image.fromarray(alpha)))
    want = over_white(np.repeat(grey[..., None], 3, axis=2).astype(float), alpha)
    assert np.abs(pixels(open_image(encoded(image))) - want).max() <= 1


def test_cmyk() -> None:
    image = Image.new("CMYK", (4, 4), (0, 255, 255, 0))
    red = pixels(open_image(image))[0, 0]
    assert red[0] > 200
    assert red[1:].max() < 60
    assert np.abs(pixels(open_image(encoded(image, "JPEG")))[0, 0] - red).max() <= 6


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled(kind: str) -> None:
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    opened = pixels(open_image(encoded(Image.fromarray(values), kind)))
    want = values[..., None] / 257.0
    assert np.abs(opened - want).max() <= 1
    assert len(np.unique(opened)) > 60, "clipped"


def test_32_bit_integers_and_floats_are_scaled() -> None:
    ramp = np.arange(64).reshape(8, 8)
    whole = Image.fromarray((ramp * 1040).astype(np.int32))
    assert whole.mode == "I"
    assert np.abs(pixels(open_image(whole)) - ramp[..., None] * 1040 / 257).max() <= 1
    small = Image.fromarray((ramp * 4).astype(np.int32))
    assert np.abs(pixels(open_image(small)) - ramp[..., None] * 4).max() <= 1
    unit = Image.fromarray((ramp / 63).astype(np.float32))
    assert unit.mode == "F"
    assert np.abs(pixels(open_image(unit)) - ramp[..., None] / 63 * 255).max() <= 1
    tiff = encoded(Image.fromarray((ramp * 4).astype(np.float32)), "TIFF")
    assert np.abs(pixels(open_image(tiff)) - ramp[..., None] * 4).max() <= 1


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (5, 5), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert pixels(open_image(data))[2, 2].tolist() == [255, 0, 0]


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header promises a size that its data does not hold."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(30_000, 30_000), (100_001, 1000), (12_000, 12_000)])
def test_too_many_pixels_are_refused_before_they_are_decoded(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match="pixels"):
        open_image(png_of_size(*size))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_a_cut_off_file(photo: Image.Image, kind: str, share: float) -> None:
    data = encoded(photo, kind)
    with pytest.raises(ImageError, match=r"cut off|not an image"):
        open_image(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "ICO", "PPM"])
@given(places=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=12))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damage_is_an_image_error_or_an_image(
    photo: Image.Image, kind: str, places: list[tuple[int, int]]
) -> None:
    data = bytearray(encoded(photo, kind))
    for place, value in places:
        data[place % len(data)] = value
    try:
        assert open_image(bytes(data)).mode == "RGB"
    except ImageError as error:
        told = str(error)
    else:
        return
    assert "bytes given" in told


@pytest.mark.parametrize("data", [b"", b"\0" * 2000, b"hello", b"GIF89a", b"\x89PNG\r\n\x1a\n"])
def test_not_an_image(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(ImageError):
        open_image(data)
    path = tmp_path / "file.png"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"file\.png"):
        open_image(path)


def test_a_broken_image_given_as_pil(photo: Image.Image) -> None:
    data = encoded(photo.resize((200, 120)), "PNG")
    lazy = Image.open(io.BytesIO(data[: len(data) // 2]))
    with pytest.raises(ImageError, match="damaged"):
        open_image(lazy)
    closed = Image.open(io.BytesIO(data))
    closed.close()
    with pytest.raises(ImageError):
        open_image(closed)


@pytest.mark.parametrize("name", ["no/such.png", "", "x" * 5000, "a\0b", "~nobody-there/x.png"])
def test_no_such_file(name: str) -> None:
    with pytest.raises(ImageError):
        open_image(name)


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="folder"):
        open_image(tmp_path)


class Handler(http.server.BaseHTTPRequestHandler):
    png = b""

    def do_GET(self) -> None:
        answers = {
            "/ok.png": (200, self.png),
            "/page.html": (200, b"<html>not an image</html>"),
            "/half.png": (200, self.png[: len(self.png) // 2]),
        }
        if self.path == "/away.png":
            self.send_response(302)
            self.send_header("location", "/ok.png")
            self.end_headers()
            return
        if self.path in ("/large.png", "/secretly-large.png"):
            self.send_response(200)
            if self.path == "/large.png":
                self.send_header("content-length", str(MAX_DOWNLOAD + 1))
            self.end_headers()
            try:
                for _ in range(MAX_DOWNLOAD // 2**20 + 2):
                    self.wfile.write(b"\0" * 2**20)
            except OSError:
                pass  # the client has had enough
            return
        status, body = answers.get(self.path, (404, b"nothing here"))
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(photo: Image.Image) -> Iterator[str]:
    Handler.png = encoded(photo)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize("name", ["ok.png", "away.png"])
def test_url(server: str, photo: Image.Image, name: str) -> None:
    assert pixels(open_image(f"{server}/{name}")).tolist() == pixels(photo).tolist()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.png", "404"),
        ("page.html", "not an image"),
        ("half.png", "cut off"),
        ("large.png", "20 MB"),
        ("secretly-large.png", "20 MB"),
    ],
)
def test_url_that_does_not_do(server: str, name: str, words: str) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        open_image(f"{server}/{name}")
    assert name in str(caught.value)


def test_url_that_nobody_answers() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ImageError, match="cannot be fetched"):
        open_image(f"http://127.0.0.1:{port}/x.png")
    with pytest.raises(ImageError, match="cannot be fetched"):
        open_image("http://")


@given(width=st.integers(1, 40), height=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_padding_against_the_slow_way(width: int, height: int) -> None:
    mean = (0.48145466, 0.4578275, 0.40821073)
    values = np.random.default_rng(width * 41 + height).integers(
        0, 256, (height, width, 3), dtype=np.uint8
    )
    side = max(width, height)
    left, top = (side - width) // 2, (side - height) // 2
    want = np.zeros((side, side, 3), dtype=int)
    for y in range(side):
        for x in range(side):
            inside = top <= y < top + height and left <= x < left + width
            colour = values[y - top, x - left] if inside else [122, 116, 104]
            want[y, x] = colour
    assert pixels(pad_to_square(Image.fromarray(values), mean)).tolist() == want.tolist()


def test_a_file_object_is_read_from_its_beginning(photo: Image.Image, tmp_path: Path) -> None:
    data = encoded(photo)
    written = io.BytesIO()
    photo.save(written, "PNG")  # its position is at the end, as after any save
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    with path.open("rb") as file, path.open("rb", buffering=0) as raw:
        for source in (io.BytesIO(data), written, file, raw, bytearray(data), memoryview(data)):
            assert pixels(open_image(source)).tolist() == pixels(photo).tolist()


@pytest.mark.parametrize("form", ["base64", "unpadded", "url-safe", "wrapped", "percent", "plain"])
def test_data_urls(photo: Image.Image, form: str) -> None:
    data = encoded(photo)
    text = base64.b64encode(data).decode()
    url = {
        "base64": "data:image/png;base64," + text,
        "unpadded": "data:;base64," + text.rstrip("="),
        "url-safe": "DATA:image/png;charset=x;BASE64," + text.translate({43: "-", 47: "_"}),
        "wrapped": "data:image/png;base64," + "\r\n".join(text[n : n + 76] for n in
                                                          range(0, len(text), 76)),
        "percent": "data:image/png;base64," + text.replace("+", "%2B").replace("=", "%3D"),
        "plain": "data:image/png," + "".join(f"%{byte:02x}" for byte in data),
    }[form]  # fmt: skip
    assert data_url_bytes(url) == data
    assert pixels(open_image(url)).tolist() == pixels(photo).tolist()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("data:", "has no data"),
        ("data:image/png;base64", "has no data"),
        ("data:image/png;base64,", "it is empty"),
        ("data:image/png;base64,!!!!", "cannot be decoded"),
        ("data:image/png;base64,\u00e4", "cannot be decoded"),
        ("data:image/png;base64,A", "cannot be decoded"),
        ("data:image/png;base64,\udcff", "cannot be decoded"),
        ("data:text/plain,hello", "not an image"),
        ("data:image/svg+xml,<svg/>", "an SVG drawing"),
    ],
)
def test_data_urls_that_do_not_do(url: str, words: str) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        open_image(url)
    assert len(str(caught.value)) < 300


def test_a_data_url_is_measured_before_it_is_decoded() -> None:
    for url in ("data:;base64," + "A" * 2000, "data:," + "%41" * 2000, "data:," + "A" * 1500):
        with pytest.raises(ImageError, match="more than"):
            data_url_bytes(url, 1000)
    assert len(data_url_bytes("data:;base64," + "A" * 1332, 1000)) == 999


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="is a pipe"):
        open_image(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket"))
        with pytest.raises(ImageError, match="is a socket"):
            open_image(tmp_path / "socket")
    for device in ("/dev/zero", "/dev/null", "/dev/tty"):
        with pytest.raises(ImageError, match="is a device"):
            open_image(device)


def test_an_endless_file_is_refused_by_its_size(tmp_path: Path, photo: Image.Image) -> None:
    path = tmp_path / "endless.png"
    with path.open("wb") as file:
        file.truncate(30 * 2**30)  # takes no place on the disk
    with pytest.raises(ImageError, match="larger than 512 MB"):
        open_image(path)
    photo.save(path, "PNG")
    size = path.stat().st_size
    assert open_image(path, Limits(max_bytes=size)).size == photo.size
    with pytest.raises(ImageError, match="is larger than"):
        open_image(path, Limits(max_bytes=size - 1))


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_file_of_the_kernels_that_has_no_size() -> None:
    with pytest.raises(ImageError, match="not an image"):
        open_image("/proc/self/status")


def test_names_that_name_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, words in (
        ("", "path is empty"),
        ("a\0b.png", "cannot be read"),
        ("\ud800.png", "cannot be read"),
        ("\udcff.png", "no image file"),
        ("~nobody-there/x.png", "cannot be read"),
        ("ftp://host/x.png", "only http, https and data URLs"),
        ("s3://bucket/x.png", "only http, https and data URLs"),
        ("x" * 100_000, "cannot be read"),
    ):
        with pytest.raises(ImageError, match=words) as caught:
            open_image(name)
        assert len(str(caught.value)) < 600
    monkeypatch.chdir(tmp_path)
    Path("~nobody-there.png").write_bytes(encoded(Image.new("RGB", (2, 3))))
    assert open_image("~nobody-there.png").size == (2, 3)
    assert open_image((tmp_path / "~nobody-there.png").as_uri()).size == (2, 3)


def one_colour(kind: str, mode: str, size: tuple[int, int]) -> bytes:
    return encoded(Image.new(mode, size), kind)


def not_decoded(self: object) -> None:
    raise AssertionError("the pixels were asked for")


def test_a_small_file_does_not_unpack_into_a_large_image(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = one_colour("PNG", "1", (10_000, 10_000))
    assert len(bomb) < 15_000
    with monkeypatch.context() as patch:
        patch.setattr(ImageFile.ImageFile, "load", not_decoded)
        with pytest.raises(ImageError, match="10000 x 10000 pixels"):
            open_image(bomb)
    assert open_image(one_colour("PNG", "1", (4000, 4000))).size == (4000, 4000)


def test_slow_decoders_get_small_images_alone() -> None:
    with pytest.raises(ImageError, match="slow to decode"):
        open_image(b"qoif" + struct.pack(">IIBB", 2001, 2000, 3, 0) + b"\xfd" * 64_000)
    assert open_image(one_colour("QOI", "RGB", (30, 20))).size == (30, 20)


def test_a_jpeg_is_not_painted_without_end(photo: Image.Image) -> None:
    data = encoded(photo, "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(ImageError, match="scans"):
        open_image(data[:-2] + scan * 1000 + data[-2:])


def test_an_icon_does_not_hide_a_larger_image(monkeypatch: pytest.MonkeyPatch) -> None:
    small = encoded(Image.new("RGB", (16, 16)), "PNG")
    icon = encoded(Image.new("RGB", (16, 16)), "ICO", sizes=[(16, 16)])
    place = icon.index(b"\x89PNG")
    large = encoded(Image.new("1", (10_000, 10_000)), "PNG")
    forged = bytearray(icon[:place] + large)
    struct.pack_into("<I", forged, 14, len(large))
    assert open_image(icon).size == open_image(small).size
    with monkeypatch.context() as patch:
        patch.setattr(ImageFile.ImageFile, "load", not_decoded)
        with pytest.raises(ImageError, match="10000 x 10000 pixels"):
            open_image(bytes(forged))


@pytest.mark.parametrize("kind", ["EPS", "PDF"])
def test_no_other_program_is_started(
    photo: Image.Image, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(photo, kind)
    (tmp_path / "gs").write_text("#!/bin/sh\ntouch $0.ran\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageError, match=r"PostScript|PDF document"):
        open_image(data)
    if kind == "EPS":
        with pytest.raises(ImageError, match="is not run"):
            open_image(Image.open(io.BytesIO(data)))
    assert not (tmp_path / "gs.ran").exists()


@pytest.mark.parametrize("error", [IndexError("x"), struct.error("x"), RuntimeError("x"),
                                   KeyError("x"), RecursionError("x"), ZeroDivisionError("x"),
                                   AssertionError()])  # fmt: skip
def test_whatever_a_decoder_raises(
    photo: Image.Image, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object) -> None:
        raise error

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(ImageError, match="damaged or cut off"):
        open_image(encoded(photo))


def test_no_memory_is_said(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(ImageError, match="more memory than there is"):
        open_image(encoded(photo))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "F", "I;16"])
def test_strips_change_nothing(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    rgba = Image.fromarray(rng.integers(0, 256, (40, 30, 4), dtype=np.uint8))
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, (40, 30)).astype(np.uint16))
    elif mode == "P":
        image = rgba.convert("RGB").quantize(7)
        image.info["transparency"] = 3
    else:
        image = rgba.convert(mode) if mode in ("LA", "RGBA") else rgba.convert("RGB").convert(mode)
    whole = pixels(open_image(image)).tolist()
    monkeypatch.setattr(images, "_STRIP_PIXELS", 7 * 30)
    assert pixels(open_image(image)).tolist() == whole


def test_one_lazy_image_in_many_threads(photo: Image.Image) -> None:
    data = encoded(photo.resize((400, 300)))
    want = pixels(open_image(data))
    for _ in range(5):
        lazy = Image.open(io.BytesIO(data))
        with ThreadPoolExecutor(8) as pool:
            for opened in pool.map(open_image, [lazy] * 8):
                assert np.array_equal(pixels(opened), want)


def test_formats_may_be_narrowed(photo: Image.Image) -> None:
    web = Limits(max_pixels=1000, formats=WEB_FORMATS)
    assert open_image(encoded(photo, "PNG"), web).size == photo.size
    with pytest.raises(ImageError, match="not an image that can be read"):
        open_image(encoded(photo, "TIFF"), web)
    with pytest.raises(ImageError, match="at most 1,000"):
        open_image(encoded(photo.resize((40, 30))), web)


@pytest.mark.parametrize("kind", ["PCX", "JPEG2000"])
def test_a_missing_end_that_pillow_does_not_miss(photo: Image.Image, kind: str) -> None:
    image = photo.quantize(8) if kind == "PCX" else photo
    data = encoded(image, kind)
    open_image(data)
    with pytest.raises(ImageError, match="cut off"):
        open_image(data[:-300])

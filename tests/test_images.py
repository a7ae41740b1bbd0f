"""Opening pictures of every kind, and refusing what is none."""

from __future__ import annotations

import http.server
import io
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from secondsight import ImageError
from secondsight.images import MAX_DOWNLOAD, open_image, pad_to_square


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


@pytest.fixture
def photo(picture: Callable[..., Image.Image]) -> Image.Image:
    return picture(3, (20, 12))


def test_path_text_bytes_and_image_are_one_picture(photo: Image.Image, tmp_path: Path) -> None:
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
def test_damage_is_an_image_error_or_a_picture(
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

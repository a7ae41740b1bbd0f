"""Bad input: exit code 2, a message that names the thing, never a traceback."""

import json
import shutil
import struct
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest


def refused(result, *named: object) -> None:
    assert result.code == 2
    assert "Traceback" not in result.err + result.out
    assert result.out == ""
    assert result.err.startswith("Error: ")
    assert result.err.count("\n") == 1
    for name in named:
        assert str(name) in result.err


@pytest.fixture
def ask(run, tiny_llava, image_files):
    """Describes a good image by the tiny model, but for the options given."""
    [path] = image_files(1)

    def ask(*args: object):
        return run("describe", path, "-m", tiny_llava, "--max-new-tokens", 2, *args)

    return ask


def huge() -> bytes:
    """The beginning of a PNG of 30,000 x 30,000 pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0"))


def test_images(run, tmp_path: Path, image_files) -> None:
    [good] = image_files(1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:200])
    (tmp_path / "huge.png").write_bytes(huge())
    for name, reason in (
        ("absent.png", "no image file"),
        ("text.png", "is not an image"),
        ("cut.png", "damaged or cut off"),
        ("huge.png", "too many pixels"),
        ("empty", "holds no image files"),
        ("*.jpg", "No file matches"),
    ):
        if name not in ("empty", "*.jpg"):
            refused(run("compare", tmp_path / name), tmp_path / name, reason)
        refused(run("describe", tmp_path / name), tmp_path / name, reason)
    refused(run("compare", tmp_path), tmp_path, "is a folder")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A web server with a page, and an image that is too large."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path in ("/page", "/large")
            self.send_response(200 if found else 404)
            size = 21 * 2**20 if self.path == "/large" else 5
            self.send_header("Content-Length", str(size))
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_urls(run, server: str) -> None:
    refused(run("describe", "http://127.0.0.1:9/x.png"), "http://127.0.0.1:9/x.png")
    refused(run("describe", f"{server}/absent"), f"{server}/absent", "404")
    refused(run("describe", f"{server}/page"), f"{server}/page", "not an image")
    refused(run("describe", f"{server}/large"), f"{server}/large", "20 MB")


def test_questions(ask) -> None:
    refused(ask("-q", "  "), "question is empty")
    refused(ask("-q", "\udcff"), "bytes that are no text")
    refused(ask("--stop", "\udcff"), "half a character")
    refused(ask("-q", "why " * 600), "context")


@pytest.mark.parametrize(
    ("method", "named"),
    [
        ("rituall", "Did you mean 'ritual'"),
        ("ritual:alhpa=2", "Did you mean 'alpha'"),
        ("ritual:alpha=nan", "alpha must be a finite number"),
        ("ritual:alpha=inf", "alpha must be a finite number"),
        ("ritual:alpha=two", "alpha must be a number"),
        ("ritual:beta=1.5", "beta must be between 0 and 1"),
        ("vcd:beta=-0.1", "beta must be between 0 and 1"),
        ("ritual:alpha", "name=value"),
        ("ritual:transform=flip", "flip"),
        ("m3id:variant=new", "variant"),
    ],
)
def test_methods(ask, method: str, named: str) -> None:
    refused(ask("--method", method), named)


@pytest.mark.parametrize(
    ("method", "named"),
    [
        ("dola:layers=2", "names layer 2; in this model it takes those from 0 to 1"),
        ("dola:layers=high", "names no layer of this model"),
        ("deco:layers=1-9", "names layer 2"),
        ("only:layer=2", "whose layers are 0 to 1"),
        ("revisit:layers=3", "those from 0 to 2"),
        ("agla:matcher=./nowhere", "matching model './nowhere' cannot be loaded"),
        ("lcd:model=./nowhere", "language model './nowhere' cannot be loaded"),
    ],
)
def test_what_the_model_has_not(ask, method: str, named: str) -> None:
    refused(ask("--method", method), named)


@pytest.mark.parametrize("method", ["only", "revisit", "agla"])
def test_methods_that_need_an_image(run, tiny_llava, method: str) -> None:
    result = run("describe", "--no-image", "-q", "What?", "-m", tiny_llava, "--method", method)
    refused(result, "image")


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("--temperature", "-1", "temperature must be at least 0"),
        ("--temperature", "nan", "temperature"),
        ("--temperature", "inf", "temperature"),
        ("--top-p", "0", "top_p"),
        ("--top-k", "0", "top_k"),
        ("--max-new-tokens", "0", "max_new_tokens"),
        ("--stop", "", "stop"),
        ("--preset", "llava-oficial", "Did you mean 'llava-official'"),
        ("--device", "tpu9", "tpu9"),
        ("--dtype", "float12", "float12"),
    ],
)
def test_settings(ask, option: str, value: str, named: str) -> None:
    refused(ask(option, value), named)


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [("--seed", "x", "integer"), ("--seed", "1.5", "integer"), ("--temperature", "x", "number")],
)
def test_what_is_not_a_number(ask, option: str, value: str, wanted: str) -> None:
    result = ask(option, value)
    assert result.code == 2
    assert f"'{option}'" in result.err
    assert wanted in result.err
    assert "Traceback" not in result.err


def test_unknown_verbs_and_options(run) -> None:
    result = run("descirbe")
    assert result.code == 2
    assert "Did you mean 'describe'" in result.err
    result = run("describe", "--metod", "ritual")
    assert result.code == 2
    assert "--metod" in result.err


def test_checkpoints(run, tiny_llava: Path, image_files, tmp_path: Path) -> None:
    [image] = image_files(1)

    def load(name: object):
        return run("describe", image, "-m", name)

    refused(load(tmp_path / "absent"), tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    refused(load(tmp_path / "empty"), tmp_path / "empty", "config.json")

    bare = tmp_path / "bare"
    shutil.copytree(tiny_llava, bare)
    (bare / "model.safetensors").unlink()
    refused(load(bare), bare)

    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({"model_type": "bert"}))
    refused(load(other), "bert")


def test_no_error_is_longer_than_its_line(run, tmp_path: Path) -> None:
    refused(run("describe", tmp_path / ("a" * 200 + "\n" + "b")), "a" * 200)

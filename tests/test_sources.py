"""What may be given as an image: each kind is looked at, everything else is named."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from secondsight import ImageError, Model, Sample
from secondsight.images import open_image
from secondsight.sources import MAX_IMAGES, as_sources, read_bytes


@pytest.fixture
def path(make_image: Callable[..., Image.Image], tmp_path: Path) -> Path:
    file = tmp_path / "photo.png"
    make_image(3, (20, 12)).save(file)
    return file


def kinds(path: Path) -> dict[str, Callable[[], Any]]:
    """One image in every form in which it may be given."""
    data = path.read_bytes()
    array = np.asarray(Image.open(path))
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    return {
        "Path": lambda: path,
        "str": lambda: str(path),
        "os.PathLike": lambda: SimplePath(str(path)),
        "bytes": lambda: data,
        "bytearray": lambda: bytearray(data),
        "memoryview": lambda: memoryview(data),
        "BytesIO": lambda: io.BytesIO(data),
        "open file": lambda: path.open("rb"),
        "unbuffered file": lambda: path.open("rb", buffering=0),
        "pipe": lambda: Stream(data),
        "PIL": lambda: Image.open(path),
        "uint8": lambda: array,
        "int64": lambda: array.astype(np.int64),
        "float": lambda: array / 255,
        "float32": lambda: (array / 255).astype(np.float32),
        "uint16": lambda: array.astype(np.uint16) * 257,
        "read-only, strided": lambda: array[::-1][::-1],
        "RGBA": lambda: np.dstack([array, np.full((12, 20), 255, np.uint8)]),
        "tensor": lambda: tensor,
        "float tensor": lambda: (tensor / 255).requires_grad_(),
        "generator": lambda: (one for one in [path]),
        "map": lambda: map(str, [path]),
        "list": lambda: [path],
        "tuple": lambda: (data,),
        "iter": lambda: iter([array]),
        "dict values": lambda: {"a": io.BytesIO(data)}.values(),
    }


class SimplePath:
    def __init__(self, path: str) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return self.path


class Stream:
    """A file object that cannot go back, and gives little at a time."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, size: int) -> bytes:
        part, self.data = self.data[: min(size, 7)], self.data[min(size, 7) :]
        return part


def test_every_kind_is_the_same_image(path: Path) -> None:
    want = np.asarray(open_image(path))
    for name, make in kinds(path).items():
        sample = Sample(make(), "What?")
        for _ in range(2):  # as often as one likes
            [opened] = sample.opened().images
            assert np.array_equal(np.asarray(opened), want), name


def test_every_kind_gives_the_answer_of_the_path(path: Path, model: Model) -> None:
    def ask(image: Any) -> list[str]:
        settings: dict[str, Any] = {"max_new_tokens": 3}
        streamed = model.stream(image(), "What is it?", **settings)
        return [
            model.answer(image(), "What is it?", **settings).text,
            model.answer_batch([(image(), "What is it?")], **settings)[0].text,
            model.answer_batch([Sample(image(), "What is it?")], **settings)[0].text,
            "".join(streamed),
            str(model.encode(image(), "What is it?")["pixel_values"].double().sum()),
        ]

    want = ask(lambda: path)
    assert want[0] != model.answer(None, "What is it?", max_new_tokens=3).text
    for name, make in kinds(path).items():
        assert ask(make) == want, name


NONE_AT_ALL: dict[str, tuple[Callable[[], Any], str]] = {
    "empty list": (list, "an empty list"),
    "empty tuple": (tuple, "an empty tuple"),
    "empty generator": (lambda: (one for one in ()), "an empty generator"),
    "number": (lambda: 7, "type int"),
    "bool": (lambda: True, "type bool"),
    "object": (object, "type object"),
    "dict": (lambda: {"url": "x.png"}, "type dict"),
    "set": (lambda: {"x.png"}, "type set"),
    "text file": (lambda: io.StringIO("x"), "opened as text"),
    "image class": (lambda: Image.Image, "class PIL.Image.Image"),
    "function": (lambda: len, "type builtin_function_or_method"),
    "namespace": (SimpleNamespace, "type types.SimpleNamespace"),
    "none in a list": (lambda: ["x.png", None], "Image 2 .*NoneType"),
    "list in a list": (lambda: [["x.png"]], "Image 1 .*type list"),
    "range": (lambda: range(3), "Image 1 .*type int"),
    "channels first": (lambda: np.zeros((3, 8, 9)), "transpose"),
    "channels last": (lambda: torch.zeros(8, 9, 3), "permute"),
    "batch": (lambda: np.zeros((1, 8, 9, 3)), "several images as a list"),
    "tensor batch": (lambda: torch.zeros(1, 3, 8, 9), "several images as a list"),
    "vector": (lambda: np.zeros(3), "two or three dimensions"),
    "scalar": (lambda: np.float64(1), "type numpy.float64"),
    "no pixels": (lambda: np.zeros((0, 8, 3), np.uint8), "no pixels"),
    "normalised": (lambda: np.full((8, 9, 3), -1.5), "undo the normalisation"),
    "0 to 255 as floats": (lambda: np.full((8, 9, 3), 200.0), "Divide by 255"),
    "not a number": (lambda: np.full((8, 9), np.nan), "nan"),
    "too large integers": (lambda: np.full((8, 9), 256), "uint8"),
    "complex": (lambda: np.zeros((8, 9), complex), "complex128"),
    "text array": (lambda: np.array([["a.png", "b.png"]]), "numbers are wanted"),
    "complex tensor": (lambda: torch.zeros(8, 9, dtype=torch.complex64), "complex64"),
}


@pytest.mark.parametrize("name", NONE_AT_ALL)
def test_anything_else_is_refused_by_name(name: str, model: Model) -> None:
    make, words = NONE_AT_ALL[name]
    for ask in (
        lambda: Sample(make(), "What?"),
        lambda: model.answer(make(), "What?", max_new_tokens=1),
        lambda: model.answer_batch([(make(), "What?")], max_new_tokens=1),
        lambda: model.stream(make(), "What?", max_new_tokens=1),
        lambda: model.encode(make(), "What?"),
    ):
        with pytest.raises(ImageError, match=words):
            ask()


def test_arrays_by_their_types_own_range() -> None:
    ramp = np.arange(6, dtype=np.float64).reshape(2, 3) / 5

    def grey(array: Any) -> list[list[int]]:
        opened = np.asarray(open_image(array))
        assert (opened == opened[..., :1]).all()
        return opened[..., 0].tolist()

    want = (ramp * 255).round().astype(int).tolist()
    assert grey(ramp) == want
    assert grey(ramp[..., None]) == want
    assert grey(torch.tensor(ramp)[None]) == want
    assert grey((ramp * 65535).astype(np.uint16)) == want
    assert grey((ramp * 255).astype(np.int16)) == (ramp * 255).astype(int).tolist()
    assert grey(ramp > 0.5) == np.where(ramp > 0.5, 255, 0).tolist()
    assert grey(np.float16(ramp)) == want
    assert grey(torch.tensor(ramp, dtype=torch.bfloat16)) == (
        (torch.tensor(ramp, dtype=torch.bfloat16).double() * 255).round().int().tolist()
    )
    rgba = np.zeros((1, 1, 4))
    assert np.asarray(open_image(rgba)).tolist() == [[[255, 255, 255]]]  # over white


def test_an_array_is_copied() -> None:
    array = np.zeros((4, 4), np.uint8)
    sample = Sample(array, "What?")
    array[:] = 255
    assert np.asarray(sample.opened().images[0]).max() == 0


def test_an_iterable_without_end() -> None:
    with pytest.raises(ImageError, match="More than 1,000"):
        as_sources(itertools.repeat("x.png"))
    assert len(as_sources(["x.png"] * MAX_IMAGES)) == MAX_IMAGES


def test_a_file_object_without_end() -> None:
    class Endless:
        asked = 0

        def read(self, size: int) -> bytes:
            self.asked += size
            return b"\0" * size

    endless = Endless()
    with pytest.raises(ImageError, match=r"more than 1 MB"):
        read_bytes(endless, 2**20)
    assert endless.asked <= 2**20 + 1


@pytest.mark.parametrize("given", [None, 7, "text", ["x"]])
def test_a_file_object_that_gives_no_bytes(given: object) -> None:
    words = "opened as text" if isinstance(given, str) else "and not bytes"
    with pytest.raises(ImageError, match=words):
        as_sources(SimpleNamespace(read=lambda size: given))


def test_a_file_object_that_fails(path: Path) -> None:
    closed = path.open("rb")
    closed.close()
    with pytest.raises(ImageError, match="closed file"):
        as_sources(closed)
    with path.open("ab") as writing, pytest.raises(ImageError, match="cannot be read"):
        as_sources(writing)


def test_none_is_no_image_and_a_tuple_stays(path: Path) -> None:
    assert as_sources(None) == ()
    assert Sample(None, "What?").image is None
    both = Sample([path, str(path)], "What?")
    assert both.image == (path, str(path))
    assert Sample(both.image, "What?") == both
    assert as_sources(PurePosixPath("x.png")) == (Path("x.png"),)

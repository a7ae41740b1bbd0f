"""Damaged and odd files of answers and questions: a score, or one refusal that can be read.

    python tests/fuzz/answer_files.py --seconds 600

Files of four benchmarks in the forms of several programs, with fields missing, renamed and of
another type, records repeated, mixed and left out, and bytes cut, flipped and doubled. What is not
damaged must score as it was made, in whatever form and order; what answers other questions must
not be scored at all.
"""

from __future__ import annotations

import copy
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from tally import ACCEPTED, GOOD, REFUSED, SLOW, WRONG, Outcome, run

from secondsight.answers_file import AnswerLines, AnswersFile
from secondsight.benchmarks import Amber, Chair, DataError, Item, Mme, Pope, score
from secondsight.benchmarks.comparing import comparison_of
from secondsight.benchmarks.run import Given, Key, Run
from secondsight.cli.answers import list_answers
from secondsight.errors import UserError

Random = random.Random
Records = list[Any]

SLOWEST = 5.0
LONGEST_LINE = 1500
MOST_LINES = 25
THINGS = ("lamp", "goat", "kite", "dog", "cat", "boat", "cup", "bird")
SUFFIX = "\nAnswer the question using a single word or phrase."
PARSERS = ("strict", "official", "vcd-2023", "ritual-2024")

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, float("nan"), float("inf"), 10**30, -(10**400), "", " ", "\n",
    "yes", "No", "\0", "\ud800", "\udfff x", "\u2028", "\ufeff", "x" * 100_000, "../../etc/passwd",
    "~nobody", "/", [], {}, [[]], [None], ["Yes"], [["Yes"]], {"a": 1}, {"text": "Yes"}, "1", "01",
    "1.0", 1.0, "٣", "²", "1e3", -0.0,
)  # fmt: skip
"""What a field may hold instead of what it should."""

NAMES = (
    "question_id", "id", "image_id", "image", "text", "answer", "prediction", "response", "caption",
    "question", "prompt", "query", "input", "doc", "doc_id", "index", "category", "label", "method",
    "seed", "provenance", "error", "resps", "filtered_resps", "finish_reason", "item", "truth",
    "type", "hallu", "target", "logs",
)  # fmt: skip


def questions(rng: Random, count: int) -> Records:
    """POPE's questions about some images."""
    return [
        {
            "question_id": number + 1,
            "image": f"{number // 3}.jpg",
            "text": f"Is there a {rng.choice(THINGS)} in the image?",
            "label": rng.choice(("yes", "no")),
        }
        for number in range(count)
    ]


def _lmms(asked: Records, replies: list[str]) -> Records:
    return [
        {
            "doc_id": place, "doc": {**one, "question": one["text"], "answer": one["label"]},
            "target": one["label"], "input": one["text"] + SUFFIX, "resps": [[reply]],
            "filtered_resps": [reply],
        }
        for place, (one, reply) in enumerate(zip(asked, replies, strict=True))
    ]  # fmt: skip


def _with_ids(field: str, **more: str) -> Callable[[Records, list[str]], Records]:
    def made(asked: Records, replies: list[str]) -> Records:
        return [
            {
                "question_id": one["question_id"],
                field: reply,
                **{k: one[v] for k, v in more.items()},
            }
            for one, reply in zip(asked, replies, strict=True)
        ]

    return made


FORMS: dict[str, Callable[[Records, list[str]], Records]] = {
    "text": _with_ids("text"),
    "answer": _with_ids("answer"),
    "prompt": _with_ids("text", prompt="text"),
    "truth beside": _with_ids("prediction", answer="label", question="text"),
    "question in text": _with_ids("answer", text="text"),
    "lmms-eval": _lmms,
    "eval": lambda asked, replies: [
        {"method": "vcd", "seed": 0, "id": str(one["question_id"]), "image_id": one["image"],
         "question": one["text"], "item": "0", "text": reply, "finish_reason": "eos"}
        for one, reply in zip(asked, replies, strict=True)
    ],
    "list": lambda asked, replies: [
        {"image": one["image"], "question": one["text"], "id": one["question_id"], "text": reply,
         "provenance": {"method": {"spec": "vcd"}, "seed": 0}}
        for one, reply in zip(asked, replies, strict=True)
    ],
}  # fmt: skip


def instances(rng: Random, count: int) -> dict[str, Any]:
    """A COCO-format document."""
    return {
        "images": [{"id": n, "file_name": f"{n:012d}.jpg"} for n in range(count)],
        "categories": [{"id": n, "name": name} for n, name in enumerate(THINGS)],
        "annotations": [
            {"image_id": rng.randrange(count), "category_id": rng.randrange(len(THINGS))}
            for _ in range(2 * count)
        ],
    }


def annotations(count: int) -> Records:
    """AMBER's annotations."""
    return [
        {"id": n, "type": "generative", "truth": ["dog"], "hallu": ["cat"]}
        if n % 2
        else {"id": n, "type": "discriminative-relation", "truth": "no"}
        for n in range(1, count + 1)
    ]


def spoil(rng: Random, document: Any) -> Any:
    """A document with some of its values and fields changed."""
    document = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 2, 5))):
        places: list[tuple[Any, Any]] = []
        _places(document, places)
        if not places:
            return document
        holder, key = rng.choice(places)
        change = rng.randrange(6)
        if change <= 1:
            holder[key] = copy.deepcopy(rng.choice(ODD))
        elif change == 2:
            del holder[key]
        elif change == 3 and isinstance(holder, dict):
            holder[rng.choice(NAMES)] = holder.pop(key)
        elif change == 4 and isinstance(holder, dict):
            holder[rng.choice(NAMES)] = copy.deepcopy(rng.choice(ODD))
        elif isinstance(holder, list):
            holder.insert(rng.randrange(len(holder) + 1), copy.deepcopy(holder[key]))
    return document


def _places(value: Any, found: list[tuple[Any, Any]]) -> None:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in pairs:
        found.append((value, key))
        if isinstance(inner, dict | list):
            _places(inner, found)


def tear(rng: Random, content: bytes) -> bytes:
    """Bytes cut off, flipped, left out, doubled or put in."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 10))):
        start = rng.randrange(len(data) + 1)
        end = min(len(data), start + rng.choice((1, 3, 50)))
        change = rng.randrange(5)
        if change == 0:
            del data[start:]
        elif change == 1 and start < len(data):
            data[start] ^= 1 << rng.randrange(8)
        elif change == 2:
            del data[start:end]
        elif change == 3:
            data[start:start] = data[start:end]
        else:
            odd = (rng.randbytes(3), b"\r\n", b"\n\n", b"[" * 5000, b"\xff\xfe", b"{}", b"\t")
            data[start:start] = rng.choice(odd)
    return bytes(data)


def written(path: Path, document: Any, rng: Random) -> Path:
    """A document as JSON, records as lines or as an array."""
    lines = isinstance(document, list) and rng.random() < 0.7
    if lines:
        text = "".join(json.dumps(one) + "\n" for one in document)
    else:
        text = json.dumps(document, indent=rng.choice((None, 1)))
    path.write_text(text, encoding="utf-8")
    return path


def attempt(seed: int, number: int) -> Outcome:
    """One try: its kind goes by its number."""
    rng = Random(f"{seed}/{number}")
    kinds = (same_score, other_questions, pope, chair, amber, mme, folders, runs, tables)
    kind = kinds[number % len(kinds)]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        try:
            result, detail = kind(rng, Path(folder))
        except UserError as error:
            result, detail = REFUSED, readable(error)
            if detail:
                result = WRONG
        except Exception as error:
            result, detail = WRONG, f"{type(error).__name__}: {error}"[:200]
        seconds = time.perf_counter() - start
    if seconds > SLOWEST:
        result, detail = SLOW, f"{seconds:.1f} s"
    return Outcome(kind.__name__.replace("_", " "), result, detail)


def readable(error: BaseException) -> str:
    """What is wrong with a refusal's message; empty if nothing is."""
    text = str(error)
    lines = text.split("\n")
    if not text.strip() or len(lines) > MOST_LINES or max(map(len, lines)) > LONGEST_LINE:
        return f"a message of {len(lines)} lines and {len(text)} characters: {text[:80]!r}"
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"a message that cannot be printed: {text[:80]!r}"
    return ""


def scored(*args: Any, **settings: Any) -> dict[str, Any]:
    """A score as a user gets it, which must be JSON that any program reads."""
    found = score(*args, **settings)
    document = found.to_dict()
    json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    if len(found.runs) > 1:
        compared = comparison_of(found, resamples=20)
        if compared is not None:
            json.dumps(compared.to_dict(), allow_nan=False)
    return document


def same_score(rng: Random, folder: Path) -> tuple[str, str]:
    """What is whole scores as it was made, whatever its form, its order and what is added."""
    asked = questions(rng, rng.randrange(1, 12))
    replies = [rng.choice(("Yes", "No")) for _ in asked]
    form = rng.choice(sorted(FORMS))
    records = FORMS[form](asked, replies)
    rng.shuffle(records)
    for record in records:
        record |= {"model_id": "m", "metadata": {"a": [1]}, "answer_id": None}
    right = sum(r.lower() == one["label"] for one, r in zip(asked, replies, strict=True))
    path = written(folder / "a.json", records, rng)
    try:
        found = scored(Pope(questions=written(folder / "q.json", asked, rng)), path)
    except DataError as error:
        # Small files of coincidences: every reply is what the truth would be, or the question.
        return REFUSED, readable(error)
    if found["accuracy"] != right / len(asked):
        return ACCEPTED, f"{form}: {found['accuracy']} for {right} of {len(asked)}"
    return GOOD, ""


def other_questions(rng: Random, folder: Path) -> tuple[str, str]:
    """Answers to other questions of the same numbers are not scored."""
    asked = questions(rng, rng.randrange(3, 12))
    others = [{**one, "text": f"Is there a zebra by the {rng.choice(THINGS)}?"} for one in asked]
    form = rng.choice(("prompt", "truth beside", "lmms-eval", "eval", "list"))
    path = written(folder / "a.json", FORMS[form](others, ["Yes"] * len(asked)), rng)
    found = scored(Pope(questions=written(folder / "q.json", asked, rng)), path, lenient=True)
    return ACCEPTED, f"{form}: {found}"


def pope(rng: Random, folder: Path) -> tuple[str, str]:
    """POPE's files, one of them or both damaged."""
    asked: Any = questions(rng, rng.randrange(1, 9))
    replies = [rng.choice(("Yes", "No", "I cannot tell.\nNo", "")) for _ in asked]
    records: Any = FORMS[rng.choice(sorted(FORMS))](asked, replies)
    if rng.random() < 0.2:
        records += FORMS[rng.choice(sorted(FORMS))](asked, replies)
    if rng.random() < 0.3:
        asked = spoil(rng, asked)
    if rng.random() < 0.8:
        records = spoil(rng, records)
    files = [written(folder / "q.json", asked, rng), written(folder / "a.json", records, rng)]
    if rng.random() < 0.3:
        torn = rng.choice(files)
        torn.write_bytes(tear(rng, torn.read_bytes()))
    made = Pope(questions=files[0], parser=rng.choice(PARSERS))
    scored(made, files[1], lenient=rng.random() < 0.5)
    return GOOD, ""


def chair(rng: Random, folder: Path) -> tuple[str, str]:
    """CHAIR's files."""
    count = rng.randrange(1, 6)
    truth: Any = instances(rng, count)
    references: Any = {"annotations": [{"image_id": 0, "caption": "A dog."}]}
    names: list[dict[str, Any]] = [
        {"image_id": n} if rng.random() < 0.5 else {"image": f"{n:012d}.jpg", "question_id": 9 - n}
        for n in range(count)
    ]
    records: Any = [{**one, "caption": f"A {rng.choice(THINGS)} and a hot dog."} for one in names]
    which = rng.randrange(3)
    truth = spoil(rng, truth) if which == 0 else truth
    records = spoil(rng, records) if which == 1 else records
    references = spoil(rng, references) if which == 2 else references
    files = [
        written(folder / name, document, rng)
        for name, document in (("i", truth), ("a", records), ("c", references))
    ]
    if rng.random() < 0.2:
        torn = rng.choice(files)
        torn.write_bytes(tear(rng, torn.read_bytes()))
    synonyms = folder / "s.txt"
    synonyms.write_bytes(tear(rng, b"dog, puppy\ncat, kitten\n"))
    made = Chair(
        instances=files[0],
        captions=files[2] if rng.random() < 0.5 else None,
        synonyms=synonyms if rng.random() < 0.3 else None,
        drop_unfinished=rng.random() < 0.5,
    )
    scored(made, files[1], lenient=rng.random() < 0.5)
    return GOOD, ""


def amber(rng: Random, folder: Path) -> tuple[str, str]:
    """AMBER's files."""
    truth: Any = annotations(rng.randrange(1, 7))
    related: Any = {"dog": ["puppy"], "cat": ["kitten"]}
    records: Any = [{"id": one["id"], "response": "No dog, a cat."} for one in truth]
    queries: Any = [{"id": n["id"], "image": "a.jpg", "query": f"Is {n['id']}?"} for n in truth]
    which = rng.randrange(4)
    documents = [truth, related, records, queries]
    documents[which] = spoil(rng, documents[which])
    names = ("annotations.json", "relation.json", "a.json", "q.json")
    files = [
        written(folder / name, document, rng)
        for name, document in zip(names, documents, strict=True)
    ]
    (folder / "safe_words.txt").write_bytes(tear(rng, b"image\npicture\n"))
    asked = files[3] if rng.random() < 0.5 else None
    made = Amber(annotations=folder, questions=asked, images=rng.choice((None, folder)))
    scored(made, files[2], lenient=rng.random() < 0.5)
    return GOOD, ""


def mme(rng: Random, folder: Path) -> tuple[str, str]:
    """MME's folders of answers and of questions."""
    answers, benchmark = folder / "answers", folder / "MME"
    answers.mkdir()
    for task in rng.sample(("count", "existence", "OCR", "Counts", "x y"), rng.randrange(1, 4)):
        lines = "".join(f"{n}.png\tIs it?\tYes\tYes\n{n}.png\tNot?\tNo\tYes\n" for n in range(3))
        torn = tear(rng, lines.encode()) if rng.random() < 0.8 else lines.encode()
        (answers / f"{task}.txt").write_bytes(torn)
        (benchmark / task).mkdir(parents=True)
        for n in range(2):
            text = b"Is it?\tYes\nNot?\tNo\n"
            torn = tear(rng, text) if rng.random() < 0.3 else text
            (benchmark / task / f"{n}.txt").write_bytes(torn)
    lenient = rng.random() < 0.5
    if rng.random() < 0.5:
        scored(Mme(), answers, lenient=lenient)
    else:
        records = [
            {"id": f"count/{n}/{k}", "question_id": f"count/{n}.png", "text": "Yes",
             "prompt": ("Is it?", "Not?")[k - 1]}
            for n in range(2) for k in (1, 2)
        ]  # fmt: skip
        path = written(folder / "a.json", spoil(rng, records), rng)
        scored(Mme(annotations=benchmark), path, lenient=lenient)
    return GOOD, ""


def folders(rng: Random, folder: Path) -> tuple[str, str]:
    """Files of answers that runs go on with: opened as they are, or left as they were."""
    asked = questions(rng, rng.randrange(1, 6))
    ours = rng.random() < 0.5
    records: Any = FORMS["eval" if ours else "list"](asked, ["Yes"] * len(asked))
    if not ours:
        for record in records:
            record["provenance"] |= {
                "model": "m", "revision": None, "weights": "w", "dtype": "float32", "preset": "p",
                "settings": {},
            }  # fmt: skip
    content = "".join(
        json.dumps(one) + "\n" for one in (spoil(rng, records) if rng.random() < 0.6 else records)
    ).encode()
    if rng.random() < 0.6:
        content = tear(rng, content)
    path = folder / "answers.jsonl"
    path.write_bytes(content)
    lines = AnswerLines(
        of="a run",
        beginning=b'{"method": ',
        key=lambda record: (record["method"], record["seed"], record["id"]),
        identity=lambda record: {"question": record["question"]},
    )
    try:
        with AnswersFile(path, lines) if ours else list_answers(path) as answers:
            kept = list(answers.records())
            answers.append([{**records[0], "text": "more"}])
    except UserError:
        if path.read_bytes() != content:
            return ACCEPTED, "a file that was refused has changed"
        raise
    after = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    if len(after) != len(kept) + 1 or not path.read_bytes().endswith(b"\n"):
        return ACCEPTED, "lines were lost"
    return GOOD, ""


def runs(rng: Random, folder: Path) -> tuple[str, str]:
    """The folder of a run, one of its files damaged: it goes on, or is left as it was."""
    asked = questions(rng, rng.randrange(1, 6))
    items = [Item(str(n), one["image"], None, one["text"], {}) for n, one in enumerate(asked)]
    hashes = {item.id: item.question for item in items}
    settings = {"temperature": 1.0, "top_p": 1.0, "top_k": None, "max_new_tokens": 16}
    config = {"model": "m", "weights": "w", "dtype": "d", "preset": "p", "settings": settings}

    def go_on() -> None:
        with Run(folder, config, {"machine": "here"}) as run:
            run.declare({"vcd": {"alpha": 1.0}}, hashes)
            run.append(
                (Key("vcd", 0, one.id), one, one.question, Given("Yes", 1, "eos")) for one in items
            )
            run.responses(["vcd"], [0], items)

    go_on()
    path = folder / rng.choice(("manifest.json", "answers.jsonl"))
    content = path.read_bytes()
    if rng.random() < 0.5:
        content = tear(rng, content)
    elif path.suffix == ".jsonl":
        records = [json.loads(line) for line in content.splitlines()]
        content = "".join(json.dumps(one) + "\n" for one in spoil(rng, records)).encode()
    else:
        content = json.dumps(spoil(rng, json.loads(content))).encode()
    path.write_bytes(content)
    try:
        go_on()
    except UserError:
        if not content.startswith(path.read_bytes()):  # a torn last line may be cut off
            return ACCEPTED, f"{path.name} was refused and has changed"
        raise
    return GOOD, ""


def tables(rng: Random, folder: Path) -> tuple[str, str]:
    """Tables with a heading."""
    asked = questions(rng, rng.randrange(1, 6))
    mark = rng.choice((",", "\t"))
    rows = [mark.join(("question_id", "question", "answer", "prediction"))]
    rows += [
        mark.join((str(one["question_id"]), one["text"], one["label"], rng.choice(("Yes", '"No"'))))
        for one in asked
    ]
    path = folder / f"a.{rng.choice(('csv', 'tsv', 'TSV', 'xlsx', 'json'))}"
    content = "\n".join(rows).encode()
    path.write_bytes(tear(rng, content) if rng.random() < 0.7 else content)
    made = Pope(questions=written(folder / "q.json", asked, rng))
    scored(made, path, lenient=rng.random() < 0.5)
    return GOOD, ""


if __name__ == "__main__":
    sys.exit(run(attempt))

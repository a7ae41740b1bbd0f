"""What the figures of the comparison support, in sentences made from the figures alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evidence import Figure, prior_of_errors, prior_shares, telling
from tables import SPLITS, TASKS, Table

Scores = Mapping[str, Any]

_ALPHA = 0.05
_KINDS = {
    "better": "Better than every control",
    "sharpening": "Better than regular decoding, but not than the best control, so only sharpening",
    "worse": "Worse than the best control, and not better than regular decoding",
}


def gain(scores: Scores, pair: Mapping[str, Any]) -> float:
    """A difference with its sign turned so that more is better."""
    difference: float = pair["difference"]
    return difference if scores["higher_is_better"] else -difference


def kind(scores: Scores, row: Mapping[str, Any]) -> str:
    """What a method's row amounts to: one of `_KINDS`, or ``open``."""
    if row["verdict"] == "better than its controls":
        return "better"
    if row["verdict"] != "no better than sharpening":
        return "open"
    regular = row["versus_regular"]
    gained = regular["p_holm"] < _ALPHA and gain(scores, regular) > 0
    return "sharpening" if gained else "worse"


def signed(pair: Mapping[str, Any]) -> str:
    """A difference in points with its interval."""
    text = f"{100 * pair['difference']:+.1f}"
    if pair["low"] is not None:
        text += f" [{100 * pair['low']:+.1f}, {100 * pair['high']:+.1f}]"
    return text


def compared(scores: Scores) -> list[Mapping[str, Any]]:
    """The rows of methods that are compared: neither regular nor a control."""
    return [row for row in scores["rows"] if row["versus_best_control"] is not None]


def overview(results: Mapping[Table, Scores]) -> list[str]:
    """The first lines: how often a method beat its controls."""
    kinds = [kind(scores, row) for scores in results.values() for row in compared(scores)]
    if not kinds:
        return []
    return [
        f"Of {len(kinds)} comparisons (method, task, split, temperature), a method is better than "
        f"its best control in {kinds.count('better')}, better than regular decoding but not than "
        f"its best control in {kinds.count('sharpening')}, worse than its best control in "
        f"{kinds.count('worse')}; {kinds.count('open')} cannot be told apart at this size."
    ]


def findings(results: Mapping[Table, Scores]) -> list[str]:
    """For each task and temperature which method does what, where, and by how much."""
    blocks = []
    for task, temperature in dict.fromkeys((p.task, p.temperature) for p in results):
        tables = {
            table: scores
            for table, scores in results.items()
            if (table.task, table.temperature) == (task, temperature)
        }
        what = "accuracy" if task == "pope" else "CHAIRi, less is better; in brackets recall"
        how = "greedy" if temperature == 0 else "temperature 1"
        blocks += [
            f"**{TASKS[task].capitalize()}, {how}: against the best control** ({what})",
            _table(tables),
            " ".join(_sentences(tables)),
        ]
    return blocks


def _table(tables: Mapping[Table, Scores]) -> str:
    methods = list(dict.fromkeys(r["method"] for s in tables.values() for r in compared(s)))
    lines = [
        f"| method | {' | '.join(f'`{table.split}`' for table in tables)} |",
        "| --- |" + " --- |" * len(tables),
        f"| *regular* | {' | '.join(_level(s, 'regular') for s in tables.values())} |",
        f"| *best control* | {' | '.join(_best(s) for s in tables.values())} |",
    ]
    for method in methods:
        rows = [
            next((cell(s, r) for r in compared(s) if r["method"] == method), "")
            for s in tables.values()
        ]
        lines.append(f"| {method} | {' | '.join(rows)} |")
    return "\n".join(lines)


def _level(scores: Scores, method: str) -> str:
    metrics = next(row["metrics"] for row in scores["rows"] if row["method"] == method)
    text = f"{100 * metrics[scores['primary']]['mean']:.1f}"
    return text + (f" ({100 * metrics['recall']['mean']:.1f})" if _captions(scores) else "")


def _best(scores: Scores) -> str:
    against = next((r["versus_best_control"]["against"] for r in compared(scores)), None)
    return f"{_level(scores, against)} {against}" if against else ""


def cell(scores: Scores, row: Mapping[str, Any]) -> str:
    """What a method adds to the best control, with its verdict."""
    text = signed(row["versus_best_control"])
    if _captions(scores):
        recall = {r["method"]: r["metrics"]["recall"]["mean"] for r in scores["rows"]}
        against = row["versus_best_control"]["against"]
        text += f" ({100 * (recall[row['method']] - recall[against]):+.1f})"
    found = kind(scores, row)
    return text if found == "open" else f"{text} **{found}**"


def _captions(scores: Scores) -> bool:
    return bool(scores["benchmark"] == "chair")


def _sentences(tables: Mapping[Table, Scores]) -> list[str]:
    """Which methods are of which kind, and where."""
    found = []
    for name, title in _KINDS.items():
        where: dict[str, list[str]] = {}
        for table, scores in tables.items():
            for row in compared(scores):
                if kind(scores, row) == name:
                    where.setdefault(row["method"], []).append(f"`{table.split}`")
        if where:
            cases = (f"{method} ({', '.join(splits)})" for method, splits in where.items())
            found.append(f"{title}: {'; '.join(cases)}.")
    if not any(text.startswith(_KINDS["better"]) for text in found):
        found.insert(0, "No method is better than its best control.")
    if any(kind(s, row) == "open" for s in tables.values() for row in compared(s)):
        found.append("All others cannot be told from their best control at this size.")
    return found


def prior_table(evidence: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the view without the picture thinks of true and made-up words and answers."""
    lines = [
        "| split | named objects, true | made up | yes/no answers, right | wrong |",
        "| --- | --- | --- | --- | --- |",
    ]
    for split, found in evidence.items():
        words, answers = prior_shares(found["mentions"]), prior_of_errors(found["answers"])
        figures = [*map(words.get, ("true", "made up")), *map(answers.get, ("right", "wrong"))]
        cells = " | ".join(str(figure) if figure else "-" for figure in figures)
        lines.append(f"| `{split}` | {cells} |")
    return lines


def telling_table(evidence: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """How well each score tells true from made-up objects."""
    figures = {split: telling(found["mentions"]) for split, found in evidence.items()}
    known = {split: figure for split, figure in figures.items() if figure}
    if not known:
        return []
    names = list(next(iter(known.values())))
    heads = " | ".join(f"`{split}`" for split in known)
    return [
        f"| score | {heads} |",
        "| --- |" + " --- |" * len(known),
        *(f"| {name} | {' | '.join(str(f[name]) for f in known.values())} |" for name in names),
    ]


def reading(evidence: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What those tables say."""
    lines = []
    for split in (split for split in SPLITS if split in evidence):
        mentions, answers = evidence[split]["mentions"], evidence[split]["answers"]
        lines.append(
            f"- `{split}`: {_prior(prior_shares(mentions), 'made up', 'true', 'made-up objects')}; "
            f"{_prior(prior_of_errors(answers), 'wrong', 'right', 'wrong yes/no answers')}. "
            f"{_telling(telling(mentions))}"
        )
    asked = sum(found["consulted"]["asked"] for found in evidence.values())
    named = sum(found["consulted"]["named"] for found in evidence.values())
    if asked:
        lines.append(
            f"- RITUAL+ asks the model which transform would help: {named} of {asked} replies "
            "named one. Without a name it is RITUAL, draw for draw"
            + ("; so it has no row." if not named else "; it has no row here all the same.")
        )
    return lines


def _prior(shares: Mapping[str, Figure], bad: str, good: str, what: str) -> str:
    if bad not in shares or good not in shares:
        return f"there are no {what} to judge"
    one, other = shares[bad], shares[good]
    if one.things or other.things:
        return f"there are too few {what} to judge ({one} against {other})"
    if one.low is not None and other.high is not None and one.low > other.high:
        return f"{what} follow the prior more than the others ({one} against {other})"
    if one.high is not None and other.low is not None and one.high < other.low:
        return f"{what} follow the prior less than the others ({one} against {other})"
    return f"it is not seen that {what} follow the prior more ({one} against {other})"


def _telling(figures: Mapping[str, Figure] | None) -> str:
    if figures is None:
        return "There are not both true and made-up objects."
    alone = figures["original alone"]
    more = [n for n in ("ritual", "vcd", "m3id") if figures[f"{n} - original"].above(0)]
    less = [n for n in ("ritual", "vcd", "m3id") if (figures[f"{n} - original"].high or 0) < 0]
    text = f"The original view alone tells true from made-up objects with {alone}"
    if more:
        text += f"; a further view adds to that in {', '.join(f'`{n}`' for n in more)}"
    if less:
        text += f"; it takes away in {', '.join(f'`{n}`' for n in less)}"
    return text + ("." if more or less else "; no method's further view is seen to change that.")

"""Functions of the tasks, as lmms-eval calls them."""

from pathlib import Path

from PIL import Image


def visual(doc):
    return [Image.open(doc["image"]).convert("RGB")]


def is_there(doc, lmms_eval_specific_kwargs=None):
    return f"Is there {doc['object']} in the image?"


def judged(doc, results):
    said = results[0].lower().startswith("yes")
    return {"accuracy": float(said == (doc["answer"] == "yes"))}


def describe(doc, lmms_eval_specific_kwargs=None):
    return "Describe the image."


def words(doc, results):
    return {"length": len(results[0].split())}


def rounds(
    doc,
    lmms_eval_specific_kwargs=None,
    previous_output=None,
    round_idx=None,
    previous_round_info=None,
):
    """Describe it, then ask about it, then, where the answer is yes, how many there are."""
    if round_idx is None:
        return describe(doc)
    if round_idx == 1:
        return visual(doc), is_there(doc), False, previous_output, {"described": previous_output[0]}
    assert previous_round_info == {"described": previous_output[0]}
    if round_idx == 2 and previous_output[1].lower().startswith("yes"):
        question = f"How many are there? {Path(doc['image']).stem}"
        return visual(doc), question, False, previous_output, previous_round_info
    return None, None, True, previous_output, previous_round_info


def counted(doc, results):
    return {"asked": len(results[0])}

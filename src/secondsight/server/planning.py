"""From a checked request to what the engine is asked to write: one generation per choice."""

from __future__ import annotations

import secrets
from dataclasses import replace

from secondsight.errors import UserError
from secondsight.methods import Method
from secondsight.sample import Sample
from secondsight.server.backend import Generation
from secondsight.server.config import Limits
from secondsight.server.messages import Conversation, conversation
from secondsight.server.names import DEFAULTS, chosen, created
from secondsight.server.problems import bad_request, from_user_error
from secondsight.server.schemas import Asked, ChatRequest, CompareRequest, TraceRequest
from secondsight.settings import Settings

Scoring = ChatRequest | CompareRequest


def chat(asked: ChatRequest, name: str, limits: Limits) -> tuple[Conversation, list[Generation]]:
    """The choices of a chat completion: `n` draws, with the seeds seed, seed + 1, ...

    Raises:
        ApiError: 400 or 404.
    """
    method = chosen(name, asked.model, asked.method, helpers=limits.helpers)
    count = asked.n or 1
    _few_enough(count, "n", limits)
    talk = conversation(asked.messages)
    settings = settings_of(asked, limits.new_tokens)
    if count > 1 and settings.num_beams > 1:
        raise bad_request(f"n is {count}, and a search has one best answer. Leave n out.", "n")
    return talk, [
        _generation(asked, talk, method, replace(settings, seed=settings.seed + number))
        for number in range(count)
    ]


def comparison(
    asked: CompareRequest, name: str, limits: Limits
) -> tuple[Conversation, list[Generation]]:
    """The choices of a comparison: one for each method, with the same seed.

    Raises:
        ApiError: 400 or 404.
    """
    if chosen(name, asked.model, None).spec != "regular":
        raise bad_request("A comparison's methods stand in methods, not in the model.", "model")
    _few_enough(len(asked.methods), "methods", limits)
    talk = conversation(asked.messages)
    settings = settings_of(asked, limits.new_tokens)
    methods = [
        created(spec, f"methods[{number}]", helpers=limits.helpers)
        for number, spec in enumerate(asked.methods)
    ]
    return talk, [_generation(asked, talk, method, settings) for method in methods]


def traced(asked: TraceRequest, name: str, limits: Limits) -> tuple[Conversation, Generation]:
    """What is traced.

    Raises:
        ApiError: 400 or 404.
    """
    method = chosen(name, asked.model, asked.method, helpers=limits.helpers)
    talk = conversation(asked.messages)
    settings = settings_of(asked, limits.trace_tokens)
    if settings.num_beams > 1:
        raise bad_request("A trace follows one hypothesis. Leave num_beams out.", "num_beams")
    return talk, Generation(_sample(talk), method, settings, share_views=asked.share_views)


def settings_of(asked: Asked, longest: int) -> Settings:
    """The settings of a request.

    Where a seed is left out, answers that are drawn are drawn anew each time; the others are as
    with seed 0.

    Args:
        asked: The request.
        longest: More new tokens are cut to so many.

    Raises:
        ApiError: 400.
    """
    both = (asked.max_completion_tokens, asked.max_tokens)
    if None not in both and both[0] != both[1]:
        raise bad_request(
            "max_tokens and max_completion_tokens differ. Give one.", "max_completion_tokens"
        )
    wanted = both[0] or both[1] or int(DEFAULTS["max_completion_tokens"])
    temperature = DEFAULTS["temperature"] if asked.temperature is None else asked.temperature
    seed = asked.seed
    if seed is None:
        seed = secrets.randbelow(2**31) if temperature > 0 else int(DEFAULTS["seed"])
    stop = (asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop or ())
    try:
        return Settings(
            max_new_tokens=min(wanted, longest),
            temperature=temperature,
            top_p=1.0 if asked.top_p is None else asked.top_p,
            top_k=asked.top_k if asked.top_k is not None and asked.top_k > 0 else None,
            repetition_penalty=1.0
            if asked.repetition_penalty is None
            else asked.repetition_penalty,
            stop=stop,
            seed=seed,
            num_beams=asked.num_beams or 1,
            length_penalty=1.0 if asked.length_penalty is None else asked.length_penalty,
            early_stopping=asked.early_stopping or False,
        )
    except UserError as error:
        raise from_user_error(error) from None


def _generation(
    asked: Scoring, talk: Conversation, method: Method, settings: Settings
) -> Generation:
    if asked.top_logprobs is not None and not asked.logprobs:
        raise bad_request("top_logprobs needs logprobs: true.", "top_logprobs")
    found = Generation(
        sample=_sample(talk),
        method=method,
        settings=settings,
        share_views=asked.share_views,
        evidence=asked.evidence,
        top_logprobs=(asked.top_logprobs or 0) if asked.logprobs else None,
        doubts=asked.doubts,
    )
    if found.repaired and (asked.logprobs or asked.evidence):
        field = "logprobs" if asked.logprobs else "evidence"
        if field == "evidence" and isinstance(asked, CompareRequest):
            return replace(found, evidence=False)  # the answer says so
        raise bad_request(
            f"{method.name} answers with what is left after its repairs, whose tokens have no "
            f"{field}. Leave it out, or use {method.name}:repair=none.",
            field,
        )
    return found


def _sample(talk: Conversation) -> Sample:
    """The sample without its images, which are opened when it is let in."""
    if not talk.question.strip():
        raise bad_request("The question is empty. Ask something about the image.", "messages")
    return Sample(
        None,
        talk.question,
        history=talk.history,
        system=talk.system,
        places=talk.places if any(talk.places) else (),  # the first turn's need no saying
    )


def _few_enough(count: int, param: str, limits: Limits) -> None:
    if count > limits.choices:
        raise bad_request(f"{param} asks for {count} answers; at most {limits.choices}.", param)

"""An answer piece by piece, as it is written."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from secondsight.answer import Answer, TokenUpdate
from secondsight.inference.runner import Runner
from secondsight.inference.ticket import Listener, Ticket


class Stream(Iterator[str]):
    """Iterates over the pieces of an answer; whoever asks for the next piece has it written.

    Closing it, leaving it in a ``with``, or letting go of it ends the writing before the next
    pass of the model.

    Args:
        submit: Submits the request, given who listens to its tokens.
        runner: Runs the engine.

    Attributes:
        answer: The answer once it has ended; what there was of it after `close`.
    """

    def __init__(self, submit: Callable[[Listener], Ticket], runner: Runner) -> None:
        pieces: deque[str] = deque()

        def listen(update: TokenUpdate) -> None:  # holds the pieces only, so that dropping works
            if update.text:
                pieces.append(update.text)

        self._pieces = pieces
        self._runner = runner
        self._ticket = submit(listen)
        self.answer: Answer | None = None

    def __next__(self) -> str:
        pieces, ticket = self._pieces, self._ticket
        self._runner.run_until(lambda: bool(pieces) or ticket.done)
        if pieces:
            return pieces.popleft()
        if self.answer is None:
            self.answer = ticket.result()
        raise StopIteration

    def close(self) -> None:
        """Stop writing."""
        self._ticket.cancel()
        self.answer = self.answer or self._ticket.result()
        self._pieces.clear()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if "_ticket" in vars(self):
            self._ticket.cancel()

"""``secondsight serve``: an OpenAI-compatible server, and a page to look through."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from secondsight.cli import options
from secondsight.cli.loading import Loading, loads_a_model
from secondsight.cli.output import say
from secondsight.errors import UserError
from secondsight.extras import require

if TYPE_CHECKING:
    from secondsight.server.backend import Backend

_LISTENING: Final = "Listening"
_ACCESS: Final = "Who may ask"
_AMOUNT: Final = "How much at once"

KEY_VARIABLE: Final = "SECONDSIGHT_API_KEY"


@loads_a_model()
def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen at.", rich_help_panel=_LISTENING)
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port; 0 for a free one.", rich_help_panel=_LISTENING)
    ] = 8000,
    served_name: Annotated[
        str | None,
        typer.Option(
            help="The model's name for clients; left out: the hub id, or the folder's name.",
            metavar="NAME",
            show_default=False,
            rich_help_panel=_LISTENING,
        ),
    ] = None,
    api_key: Annotated[
        list[str] | None,
        typer.Option(
            help=f"A key that clients must send; may be given several times. Better: the "
            f"environment variable {KEY_VARIABLE} (several separated by commas), which other "
            "users of the machine do not see.",
            metavar="KEY",
            show_default=False,
            rich_help_panel=_ACCESS,
        ),
    ] = None,
    no_key: Annotated[
        bool,
        typer.Option(
            "--no-key", help="Listen beyond this machine without a key.", rich_help_panel=_ACCESS
        ),
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            help="A further name that the server is reached by (Host header); * for any.",
            metavar="NAME",
            show_default=False,
            rich_help_panel=_ACCESS,
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            help="Origin of web pages that may use the server, such as https://example.org.",
            metavar="ORIGIN",
            show_default=False,
            rich_help_panel=_ACCESS,
        ),
    ] = None,
    allow_media_domain: Annotated[
        list[str] | None,
        typer.Option(
            help="Domain from which images are fetched; *.example.org for all below. Left out, "
            "images are taken as data URLs only.",
            metavar="DOMAIN",
            show_default=False,
            rich_help_panel=_ACCESS,
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(help="Answers written at once.", rich_help_panel=_AMOUNT)
    ] = 8,
    queue: Annotated[
        int,
        typer.Option(
            help="Answers that may wait; more get 429 and when to come again.",
            rich_help_panel=_AMOUNT,
        ),
    ] = 64,
    max_tokens: Annotated[
        int, typer.Option(help="The longest answer; more is cut to it.", rich_help_panel=_AMOUNT)
    ] = 4096,
    deadline: Annotated[
        float, typer.Option(help="Seconds that a request may take.", rich_help_panel=_AMOUNT)
    ] = 600.0,
    grace: Annotated[
        float,
        typer.Option(
            help="Seconds that running requests get when the server is told to stop.",
            rich_help_panel=_AMOUNT,
        ),
    ] = 30.0,
    allow_helpers: Annotated[
        bool,
        typer.Option(
            "--allow-helpers",
            help="Offer methods that load another model, such as agla's; it is fetched when a "
            "client first asks for one.",
            rich_help_panel=_ACCESS,
        ),
    ] = False,
    plugin: options.Plugin = None,
    *,
    loading: Loading,
) -> None:
    """Serve the model in OpenAI's protocol, with every method, and a page to look through.

    [bold]Examples[/bold]

      [cyan]secondsight serve[/cyan]                      then open http://127.0.0.1:8000
      [cyan]secondsight serve -m llava-hf/llava-1.5-7b-hf --batch-size 16[/cyan]
      [cyan]SECONDSIGHT_API_KEY=... secondsight serve --host 0.0.0.0[/cyan]

    The method is a field of the request, or part of the model's name: NAME@ritual:alpha=3.
    SIGTERM and Ctrl-C let running requests end. See docs/serving.md.
    """
    require("serve", "secondsight serve", "fastapi", "uvicorn", "prometheus_client")
    from secondsight.cli.plugins import load_plugins
    from secondsight.server.config import Limits, ServerConfig
    from secondsight.server.run import run

    if max_tokens < 1:
        raise UserError(f"--max-tokens must be at least 1, not {max_tokens}.")
    config = ServerConfig(
        name=served_name or _name(loading.model),
        host=host,
        port=port,
        places=batch_size,
        queue=queue,
        keys=(*(api_key or ()), *_keys_of_environment()),
        hosts=tuple(allow_host or ()),
        origins=tuple(allow_origin or ()),
        media_domains=tuple(allow_media_domain or ()),
        deadline=deadline,
        grace=grace,
        exposed=no_key,
        limits=Limits(new_tokens=max_tokens, helpers=allow_helpers),
    )
    load_plugins(plugin or ())
    _log_to_stderr()

    def load() -> Backend:
        from secondsight.server.engine import EngineBackend

        return EngineBackend(loading.load(), batch_size=batch_size)

    run(config, load, say)


def _name(model: str | None) -> str:
    """What clients call the model: never where it lies."""
    if model is None:
        return "bundled"
    folder = Path(model).expanduser()
    return folder.resolve().name if folder.exists() else model


def _keys_of_environment() -> tuple[str, ...]:
    keys = os.environ.get(KEY_VARIABLE, "").split(",")
    return tuple(key.strip() for key in keys if key.strip())


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name, level in (("secondsight.server", logging.INFO), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.addHandler(handler)
        logger.propagate = False

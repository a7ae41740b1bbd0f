"""The command line: one command per file, thin over the public API."""

__all__ = ["main"]


def main() -> None:
    """Run the command line; the console script ``secondsight``."""
    try:
        from secondsight.cli.interrupts import start

        start()  # before anything that takes time to import
    except KeyboardInterrupt:
        import os

        os.write(2, b"Interrupted.\n")
        os._exit(130)
    from secondsight.cli.main import main as run

    run()

"""Standard output of the commands: a view for people, or one JSON document and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Exit code of a command that finished and left failures behind.
FAILURES_LEFT = 3
#: Seconds between two lines of progress where the output is no terminal.
SAY_S = 20.0

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, nothing else there.")]


def show(view: RenderableType) -> None:
    """Print a table or text on standard output."""
    from esr1md.commands.terminal import stdout_console

    console = stdout_console()
    with console.capture() as text:  # rich itself would answer a closed pipe ('| head') with exit code 1
        console.print(view)
    sys.stdout.write(text.get())
    sys.stdout.flush()


def write_json(out: TextIO, document: Any) -> None:
    """Write the one JSON document of a command."""
    json.dump(document, out, indent=2, allow_nan=False, default=list)
    out.write("\n")
    out.flush()


@contextlib.contextmanager
def document_output(as_json: bool) -> Iterator[TextIO]:
    """Where results go. With ``as_json``, whatever else is printed meanwhile, by any library or child process, goes to
    standard error. A reader that leaves early (``esr1md ligands | head``) is no error."""
    try:
        with _own_stdout() if as_json else contextlib.nullcontext(sys.stdout) as out:
            yield out
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that the flush at exit does not fail again
        raise typer.Exit from None


@contextlib.contextmanager
def _own_stdout() -> Iterator[TextIO]:
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr), os.fdopen(os.dup(kept), "w", encoding="utf-8") as out:
            yield out
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@contextlib.contextmanager
def narrated(first: str = "reading ...") -> Iterator[Callable[[str], None]]:
    """What is being done, on standard error: one live line on a terminal, else a line now and then."""
    from rich.text import Text

    from esr1md.commands.terminal import stderr_console

    console = stderr_console()
    if console.is_terminal:
        with console.status(Text(first)) as waiting:
            yield lambda text: waiting.update(Text(text))
        return
    said = time.monotonic()

    def say(text: str) -> None:
        nonlocal said
        if time.monotonic() - said > SAY_S:
            console.print(Text(text), soft_wrap=True)
            said = time.monotonic()

    yield say

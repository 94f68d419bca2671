"""How the commands of agent, train and export tell a fault and end: one line on stderr and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import typer

from agent.errors import CrackscoutError
from agent.redact import without_passwords

INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it


@contextmanager
def faults_told(program: str, *, interrupted: str) -> Iterator[None]:
    """Turn an error into its line and exit code, an interruption into 130, a reader that went away into 1.

    Args:
        program: the command's name, with which the line begins.
        interrupted: what Ctrl-C leaves behind.
    """
    try:
        yield
    except CrackscoutError as exc:
        typer.echo(f"{program}: {without_passwords(str(exc))}", err=True)
        raise typer.Exit(exc.exit_code) from exc
    except KeyboardInterrupt:
        typer.echo(f"{program}: {interrupted}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None

"""How a command line of ours ends: bad input is one line and an exit status, a fault of ours a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from mrigen.errors import InputError, Stopped


def run_command(command: click.Command, name: str, args: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit: 0 done, 1 a check failed, 2 bad input, 74 (as sysexits.h has it) the disk or store
    failed, 75 stopped in good order, 130 interrupted."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        code = command.main(args, prog_name=name, standalone_mode=False)
    except click.exceptions.Abort:
        print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(130)
    except Stopped as stopped:
        print(f"{name}: {stopped}", file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)
    except (click.ClickException, InputError, OSError) as error:
        reason = error.format_message() if isinstance(error, click.ClickException) else str(error)
        print(f"{name}: error: {' '.join(reason.split())}", file=sys.stderr)
        sys.exit(os.EX_IOERR if isinstance(error, OSError) else 2)
    sys.exit(code if isinstance(code, int) else 0)

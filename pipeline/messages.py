"""One clear line for the person at the terminal, and the command that mends the fault."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable


class PipelineError(Exception):
    """A fault that a person can mend; its text says how."""


def say(text: str) -> None:
    """Print a line at once, also when the output goes into a file."""
    print(text, flush=True)


def run(main: Callable[[], int | None]) -> None:
    """Call a command's main function, and turn the known faults into one line and exit code 1."""
    try:
        sys.exit(main() or 0)
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(
            "\nInterrupted. What is finished is kept: the same command continues from here.",
            file=sys.stderr,
        )
        sys.exit(130)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(
            "error: the disk is full: free about 2 GB (`make clean` removes what was built), "
            "then run the same command again",
            file=sys.stderr,
        )
        sys.exit(1)
    except ModuleNotFoundError as error:
        print(
            f"error: the module {error.name!r} is missing from the environment: "
            "run `make environment`",
            file=sys.stderr,
        )
        sys.exit(1)

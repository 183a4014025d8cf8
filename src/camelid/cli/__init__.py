"""The command line: `camelid COMMAND`, the commands as in `camelid.cli.parser`.

One file a command, imported when it is called: names and arguments are checked before torch is.
Exit codes: 0 done, 1 internal error or failed training, 2 the user's mistake (no traceback), 3
waiting for people, 130 Ctrl-C. Source: choice.
"""

from __future__ import annotations

import errno
import importlib
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from camelid.cli.parser import elsewhere, parse
from camelid.errors import CamelidError, ConfigError
from camelid.run.files import explain_full_disk

REFUSED = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
}
"""What the system says of a path that the user named; other errors are ours."""

RESUMED = ("run", "study", "evaluate")
"""Commands that go on where they were stopped."""


class _StoppedError(KeyboardInterrupt):
    """Ctrl-C; after a bare one in an `exec`, as dataclasses use it, Python ends by the signal."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Words after `camelid`; those of the process when None.

    Returns:
        The exit code.
    """
    words = sys.argv[1:] if arguments is None else arguments
    signals: list[int] = []

    def stop(number: int, _: object) -> None:
        signals.append(number)
        raise _StoppedError(number)

    # A stop signal ends a run as Ctrl-C does: checkpoints stay, nothing half-written is left.
    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, stop)
    try:
        return _call(words)
    except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001 (the last resort)
        # Native code (safetensors) may turn the interruption into an error of its own.
        if not signals and not isinstance(error, KeyboardInterrupt):
            traceback.print_exc()
            print("camelid: internal error; the run directory is whole.", file=sys.stderr)
            return 1
        advice = " The same command (without --redo) goes on from here."
        resumes = bool(words) and words[0] in RESUMED
        print(f"\ncamelid: stopped.{advice if resumes else ''}", file=sys.stderr)
        return 130


def _call(words: Sequence[str]) -> int:
    try:
        known, rest = parse(words)
        if rest and known.command not in ("run", "study"):
            raise ConfigError(f"Unknown words: {' '.join(rest)}. See `camelid --help`.")
        command = importlib.import_module(f"camelid.cli.{known.command}")
        with explain_full_disk(Path()):
            command.call(known, rest)
    except CamelidError as error:
        remark = elsewhere(str(error), words[0]) if words else ""
        print(f"camelid: {error}{remark}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # The reader (`| head`) has seen enough; closing avoids a second complaint at exit.
        sys.stderr.close()
    except OSError as error:
        if error.filename is None or error.errno not in REFUSED:
            raise
        print(f"camelid: {error.filename}: {error.strerror}. Name another path.", file=sys.stderr)
        return 2
    return 0

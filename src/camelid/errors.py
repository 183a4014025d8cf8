"""The exception tree, and words of messages: every error of a user is a `CamelidError`.

A message says what is wrong, the value found, the value needed and what to do.
"""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return a count with its noun for a message: `1 row`, `2,000 rows`, `3 replies`."""
    several = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else several}"


class CamelidError(Exception):
    """Base of all errors that the command line prints without a traceback."""

    exit_code = 2


class ConfigError(CamelidError):
    """A setting, option or recipe is wrong."""


class DataError(CamelidError):
    """A data file is malformed, empty or too long for the model; names file and line."""


class CheckpointError(CamelidError):
    """A model, checkpoint or run directory is damaged or does not fit."""


class MissingInputError(CamelidError):
    """A file that a stage needs does not exist; says where it comes from."""


class TrainingError(CamelidError):
    """Training cannot go on (for example the loss is not finite)."""

    exit_code = 1


class EndpointError(CamelidError):
    """A model behind an address gives no usable answer."""


class WaitingError(CamelidError):
    """The run has stopped for people to do something; the same command goes on."""

    exit_code = 3

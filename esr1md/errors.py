"""The errors a user can meet, each with the exit code the command line gives it.

Every message is one line and says what is wrong, where, what was expected and what to do next.
"""

from __future__ import annotations


class Esr1mdError(Exception):
    """Base of every error raised on purpose; the command line prints it without a traceback."""

    exit_code = 1


class InputError(Esr1mdError):
    """The user's input cannot be used (exit code 2).

    Parameters
    ----------
    what
        What is wrong, naming the offending value: ``"unknown variant 'Y538S'"``.
    where
        File and line, field or option it came from.
    expected
        What would have been accepted.
    do
        The next step for the user.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", expected: str = "", do: str = "") -> None:
        self.what, self.where, self.expected, self.do = what, where, expected, do
        parts = [f"{where}: {what}" if where else what]
        if expected:
            parts.append(f"expected {expected}")
        if do:
            parts.append(do)
        super().__init__(" ".join("; ".join(parts).split()))

    def __reduce__(self):
        return (_rebuild_input_error, (type(self), self.what, self.where, self.expected, self.do))

    def at(self, where: str) -> "InputError":
        """The same error, said to come from ``where`` (a file and line) as well."""
        return type(self)(
            self.what,
            where=f"{where}: {self.where}" if self.where else where,
            expected=self.expected,
            do=self.do,
        )


def _rebuild_input_error(cls, what, where, expected, do):
    return cls(what, where=where, expected=expected, do=do)


class StoppedEarly(Esr1mdError):
    """Work was told to stop (:mod:`esr1md.stopping`) and did, after a checkpoint that another process goes on from.

    Neither a result nor a failure: nothing is recorded but what was computed so far.
    """


class StageError(Esr1mdError):
    """A stage of one replica could not be finished; kept as a failure record, never fatal to a screen.

    Parameters
    ----------
    stage
        ``receptor``, ``parameters``, ``pose``, ``complex``, ``dynamics`` or ``analysis``.
    cause
        One line for the table: what happened and to what.
    where
        File or folder to look at.
    kind
        ``outcome`` when the failure is an answer (a ligand that does not fit a state), else ``error``.
    """

    def __init__(self, stage: str, cause: str, *, where: str = "", kind: str = "error") -> None:
        self.stage, self.cause, self.where, self.kind = stage, " ".join(cause.split()), where, kind
        super().__init__(f"{stage}: {self.cause}" + (f" (see {where})" if where else ""))

    def __reduce__(self):
        return (_rebuild_stage_error, (self.stage, self.cause, self.where, self.kind))


def _rebuild_stage_error(stage, cause, where, kind):
    return StageError(stage, cause, where=where, kind=kind)

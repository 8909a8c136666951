"""The two ways work can fail, and how a wrong configuration is reported.

::

    MailrulesError
    ├── TransientError     may work later: the effect stays in the journal as `later`
    ├── PermanentError     never will: recorded, shown, not tried again
    │   ├── RenderError    a template could not be rendered for this message
    │   ├── NotPermitted   the system does not let us, or somebody else holds the lock
    │   └── NoSuchName     somebody asked for what is not there
    └── ConfigError        the file is wrong; carries every Problem found
    Declined               not a failure: an action leaves this message alone

Adapters translate what their libraries raise into the first two at their edge.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

Path = tuple[str | int, ...]


class MailrulesError(Exception):
    """The root. `str()` of one is a sentence for a person: what, and what to do next."""


class TransientError(MailrulesError):
    """It may work later (network, SMTP 4yz, exit status 75).

    `retry_after`: seconds the other side asked us to wait, if it did. `step`: what a person can do, a
    sentence that `str()` ends with.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, step: str = "") -> None:
        super().__init__(f"{message}. {step}" if step else message)
        self.retry_after = retry_after
        self._step = step

    @property
    def brief(self) -> str:
        """Without the step, for who says the same again and again."""
        # Not kept beside it: secrets are taken out of `args` later.
        return str(self).removesuffix(f". {self._step}") if self._step else str(self)


class PermanentError(MailrulesError):
    """It will never work as it stands (SMTP 5yz, NO [NOPERM], a script's exit status 1)."""


class RenderError(PermanentError):
    """A template could not be rendered for one message; the rule has no effects on it."""


class Declined(MailrulesError):
    """An action is not for this message: it is `skipped`; `str()` says why. The rule's others are done."""


class NotPermitted(PermanentError):
    """The system does not let us (file permissions), or another process is in the way: exit status 77."""


class NoSuchName(PermanentError):
    """A rule, an account or an effect was asked for that is not there: a usage error, exit status 2."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in the file, by its path in the data (`("rules", 0, "when", "frm")`).

    `at` says whether the line and column are those of the key or of the value at that path.
    """

    path: Path
    message: str
    at: Literal["key", "value"] = "value"
    severity: Literal["error", "warning"] = "error"


@dataclass(slots=True)
class Report:
    """Collects problems, so that a file's errors are all reported at once."""

    problems: list[Problem] = field(default_factory=list)

    def error(
        self, path: Iterable[str | int], message: str, *, at: Literal["key", "value"] = "value"
    ) -> None:
        self.problems.append(Problem(tuple(path), message, at))

    def warning(
        self, path: Iterable[str | int], message: str, *, at: Literal["key", "value"] = "value"
    ) -> None:
        self.problems.append(Problem(tuple(path), message, at, "warning"))

    @property
    def failed(self) -> bool:
        return any(p.severity == "error" for p in self.problems)


class ConfigError(MailrulesError):
    """The configuration is wrong. `lines` holds one `FILE:LINE:COLUMN: message` for each problem."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or nothing if no known name is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""

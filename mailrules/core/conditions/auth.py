"""The condition on authentication: auth (RFC 8601)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from mailrules.core.address import without_comments
from mailrules.core.conditions.base import Condition, ParseContext
from mailrules.core.conditions.reading import as_written, read_keys, read_scalars, suggest
from mailrules.core.conditions.views import header_texts
from mailrules.core.errors import Path, Report
from mailrules.core.message import Fact, Message, Unavailable, UnknownFact, header_fact

METHODS = ("dmarc", "spf", "dkim")
RESULTS = ("pass", "fail", "none", "neutral", "softfail", "policy", "temperror", "permerror")
_RESULT = re.compile(r"\s*([a-z0-9-]+)\s*(?:/\s*\d+\s*)?=\s*([a-z]+)")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+"')
_UNTRUSTED = Unavailable(
    "no server's Authentication-Results are trusted: set trusted_authserv of the account"
)


def auth_results(message: Message) -> Mapping[str, str] | None:
    """Result of each method in the topmost trusted Authentication-Results; None if there is none.

    Of several results of one method (DKIM signatures) a pass counts, else the first. Raises
    UnknownFact where no server is trusted: what anybody can write into a message proves nothing.
    """
    if not message.trusted_authserv:
        raise UnknownFact(_UNTRUSTED)
    key = ("auth", message.trusted_authserv)
    memo = message.memo
    if key not in memo:
        trusted = {name.lower() for name in message.trusted_authserv}
        memo[key] = next(
            (
                results
                for text in header_texts(message, "authentication-results")
                for server, results in [_parse(text.plain)]
                if server in trusted
            ),
            None,
        )
    return memo[key]  # type: ignore[no-any-return]


def _parse(value: str) -> tuple[str, dict[str, str]]:
    """The server's name and its results, lower case."""
    plain = without_comments(value).lower()
    head, _, rest = plain.partition(";")
    words = head.split()
    found: dict[str, str] = {}
    for piece in _QUOTED.sub('""', rest).split(";"):
        match = _RESULT.match(piece)
        if match is not None and (match[1] not in found or match[2] == "pass"):
            found[match[1]] = match[2]
    return (words[0].strip('"') if words else ""), found


class Auth(Condition):
    """What the account's own server found of SPF, DKIM and DMARC.

    ```yaml
    when:
      from: "@bank.example"
      not: {auth: {dmarc: pass}}
    ```
    Read from the topmost Authentication-Results of a server in the account's `trusted_authserv`;
    without that setting it can't be judged. A method that the server does not mention is `none`.
    """

    lasting: ClassVar[bool] = True
    key: ClassVar[str] = "auth"
    wanted: tuple[tuple[str, frozenset[str]], ...]
    written: Any = None

    def matches(self, message: Message) -> bool:
        results = auth_results(message)
        if results is None:
            return False
        return all(results.get(method, "none") in wanted for method, wanted in self.wanted)

    def value(self, message: Message) -> Any:
        results = auth_results(message)
        if results is None:
            return None
        return {method: results.get(method, "none") for method, _ in self.wanted}

    def facts(self) -> frozenset[Fact]:
        return frozenset([header_fact("authentication-results")])

    def argument(self) -> Any:
        return self.written

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ParseContext) -> Self | None:
        data = read_keys(value, METHODS, path, report, what=cls.key)
        if data is None:
            return None
        wanted = []
        for method in METHODS:
            if method not in data:
                continue
            scalars = read_scalars(data[method], (*path, method), report, what=method)
            if scalars is None:
                continue
            wrong = [(text, place) for text, place in scalars if text.lower() not in RESULTS]
            for text, place in wrong:
                report.error(
                    place, f"unknown result '{text}' of {method}. {suggest(text, RESULTS, what='Results')}"
                )
            if not wrong:
                wanted.append((method, frozenset(text.lower() for text, _ in scalars)))
        return cls(wanted=tuple(wanted), written=as_written(value)) if len(wanted) == len(data) else None

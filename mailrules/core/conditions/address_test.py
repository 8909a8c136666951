"""Tests of mailboxes: the address test, the parts of a mailbox, and how they are read from the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mailrules.core.address import compared
from mailrules.core.charset import nfc
from mailrules.core.conditions.base import ParseContext
from mailrules.core.conditions.reading import (
    EXISTS_ALONE,
    TEXT_KEYS,
    read_keys,
    read_list,
    read_scalars,
    read_text_test,
)
from mailrules.core.conditions.views import Mailbox
from mailrules.core.errors import Path, Report
from mailrules.core.patterns import Glob
from mailrules.core.text import Text, TextTest

_WILD = re.compile(r"[*?]")
_DOMAIN = re.compile(r"[^\s@<>()\",;:\\]+")


class Patterns:
    """Address tests of which any may hold; a list of ten thousand costs no more than one."""

    __slots__ = ("address_globs", "addresses", "domain_globs", "domains", "globs", "needles", "suffixes")

    def __init__(self) -> None:
        self.addresses: set[str] = set()
        self.domains: set[str] = set()  # exactly these
        self.suffixes: set[str] = set()  # these and what is under them
        self.address_globs: list[Glob] = []
        self.domain_globs: list[Glob] = []
        self.globs = False  # whether there are any
        self.needles: list[str] = []  # literal pieces, for SEARCH

    def add(self, text: str, *, field: str) -> None:
        """One address test as it was written. Raises ValueError with a sentence."""
        pattern = nfc(text.strip())
        problem = why_not_address(pattern, field=field)
        if problem is not None:
            raise ValueError(problem)
        local, at, domain = pattern.rpartition("@")
        wild = _WILD.search(pattern) is not None
        domain = compared(domain)
        if not at:
            self.add_domain(domain)
            return
        self.needles.append(_longest_literal(f"{local}@{domain}"))
        if not wild and local:
            self.addresses.add(f"{local.casefold()}@{domain}")
        elif not wild:
            self.domains.add(domain)
        elif local:
            self.globs = True
            self.address_globs.append(_glob(f"{local.casefold()}@{domain}"))
        else:
            self.globs = True
            self.domain_globs.append(_glob(domain))

    def add_domain(self, domain: str) -> None:
        """A domain (with wildcards) and what is under it."""
        domain = compared(domain)
        self.needles.append(_longest_literal(domain))
        if _WILD.search(domain):
            self.globs = True
            self.domain_globs += [_glob(domain), _glob("*." + domain)]
        else:
            self.suffixes.add(domain)

    def hold(self, mailbox: Mailbox) -> bool:
        if mailbox.key in self.addresses:
            return True
        domain = mailbox.domain
        if domain and (domain in self.domains or (self.suffixes and self._under(domain))):
            return True
        if not self.globs:
            return False
        if any(glob.matches(mailbox.key) for glob in self.address_globs):
            return True
        return bool(domain) and any(glob.matches(domain) for glob in self.domain_globs)

    def _under(self, domain: str) -> bool:
        suffixes = self.suffixes
        while domain not in suffixes:
            _, dot, domain = domain.partition(".")
            if not dot:
                return False
        return True


def _glob(text: str) -> Glob:
    return Glob(text.replace("\\", "\\\\"))


def _longest_literal(text: str) -> str:
    # A-labels and U-labels are the same domain to us and not to a server's SEARCH: ask for neither.
    if not text.isascii() or "xn--" in text:
        return ""
    return max(_WILD.split(text), key=len)


def why_not_address(pattern: str, *, field: str) -> str | None:
    """What is wrong with an address test, and which operator would say it; or None."""
    local, at, domain = pattern.rpartition("@")
    if not pattern:
        return f"an empty address matches nobody. To test for the header write {field}: {{exists: true}}."
    if pattern == "*":
        return f"'*' is any address. To test for the header write {field}: {{exists: true}}."
    if "<" in pattern or ">" in pattern:
        inner = re.search(r"<([^<>]*)>", pattern)
        return f"write the address alone: {inner[1]}." if inner and inner[1] else "write the address alone."
    if at and not domain:
        return f"'{pattern}' has no domain. For the part before the @ write {field}: {{localpart: {local}}}."
    if at and _DOMAIN.fullmatch(domain) and not re.search(r"\s", local):
        return None
    if not at and "." in pattern and _DOMAIN.fullmatch(pattern):
        if pattern.startswith("."):
            return f"'{pattern}' begins with a dot. For domains under it write '@*{pattern}'."
        if not pattern.endswith("."):
            return None
    if at:
        return f"'{pattern}' is not an address. For a piece of one write {field}: {{contains: …}}."
    return (
        f"'{pattern}' is neither an address (name@domain), nor '@domain', nor a domain. Write {field}: "
        f"{{name: {pattern}}} for display names, {{localpart: {pattern}}} for what stands before the @, "
        f"or {{contains: {pattern}}} for a piece of the address."
    )


@dataclass(frozen=True, slots=True)
class AddressTest:
    """The tests of one value; all of them hold of the same mailbox."""

    patterns: tuple[Patterns, ...] = ()
    domains: Patterns | None = None
    texts: tuple[tuple[str, TextTest], ...] = ()
    """(which part of the mailbox, test)"""
    exists: bool | None = None

    def holds(self, mailbox: Mailbox) -> bool:
        for patterns in self.patterns:
            if not patterns.hold(mailbox):
                return False
        if self.domains is not None and not self.domains.hold(mailbox):
            return False
        for part, test in self.texts:  # noqa: SIM110 — the generator of all() costs more than the test
            if not test.any_holds(PARTS[part](mailbox)):
                return False
        return True


def _texts(text: str) -> tuple[Text, ...]:
    return (Text(text),) if text else ()


def _user(mailbox: Mailbox) -> tuple[Text, ...]:
    return _texts(mailbox.address.local.partition("+")[0])


def _detail(mailbox: Mailbox) -> tuple[Text, ...]:
    _, plus, detail = mailbox.address.local.partition("+")
    return (Text(detail),) if plus else ()


PARTS: Mapping[str, Callable[[Mailbox], tuple[Text, ...]]] = {
    "address": lambda mailbox: mailbox.texts,
    "domain": lambda mailbox: _texts(mailbox.domain),
    "localpart": lambda mailbox: _texts(mailbox.address.local),
    "user": _user,
    "detail": _detail,
    "name": lambda mailbox: mailbox.name,
}
_DEFAULTS = {"localpart": "is", "user": "is", "detail": "is", "name": "contains"}


def read_address_test(
    value: Any, *, path: Path, report: Report, context: ParseContext, field: str
) -> AddressTest | None:
    """An address value: a scalar, a list, or a mapping of operators."""
    if not isinstance(value, dict):
        patterns = _read_patterns(read_scalars(value, path, report, what=field), report, field=field)
        return None if patterns is None else AddressTest(patterns=(patterns,))
    data = read_keys(
        value, (*PARTS, *(key for key in TEXT_KEYS if key not in PARTS)), path, report, what=field
    )
    if data is None:
        return None
    if "exists" in data:
        if len(data) > 1:
            report.error((*path, "exists"), EXISTS_ALONE, at="key")
            return None
        bare = read_text_test(data, default="is", path=path, report=report, context=context, what=field)
        return None if bare is None else AddressTest(exists=bare.exists)
    before = len(report.problems)
    patterns_: list[Patterns | None] = []
    domains = None
    texts: list[tuple[str, TextTest]] = []
    for part in PARTS:
        if part not in data:
            continue
        place = (*path, part)
        if part in ("address", "domain") and not isinstance(data[part], dict):
            scalars = read_scalars(data[part], place, report, what=part)
            if part == "address":
                patterns_.append(_read_patterns(scalars, report, field=field))
            else:
                domains = _read_domains(scalars, report)
            continue
        inner = data[part]
        if part in ("address", "domain") and "in" in inner:
            entries = read_list(inner["in"], (*place, "in"), report, context)
            if part == "address":
                patterns_.append(_read_patterns(entries, report, field=field))
            else:
                domains = _read_domains(entries, report)
            inner = {key: item for key, item in inner.items() if key != "in"}
            if not inner:
                continue
        test = read_text_test(
            inner,
            default=_DEFAULTS.get(part, "is"),
            path=place,
            report=report,
            context=context,
            what=f"{field} {part}",
        )
        if test is not None:
            texts.append((part, test))
    if "in" in data:
        entries = read_list(data["in"], (*path, "in"), report, context)
        patterns_.append(_read_patterns(entries, report, field=field))
    operators = {key: data[key] for key in TEXT_KEYS if key in data and key != "in"}
    if set(operators) - {"case_sensitive"}:
        test = read_text_test(operators, default="is", path=path, report=report, context=context, what=field)
        if test is not None:
            texts.insert(0, ("address", test))
    elif "case_sensitive" in operators:
        report.error(
            (*path, "case_sensitive"),
            "case_sensitive stands beside text operators (contains, regex, …); addresses ignore case.",
            at="key",
        )
    if len(report.problems) > before:
        return None
    good = tuple(patterns for patterns in patterns_ if patterns is not None)
    return AddressTest(patterns=good, domains=domains, texts=tuple(texts))


def _read_patterns(
    scalars: Iterable[tuple[str, Path]] | None, report: Report, *, field: str
) -> Patterns | None:
    if scalars is None:
        return None
    patterns = Patterns()
    wrong = False
    for text, place in scalars:
        try:
            patterns.add(text, field=field)
        except ValueError as error:
            wrong = True
            report.error(place, f"{error}")
    return None if wrong else patterns


def _read_domains(scalars: Iterable[tuple[str, Path]] | None, report: Report) -> Patterns | None:
    if scalars is None:
        return None
    domains = Patterns()
    for text, place in scalars:
        domain = nfc(text.strip())
        if "@" in domain:
            report.error(place, f"domain takes what stands behind the @: {domain.rpartition('@')[2] or '…'}.")
        elif not _DOMAIN.fullmatch(domain) or domain.strip(".") != domain:
            report.error(place, f"'{text}' is not a domain. Write one, as in example.com.")
        else:
            domains.add_domain(domain)
    return domains

"""Conditions on mailboxes: from, to, cc, bcc, reply_to, sender, recipient, delivered_to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from mailrules.core.address import compared
from mailrules.core.charset import nfc
from mailrules.core.conditions.base import Condition, ParseContext
from mailrules.core.conditions.reading import (
    EXISTS_ALONE,
    TEXT_KEYS,
    as_written,
    read_keys,
    read_list,
    read_scalars,
    read_text_test,
)
from mailrules.core.conditions.search_words import ANY, header_key, header_present, one_of, words_of_test
from mailrules.core.conditions.views import Mailbox, mailboxes
from mailrules.core.errors import Path, Report
from mailrules.core.message import Fact, Message, header_fact
from mailrules.core.search import Search, all_of, any_of
from mailrules.core.text import Glob, Text, TextTest

_WILD = re.compile(r"[*?]")
_DOMAIN = re.compile(r"[^\s@<>()\",;:\\]+")


class Patterns:
    """Address tests of which any may hold; a list of ten thousand costs no more than one."""

    __slots__ = ("address_globs", "addresses", "domain_globs", "domains", "needles", "suffixes")

    def __init__(self) -> None:
        self.addresses: set[str] = set()
        self.domains: set[str] = set()  # exactly these
        self.suffixes: set[str] = set()  # these and what is under them
        self.address_globs: list[Glob] = []
        self.domain_globs: list[Glob] = []
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
            self.address_globs.append(_glob(f"{local.casefold()}@{domain}"))
        else:
            self.domain_globs.append(_glob(domain))

    def add_domain(self, domain: str) -> None:
        """A domain (with wildcards) and what is under it."""
        domain = compared(domain)
        self.needles.append(_longest_literal(domain))
        if _WILD.search(domain):
            self.domain_globs += [_glob(domain), _glob("*." + domain)]
        else:
            self.suffixes.add(domain)

    def hold(self, mailbox: Mailbox) -> bool:
        if mailbox.key in self.addresses:
            return True
        domain = mailbox.domain
        if not domain:
            return any(glob.matches(mailbox.key) for glob in self.address_globs)
        if domain in self.domains:
            return True
        if self.suffixes and self._under(domain):
            return True
        return any(glob.matches(domain) for glob in self.domain_globs) or any(
            glob.matches(mailbox.key) for glob in self.address_globs
        )

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


class _AddressCondition(Condition):
    """What all address conditions share. `headers` are the lower-case names that are looked at."""

    headers: ClassVar[tuple[str, ...]]
    test: AddressTest
    written: Any = None

    def matches(self, message: Message) -> bool:
        test = self.test
        if test.exists is not None:
            return any(message.header(name) for name in self.headers) is test.exists
        for mailbox in mailboxes(message, self.headers):  # noqa: SIM110 — faster than any()
            if test.holds(mailbox):
                return True
        return False

    def value(self, message: Message) -> Any:
        found = [str(mailbox) for mailbox in mailboxes(message, self.headers)[:100]]
        return found[0] if len(found) == 1 else found or None

    def groups(self, message: Message) -> Mapping[str, str]:
        if not any(test.regex is not None for _, test in self.test.texts):
            return {}
        for mailbox in mailboxes(message, self.headers):
            if self.test.holds(mailbox):
                found: dict[str, str] = {}
                for part, test in reversed(self.test.texts):
                    found.update(test.groups(PARTS[part](mailbox)))
                return found
        return {}

    def group_names(self) -> Mapping[str, bool]:
        names: dict[str, bool] = {}
        for _, test in self.test.texts:
            for name, optional in test.group_names().items():
                names[name] = names.get(name, True) and optional
        return names

    def facts(self) -> frozenset[Fact]:
        return frozenset(header_fact(name) for name in self.headers)

    def search(self) -> Search:
        return any_of([self._search(name) for name in self.headers])

    def _search(self, name: str) -> Search:
        test = self.test
        if test.exists is not None:
            return header_present(name) if test.exists else ANY
        key = header_key(name)
        parts = [_needles(patterns.needles, key) for patterns in test.patterns]
        if test.domains is not None:
            parts.append(_needles(test.domains.needles, key))
        parts += [ANY if part == "domain" else words_of_test(each, key) for part, each in test.texts]
        return all_of(parts)

    def argument(self) -> Any:
        return self.written

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ParseContext) -> Self | None:
        test = read_address_test(value, path=path, report=report, context=context, field=cls.key)
        return None if test is None else cls(test=test, written=as_written(value))


_MOST_NEEDLES = 100


def _needles(needles: list[str], key: Callable[[str], Search]) -> Search:
    return one_of(needles, key) if len(needles) <= _MOST_NEEDLES else ANY


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


class From(_AddressCondition):
    """The mailboxes in From.

    ```yaml
    when:
      from: alice@example.com          # that address
    ---
    when:
      from: ["@example.com", partner.example, "*-noreply@*.example.org"]
    ---
    when:
      from: {name: "Alice", domain: example.com}
    ```
    `@example.com` is that domain, `example.com` (no `@`) also what is under it; `*` and `?` are
    wildcards. Operators: address, domain, localpart, user, detail (around a `+`), name (the display
    name: contains; names are forged), each with a scalar, a list or text operators; text operators
    directly see the bare address; `in: LIST`. All of one mapping hold of the same mailbox.
    """

    key: ClassVar[str] = "from"
    headers: ClassVar[tuple[str, ...]] = ("from",)


class To(_AddressCondition):
    """The mailboxes in To; groups are opened. Works as `from`.

    ```yaml
    when:
      to: {user: me, detail: [shop, news]}      # me+shop@…, me+news@…
    ```
    """

    key: ClassVar[str] = "to"
    headers: ClassVar[tuple[str, ...]] = ("to",)


class Cc(_AddressCondition):
    """The mailboxes in Cc. Works as `from`.

    ```yaml
    when: {cc: team@example.com}
    ```
    """

    key: ClassVar[str] = "cc"
    headers: ClassVar[tuple[str, ...]] = ("cc",)


class Bcc(_AddressCondition):
    """The mailboxes in Bcc, which only one's own sent mail has. Works as `from`.

    ```yaml
    when: {bcc: archive@example.com}
    ```
    """

    key: ClassVar[str] = "bcc"
    headers: ClassVar[tuple[str, ...]] = ("bcc",)


class ReplyTo(_AddressCondition):
    """The mailboxes in Reply-To. Works as `from`.

    ```yaml
    when: {reply_to: {exists: false}}
    ```
    """

    key: ClassVar[str] = "reply_to"
    headers: ClassVar[tuple[str, ...]] = ("reply-to",)


class Sender(_AddressCondition):
    """The mailbox in Sender: who sent it for those in From. Works as `from`.

    ```yaml
    when: {sender: bounces.example.com}
    ```
    """

    key: ClassVar[str] = "sender"
    headers: ClassVar[tuple[str, ...]] = ("sender",)


class Recipient(_AddressCondition):
    """Anybody it was sent to: To, Cc, Bcc, Resent-To, Resent-Cc, Delivered-To, X-Original-To, Envelope-To.

    ```yaml
    when: {recipient: sales@example.com}
    ```
    Works as `from`.
    """

    key: ClassVar[str] = "recipient"
    headers: ClassVar[tuple[str, ...]] = (
        "to", "cc", "bcc", "resent-to", "resent-cc", "delivered-to", "x-original-to", "envelope-to",
    )  # fmt: skip


class DeliveredTo(_AddressCondition):
    """The address it was delivered to: Delivered-To, X-Original-To, Envelope-To.

    ```yaml
    when: {delivered_to: me+shop@example.com}
    ```
    Works as `from`.
    """

    key: ClassVar[str] = "delivered_to"
    headers: ClassVar[tuple[str, ...]] = ("delivered-to", "x-original-to", "envelope-to")

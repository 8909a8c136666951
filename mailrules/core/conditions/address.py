"""Conditions on mailboxes: from, to, cc, bcc, reply_to, sender, recipient, delivered_to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

from mailrules.core.clue import Clues
from mailrules.core.conditions.address_test import PARTS, AddressTest, read_address_test
from mailrules.core.conditions.base import Condition, ParseContext
from mailrules.core.conditions.clues import clues_of_addresses
from mailrules.core.conditions.reading import as_written
from mailrules.core.conditions.search_words import ANY, header_key, header_present, one_of, words_of_test
from mailrules.core.conditions.views import mailboxes
from mailrules.core.errors import Path, Report
from mailrules.core.message import Fact, Message, header_fact
from mailrules.core.search import Search, all_of, any_of


class _AddressCondition(Condition):
    """What all address conditions share. `headers` are the lower-case names that are looked at."""

    lasting: ClassVar[bool] = True
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

    def clues(self) -> Clues | None:
        return clues_of_addresses(self.test, self.headers)

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

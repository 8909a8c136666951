"""What conditions look at: facts of a message made comparable, each once (`message.memo`).

Flags are not here: rules change them, and the memo outlives the change.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from mailrules.core.address import Address, addresses, compared
from mailrules.core.charset import nfc
from mailrules.core.decoding import decode
from mailrules.core.headers import Headers
from mailrules.core.message import ALL_HEADERS, BODY, Message
from mailrules.core.mime import Body
from mailrules.core.text import Text

_SHOWN = 2000
"""Characters of a body that `explain` is given."""


class Mailbox:
    """One mailbox of an address header, in the forms that tests compare.

    `key` is `local@domain`, case-folded, the domain in U-labels. `texts` is the bare address as text:
    as compared and, where that differs, with the domain as written.
    """

    __slots__ = ("_domain", "_key", "_name", "_texts", "address")

    def __init__(self, address: Address) -> None:
        self.address = address
        # Made when somebody looks: most rules look at one of them.
        self._domain: str | None = None
        self._key: str | None = None
        self._texts: tuple[Text, ...] | None = None
        self._name: tuple[Text, ...] | None = None

    @property
    def domain(self) -> str:
        domain = self._domain
        if domain is None:
            domain = self._domain = compared(self.address.domain)
        return domain

    @property
    def local(self) -> str:
        local = self.address.local
        return local.lower() if local.isascii() else nfc(local).casefold()

    @property
    def key(self) -> str:
        key = self._key
        if key is None:
            key = self._key = f"{self.local}@{self.domain}" if self.domain else self.local
        return key

    @property
    def texts(self) -> tuple[Text, ...]:
        texts = self._texts
        if texts is None:
            written = self.address.address
            texts = (Text(written),) if written else ()
            if "xn--" in written.lower():
                texts = (*texts, Text(f"{self.address.local}@{self.domain}"))
            self._texts = texts
        return texts

    @property
    def name(self) -> tuple[Text, ...]:
        name = self._name
        if name is None:
            name = self._name = (Text(self.address.name),) if self.address.name else ()
        return name

    def __str__(self) -> str:
        address = self.address.address
        if not self.address.name:
            return address
        return f"{self.address.name} <{address}>" if address else self.address.name


def header_texts(message: Message, name: str) -> tuple[Text, ...]:
    """Every occurrence of a header, decoded. `name` is lower case."""
    memo = message.memo
    key = ("texts", name)
    found = memo.get(key)
    if found is None:
        found = memo[key] = tuple([Text(decode(raw)) for raw in message.header(name)])
    return found


def mailboxes(message: Message, names: tuple[str, ...]) -> tuple[Mailbox, ...]:
    """The mailboxes of these headers (lower-case names), in that order."""
    memo = message.memo
    found = memo.get(names)
    if found is None:
        found = ()
        for name in names:
            one = memo.get(("mailboxes", name))
            if one is None:
                one = tuple([Mailbox(a) for a in addresses(message.header(name))])
                memo["mailboxes", name] = one
            found += one
        memo[names] = found
    return found


_LIST_ID = re.compile(r"<([^<>]*)>\s*\Z")


def list_ids(message: Message) -> tuple[Text, ...]:
    """What stands in `<…>` of each List-Id (RFC 2919); the whole value where there is no `<…>`."""
    memo = message.memo
    found = memo.get("list ids")
    if found is None:
        ids = []
        for text in header_texts(message, "list-id"):
            inside = _LIST_ID.search(text.plain)
            ids.append(Text((inside[1] if inside else text.plain).strip()))
        found = memo["list ids"] = tuple(ids)
    return found


def body(message: Message) -> tuple[Text, ...]:
    """The decoded text parts as one text; () if there is none."""
    fact: Body = message.get(BODY)
    memo = message.memo
    found = memo.get("body")
    if found is None:
        found = memo["body"] = (Text(fact.text),) if fact.text else ()
    return found


def whole_text(message: Message) -> tuple[Text, ...]:
    """All decoded headers, a line each, then the body."""
    block: Headers = message.get(ALL_HEADERS)
    fact: Body = message.get(BODY)
    memo = message.memo
    found = memo.get("whole text")
    if found is None:
        lines = [f"{name.decode('latin-1')}: {decode(value)}" for name, value in block.fields]
        found = memo["whole text"] = (Text("\n".join([*lines, "", fact.text])),)
    return found


def shown(texts: Sequence[Text]) -> Any:
    """Texts as a value for `explain`: null, one text, or a list."""
    plain = [text.plain[:_SHOWN] for text in texts]
    return plain[0] if len(plain) == 1 else plain or None

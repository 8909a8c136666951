"""What a server says of itself once it has let us in: CAPABILITY, ID (RFC 2971), NAMESPACE (RFC 2342)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import mailrules
from mailrules.adapters.imap.arguments import quoted
from mailrules.adapters.imap.framing import Response
from mailrules.adapters.imap.names import Namespace, Namespaces
from mailrules.adapters.imap.refusals import failure
from mailrules.adapters.imap.tokens import Unreadable, pairs, tokens
from mailrules.adapters.imap.transport import Client, Reply


@dataclass(frozen=True, slots=True)
class Introduction:
    """`server`: what its ID says, lower case names."""

    capabilities: frozenset[str]
    server: dict[str, str]
    namespaces: Namespaces


def introduction(client: Client, told: bytes) -> Introduction:
    """Ask. `told`: what it has said with its OK that it can do (RFC 9051 section 6.2.3), if it has.

    Before the login the answer may differ, and Gmail's and Exchange's does.
    """
    capabilities = _capabilities(client, told)
    client.wire.capabilities = tuple(capabilities)
    asked = [name for name in ("ID", "NAMESPACE") if name in capabilities]
    answers = dict(zip(asked, client.together([_ASKED[name] for name in asked]), strict=True))
    server = _server_id(answers["ID"]) if "ID" in answers else {}
    # Whichever command the server took it for the answer to.
    responses = [response for reply in answers.values() for response in reply.untagged]
    return Introduction(
        capabilities, server, _namespaces(client, responses if "NAMESPACE" in answers else ())
    )


def _capabilities(client: Client, told: bytes) -> frozenset[str]:
    lines = [told] if told else []
    if not lines:
        reply = client.command(b"CAPABILITY")
        if not reply.ok:
            raise failure(reply.status, "asking for capabilities")
        lines = [r[0][13:] for r in reply.untagged if r[0][:13].upper() == b"* CAPABILITY "]
    if not lines:
        return frozenset()
    return _known(lines[-1]) if len(lines[-1]) < 2000 else _words(lines[-1])


def _words(line: bytes) -> frozenset[str]:
    return frozenset(line.decode("ascii", "replace").replace('"', "").upper().split())


_known = functools.lru_cache(maxsize=32)(_words)
"""The same, shared by all connections to which the same was said: of 2,000 it would be megabytes."""


_ASKED = {
    # Before SELECT: 163.com lets nobody in who does not say who they are.
    "ID": b'ID ("name" "mailrules" "version" ' + quoted(mailrules.__version__).encode() + b")",
    "NAMESPACE": b"NAMESPACE",
}


def _server_id(reply: Reply) -> dict[str, str]:
    for response in reply.untagged:
        if response[0][:5].upper() == b"* ID ":
            try:
                answer = pairs(tokens(response, 5)[0] or ())
            except (Unreadable, IndexError, TypeError):
                return {}
            return {
                name.decode("utf-8", "replace").lower(): value.decode("utf-8", "replace")
                for name, value in answer.items()
                if isinstance(value, bytes)
            }
    return {}


def _namespaces(client: Client, told: Sequence[Response]) -> Namespaces:
    for response in told:
        if response[0][:12].upper() == b"* NAMESPACE ":
            try:
                found = Namespaces.read(tokens(response, 12))
            except Unreadable:
                found = None
            if found is not None:
                return found
    for response in client.command(b'LIST "" ""').untagged:
        if response[0][:7].upper() == b"* LIST ":
            try:
                delimiter = tokens(response, 7)[1]
            except (Unreadable, IndexError):
                continue
            return Namespaces(Namespace("", delimiter.decode("latin-1") if delimiter else None))
    return Namespaces()

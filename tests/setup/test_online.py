"""mailrules.setup.online: servers that can't do what the rules ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailrules import config
from mailrules.house import House
from mailrules.setup.online import Remark, inspect
from tests.lab.model import whole_words
from tests.lab.scripted import ScriptedServer


def remarks(
    server: ScriptedServer, *, rule: str = "then: [keep]", account: str = "", probe: bool = False
) -> list[Remark]:
    text = (
        "accounts:\n  lab: {host: 127.0.0.1, security: none, username: me, password: {env: LAB}, "
        f"port: {server.port}{account}}}\nrules:\n  - {{name: a, when: always, {rule}}}\n"
    )
    found = config.parse(text, environ={"LAB": "pw"})
    return inspect(found, House(found, None).connect, probe_search=probe)


def said(found: list[Remark], severity: str) -> list[str]:
    return [remark.message for remark in found if remark.severity == severity]


@pytest.mark.parametrize(
    ("capability", "severity", "words"),
    [
        ("IMAP4rev1 MOVE UIDPLUS", "info", "has no IDLE: it is polled"),
        ("IMAP4rev1 IDLE UIDPLUS", "info", "has no MOVE: messages are copied, checked, then removed"),
        (
            "IMAP4rev1 IDLE",
            "warning",
            "neither MOVE nor UIDPLUS: a message can be copied, not safely removed",
        ),
    ],
)
def test_absent_capabilities(capability: str, severity: str, words: str) -> None:
    """What the server can't do, and what that means for the rules, is told."""
    with ScriptedServer(capability=capability) as server:
        assert any(
            words in message for message in said(remarks(server, rule="then: [{move: INBOX}]"), severity)
        )


def test_unkept_keyword() -> None:
    """A keyword that the server would silently lose is an error that names the rule."""
    with ScriptedServer() as server:
        server.box().permanent = ("\\Seen", "\\Flagged")
        assert said(remarks(server, rule="then: [{flag: $Todo}]"), "error") == [
            "'INBOX' does not keep $Todo, which rule a sets. Use a mailbox or flagged instead."
        ]
        assert said(remarks(server, rule="then: [{assign: [ann]}]"), "error") == [
            "'INBOX' does not keep $Assigned_ann, which rule a sets. Write 'with: mailbox' instead."
        ]


def test_mailboxes_of_people() -> None:
    """Mailboxes that mail is assigned to are announced as those it is moved to; labels ask for Gmail."""
    with ScriptedServer() as server:
        told = said(remarks(server, rule="then: [{assign: {to: [ann, T/b], with: mailbox}}]"), "info")
        created = [m.split(" will")[0] for m in told if " will be created" in m]
        assert created == ["the mailbox 'Assigned/ann'", "the mailbox 'T/b'"]
        errors = said(remarks(server, rule="then: [{label: X}]"), "error")
        assert errors == [
            "label and unlabel can't be done: this is not a Gmail server. "
            "Say under 'accounts' whom they are for: a."
        ]
        assert said(remarks(server, rule="then: [{flag: flagged}]"), "error") == []


def test_no_special_use() -> None:
    """A rule that needs a special-use mailbox is told of where there is none, unless the file names it."""
    with ScriptedServer() as server:
        server.box("Old")
        [message] = said(remarks(server, rule="then: [archive]"), "error")
        assert message.startswith("rule a: the account 'lab' has no archive mailbox")
        named = remarks(server, rule="then: [archive]", account=", special_use: {archive: Old}")
        assert said(named, "error") == []


def test_search_by_word() -> None:
    """A server that searches by whole words is warned of where SEARCH is trusted, and told of where asked."""
    with ScriptedServer(search=whole_words) as server:
        server.box().add(b"Subject: Quarterly figures\r\n\r\nx\r\n")
        [warning] = said(remarks(server, account=", trust_search: true"), "warning")
        assert warning == (
            "SEARCH does not find pieces of words: 'uarterl' in UID 1. "
            "Rules would miss such mail: set trust_search: false."
        )
        asked = remarks(server, probe=True)
        assert said(asked, "warning") == []
        assert any("does not find pieces of words" in message for message in said(asked, "info"))
        before = len(server.sent(b"UID SEARCH"))
        remarks(server)
        assert len(server.sent(b"UID SEARCH")) == before


def test_search_refused() -> None:
    """A SEARCH that the server refuses leaves nothing out, and that is told."""
    with ScriptedServer() as server:
        server.box().add(b"Subject: Quarterly figures\r\n\r\nx\r\n")
        server.script(rb"UID SEARCH.*SUBJECT", b"{tag} NO [CANNOT] no\r\n")
        found = remarks(server, account=", trust_search: true")
        assert any("SEARCH refuses pieces of words" in message for message in said(found, "info"))


def test_nothing_is_changed() -> None:
    """Looking changes nothing: no STORE, CREATE, COPY, MOVE, EXPUNGE or APPEND is sent."""
    with ScriptedServer() as server:
        server.box().add(b"Subject: Quarterly figures\r\n\r\nx\r\n")
        remarks(server, rule="then: [{flag: $X}, {copy: New}, {move: Other}]", probe=True)
        for word in (b"STORE", b"CREATE", b"COPY", b"MOVE", b"EXPUNGE", b"APPEND"):
            assert server.sent(word) == []


def test_one_bad_account_does_not_hide_the_others(tmp_path: Path) -> None:
    """Every account is asked, whatever happened to the one before."""
    with ScriptedServer() as server:
        text = "accounts:\n" + "".join(
            f"  {name}: {{host: 127.0.0.1, security: none, port: {port}, username: me, "
            "password: {env: LAB}}\n"
            for name, port in (("bad", 1), ("good", server.port))
        )
        found = config.parse(text, environ={"LAB": "pw"})
        result = inspect(found, House(found, None).connect)
    assert [(remark.account, remark.severity) for remark in result] == [("bad", "error"), ("good", "info")]
    assert result[0].passing


def test_no_sent_mailbox() -> None:
    """Conditions that read Sent need one that the server names, or the account's file."""
    rule = "when: {replied_to: false}, then: [keep]"
    with ScriptedServer() as server:
        found = config.parse(
            "accounts:\n  lab: {host: 127.0.0.1, security: none, username: me, password: {env: LAB}, "
            f"port: {server.port}}}\nrules:\n  - {{name: a, {rule}}}\n",
            environ={"LAB": "pw"},
        )
        errors = said(inspect(found, House(found, None).connect), "error")
    assert len(errors) == 1 and "special_use: {sent: NAME}" in errors[0]

"""core/actions/mailbox.py: move, copy, archive, trash, junk, delete."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mailrules.core.errors import RenderError
from mailrules.core.message import INTERNALDATE, header_fact
from tests.core.actions.act import RENDER, actions, effect, problem


def test_move_and_copy() -> None:
    """The rendered name is the argument; only a move leaves."""
    assert effect({"move": "Accounting/{{ received.year }}"}) == ("move", {"mailbox": "Accounting/2026"})
    assert effect({"copy": "Büro/Ä & Ö"}) == ("copy", {"mailbox": "Büro/Ä & Ö"})
    move, copy = actions({"move": "A/{{ received.year }}"}, {"copy": "B/{{ message.list_id }}"})
    assert (move.leaves, copy.leaves, move.once) == (True, False, False)
    assert move.facts() == {INTERNALDATE} and copy.facts() == {header_fact("list-id")}


def test_mail_fills_one_level() -> None:
    """A value from mail is one level, made safe, under a literal one; empty fails."""
    entry = {"move": "Lists/{{ message.list_id }}"}
    assert effect(entry, list_id="Py <python.lists.example>")[1] == {"mailbox": "Lists/python.lists.example"}
    assert effect(entry, list_id="<../../INBOX/x>")[1] == {"mailbox": "Lists/INBOX-x"}
    for value in ("", "<>", "<...>", "< \t >", "<%2>"[:1] + ">"):
        with pytest.raises(RenderError):
            effect(entry, list_id=value)
    with pytest.raises(RenderError, match="longer than 200 bytes"):
        effect(entry, list_id=f"<{'x' * 200}>")


@pytest.mark.parametrize(
    "name",
    [
        "{{ message.list_id }}",
        "{{ match.name }}/x",
        "Lists-{{ message.list_id }}",
        "/{{ message.subject }}",
        " /{{ message.subject }}",
        "{% if message.subject %}A/{% endif %}{{ message.subject }}",
        "{{ vars.team }}/{{ message.subject }}",
    ],
)
def test_mail_chooses_no_first_level(name: str) -> None:
    """Without a literal level before it, a value from mail is an error in the file."""
    assert "mail may not choose" in problem({"move": name})[1]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("", "empty"),
        (" ", "empty"),
        ("A//B", "empty level"),
        ("/A", "empty level"),
        ("A/", "empty level"),
        ("A/../B", "'.' or '..'"),
        ("A\r\nB", "control"),
        ("A\0", "control"),
        ("x" * 201, "200 bytes"),
        ("é" * 101, "200 bytes"),
        ("A*", "wildcard"),
        ("A/ B", "blank"),
        ("A\u202eB", "control"),
    ],
)
def test_names_that_are_none(name: str, word: str) -> None:
    """A name no server should be asked for is an error in the file, or for the message."""
    assert word in problem({"move": name})[1]
    assert problem({"copy": name})[0] == (0, "copy")


def test_special_use() -> None:
    """archive, trash and junk go where the server says; nowhere is guessed."""
    assert effect("archive") == ("archive", {"mailbox": None, "special_use": "\\Archive"})
    known = replace(RENDER, special_use={"\\Archive": "Old", "\\Trash": "Bin", "\\Junk": "Spam"})
    assert effect("archive", context=known) == ("archive", {"mailbox": "Old", "special_use": "\\Archive"})
    assert effect("trash", context=known)[1]["mailbox"] == "Bin"
    assert effect("junk", context=known)[1]["mailbox"] == "Spam"
    for word in ("archive", "trash", "junk"):
        with pytest.raises(RenderError, match=rf"special_use: \{{{word}: NAME\}}"):
            effect(word, context=replace(RENDER, special_use={"\\Sent": "Sent"}))


def test_gmail_archives_to_all_mail() -> None:
    """On Gmail archive is All Mail; a server's view of everything elsewhere is no archive."""
    gmail = replace(RENDER, special_use={"\\All": "[Gmail]/All Mail"})
    assert effect("archive", context=gmail)[1]["mailbox"] == "[Gmail]/All Mail"
    with pytest.raises(RenderError):
        effect("archive", context=replace(RENDER, special_use={"\\All": "virtual/All"}))


def test_delete_wants_its_word() -> None:
    """Only `delete: permanently` deletes."""
    assert effect({"delete": "permanently"}) == ("delete", {"permanently": True})
    for entry in ("delete", {"delete": None}, {"delete": "yes"}, {"delete": True}):
        assert "'delete: permanently'" in problem(entry)[1]

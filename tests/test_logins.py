"""mailrules.logins: a journal that knows an account's name as somebody else's says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.dovecot import Dovecot, message
from tests.lab.program import Program, account

RULES = "rules:\n  - {name: a, when: always, then: [{flag: $A}]}\n"
WORDS = "This state knows the account 'mail' as "


def named(server: Dovecot, user: str, *, port: int = 0) -> str:
    """The file of a user, whose account is called `mail`."""
    return "accounts:\n" + account(server, user, port=port).replace(f"  {user}:", "  mail:", 1) + RULES


def told(program: Program, *arguments: str) -> int:
    """How often the command says it."""
    return program.run(*arguments).stderr.count(WORDS)


def test_a_name_that_stands_for_another_mailbox_is_said(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Two files with one state: each command says it once, with both logins, until one acts with the new."""
    other = dovecot.new_user()
    dovecot.append(other, message(1))
    program = Program(tmp_path, named(dovecot, user))
    assert told(program, "apply", "--yes") == told(program, "plan") == told(program, "status") == 0
    program.config.write_text(named(dovecot, other))
    said = program.run("plan").stderr
    assert f"{WORDS}{user}@{dovecot.host}; {program.config} now says {other}@{dovecot.host}." in said
    assert "--state DIRECTORY" in said
    assert told(program, "status") == told(program, "status", "--json") == 1
    assert told(program, "apply", "--yes") == 1
    assert told(program, "apply", "--yes") == told(program, "plan") == told(program, "status") == 0
    program.config.write_text(named(dovecot, user))
    assert told(program, "run", "--once") == 1


def test_a_login_that_never_worked_is_nobody(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """A user name that was mistyped at first is no other mailbox."""
    program = Program(tmp_path, named(dovecot, user).replace(f"username: {user}", "username: nobody-here"))
    program.run("run", "--once", status=None)
    program.config.write_text(named(dovecot, user))
    assert told(program, "run", "--once") == 0


@pytest.mark.parametrize("other", ["{user}", "{user}@example.test"])
def test_the_same_user_elsewhere(other: str, dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Another port, another name of the host, a user name with its domain: still the same mailbox."""
    program = Program(tmp_path, named(dovecot, user))
    program.run("run", "--once")
    text = named(dovecot, user, port=9).replace(dovecot.host, "localhost")
    program.config.write_text(text.replace(f"username: {user}", f"username: {other.format(user=user)}"))
    assert WORDS not in program.run("plan", status=None).stderr
    program.config.write_text(text.replace(f"username: {user}", "username: somebody"))
    assert WORDS in program.run("plan", status=None).stderr

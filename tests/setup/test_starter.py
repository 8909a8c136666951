"""mailrules.setup.starter: the first file is right, whatever was found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mailrules import config
from mailrules.adapters.autoconfig import Endpoint
from mailrules.setup.starter import PATTERNS, Start, chosen, rules_file, scalar

START = Start(
    account="example",
    address="me@example.org",
    username="me@example.org",
    imap=Endpoint("imap.example.org", 993, "tls"),
    password=("env", "MAIL_PASSWORD"),
)


@pytest.mark.parametrize(
    "start",
    [
        START,
        replace(START, username="me", imap=Endpoint("127.0.0.1", 1143, "none")),
        replace(START, smtp=Endpoint("smtp.example.org", 2587, "starttls"), schema="rules.schema.json"),
        replace(START, provider="gmail", password=("keyring", "mailrules")),
        replace(START, provider="outlook", oauth=True, client_id="12-ab", password=("file", "x.token")),
        replace(START, account="no", username='"me": #1', password=("file", "a b: c#'.password")),
        replace(START, password=("command", ("pass", "show", "it's mine"))),
        replace(START, special_use={"\\Archive": "Archiv: 2026 #1", "\\Junk": "Spam"}, looked_at=500),
    ],
)
def test_it_is_right(start: Start) -> None:
    """Read back, it has that account and three rules that do nothing yet, without a warning."""
    found = config.parse(rules_file(start), "rules.yaml", environ={})
    (account,) = found.accounts.values()
    assert account.name == start.account
    assert account.username == start.username
    assert account.address == start.address
    assert account.auth == ("oauth" if start.oauth else "password")
    if start.provider is None:
        assert (account.host, account.port, account.security) == (
            start.imap.host, start.imap.port, start.imap.security,
        )  # fmt: skip
    assert account.password.source == start.password[0]
    assert len(found.rules) == 3
    assert all(rule.dry_run for rule in found.rules)
    assert found.warnings == ()


def test_a_special_use_that_is_not_there_is_not_used() -> None:
    """Without an archive notices are marked; without a junk mailbox there is no rule for it."""
    bare = replace(START, found={"marked as spam": 9, "notices": 5})
    assert "archive" not in rules_file(bare)
    assert "mark: read" in rules_file(bare)
    assert "junk" not in rules_file(bare)
    assert "- archive" in rules_file(replace(bare, special_use={"\\Archive": "A"}))


def test_the_rules_are_those_that_concern_most() -> None:
    """In the order of the table, so that what leaves comes last for nobody's surprise."""
    start = replace(
        START,
        special_use={"\\Junk": "Junk"},
        found={"marked as spam": 7, "invoices": 0, "newsletters": 3, "notices": 1},
        looked_at=20,
    )
    assert [pattern.name for pattern in chosen(start)] == ["newsletters", "notices", "marked as spam"]
    assert "Among your newest 20 messages: 7 with X-Spam-Flag: YES." in rules_file(start)
    assert "Among" not in rules_file(replace(start, found={})), "nobody has counted"


def test_editors_find_the_schema() -> None:
    """The first line is what the YAML language server looks for."""
    first = rules_file(replace(START, schema="rules.schema.json")).splitlines()[0]
    assert first == "# yaml-language-server: $schema=./rules.schema.json"


@pytest.mark.parametrize("text", ["127.0.0.1", "@x", "a: b", "# x", "*", "", "ä", "a b", '"', "\\"])
def test_what_yaml_would_misread_is_quoted(text: str) -> None:
    """And comes back as it was."""
    import yaml

    assert yaml.safe_load(scalar(text)) == text


def test_each_pattern_is_a_rule() -> None:
    """Also those that were not chosen."""
    assert len({pattern.name for pattern in PATTERNS}) == len(PATTERNS) == 4

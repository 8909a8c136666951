"""mailrules.config.tests: `tests:` of the file."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from mailrules import config
from mailrules.config.tests import RuleTest
from mailrules.core.errors import ConfigError

HEAD = """\
accounts:
  work: {host: imap.example.org, username: me@example.org, password: {env: NOBODY_ASKS}}
settings: {timezone: Europe/Berlin}
rules:
  - {name: a, when: {subject: x}, then: [flag: $A]}
tests:
"""


def one(body: str) -> RuleTest:
    [test] = config.parse(HEAD + f"  - {{name: t, {body}}}\n").tests
    return test


def error(body: str) -> str:
    with pytest.raises(ConfigError) as caught:
        one(body)
    return caught.value.lines[-1]


def test_the_whole_form() -> None:
    """Everything that a condition may look at can be said."""
    message = one(
        "expect: {rules: [a]}, message: {from: [a@x.example, B <b@x.example>], list_id: l.example, text: hi, "
        "headers: {X-A: [1, no]}, flags: [seen, $Todo], keywords: $B, received: 2026-07-01, size: 2 KB, "
        "mailbox: inbox, account: work, attachments: [a.txt, {type: image/png, size: 3}], sent: 2026-01-01}"
    ).message
    assert message.headers == (
        ("From", "a@x.example, B <b@x.example>"), ("List-Id", "<l.example>"), ("X-A", "1"), ("X-A", "no"),
    )  # fmt: skip
    assert message.body == "hi"
    assert message.flags == {"\\Seen", "$Todo", "$B"}
    assert message.received == datetime.fromisoformat("2026-07-01T00:00:00+02:00")
    assert message.date == datetime.fromisoformat("2026-01-01T00:00:00+01:00")
    assert (message.size, message.mailbox, message.account) == (2000, "INBOX", "work")
    assert [(file.name, file.content_type[0], file.size) for file in message.attachments] == [
        ("a.txt", "text", None),
        ("", "image", 3),
    ]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            "message: {frm: a}, expect: {rules: []}",
            "7:25: unknown key 'frm' in message. Did you mean 'from'?",
        ),
        ("message: {account: wrok}, expect: {rules: []}", "unknown account 'wrok'. Did you mean 'work'?"),
        ("message: {received: soon}, expect: {rules: []}", "'soon' is not a time. Write it as"),
        ("message: {flags: '\\sen'}, expect: {rules: []}", "no system flag '\\sen'. Did you mean 'seen'?"),
        ('message: {subject: "a\\nBcc: b"}, expect: {rules: []}', "Put the text on one line."),
        ("message: {headers: {'a b': 1}}, expect: {rules: []}", "'a b' is not the name of a header."),
        ("message: {auth: {dmarc: pass}}, expect: {rules: []}", "Add trusted_authserv to it."),
        ("message: {auth: {dmarc: ok}}, expect: {rules: []}", "dmarc: 'ok' is not known here."),
        ("message: {attachments: [{}]}, expect: {rules: []}", "an attachment needs a name or a type."),
        ("message: {attachments: [{name: a, size: 1 GB}]}, expect: {rules: []}", "at most 50 MB"),
        ("message: {duplicate: often}, expect: {rules: []}", "duplicate: 'often' is not a duration."),
        ("message: {script: 256}, expect: {rules: []}", "script: 256 is out of range."),
        ("message: {size: big}, expect: {rules: []}", "'big' is not a size."),
        ("message: {subject: x}, expect: {rules: [b]}", "unknown rule 'b'. Rules: a."),
        ("message: {subject: x}, rule: b, expect: {rules: []}", "unknown rule 'b'. Rules: a."),
        (
            "message: {subject: x}, expect: {actions: [flga: x]}",
            "unknown action 'flga'. Did you mean 'flag'?",
        ),
        ("message: {subject: x}, expect: {actions: [move: '{{ account }}']}", "write the value in place of"),
        ("message: {subject: x}, expect: {actions: move}", "actions must be a list"),
        ("message: {subject: x}, expect: {}", "this test expects nothing."),
        ("message: {subject: x}, file: y.eml, expect: {rules: []}", "exactly one of 'message' and 'file'"),
        ("message: {file: y.eml, subject: x}, expect: {rules: []}", "'subject' is in the file already."),
    ],
)
def test_what_is_wrong_is_an_error_at_its_place(body: str, words: str) -> None:
    """Typing errors and what can't be meant are found when the file is read, with a next step."""
    line = error(body)
    assert line.startswith("rules.yaml:7:")
    assert words in line


def test_a_sample_that_is_missing_stops_no_worker(tmp_path: Path) -> None:
    """A file that can't be read is a warning, and the test can't be run."""
    path = tmp_path / "rules.yaml"
    path.write_text(HEAD + "  - {name: t, file: none.eml, expect: {rules: []}}\n")
    found = config.load(path)
    assert "'none.eml' can't be read: No such file or directory." in found.tests[0].problem
    assert any("The test fails. Check the path." in line for line in found.warnings)


def test_files_lie_beside_the_file_that_names_them(tmp_path: Path) -> None:
    """A path is relative to the file in which it stands."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.eml").write_bytes(b"Subject: x\n\n")
    (tmp_path / "sub" / "tests.yaml").write_text(
        "tests: [{name: t, message: {file: a.eml, flags: seen}, expect: {rules: [a]}}]\n"
    )
    path = tmp_path / "rules.yaml"
    path.write_text("include: sub/tests.yaml\n" + HEAD.replace("tests:\n", ""))
    [test] = config.load(path).tests
    assert test.message.raw == b"Subject: x\n\n"
    assert test.message.flags == {"\\Seen"}
    assert test.place.file.endswith("sub/tests.yaml")

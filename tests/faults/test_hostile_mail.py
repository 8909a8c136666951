"""T31, T33, T34, T35, T36, T38, T39, T45: mail that means harm, through the rules as the worker runs them.

`save` does not exist yet; of T39 what exists is tested: a script's temporary directory, and the names of
mailboxes that mail may choose.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailrules.adapters.imap.connection import Limits
from mailrules.adapters.store import Store
from mailrules.core import compose
from mailrules.core.address import addresses
from mailrules.core.decoding import decode
from mailrules.core.errors import PermanentError
from mailrules.core.headers import split_message
from mailrules.core.mime import parse_structure
from mailrules.core.offline import message_from_bytes, without_server
from mailrules.core.parameters import parse_field
from mailrules.core.variables import clean
from tests.core.conditions.speaking import condition
from tests.faults import hostile, reader
from tests.faults.conftest import Record
from tests.lab.dovecot import PASSWORD, Dovecot, message
from tests.lab.scripted import ScriptedServer
from tests.lab.smtp import Received, ScriptedSmtp, SmtpSink

NOW = datetime(2026, 3, 4, tzinfo=UTC)


@contextmanager
def at_work(
    folder: Path, mails: Iterable[bytes], rules: str, *, more: str = "", server: ScriptedServer | None = None
) -> Iterator[tuple[ScriptedServer, Store, list[str]]]:
    """A pass of the worker over these mails, all of them new: the server, the journal, what was logged."""
    with ScriptedServer() if server is None else _given(server) as found:
        for raw in mails:
            found.box().add(raw)
        text = "accounts:\n" + hostile.account("work", found.port) + more + rules
        with hostile.logged() as records, Store.open(hostile.folder(folder, "state")) as store:
            hostile.judged_from_the_start(store, "work", uidvalidity=11)
            house = hostile.ShortHouse(hostile.read_config(text), store, patience={}, limits=Limits())
            (result,) = hostile.pass_over(house)
            assert not result.errors, result.errors
            assert not hostile.tracebacks(records), hostile.tracebacks(records)
            yield found, store, [record.getMessage() for record in records]


@contextmanager
def _given(server: ScriptedServer) -> Iterator[ScriptedServer]:
    yield server


# -- T31: regular expressions -------------------------------------------------------------------------
REDOS = [
    (r"^(\w+\s?)*$", "a"), (r"^(a+)+$", "a"), (r"^(a|aa)+$", "a"), (r"^(a|a?)+$", "a"), (r"(.*a){20}$", "a"),
    (r"^([a-zA-Z]+)*$", "a"), (r"^(([a-z])+.)+[A-Z]([a-z])+$", "a"), (r"(x+x+)+y", "x"),
    (r"^(\d+)*$", "1"), (r"^(.*?,){11}P", ","), (r"([^@]+@)+[^@]+$", "@"), (r"(\s+)+$", " x"),
    (r"^((ab)*)+$", "ab"), (r"(a*)*b", "a"), (r"(?:a?){50}a{50}$", "a"), (r"^(?:(?:a+)?)+$", "a"),
    (r"([\w.-]+)+@([\w-]+\.)+com$", "a."), (r"<(?:[^>]+)+\s", "<"), (r"\"(?:[^\"\\]|\\.)*\"*$", "\\"),
    (r"(?P<x>(?:0|1|00)+)2", "0"), (r"^(?:\S+\s*)+;$", "a b "), (r"(?i)(?:ß|ss)+k$", "sS"),
]  # fmt: skip
MOST = 2.0
"""Seconds of processor time for one text: the figure is 0.05, machines differ."""


def test_there_are_twenty_patterns() -> None:
    """At least twenty known patterns are tried."""
    assert len(REDOS) >= 20


@pytest.mark.parametrize("pattern", [pattern for pattern, _ in REDOS])
def test_regular_expressions_take_linear_time(pattern: str, record: Record) -> None:
    """What ruins backtracking is judged in bounded time in subject and body, and other threads go on."""
    text = dict(REDOS)[pattern]
    text = (text * (100_000 // len(text))) + "!"
    quoted = json.dumps(pattern)
    conditions = [condition(f"{where}: {{regex: {quoted}}}") for where in ("subject", "body", "text")]
    mail = message_from_bytes(b"Subject: " + text.encode() + b"\r\n\r\n" + text.encode() + b"\r\n", now=NOW)
    gaps, stop = [0.0], threading.Event()

    def tick() -> None:
        last = time.monotonic()
        while not stop.is_set():
            time.sleep(0.005)
            now = time.monotonic()
            gaps.append(now - last)
            last = now

    ticking = threading.Thread(target=tick)
    ticking.start()
    slowest = 0.0
    try:
        for each in conditions:
            before = time.process_time()
            assert each.judge(mail).truth is not None
            slowest = max(slowest, time.process_time() - before)
    finally:
        stop.set()
        ticking.join()
    record("T31", runs=len(conditions), wrong=int(slowest > MOST),
           note=f"{pattern}: {slowest * 1000:.0f} ms, gap {max(gaps) * 1000:.0f} ms")  # fmt: skip
    assert slowest < MOST and max(gaps) < 2.0


def test_no_pattern_reaches_pythons_re(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's pattern is never given to `re`: it would hold up every thread."""
    given: list[Any] = []
    original = re._compile  # type: ignore[attr-defined]
    monkeypatch.setattr(
        re, "_compile", lambda pattern, flags: (given.append(pattern), original(pattern, flags))[1]
    )
    mark = "zQ7zQ7"
    for where in ("subject", "body", "text"):
        condition(f"{where}: {{regex: '^({mark}+)+$', glob: '*{mark}*'}}").judge(
            message_from_bytes(b"Subject: x\r\n\r\nx\r\n", now=NOW)
        )
    assert not any(mark in str(pattern) for pattern in given)


# -- T33: what a script is given ------------------------------------------------------------------------
BITS = [
    "$(id)", "`id`", "; rm -rf /", "-rf", "--help", "-", "a\nb", "'\"\\", "é\u202e", " ", "*", "x" * 30_000,
    "\x1b[2J", "\0", "a\0b", "|| true", "&& id", "> /tmp/x", "<(id)", "${IFS}", "%s%n", "../../etc/passwd",
    "~root",
    "-o/etc/passwd", "@file", "=cmd|' /C calc'!A0", "\\x24(id)", "\r\n.\r\n", "{{ 7*7 }}", "{% x %}",
    "é" * 20_000,
    "#", "!!", "\x7f", "\u2028", "C:\\x", "con", "nul.txt", "$HOME", "x" * 1_000_000,
]  # fmt: skip


def subjects() -> list[str]:
    """Two hundred and more: each bit, in five surroundings."""
    return [form % bit for bit in BITS for form in ("%s", "a %s", "%s b", "-%s", "'%s'")]


DUMP = """\
import json, os, sys
seen = {"argv": sys.argv[2:], "env": dict(os.environ), "stdin": sys.stdin.buffer.read().hex()}
with open(sys.argv[1], "a") as file:
    file.write(json.dumps(seen) + "\\n")
os.symlink(os.path.dirname(sys.argv[1]), "link"); os.symlink(sys.argv[1], "file")
"""


def header(name: bytes, text: str) -> bytes:
    """A header line whose value decodes to the text, whatever it holds."""
    octets = text.encode("utf-8", "replace")
    words = [octets[at : at + 40] for at in range(0, len(octets), 40)]
    coded = b"\r\n ".join(b"=?utf-8?q?" + b"".join(b"=%02X" % c for c in word) + b"?=" for word in words)
    return name + b": " + coded + b"\r\n"


def chosen(values: list[str], short: int) -> list[str]:
    """All in the long run, else some of them, always the same."""
    return values if hostile.FULL else random.Random(33).sample(values, short)


@pytest.mark.timeout(1200)
def test_a_script_gets_what_it_should(tmp_path: Path, record: Record) -> None:
    """Subjects and names full of shell: the arguments, variables and input are exactly those of the rule."""
    seen, canary = tmp_path / "seen", tmp_path / "canary"
    program = tmp_path / "dump.py"
    program.write_text(DUMP)
    rules = f"""
rules:
  - name: dump
    when: always
    then:
      - script:
          run: [{sys.executable}, -I, -S, {program}, {seen}, --, "{{{{ message.subject }}}}", "n={{{{ message.from.name }}}}"]
          env: {{SUBJECT: "{{{{ message.subject }}}}"}}
"""  # noqa: E501
    texts = [
        *chosen(subjects(), 24),
        f"$(touch {canary})",
        f"`touch {canary}`",
        f";touch {canary};",
        f"|touch {canary}",
    ]
    mails = [
        header(b"Subject", text) + header(b"From", text)[:-2] + b" <a@x.example>\r\n"
        + b"Message-ID: <%d@x>\r\n" % number + b"\r\nbody\r\n"
        for number, text in enumerate(texts)
    ]  # fmt: skip
    with at_work(tmp_path, mails, rules) as (_, store, _logged):
        entries = {entry["uid"]: entry for entry in store.log()}
    found = {}
    for line in seen.read_text().splitlines():
        dumped = json.loads(line)
        found[int(dumped["env"]["MAILRULES_UID"])] = dumped
    wrong = []
    for uid, (text, raw) in enumerate(zip(texts, mails, strict=True), 1):
        fields = split_message(raw)[0]
        subject = clean(decode(fields.get("subject")[0])).strip()
        sender = next(iter(addresses(fields.get("from"))), None)
        name = clean(sender.name).strip() if sender is not None else ""
        if max(len(v.encode("utf-8", "replace")) for v in (subject, f"n={name}")) > 32 * 1024:
            if entries[uid]["state"] != "failed" or uid in found:
                wrong.append(f"{text[:40]!r}: too long, and {entries[uid]['state']}")
            continue
        dumped = found.get(uid)
        if dumped is None or dumped["argv"] != ["--", subject, f"n={name}"]:
            wrong.append(f"{text[:40]!r}: {dumped and dumped['argv']}, {entries[uid]['detail']}")
        elif dumped["env"]["SUBJECT"] != subject or bytes.fromhex(dumped["stdin"]) != raw:
            wrong.append(f"{text[:40]!r}: variable or input differ")
        elif any(c in value for c in "\r\n\0\x1b" for value in dumped["argv"]):
            wrong.append(f"{text[:40]!r}: a control character came through")
    record("T33", runs=len(texts), wrong=len(wrong))
    assert not wrong, "\n".join(wrong[:10])
    assert not canary.exists() and len(found) > len(texts) // 2
    # What a script leaves behind is gone, and what its links pointed to is not.
    assert seen.exists() and program.exists()
    assert not any(Path(one["env"]["TMPDIR"]).exists() for one in found.values())


def test_a_scripts_directory_is_its_own(tmp_path: Path, record: Record) -> None:
    """T39: a private directory, mode 0700, and links in it to files of others cost those nothing."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("precious")
    program = tmp_path / "link"
    program.write_text(
        f"#!/bin/sh\nln -s {victim} a; ln -s {victim}/file b; mkdir c; ln -s {victim} c/d; chmod 0 c\n"
        f'stat -c "%a %u" . > {tmp_path}/mode; umask >> {tmp_path}/mode\n'
    )
    program.chmod(0o755)
    mails = [message(n) for n in range(hostile.many(3, 100))]
    rules = f"rules:\n  - {{name: a, when: always, then: [{{script: [{program}]}}]}}\n"
    with at_work(tmp_path, mails, rules) as (_, store, _logged):
        assert {entry["state"] for entry in store.log()} == {"done"}
    record("T39", runs=len(mails), note="script directories; `save` does not exist yet")
    assert (victim / "file").read_text() == "precious"
    mode, owner = (tmp_path / "mode").read_text().split()[:2]
    assert (mode, owner) == ("700", str(os.getuid()))
    assert not list(Path(tempfile.gettempdir()).glob("mailrules-*/c"))


# -- T35, T36: what is sent on ---------------------------------------------------------------------------
ENDS = ["\r\n", "\n", "\r", "\r\n\r\n", "\x0b", "\x0c", "\x1c", "\x1e", "\x85", "\u2028", "\u2029", "\0\r\n",
        "\r\n ", "\r\n\t", "=0D=0A", "?=\r\n", "?= =?utf-8?q?=0D=0A"]  # fmt: skip
FIELDS = ["Bcc: v@x.example", "To: v@x.example", "X-Evil: 1", "Content-Type: text/html", "From: v@x.example",
          "Resent-To: v@x.example"]  # fmt: skip
INJECTED = [f"a{end}{field}" for end, field in itertools.product(ENDS, FIELDS)] + [
    f"a{end}.{end}MAIL FROM:<v@x.example>{end}RCPT TO:<v@x.example>{end}DATA" for end in ENDS
]
PLACES: list[Callable[[str], bytes]] = [
    lambda evil: header(b"Subject", evil),
    lambda evil: b"Subject: " + one_line(evil) + b"\r\n",
    lambda evil: header(b"From", evil)[:-2] + b" <a@x.example>\r\n",
    lambda evil: (
        b"Reply-To: " + one_line(evil) + b" <a@x.example>\r\nMessage-ID: <1" + one_line(evil) + b"@x>\r\n"
    ),
    lambda evil: b"References: <1" + one_line(evil) + b"@x>\r\n" + header(b"List-Id", evil),
]


def one_line(text: str) -> bytes:
    return re.sub(rb"[\r\n]+", b"\r", text.encode())


FORWARDS = """
rules:
  - name: on
    when: always
    then:
      - forward:
          to: boss@example.test
          subject: "Fwd: {{ message.subject }} {{ message.from.name }}"
          text: "It says {{ message.subject }} in {{ message.list_id }}."
          mode: %s
"""


def head_of(sent: Received) -> bytes:
    return sent.content.partition(b"\r\n\r\n")[0]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("mode", ["attach", "inline"])
def test_no_header_is_added(mode: str, tmp_path: Path, record: Record) -> None:
    """Line ends in any form in what templates take from mail: not one header or recipient more is sent."""
    cases = list(itertools.product(INJECTED, PLACES))
    if not hostile.FULL:
        cases = random.Random(35).sample(cases, 40)
    mails = [place(evil) + b"X-N: %d\r\n\r\nbody\r\n" % n for n, (evil, place) in enumerate(cases)]
    with SmtpSink() as sink:
        smtp = f"    smtp: {{host: 127.0.0.1, port: {sink.port}, security: none, username: ~}}\n"
        with at_work(tmp_path, mails, FORWARDS % mode, more=smtp) as (_, store, _logged):
            states = {entry["state"] for entry in store.log()}
        sent = list(sink.messages)
    allowed = {
        b"from", b"to", b"subject", b"date", b"message-id", b"mime-version", b"content-type", b"reply-to",
        b"content-transfer-encoding", b"auto-submitted", b"in-reply-to", b"references", b"x-mailrules-loop",
        b"x-auto-response-suppress", b"x-mailrules-account", b"precedence", b"content-language",
    }  # fmt: skip
    wrong = []
    for one in sent:
        names = [name.lower() for name in re.findall(rb"(?m)^([^\s:]+):", head_of(one))]
        if (
            one.rcpt_tos != ["boss@example.test"]
            or not set(names) <= allowed
            or len(names) != len(set(names))
        ):
            wrong.append(f"{one.rcpt_tos} {names}")
        if b"\0" in one.content or re.search(rb"\r(?!\n)|(?<!\r)\n", one.content):
            wrong.append("bare line ends")
    record("T35", runs=len(mails), lost=len(mails) - len(sent), wrong=len(wrong), note=mode)
    assert not wrong, "\n".join(wrong[:10])
    assert len(sent) == len(mails) and states == {"done"}


STOPS = [
    a + b"." + b
    for a in (b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r\n")
    for b in (b"\n", b"\r", b"\r\n", b"\r\r\n")
]
AFTER = b"MAIL FROM:<v@x.example>\r\nRCPT TO:<v@x.example>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n"


@pytest.mark.parametrize(
    "action",
    [
        "forward: {to: boss@example.test, mode: attach}",
        "forward: {to: boss@example.test, mode: inline}",
        "redirect: boss@example.test",
    ],
)
def test_nothing_is_smuggled(action: str, tmp_path: Path, record: Record) -> None:
    """Mail full of ends of messages, sent on to a server that takes them for ends: one message each."""
    mails = [
        b"From: a@x.example\r\nSubject: %d\r\nMessage-ID: <%d@x>\r\n\r\nhello" % (n, n) + stop + AFTER
        for n, stop in enumerate(STOPS)
    ]
    rules = f"rules:\n  - {{name: on, when: always, then: [{{{action}}}]}}\n"
    with ScriptedSmtp(("8BITMIME", "SIZE 9999999"), lenient=True) as server:
        smtp = f"    smtp: {{host: 127.0.0.1, port: {server.port}, security: none, username: ~}}\n"
        with at_work(tmp_path, mails, rules, more=smtp) as (_, store, _logged):
            done = sum(entry["state"] == "done" for entry in store.log())
        smuggled = [c for c in server.commands if "v@x.example" in c]
        record("T36", runs=len(mails), wrong=len(smuggled), note=action)
        assert not smuggled and len(server.messages) == done
        assert done == len(mails) or action.startswith("redirect")


# -- T38: bombs ----------------------------------------------------------------------------------------
def nested(levels: int) -> bytes:
    return b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(levels)
    )


MIXED = b"Subject: x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
UTF_8 = b"Content-Type: text/plain; charset=utf-8\r\n\r\n"
BOMBS: dict[str, Callable[[], bytes]] = {
    "900 levels": lambda: nested(900),
    "3,000 levels": lambda: nested(3000),
    "rfc822 in rfc822": lambda: b"Content-Type: message/rfc822\r\n\r\n" * 5000,
    "100,000 parts": lambda: MIXED + b"--x\r\n\r\na\r\n" * 100_000,
    "100,000 attachments": lambda: MIXED + b"--x\r\nContent-Type: a/b; name=x.pdf\r\n\r\na\r\n" * 60_000,
    "dashes": lambda: MIXED + b"--\r\n" * 500_000,
    "( in From": lambda: b"From: " + b"(" * 100_000 + b"\r\n\r\nx\r\n",
    "\" in To": lambda: b"To: " + b'"\\"' * 80_000 + b"\r\n\r\nx\r\n",
    "< in Cc": lambda: b"Cc: " + b"<@," * 80_000 + b"\r\n\r\nx\r\n",
    "10,000 pieces of a name": lambda: b"Content-Type: a/b"
    + b"".join(b";\r\n name*%d=x" % n for n in range(10_000)) + b"\r\n\r\nx\r\n",
    "encoded words": lambda: b"Subject: " + b"=?utf-8?b?eA==?= " * 15_000 + b"\r\n\r\nx\r\n",
    "open encoded words": lambda: b"Subject: " + b"=?utf-8?q?" * 25_000 + b"\r\n\r\nx\r\n",
    "folds": lambda: b"Subject: x" + b"\r\n x" * 60_000 + b"\r\n\r\nx\r\n",
    "100,000 headers": lambda: b"X: y\r\n" * 100_000 + b"\r\nx\r\n",
    "one header of 5 MB": lambda: b"X: " + b"y" * 5_000_000 + b"\r\n\r\nx\r\n",
    "HTML": lambda: b"Content-Type: text/html\r\n\r\n" + b"<div><a href=" * 300_000,
    "entities": lambda: b"Content-Type: text/html\r\n\r\n" + b"&#9999999999;&amp" * 150_000,
    "comments": lambda: b"Content-Type: text/html\r\n\r\n" + b"<!--<![CDATA[" * 200_000,
    "combining": lambda: UTF_8 + "a\u0301\u0316".encode() * 300_000,
    "punycode": lambda: b"From: a@" + b"xn--" + b"9" * 200_000 + b"\r\n\r\nx\r\n",
    "UTF-7": lambda: b"Content-Type: text/plain; charset=utf-7\r\n\r\n" + b"+AAAA" * 500_000,
    "base64": lambda: b"Content-Transfer-Encoding: base64\r\n\r\n" + b"=" * 3_000_000,
    "quoted-printable": lambda: b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=\r\n" * 900_000,
    "Received": lambda: b"Received: from " + b"(" * 50_000 + b";;;;" * 30_000 + b"\r\n\r\nx\r\n",
    "Authentication-Results": lambda: b"Authentication-Results: mx.example.org; "
    + b"dkim=pass (" * 20_000 + b"\r\n\r\nx\r\n",
    "Date": lambda: b"Date: " + b"9" * 200_000 + b"\r\n\r\nx\r\n",
    "24 MB": lambda: b"Subject: x\r\n\r\n" + b"All work and no play makes Jack a dull boy.\r\n" * 540_000,
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_judged(bomb: str, tmp_path: Path, record: Record) -> None:
    """By every condition there is, in a process of its own: soon, in bounded memory, without an exception."""
    file = tmp_path / "bomb.eml"
    file.write_bytes(BOMBS[bomb]())
    said = hostile.in_a_child("judge", str(file))
    record("T38", runs=1, wrong=int(said["cpu"] > 2 or said["rss"] > 200), note=f"{bomb}: {said}")
    assert said["error"] is None and said["cpu"] < 6 and said["rss"] < 200, said


SOME_BOMBS = ["3,000 levels", "100,000 parts", "100,000 headers", "24 MB", "( in From"]


@pytest.mark.timeout(600)
def test_bombs_are_fetched(dovecot: Dovecot, user: str, record: Record) -> None:
    """From a real server, all facts of all of them: soon, in bounded memory, none holds up the others."""
    names = list(BOMBS) if hostile.FULL else SOME_BOMBS
    for name in names:
        dovecot.append(user, BOMBS[name]())
    said = hostile.in_a_child("read", dovecot.imap_port, PASSWORD, {}, user)
    record("T38", runs=len(names), wrong=int(said["rss"] > 200), note=f"fetched: {said}")
    assert said["error"] is None and said["fetched"] == len(names), said
    assert said["rss"] < 200 and said["cpu"] < 3 * len(names), said


PARTS = st.sampled_from(
    [b"\r\n", b"\n", b"\r", b": ", b";", b"=", b'"', b"\\", b"(", b")", b"<", b">", b"@", b",", b"--b",
     b"--b--", b"=?utf-8?q?", b"?=", b"=?x?b?", b"*0*=utf-8''", b"%", b"Content-Type: ",
     b"multipart/mixed; boundary=b",
     b"message/rfc822", b"text/html", b"charset=", b"utf-7", b"Subject: ", b"From: ", b"base64", b"\0",
     b"\xff", b"\x1b", b" ", b"\t", b"xn--", b"=0D=0A", "\u202e".encode(), b"name*1*=", b"<!--", b"&#",
     b"a", b"Z9"]
)  # fmt: skip
SOUP = st.lists(st.one_of(PARTS, st.binary(max_size=6)), max_size=60).map(b"".join)


@pytest.mark.timeout(1500)
def test_fuzz(record: Record) -> None:
    """Any soup of what mail is made of is parsed, judged, shown and sent on, or refused in words."""
    when = condition(reader.EVERY)
    facts = when.facts()
    tried, until = 0, time.monotonic() + 600

    @settings(max_examples=hostile.many(150, 1_000_000), deadline=None, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(SOUP, st.binary(max_size=200))
    def attempt(soup: bytes, body: bytes) -> None:
        nonlocal tried
        if time.monotonic() > until:
            return
        tried += 1
        raw = soup + b"\r\n\r\n" + body
        began = time.process_time()
        mail = message_from_bytes(raw, now=NOW, trusted_authserv=["mx.example.org"])
        without_server(mail, facts)
        assert when.trace(mail).matched is when.judge(mail).truth
        parse_structure(raw)
        addresses([soup])
        parse_field(soup)
        decode(soup)
        for make in (compose.forward_message, compose.redirect_message):
            try:
                make(raw, arguments={"to": ["b@x.example"], "mode": "inline", "subject": decode(soup)},
                     address="a@x.example", effect_key="K", now=NOW)  # fmt: skip
            except PermanentError:
                pass
        assert time.process_time() - began < 5

    attempt()
    record("T38", runs=tried, note="fuzz of parsers and composers")


# -- T45: who vouches -----------------------------------------------------------------------------------
TRUE = b"Authentication-Results: mx.example.org; dmarc=fail header.from=x.example\r\n"
FORGED = [
    b"Authentication-Results: mx.example.org; dmarc=pass\r\n",
    b"authentication-results: MX.EXAMPLE.ORG; dmarc=pass\r\n",
    b"Authentication-Results: mx.example.org 1; dmarc=pass (ok)\r\n",
    b"Authentication-Results: (c) mx.example.org; dmarc=pass\r\n",
    b"Authentication-Results: mx.example.org;\r\n dmarc=pass\r\n",
    b"Authentication-Results : mx.example.org; dmarc=pass\r\n",
    b"ARC-Authentication-Results: i=1; mx.example.org; dmarc=pass\r\n",
    b"X-Authentication-Results: mx.example.org; dmarc=pass\r\n",
    b"Authentication-Results: other.example; dmarc=pass\r\n",
    b"Authentication-Results: mx.example.org.evil.example; dmarc=pass\r\n",
    b'Authentication-Results: "mx.example.org"; dmarc=pass\r\n',
    b"Authentication-Results: =?utf-8?q?mx.example.org?=; dmarc=pass\r\n",
]


def test_forged_results_count_for_nothing(tmp_path: Path, record: Record) -> None:
    """Results below those of the trusted server, or of nobody it knows, never make `auth` true."""
    mails = [TRUE + forged + b"Subject: x\r\n\r\nx\r\n" for forged in FORGED]
    mails += [TRUE + a + b + b"Subject: x\r\n\r\nx\r\n" for a, b in itertools.permutations(FORGED, 2)]
    mails += [f + b"Subject: x\r\n\r\nx\r\n" for f in FORGED[6:10]]
    real = b"Authentication-Results: mx.example.org; dmarc=pass\r\n" + FORGED[8] + b"Subject: x\r\n\r\nx\r\n"
    rules = "rules:\n  - {name: a, when: {auth: {dmarc: pass}}, then: [{move: Trusted}]}\n"
    more = "    trusted_authserv: mx.example.org\n"
    with at_work(tmp_path, [*mails, real], rules, more=more) as (server, _store, _logged):
        trusted = [mail.raw for mail in server.box("Trusted").mails]
    record("T45", runs=len(mails), wrong=len(trusted) - 1)
    assert trusted == [real]

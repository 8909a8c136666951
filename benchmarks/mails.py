"""The mails of the benchmark: made up, but with the headers that real mail has, and the same every time.

Headers are 3 KB on average (Received, DKIM, ARC, Authentication-Results), bodies 6 KB: what a mailbox of
newsletters, lists and build notices looks like. `MAILRULES_CORPUS` may name a folder of real mails; then
every tenth mail is one of those.
"""

from __future__ import annotations

import base64
import hashlib
import os
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.header import Header
from email.utils import formatdate
from pathlib import Path

_VOCABULARY = """
alpha beta gamma delta report invoice meeting status update release build deploy ticket order payment
shipping account security review budget plan quarterly contract customer support incident backup database
cluster kernel patch network storage schedule travel lunch design draft proposal feedback survey training
"""
_PEOPLE = """
Anna Ben Carla David Emma Felix Greta Hans Ida Jonas Klara Lukas Mia Noah Olga Paul Rosa Sven Uwe
Müller Schmidt Weber Fischer Meyer Wagner Becker Schulz Smith Jones Brown Garcia Novák Dubois
"""
_WORDS = _VOCABULARY.split()
_FIRST, _LAST = (line.split() for line in _PEOPLE.strip().splitlines())
_MAILERS = ("Thunderbird 115", "Apple Mail (2.3696)", "MailSpring 1.1", "PHPMailer 6.8", "Outlook 16.0")
_EPOCH = 1640995200  # 2022
_APART = 631  # seconds from one mail to the next
_LARGEST = 200_000


@dataclass(frozen=True, slots=True)
class Mail:
    raw: bytes
    at: int
    flags: str


def mails(count: int, corpus: Path | None = None) -> Iterator[Mail]:
    """`count` mails, oldest first."""
    real = _corpus(corpus) if corpus is not None else iter(())
    for number in range(count):
        flags = ["\\Seen"] if number % 3 else []
        flags += ["\\Flagged"] if number % 17 == 0 else []
        flags += ["$Label1"] if number % 29 == 0 else []
        raw = next(real, None) if number % 10 == 9 else None
        at = _EPOCH + number * _APART
        yield Mail(raw or synthetic(number, at), at, " ".join(flags))


def corpus_folder() -> Path | None:
    """Where real mails are, if somebody says so."""
    folder = os.environ.get("MAILRULES_CORPUS")
    return Path(folder) if folder else None


def _corpus(folder: Path) -> Iterator[bytes]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.stat().st_size > _LARGEST or path.suffix in (".csv", ".md", ".txt", ".py"):
            continue
        raw = path.read_bytes()
        if b":" in raw[:1000] and b"\0" not in raw:  # Dovecot refuses NUL in a literal
            yield re.sub(rb"\r*\n", b"\r\n", raw)


def synthetic(number: int, at: int) -> bytes:
    """Mail `number`."""
    rng = random.Random(number * 7919 + 13)
    vendor = f"vendor{rng.randrange(40):02d}.example"
    subject, lines = _subject(rng), [*_trace(rng, number, vendor, at), *_letter(rng, number, vendor, at)]
    lines.append(f"Subject: {_encoded(subject)}")
    if rng.random() < 0.3:
        name = f"list{rng.randrange(30):02d}"
        lines += [
            f"List-Id: {name} discussion <{name}.lists.example.org>",
            f"List-Unsubscribe: <https://lists.example.org/{name}/unsub?u={_b64(rng, 18)}>,\r\n"
            f"\t<mailto:{name}-leave@lists.example.org>",
            "Precedence: list",
        ]
    if rng.random() < 0.3:
        lines += [
            f"In-Reply-To: {_message_id(number - 5, vendor)}",
            f"References: {_message_id(number - 9, vendor)}\r\n\t{_message_id(number - 5, vendor)}",
        ]
    lines += [
        f"X-Mailer: {rng.choice(_MAILERS)}",
        f"X-Spam-Status: No, score={rng.uniform(-5, 5):.1f} required=5.0\r\n"
        "\ttests=[BAYES_00=-1.9,DKIM_SIGNED=0.1,DKIM_VALID=-0.1,SPF_PASS=-0.001]",
        f"X-Priority: {rng.choice([1, 3, 3, 3, 5])}",
        "MIME-Version: 1.0",
    ]
    return ("\r\n".join(lines) + "\r\n" + _body(rng)).encode()


def _trace(rng: random.Random, number: int, vendor: str, at: int) -> list[str]:
    """What the servers on the way wrote."""
    date = formatdate(at)
    lines = [f"Return-Path: <bounce-{number}@{vendor}>", "Delivered-To: bulk@mail.example.org"]
    lines += [
        f"Received: from mx{hop}.{vendor} (mx{hop}.{vendor} [203.0.113.{rng.randrange(255)}])\r\n"
        f"\tby relay{hop}.example.net (Postfix) with ESMTPS id {rng.randrange(1 << 40):X}\r\n"
        "\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))\r\n"
        f"\tfor <bulk@mail.example.org>; {date}"
        for hop in range(rng.randint(3, 6))
    ]
    lines.append(
        f"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d={vendor}; s=s1;\r\n\tt={at}; "
        f"h=from:to:subject:date:message-id:mime-version;\r\n\tbh={_b64(rng, 32)};\r\n\tb={_folded(rng, 256)}"
    )
    if rng.random() < 0.4:
        lines.append(
            f"ARC-Seal: i=1; a=rsa-sha256; t={at}; cv=none; d=example.net; s=arc;\r\n\tb={_folded(rng, 256)}"
        )
    bounce = f"bounce-{number}@{vendor}"
    lines.append(
        "Authentication-Results: mx.example.org;\r\n"
        f"\tdkim=pass header.d={vendor} header.s=s1 header.b={_b64(rng, 6)};\r\n"
        f"\tspf=pass (mx.example.org: domain of {bounce} designates 203.0.113.9 as permitted sender)"
        f" smtp.mailfrom={bounce};\r\n\tdmarc=pass (policy=quarantine) header.from={vendor}"
    )
    return lines


def _letter(rng: random.Random, number: int, vendor: str, at: int) -> list[str]:
    """What the sender wrote, without the subject."""
    first, last = rng.choice(_FIRST), rng.choice(_LAST)
    others = "".join(
        f",\r\n\t{_encoded(rng.choice(_FIRST) + ' ' + rng.choice(_LAST))} "
        f"<p{rng.randrange(500)}@vendor{rng.randrange(40):02d}.example>"
        for _ in range(rng.choice([0, 0, 0, 1, 2, 4]))
    )
    lines = [
        f"Message-ID: {_message_id(number, vendor)}",
        f"Date: {formatdate(at)}",
        f"From: {_encoded(first + ' ' + last)} <{first.lower()}.{number % 97}@{vendor}>",
        f"To: Bulk User <bulk@mail.example.org>{others}",
    ]
    if rng.random() < 0.25:
        lines.append(f"Cc: team{rng.randrange(50)}@example.org")
    return lines


def _subject(rng: random.Random) -> str:
    subject = " ".join(rng.choice(_WORDS) for _ in range(rng.randint(3, 8)))
    if rng.random() < 0.25:
        subject = f"[proj-{rng.randrange(25)}] {subject}"
    if rng.random() < 0.15:
        subject = f"Überraschung für {subject} – größer"
    if rng.random() < 0.3:
        subject = f"Re: {subject}"
    return subject


def _body(rng: random.Random) -> str:
    boundary = f"=_b{rng.randrange(1 << 60):x}"
    text = " ".join(rng.choices(_WORDS, k=rng.randint(150, 560)))
    lines = "\r\n".join(text[at : at + 72] for at in range(0, len(text), 72))
    html = "".join(f'<p style="margin:0">{text[at : at + 300]}</p>\r\n' for at in range(0, len(text), 300))
    return (
        f'Content-Type: multipart/alternative;\r\n\tboundary="{boundary}"\r\n\r\n'
        f"--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{lines}\r\n"
        f"--{boundary}\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<html><body>{html}</body></html>\r\n"
        f"--{boundary}--\r\n"
    )


def _encoded(text: str) -> str:
    return text if text.isascii() else Header(text, "utf-8").encode().replace("\n", "\r\n")


def _message_id(number: int, vendor: str) -> str:
    return f"<{hashlib.md5(str(number).encode()).hexdigest()}.{number}@{vendor}>"


def _b64(rng: random.Random, count: int) -> str:
    return base64.b64encode(rng.randbytes(count)).decode()


def _folded(rng: random.Random, count: int) -> str:
    text = _b64(rng, count)
    return "\r\n\t".join(text[at : at + 76] for at in range(0, len(text), 76))

"""`mailrules demo`: the whole thing on a mail server inside this process."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailrules.cli.options import Common
from mailrules.cli.output import emit, line, say, table
from mailrules.core.errors import PermanentError

if TYPE_CHECKING:
    from mailrules.demo.sample import Sample
    from mailrules.demo.stage import Filing, Stage

FINE, FAILED = 0, 1
PAUSE = 0.7
"""Seconds between two mails, so that a person can follow."""
EXPLAINED = "7-rechnung.eml"


def command(
    common: Common,
    *,
    fast: Annotated[bool, typer.Option("--fast", help="Do not pause between the mails.")] = False,
) -> int:
    """Watch it work on sample mail: an IMAP server inside this program, no account, nothing leaves here.

    It brings its own rules and forgets everything at the end. Exit status 0 means that every mail was filed
    as the rules say.

    Example: mailrules demo --fast
    """
    try:
        from mailrules.demo.sample import SAMPLES
        from mailrules.demo.stage import open_stage
    except ModuleNotFoundError as missing:
        missing_package = (missing.name or "").partition(".")[0]
        raise PermanentError(
            f"the demo needs {missing_package}, which is not installed: pip install 'mailrules[demo]'"
        )

    started = time.monotonic()
    pause = 0.0 if fast or common.json else PAUSE
    with tempfile.TemporaryDirectory(prefix="mailrules-demo-") as folder, open_stage(Path(folder)) as stage:
        show = _Json() if common.json else _Words(stage, pause=pause)
        show.beginning(len(SAMPLES))
        filings = []
        for sample in SAMPLES:
            time.sleep(pause)
            show.arrives(sample)
            filings.append(stage.watch(sample, *stage.deliver(sample)))
            show.filed(filings[-1])
        show.end(filings, time.monotonic() - started)
    return FINE if all(filing.as_expected for filing in filings) else FAILED


class _Json:
    """One JSON object for each mail, then a summary."""

    def beginning(self, mails: int) -> None:
        pass

    def arrives(self, sample: Sample) -> None:
        pass

    def filed(self, filing: Filing) -> None:
        emit(
            {
                "file": filing.sample.file,
                "from": filing.sample.sender,
                "subject": filing.sample.subject,
                "mailbox": filing.mailbox,
                "flags": sorted(filing.flags),
                "sent_to": list(filing.sent_to),
                "rules": list(filing.rules),
                "actions": list(filing.actions),
                "seconds": round(filing.seconds, 3),
                "as_expected": filing.as_expected,
            }
        )

    def end(self, filings: list[Filing], seconds: float) -> None:
        right = sum(filing.as_expected for filing in filings)
        summary = {"messages": len(filings), "as_expected": right, "seconds": round(seconds, 3)}
        emit({"summary": summary})


class _Words:
    """A story for people: the mail as it is filed, the mailboxes, the log, one decision, the next step."""

    def __init__(self, stage: Stage, *, pause: float) -> None:
        self._stage = stage
        self._pause = pause

    def beginning(self, mails: int) -> None:
        rules = len(self._stage.config.rules)
        say(
            f"An IMAP server now runs inside this program, on 127.0.0.1:{self._stage.server.imap_port}. "
            f"mailrules watches its INBOX with {rules} rules; {mails} mails are about to come. "
            "Nothing leaves this machine."
        )

    def arrives(self, sample: Sample) -> None:
        say("")
        line([(sample.sender, "bold"), (f"  {sample.subject}", None)])

    def filed(self, filing: Filing) -> None:
        where = (
            f"stays in {filing.mailbox}" if filing.mailbox == "INBOX" else f"→ {filing.mailbox or 'nowhere'}"
        )
        why = f"{', '.join(filing.rules)}: {', '.join(filing.actions)}" if filing.rules else "no rule matches"
        parts: list[tuple[str, str | None]] = [(f"    {where}", "green" if filing.as_expected else "red")]
        if filing.flags:
            parts.append((f" {' '.join(sorted(filing.flags))}", "yellow"))
        line([*parts, (f"  {why}", "cyan"), (f"  {filing.seconds:.2f} s", "dim")])
        if not filing.as_expected:
            wanted = " ".join([filing.expected, *sorted(filing.sample.flags), *filing.sample.sent_to])
            say(f"    It should be in {wanted}.", style="red")

    def end(self, filings: list[Filing], seconds: float) -> None:
        from mailrules.cli.app import main
        from mailrules.demo.sample import FOLDER, RULES

        time.sleep(self._pause)
        self._heading("The mailboxes now")
        counts: dict[str, int] = {}
        for mail in self._stage.server.filed():
            counts[mail.mailbox] = counts.get(mail.mailbox, 0) + 1
        table(["MAILBOX", "MESSAGES"], sorted(counts.items()), right=["MESSAGES"])
        recipients = sorted({to for mail in self._stage.server.sent for to in mail.recipients})
        say(f"Forwarded: {len(self._stage.server.sent)}, to {', '.join(recipients)} (a mail server in here).")

        self._heading("What was done: mailrules log")
        main(["log", "--state", str(self._stage.state)])
        self._heading(f"Why: mailrules explain {EXPLAINED}")
        main(["explain", str(FOLDER / "mail" / EXPLAINED), "--config", str(self._stage.config.path)])

        right = sum(filing.as_expected for filing in filings)
        self._heading(
            f"{right} of {len(filings)} mails are where the rules say, after {seconds:.0f} seconds."
        )
        if right < len(filings):
            say("Please report this, with what stands above.", style="red")
            return
        for text in _NEXT.format(rules=RULES).splitlines():
            say(text)
        if shutil.which("mailrules") is None:
            here = os.path.relpath(sys.argv[0])
            say("")
            say(f"Here `mailrules` is {here}; `pipx install .` in the clone puts it on your PATH.")

    def _heading(self, text: str) -> None:
        say("")
        say(text, style="bold")


_NEXT = """\
The rules were {rules}.

Now with your own mail. Write rules.yaml: rules like these, and your account:

    accounts:
      mine:
        host: imap.example.org
        username: you@example.org
        password: {{env: MAIL_PASSWORD}}

    mailrules check --online   is the file right, and does the server agree?
    mailrules plan             what would happen to the mail that is there? It changes nothing.
    mailrules run              watch for new mail; what is there already stays as it is."""

"""The sample mail of the demonstration, and where its rules have to file it."""

from __future__ import annotations

from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

FOLDER = Path(__file__).parent
RULES = FOLDER / "rules.yaml"


@dataclass(frozen=True, slots=True)
class Sample:
    """One mail, and what has to have become of it when the worker is done."""

    file: str
    mailbox: str  # `{year}` stands for the year it is delivered in
    flags: frozenset[str] = frozenset()
    sent_to: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        return FOLDER / "mail" / self.file

    @property
    def raw(self) -> bytes:
        """As it goes over the wire: lines end with CRLF."""
        return self.path.read_bytes().replace(b"\n", b"\r\n")

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.raw, policy=policy.default)

    @property
    def message_id(self) -> str:
        return str(self.message["message-id"])

    @property
    def sender(self) -> str:
        (address,) = self.message["from"].addresses
        return str(address.display_name or address.addr_spec)

    @property
    def subject(self) -> str:
        return str(self.message["subject"])

    def lands_in(self, year: int) -> str:
        return self.mailbox.format(year=year)


_SEEN, _FLAGGED = frozenset({"\\Seen"}), frozenset({"\\Flagged"})

SAMPLES = (
    Sample("1-boss.eml", "INBOX", _FLAGGED),
    Sample("2-invoice.eml", "Accounting/{year}", sent_to=("bookkeeping@example.net",)),
    Sample("3-newsletter.eml", "Lists/weekly.garden.example"),
    Sample("4-review.eml", "Code/Reviews", _FLAGGED),
    Sample("5-impostor.eml", "Suspicious", _SEEN),
    Sample("6-prize.eml", "Suspicious", _SEEN),
    Sample("7-rechnung.eml", "Accounting/{year}", sent_to=("bookkeeping@example.net",)),
    Sample("8-out-of-office.eml", "Automatic", _SEEN),
    Sample("9-friend.eml", "INBOX"),
)

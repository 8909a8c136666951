"""The table of conditions, and how `when` becomes one. SPEC section 3."""

from __future__ import annotations

from typing import Any

from mailrules.core.conditions.address import Bcc, Cc, DeliveredTo, From, Recipient, ReplyTo, Sender, To
from mailrules.core.conditions.attachment import Attachment, HasAttachment
from mailrules.core.conditions.auth import Auth
from mailrules.core.conditions.base import Condition, ParseContext
from mailrules.core.conditions.body import BodyText, WholeText
from mailrules.core.conditions.correspondence import RepliedTo, UnansweredFor
from mailrules.core.conditions.date import NewerThan, OlderThan, Received, Sent
from mailrules.core.conditions.flags import Answered, Deleted, Draft, Flagged, Keyword, Seen
from mailrules.core.conditions.header import Exists, Header, ListId
from mailrules.core.conditions.kind import IsAuto, IsBulk
from mailrules.core.conditions.logic import All, Always, AnyOf, Not
from mailrules.core.conditions.memory import Duplicate
from mailrules.core.conditions.reading import suggest
from mailrules.core.conditions.script import ScriptCondition
from mailrules.core.conditions.server import Gmail, GmailLabel, ServerSearch
from mailrules.core.conditions.size import LargerThan, SmallerThan
from mailrules.core.conditions.text import Subject
from mailrules.core.errors import Path, Report
from mailrules.core.values import describe

TABLE: dict[str, type[Condition]] = {
    "from": From,
    "to": To,
    "cc": Cc,
    "bcc": Bcc,
    "reply_to": ReplyTo,
    "sender": Sender,
    "recipient": Recipient,
    "delivered_to": DeliveredTo,
    "subject": Subject,
    "header": Header,
    "list_id": ListId,
    "exists": Exists,
    "body": BodyText,
    "text": WholeText,
    "larger_than": LargerThan,
    "smaller_than": SmallerThan,
    "older_than": OlderThan,
    "newer_than": NewerThan,
    "received": Received,
    "sent": Sent,
    "seen": Seen,
    "flagged": Flagged,
    "answered": Answered,
    "draft": Draft,
    "deleted": Deleted,
    "keyword": Keyword,
    "has_attachment": HasAttachment,
    "attachment": Attachment,
    "is_bulk": IsBulk,
    "is_auto": IsAuto,
    "auth": Auth,
    "replied_to": RepliedTo,
    "duplicate": Duplicate,
    "unanswered_for": UnansweredFor,
    "script": ScriptCondition,
    "search": ServerSearch,
    "gmail": Gmail,
    "gmail_label": GmailLabel,
    "all": All,
    "any": AnyOf,
    "not": Not,
}

_MEANT = {
    "size": "larger_than or smaller_than", "age": "older_than or newer_than", "date": "sent or received",
    "read": "seen: true", "unread": "seen: false", "unseen": "seen: false", "starred": "flagged: true",
    "label": "keyword (or gmail_label)", "tag": "keyword", "flag": "flagged or keyword",
    "content": "body", "message": "body or text", "attachments": "has_attachment or attachment",
    "filename": "attachment", "mailing_list": "list_id", "list": "list_id", "newsletter": "is_bulk",
    "domain": "from: {domain: …}", "name": "from: {name: …}", "unless": "not", "and": "all", "or": "any",
    "none": "not", "dmarc": "auth: {dmarc: …}", "spf": "auth: {spf: …}", "dkim": "auth: {dkim: …}",
    "weekday": "received: {weekday: …}", "between": "received: {between: …}", "regex": "subject: {regex: …}",
    "contains": "subject: {contains: …}",
}  # fmt: skip
_DEEPEST = 60


def parse_when(data: Any, *, path: Path, report: Report, context: ParseContext) -> Condition | None:
    """The condition under `when`, `unless` or within `all`, `any`, `not`.

    A mapping: all its keys. A list: any of its mappings. `always`: every message. Problems go to the
    report, and then None comes back.
    """
    if len(path) > _DEEPEST:
        report.error(path, "conditions are nested too deeply. Split the rule.")
        return None
    if isinstance(data, dict) and data:
        return _parse_mapping(data, path=path, report=report, context=context)
    if isinstance(data, list) and data:
        return AnyOf.parse(data, path=path, report=report, context=context)
    if isinstance(data, str):
        if data == "always":
            return Always()
        report.error(
            path,
            f"'{data}' is no condition. Write 'always' for every message, or 'subject: {data}' or the like.",
        )
        return None
    if data is None or isinstance(data, dict | list):
        report.error(path, "there is no condition here. Write one, or 'always' for every message.")
    else:
        report.error(path, f"conditions are a mapping ('subject: …' lines), not {describe(data)}.")
    return None


def _parse_mapping(
    data: dict[Any, Any], *, path: Path, report: Report, context: ParseContext
) -> Condition | None:
    conditions = []
    for key, value in data.items():
        kind = TABLE.get(key)
        if kind is None:
            report.error((*path, key), f"unknown condition '{key}'. {_hint(str(key))}", at="key")
            continue
        condition = kind.parse(value, path=(*path, key), report=report, context=context)
        if condition is not None:
            conditions.append(condition)
    if len(conditions) < len(data):
        return None
    if len(conditions) == 1 and not isinstance(conditions[0], All):
        return conditions[0]
    return All(conditions=tuple(conditions), implicit=True)


def _hint(key: str) -> str:
    word = key.lower().replace("-", "_").replace(" ", "_")
    if word == "always":
        return "It stands alone: write `when: always`."
    if word in TABLE:
        return f"Did you mean '{word}'?"
    if word in _MEANT:
        return f"Did you mean '{_MEANT[word]}'?"
    if "-" in key:
        return f"To test that header, write header: {{{key}: …}}."
    return suggest(word, TABLE, what="Conditions")

"""Mail that may or may not be answered: (name, headers, what the reason says or None). To me@our.example."""

from __future__ import annotations

PERSON = "Return-Path: <ann@acme.example>\nFrom: Ann <ann@acme.example>\nTo: me@our.example\nSubject: Hi\n"


def changed(**fields: str | None) -> str:
    """The mail of a person with these fields set, or left out; `_` is `-`."""
    lines = dict(line.split(": ", 1) for line in PERSON.splitlines())
    for name, value in fields.items():
        key = "-".join(word.capitalize() for word in name.split("_"))
        lines.pop(key, None)
        if value is not None:
            lines[key] = value
    return "".join(f"{name}: {value}\n" for name, value in lines.items())


FORBIDDEN = [
    ("auto-generated", changed(auto_submitted="auto-generated"), "by a machine"),
    ("auto-replied", changed(auto_submitted="Auto-Replied; owner=x (vacation)"), "by a machine"),
    ("auto-notified", changed(auto_submitted="(comment) auto-notified"), "by a machine"),
    ("an unknown keyword", changed(auto_submitted="future-thing"), "by a machine"),
    ("a bounce", changed(return_path="<>"), "return path is empty"),
    ("mailer-daemon", changed(return_path="<MAILER-DAEMON@acme.example>"), "nobody reads"),
    ("from the daemon", changed(**{"from": "Mail <mailer-daemon@acme.example>"}), "nobody reads"),
    ("listserv", changed(return_path="<LISTSERV@acme.example>"), "nobody reads"),
    ("majordomo", changed(return_path="<majordomo@acme.example>"), "nobody reads"),
    ("owner-list", changed(return_path="<owner-talk@acme.example>"), "nobody reads"),
    ("list-owner", changed(return_path="<talk-owner@acme.example>"), "nobody reads"),
    ("list-request", changed(return_path="<talk-request@acme.example>"), "nobody reads"),
    ("list-bounces", changed(return_path="<talk-bounces@acme.example>"), "nobody reads"),
    ("a VERP bounce", changed(return_path="<bounces+77-me=our.example@acme.example>"), "nobody reads"),
    ("noreply", changed(**{"from": "Shop <no-reply@shop.example>"}), "nobody reads"),
    ("donotreply", changed(return_path="<do_not_reply@shop.example>"), "nobody reads"),
    ("itself", changed(return_path="<me@our.example>"), "the account itself"),
    ("itself, with a detail", changed(**{"from": "ME+x@Our.Example"}), "the account itself"),
    ("List-Id", changed(list_id="<talk.acme.example>"), "from a list"),
    ("List-Unsubscribe", changed(list_unsubscribe="<mailto:x@y.example>"), "from a list"),
    ("List-Post", changed(list_post="NO"), "from a list"),
    ("Precedence bulk", changed(precedence="Bulk"), "in bulk"),
    ("Precedence junk", changed(precedence="junk"), "in bulk"),
    ("Precedence list", changed(precedence="list"), "in bulk"),
    ("suppressed, out of office", changed(x_auto_response_suppress="DR, OOF"), "asks for no answers"),
    ("suppressed, all", changed(x_auto_response_suppress="All"), "asks for no answers"),
    ("a delivery report", changed(content_type="multipart/report; report-type=x; boundary=b"), "a report"),
    ("not to us", changed(to="you@our.example"), "in its To or Cc"),
    ("to nobody", changed(to=None), "in its To or Cc"),
    ("to somebody who is called like us", changed(to='"me@our.example" <x@y.example>'), "in its To or Cc"),
    ("a loop", changed(x_mailrules_loop="me@our.example"), "in a loop"),
    ("a foreign loop mark", changed(x_loop="ME@our.example"), "in a loop"),
    ("many hops", changed() + "Received: from a by b\n" * 31, "in a loop"),
    ("no sender", changed(return_path=None, **{"from": None}), "names no sender"),
    ("a sender without a domain", changed(return_path="<root>"), "is no address"),
    ("another responder", changed(x_autoreply="yes"), "an answer itself"),
    ("spam", changed(x_spam_flag="YES"), "spam"),
]  # fmt: skip

ALLOWED = [
    ("a person", changed()),
    ("Auto-Submitted: no", changed(auto_submitted="No (a person); x=y")),
    ("postmaster", changed(return_path="<postmaster@acme.example>")),
    ("in Cc", changed(to="you@our.example", cc="You <x@y.example>, <ME@OUR.example>")),
    ("resent to us", changed(to="you@our.example", resent_to="me@our.example")),
    ("to a detail of ours", changed(to="me+shop@our.example")),
    ("in a group", changed(to="team: you@x.example, me@our.example;")),
    ("Precedence: first-class", changed(precedence="first-class")),
    ("receipts suppressed", changed(x_auto_response_suppress="DR, RN, NRN")),
    ("no Return-Path", changed(return_path=None)),
    ("not marked as spam", changed(x_spam_flag="NO")),
    ("a name that only looks so", changed(return_path="<norman.reply@acme.example>")),
]

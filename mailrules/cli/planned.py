"""What `plan` and `apply` show for people: per rule a count and samples, what differs, what was left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mailrules.cli import output
from mailrules.core.safe import cut

SAMPLES = 3
MOST_LEFT_OUT = 20
"""Messages that are left out and listed one by one, unless -v asks for all."""
MOST_NEW_MAILBOXES = 10

Rows = Iterable[Mapping[str, Any]]


class Samples:
    """Per rule: how many messages, and the first few. No more is kept of a plan, however long it is."""

    def __init__(self, *, order: Sequence[str] = (), accounts: int = 1) -> None:
        self.counts: Counter[str] = Counter()
        self.dry = 0  # actions that would only be said
        self.returned = 0  # messages that would leave where they were brought back to
        self.first: dict[str, list[tuple[str, str, list[str], list[str]]]] = defaultdict(list)
        self._order = {name: place for place, name in enumerate(order)}
        self._many = accounts > 1

    def add(self, event: Mapping[str, Any]) -> None:
        planned = event["planned"]
        self.returned += planned.get("returned", False)
        self.dry += sum(bool(action.get("dry_run")) for action in planned["actions"])
        for rule in (r["name"] for r in planned["rules"] if r["matched"] and r["reason"] != "returned"):
            self.counts[rule] += 1
            if len(self.first[rule]) < SAMPLES:
                actions = [a for a in planned["actions"] if a["rule"] == rule]
                self.first[rule].append(
                    (
                        event["sender"] or "?",
                        event["subject"] or "(no subject)",
                        ways(planned, actions, name_account=self._many),
                        event.get("troubles", {}).get(rule, []),
                    )
                )

    def say(self) -> None:
        for rule in sorted(self.counts, key=lambda name: self._order.get(name, len(self._order))):
            count = self.counts[rule]
            output.line([(rule, "bold"), (f"  {output.count(count, 'message')}", None)])
            for sender, subject, does, troubles in self.first[rule]:
                output.line([(f"  {cut(sender, 28):28}  {subject}", None)])
                if does or not troubles:
                    output.line([("      ", None), (", ".join(does) or "nothing to do", "cyan")])
                for trouble in troubles:
                    output.line([("      ", None), (trouble, "yellow")])
            if count > SAMPLES:
                output.line([(f"  … and {count - SAMPLES} more", "dim")])
        if self.returned:
            were = "was" if self.returned == 1 else "were"
            output.say(
                f"{self.returned} of these {were} put back before, by `undo` or by hand; "
                "`apply` takes them away again.",
                style="yellow",
            )


def ways(
    message: Mapping[str, Any], actions: Iterable[Mapping[str, Any]], *, name_account: bool = False
) -> list[str]:
    """What is done to a message, in words; where it goes as `INBOX → Work`."""
    here = f"{message['account']}/{message['mailbox']}" if name_account else message["mailbox"]
    told = []
    for action in actions:
        target = action["arguments"].get("mailbox")
        if target and action["action"] in ("move", "archive", "trash", "junk"):
            words = f"{here} → {target}"
        else:
            words = output.what(action["action"], action["arguments"])
        told.append(words + (" (dry run)" if action.get("dry_run") else ""))
    return told


def say_difference(event: Mapping[str, Any]) -> None:
    """One message that two rule sets would treat differently."""
    message = event["compared"]
    head = f"{message['uid']:>7}  {cut(event['sender'] or '?', 24):24}  {event['subject'] or '(no subject)'}"
    output.line([(head, None)])
    for side, style in (("old", "red"), ("new", "green")):
        does = ways(message, message[side]["actions"])
        for rule, troubles in event["troubles"][side].items():
            does += [f"{rule}: {trouble}" for trouble in troubles]
        rules = [r["name"] for r in message[side]["rules"] if r["matched"]]
        words = ", ".join(does) or "nothing"
        output.line([(f"         {side}  ", style), (words, None), (_by(rules), "dim")])


def _by(rules: Sequence[str]) -> str:
    return f"  ({', '.join(rules)})" if rules else ""


class LeftOut:
    """Messages of a kept plan with which nothing was done: the first few, and a count of each reason."""

    def __init__(self, *, every: bool = False) -> None:
        self.done = 0
        self.left = 0
        self._shown: list[str] = []
        self._every = every

    def add(self, event: Mapping[str, Any]) -> None:
        told = event["left_out"]
        if told["done"]:
            self.done += 1
            return
        self.left += 1
        if self._every or self.left <= MOST_LEFT_OUT:
            self._shown.append(
                f"  {told['account']}/{told['mailbox']} UID {told['uid']}  "
                f"{cut(event['sender'] or '?', 24)}  {cut(event['subject'] or '(no subject)', 40)}\n"
                f"      {told['reason']}"
            )

    def say(self, *, finished: bool = False) -> None:
        """`finished`: what was left of earlier runs has been finished first."""
        if self.done:
            words = "were done so, or before" if finished else "were done before"
            output.say(f"{output.count(self.done, 'message')} of the plan {words}.")
        if not self.left:
            return
        output.say(
            f"Left out, since the plan was made: {output.count(self.left, 'message')}.", style="yellow"
        )
        for words in self._shown:
            for line in words.splitlines():
                output.line([(line, None)])
        if self.left > len(self._shown):
            output.line([(f"  … and {self.left - len(self._shown)} more (-v shows all)", "dim")])


def say_created(created: Sequence[Sequence[Any]], *, allowed: bool, accounts: int = 1) -> None:
    """Mailboxes that are not there yet."""
    if not created:
        return
    if allowed:
        output.say("New mailboxes:")
    else:
        output.say("Missing mailboxes, which `create_mailboxes: false` forbids to make:", style="red")
    for account, name, many in sorted(created, key=lambda one: -int(one[2]))[:MOST_NEW_MAILBOXES]:
        where = f"{account}/{name}" if accounts > 1 else name
        output.line([(f"  {where}", None), (f"  {output.count(int(many), 'message')}", "dim")])
    if len(created) > MOST_NEW_MAILBOXES:
        output.line([(f"  … and {len(created) - MOST_NEW_MAILBOXES} more", "dim")])


def finished_first(result: Mapping[str, Any], *, did: bool) -> str:
    """What was left of earlier runs and is finished before all else, or ""."""
    left = result.get("left") or {}
    if not left.get("messages"):
        return ""
    from mailrules.performing.leftover import of_runs

    words = f"{output.count(left['messages'], 'message')} left from {of_runs(left['runs'])}"
    if did:
        return f"Finished first: {words}."
    effects = ", ".join(f"{count} {name}" for name, count in sorted(left["effects"].items()))
    return f"First `apply` finishes {words}: {effects}."


def say_result(result: Mapping[str, Any], *, did: bool, kept: bool = False) -> None:
    """The last lines, for people. `kept`: it was a plan that was done, and nothing was judged."""
    summary = result["summary"]
    if not did and (first := finished_first(result, did=did)):
        output.say(first)
    messages = output.count(summary["messages"], "message")
    if result["errors"] and not result["looked"]:
        pass  # a count of nothing reads like a result
    elif kept:
        output.say(f"{messages} of the plan, {summary['matched']} acted on.")
    else:
        output.say(f"{messages} looked at, {summary['matched']} matched.")
    counted = result["states"] if did else summary["effects"]
    if counted:
        said = {"would": "would be done (dry run)"} if did else {}
        output.say(
            ("Effects: " if did else "Would do: ")
            + ", ".join(f"{count} {said.get(name, name)}" for name, count in sorted(counted.items()))
            + "."
        )
    if result["deferred"]:
        output.note(f"{result['deferred']} messages could not be judged now.", style="yellow")
    for braked in result["braked"]:
        output.note(braked, style="yellow")
    for error in result["errors"]:
        output.note(error, style="red")

"""`plan --against OLD.yaml`: the messages that two rule sets would treat differently, and how.

Both are judged over the same facts in one pass: what is asked of the server is what either needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from mailrules.adapters.imap.connection import Connection
from mailrules.adapters.imap.identity import Identity
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.config import Config
from mailrules.core.decision import Decision, Situation, explain
from mailrules.core.difference import Both, DecideBoth
from mailrules.core.rule import Rule, is_glob
from mailrules.core.ruleset import RuleSet
from mailrules.house import House
from mailrules.judging.judge import Judge
from mailrules.planning.planned import Compared, Event, Selection
from mailrules.planning.planner import Planner


class Comparison(Planner):
    """Plans by the house's rules and by those of another file. Text is read as far as the house's says.

    Accounts that only the other file has can't be asked; `only_old` names them.
    """

    def __init__(
        self,
        house: House,
        old: Config,
        selection: Selection,
        *,
        stopping: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__(house, selection, stopping=stopping)
        self.old = old
        self.only_old = sorted(old.accounts.keys() - house.config.accounts.keys())
        self._watched_before: dict[str, tuple[str, ...]] = {}

    def _rule_names(self) -> set[str]:
        return super()._rule_names() | {rule.name for rule in self.old.rules}

    def _plan_account(self, account: str, connection: Connection) -> Iterator[Event]:
        before: list[str] = []
        if account in self.old.accounts:
            patterns = self.old.accounts[account].mailboxes
            before += [name for name in patterns if not is_glob(name)]
            globs = [name for name in patterns if is_glob(name)]
            if globs:
                before += [found.name for found in connection.mailboxes(globs) if found.selectable]
        self._watched_before[account] = tuple(dict.fromkeys(before))
        yield from super()._plan_account(account, connection)

    def _mailboxes(self, account: str, connection: Connection) -> Sequence[str]:
        chosen = super()._mailboxes(account, connection)
        if self.selection.mailboxes:
            return chosen
        before = (*self._watched_before[account], *self._run_over(self.old.rules, account, connection))
        return tuple(dict.fromkeys((*chosen, *before)))

    def _judge(self, account: str, mailbox: str, rules: Sequence[Rule]) -> Judge:
        judge = super()._judge(account, mailbox, rules)
        old: Sequence[Rule] = ()
        trusted = judge.trusted_authserv
        if account in self.old.accounts:
            old = self._chosen(self.old.rules, account, mailbox, self._watched_before[account])
            trusted = self.old.accounts[account].trusted_authserv
        old_rules = RuleSet(old)
        return replace(
            judge,
            rules=RuleSet((*judge.rules, *old)),
            decide=DecideBoth(judge.rules, old_rules, self._old_situation(account, judge.situation), trusted),
        )

    def _known(self, account: str, mailbox: Mailbox, judge: Judge) -> None:
        """What differs is looked for in all of it."""

    def _old_situation(self, account: str, now: Situation) -> Situation:
        settings = self.old.accounts.get(account)
        if settings is None:
            return now
        return replace(
            now,
            dry_run=self.old.settings.dry_run,
            account=replace(
                now.account,
                address=settings.address,
                addresses=settings.addresses,
                vars=settings.vars,
                special_use={**(now.account.special_use or {}), **settings.special_use},
                timezone=self.old.settings.timezone_name,
            ),
        )

    def _traced(self, judge: Judge) -> Judge:
        assert isinstance(judge.decide, DecideBoth)
        return replace(judge, decide=replace(judge.decide, decide=explain), trust_search=False)

    def _matched(self, decision: Decision) -> bool:
        return decision.says_something

    def _tell(
        self, account: str, mailbox: Mailbox, found: Mapping[int, tuple[Identity, Decision]]
    ) -> Iterator[Event]:
        for uid, (identity, decision) in found.items():
            if isinstance(decision, Both):
                compared = Compared(account, mailbox.name, uid, identity, decision.old, decision.new)
                self.summary.differ(compared)
                yield compared

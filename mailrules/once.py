"""`run --once`: sweep every watched mailbox of every account once, in parallel, then run the scheduled
rules that are due, and end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field

from mailrules.core.errors import MailrulesError, PermanentError, TransientError
from mailrules.house import House
from mailrules.run import RunResult
from mailrules.scheduled import Outcome, ScheduledRules

log = logging.getLogger("mailrules.run")

PARALLEL = 8


@dataclass(slots=True)
class OnceResult:
    """What one account came to: a result for each mailbox, and what went wrong."""

    account: str
    mailboxes: dict[str, RunResult] = field(default_factory=dict)
    scheduled: list[Outcome] = field(default_factory=list)
    errors: list[tuple[str, MailrulesError]] = field(default_factory=list)


def run_once(house: House, *, done: Callable[[OnceResult], None]) -> list[OnceResult]:
    """Sweep everything once. `done` is called for each account as it ends. Raises nothing of an account's."""
    results: list[OnceResult] = []
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="mailrules-once") as pool:
        futures = {pool.submit(_account, house, name): name for name in house.config.accounts}
        for future, name in ((future, futures[future]) for future in as_completed(futures)):
            bug = future.exception()
            if not isinstance(bug, Exception):  # nor is the end of the process one
                result = future.result()
            else:  # one account's trouble is not the others'
                log.error("%s: unexpected error", name, exc_info=bug)
                error = PermanentError(f"internal error: {type(bug).__name__}: {bug}")
                result = OnceResult(name, errors=[(name, error)])
            results.append(result)
            done(result)
    return results


def _account(house: House, account: str) -> OnceResult:
    result = OnceResult(account)
    connection = house.connect(account)
    try:
        connection.open()
        for name in house.discover(account, connection):
            if house.stopping.is_set():
                break
            try:
                result.mailboxes[name] = house.sweep(account, connection, name, kind="once")
            except PermanentError as error:  # this mailbox; the others may be fine
                log.error("%s/%s: %s", account, name, error)
                result.errors.append((f"{account}/{name}", error))
        rules = ScheduledRules(house, account, wait=True)
        result.scheduled += rules.run(connection)
        result.errors += [
            (f"{account}/{o.mailbox}", PermanentError(o.braked)) for o in result.scheduled if o.braked
        ]
    except (TransientError, PermanentError) as error:
        log.error("%s: %s", account, error)
        result.errors.append((account, error))
    finally:
        connection.close()
    return result

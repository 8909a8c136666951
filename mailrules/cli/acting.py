"""How a command that acts on mail is done: by the worker, if one runs; else here, under the state's lock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mailrules.cli.options import Common

if TYPE_CHECKING:
    from mailrules.config import Config
    from mailrules.house import House

Act = Callable[["House", Mapping[str, Any]], Iterable[Mapping[str, Any]]]


def act(
    common: Common,
    config: Config,
    command: str,
    arguments: Mapping[str, Any],
    by: Act,
    *,
    new: bool = True,
    ahead: bool = False,
) -> Iterable[Mapping[str, Any]]:
    """The events of it. `by`: the same code that the worker answers with. `new`: whether there need be no
    state yet. `ahead`: whether the arguments say to which account it comes first."""
    from mailrules import control
    from mailrules.state import StateLocked

    state = common.locate(config)
    client = control.connect(state)
    if client is not None:
        return client.request(command, timeout=None, **arguments)
    if not new and not state.exists:
        raise state.missing()
    try:
        lock = state.lock(command, wait=5)
    except StateLocked:
        client = control.connect(state)
        if client is None:
            raise
        return client.request(command, timeout=None, **arguments)
    return _alone(lock, config, state.directory, arguments, by, ahead=ahead)


def _alone(
    lock: Any, config: Config, directory: Any, arguments: Mapping[str, Any], by: Act, *, ahead: bool
) -> Iterator[Mapping[str, Any]]:
    from mailrules import garbage
    from mailrules.ahead import Ahead, begun

    with lock, begun(config, arguments) if ahead else Ahead() as early:
        # What takes the longest to import, while the server answers.
        from mailrules.adapters.store import Store
        from mailrules.cli.run import end_within
        from mailrules.house import House

        with Store.open(directory) as store:
            house = House(config, store, ahead=early)
            garbage.working()
            house.begin()
            end_within(house, 8.0)
            yield from by(house, arguments)

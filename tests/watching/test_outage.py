"""A journal that can't be written is said once, however many watchers it holds up."""

from __future__ import annotations

import pytest

from mailrules.adapters.store import StoreFull
from mailrules.watching.outage import Outage


def test_many_watchers_say_it_in_one_voice(caplog: pytest.LogCaptureFixture) -> None:
    """One line when the first is held up, one when the last goes on, and again at the next outage."""
    caplog.set_level("WARNING")
    outage = Outage()
    for _ in range(3):
        for who in ("a", "b", "c"):
            outage.begin(who, StoreFull("no room for the journal"))
    assert caplog.messages == ["STOPPED: no room for the journal"]
    outage.end("a")
    outage.end("a")
    outage.end("b")
    assert len(caplog.messages) == 1
    outage.end("c")
    assert caplog.messages[1].startswith("the journal can be written again after 0 s")
    outage.end("c")
    assert len(caplog.messages) == 2
    outage.begin("b", StoreFull("no room for the journal"))
    assert len(caplog.messages) == 3

"""What the worker tells systemd."""

from __future__ import annotations

import pytest

from mailrules import config
from mailrules.adapters.store import Store, ballast
from mailrules.watching.service import Service
from tests.lab.disk import SmallDisk

RULES = """
accounts:
  work: {host: 127.0.0.1, username: me, password: {env: HOME}}
rules:
  - {name: all, when: always, then: [keep]}
"""


def test_a_full_disk_is_no_reason_to_restart(small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchdog is fed while the disk is full, and the status line says what is the matter."""
    monkeypatch.setattr(ballast, "LOOK", 0.0)
    with Store.open(small_disk.path / "state") as store:
        service = Service(config.parse(RULES), store)
        service.poller.start()
        try:
            assert "disk" not in service.summary()
            small_disk.fill()
            assert service.healthy()
            assert service.summary() == (
                "0/0 accounts up; the disk is full: the journal has no room, nothing new is done"
            )
        finally:
            service.stop()

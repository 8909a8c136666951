"""mailrules.setup.checkup: each thing that can be wrong is found, with what to do about it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailrules import clock, config
from mailrules.adapters.store import Store
from mailrules.config import Config
from mailrules.setup import checkup
from mailrules.state import State
from tests.lab.dovecot import PASSWORD, Dovecot
from tests.lab.smtp import SmtpSink


def loaded(server: Dovecot, user: str, *, more: str = "", password: str = PASSWORD) -> Config:
    text = f"""
accounts:
  work:
    {{host: {server.host}, port: {server.imap_port}, security: none, username: {user},
     password: {{env: PW}}{more}}}
rules: [{{name: a, when: always, then: [keep]}}]
"""
    return config.parse(text, environ={"PW": password})


def looked_at(found: Config, *, online: bool = True) -> dict[str, checkup.Result]:
    return {result.check: result for result in checkup.accounts(found, online=online)}


def test_servers_that_are_well(dovecot: Dovecot, user: str, smtp_sink: SmtpSink) -> None:
    """Secrets, IMAP and SMTP, up to the login."""
    smtp = f", smtp: {{host: 127.0.0.1, port: {smtp_sink.port}, security: none}}"
    results = looked_at(loaded(dovecot, user, more=smtp))
    assert {check: result.ok for check, result in results.items()} == {
        "secret": True, "imap": True, "smtp": True,
    }  # fmt: skip
    assert smtp_sink.messages == []


@pytest.mark.parametrize(
    ("changed", "words", "step"),
    [
        ({"host": "no.such.host.invalid"}, "can't be resolved", "DNS"),
        ({"port": 9}, "does not answer", "port"),
        ({"password": "wrong-password"}, "refuses the login", "password"),
    ],
)
def test_how_far_one_gets(
    changed: dict[str, object], words: str, step: str, dovecot: Dovecot, user: str
) -> None:
    """DNS, the connection, the login: the first that fails is named, and the password is not."""
    from dataclasses import replace

    found = loaded(dovecot, user, password=str(changed.pop("password", PASSWORD)))
    account = replace(found.accounts["work"], **changed)
    if changed.get("host"):
        account = replace(account, security="tls")
    result = looked_at(replace(found, accounts={"work": account}))["imap"]
    assert not result.ok
    assert words in result.message
    assert step in result.step
    assert "wrong-password" not in result.message + result.step


def test_a_secret_that_is_not_there(dovecot: Dovecot, user: str) -> None:
    """It is said before a server is asked; offline, no server is."""
    found = config.parse(
        "accounts: {work: {host: a.example, username: b, password: {env: PW}}}\nrules: []\n", environ={}
    )
    results = looked_at(found)
    assert list(results) == ["secret"]
    assert results["secret"].step == "Set it, or use another source for the password."
    assert list(looked_at(loaded(dovecot, user), online=False)) == ["secret"]


def test_scripts_that_nobody_can_run(tmp_path: Path) -> None:
    """What is not there, may not be run or is a directory is named with its rules; names without a path,
    templates, rules that are off, and what only others may see are not."""
    (tmp_path / "good.sh").write_text("#!/bin/sh\n")
    (tmp_path / "good.sh").chmod(0o755)
    (tmp_path / "plain.sh").write_text("#!/bin/sh\n")
    rules = f"""
accounts: {{work: {{host: a.example, username: b, password: {{env: PW}}, vars: {{dir: /x}}}}}}
rules:
  - {{name: a, when: always, then: [{{script: [./nope.sh]}}]}}
  - {{name: b, when: {{script: [./nope.sh]}}, then: [{{script: [./plain.sh]}}]}}
  - {{name: c, when: always, then: [{{script: [{tmp_path}]}}, {{script: [./good.sh]}}]}}
  - {{name: d, when: always, then: [{{script: [nosuchprogram]}}, {{script: ["{{{{ vars.dir }}}}/x"]}}]}}
  - {{name: e, enabled: false, when: always, then: [{{script: [./off.sh]}}]}}
"""
    found = config.parse(rules, str(tmp_path / "rules.yaml"), environ={"PW": "x"})
    results = list(checkup.scripts(found))
    assert [(result.ok, result.message, result.step) for result in results] == [
        (False, f"rules 'a', 'b': there is no file {tmp_path}/nope.sh to run",
         "Put it there, or mend the rule's `script`."),
        (False, f"rule 'b': {tmp_path}/plain.sh may not be run", f"chmod +x {tmp_path}/plain.sh"),
        (False, f"rule 'c': {tmp_path} is no file that can be run", "Mend the rule's `script`."),
        (True, f"can be run: {tmp_path}/good.sh", ""),
    ]  # fmt: skip
    (tmp_path / "nope.sh").symlink_to("good.sh")
    (tmp_path / "plain.sh").chmod(0o700)
    found = config.parse(
        rules.replace(f"{{script: [{tmp_path}]}}, ", ""), str(tmp_path / "rules.yaml"), environ={"PW": "x"}
    )
    assert [result.ok for result in checkup.scripts(found)] == [True]
    bare = config.parse("accounts: {}\nrules: []\n", str(tmp_path / "rules.yaml"), environ={})
    assert list(checkup.scripts(bare)) == []


def test_the_state(tmp_path: Path) -> None:
    """There or not, open to others, and what fills its disk."""
    state = State(tmp_path / "state", "--state")
    first = {result.check: result for result in checkup.state_directory(state)}
    assert first["state"].ok
    assert "not there yet" in first["state"].message
    assert checkup.journal(state).ok
    with Store.open(state.directory):
        pass
    assert checkup.journal(state).ok
    state.directory.chmod(0o755)
    assert next(iter(checkup.state_directory(state))).step == f"chmod 700 {state.directory}"
    (state.directory / "journal.db").write_bytes(b"hello" * 1000)
    broken = checkup.journal(state)
    assert not broken.ok
    assert "damaged" in broken.message


def test_a_state_that_is_somebody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's commands leave files that the service can't write."""
    state = State(tmp_path / "state", "--state")
    state.directory.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    result = next(iter(checkup.state_directory(state)))
    assert not result.ok
    assert "Run the commands as" in result.step


def test_what_only_the_service_may_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root looks at a service's state and credentials: nothing is wrong with either."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    found = config.parse(
        "accounts: {work: {host: a.example, username: b, password: {credential: x}}}\nrules: []\n", environ={}
    )
    (result,) = checkup.accounts(found, online=True)
    assert result.ok
    assert "no login tried" in result.message
    state = State(tmp_path / "state", "--state")
    state.directory.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    if os.getuid() == 0:
        os.chown(state.directory, 65534, 65534)
        result = next(iter(checkup.state_directory(state)))
        assert result.ok
        assert "by way of its worker" in result.message


def test_no_worker_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said how to start one."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    result = checkup.worker(State(tmp_path, "--state"))
    assert result.ok
    assert "mailrules run" in result.message


def test_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that stands before what was written last is wrong."""
    state = State(tmp_path, "--state")
    (tmp_path / "journal.db").touch()
    assert checkup.time_of_day(state).ok
    monkeypatch.setattr(clock, "now", lambda: datetime(2026, 1, 2, tzinfo=UTC))
    assert not checkup.time_of_day(state).ok


def test_the_file(tmp_path: Path) -> None:
    """Errors are counted, and who else may change it is said."""
    path = tmp_path / "rules.yaml"
    path.write_text("rules: [{name: a, when: always, then: [keep]}]\n")
    assert [result.ok for result in checkup.file(path)[1]] == [True]
    path.chmod(0o666)
    assert [result.ok for result in checkup.file(path)[1]] == [True, False]
    path.write_text("ruels: []\nrules: 1\n")
    path.chmod(0o644)
    (wrong,) = checkup.file(path)[1]
    assert "(and 1 more)" in wrong.message
    assert wrong.step == f"mailrules check --config {path}"


def test_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection is one."""
    found = config.parse(
        "accounts: {work: {host: a.example, username: b, password: {env: PW}}}\nrules: []\n", environ={}
    )
    assert checkup.files(found).ok
    monkeypatch.setattr(checkup.resource, "getrlimit", lambda which: (10, 10))
    assert not checkup.files(found).ok

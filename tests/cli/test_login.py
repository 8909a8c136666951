"""`mailrules login`: from a person's yes to a worker that logs in by itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mailrules.adapters.oauth import Tokens
from mailrules.cli.app import main
from tests.json_contract import objects
from tests.lab.ca import LabCA
from tests.lab.dovecot import Dovecot, Layout
from tests.lab.oauth import OAuthProvider, dovecot_extra, token_for
from tests.lab.smtp import SmtpSink

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def dovecot_with_oauth(lab_ca: LabCA) -> Iterator[Dovecot]:
    from tests.conftest import need_dovecot

    need_dovecot()
    directory = Path(tempfile.mkdtemp(prefix="oauth-", dir="/tmp"))
    with Dovecot(Layout(extra=dovecot_extra(directory)), ca=lab_ca) as server:
        yield server
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def provider(dovecot_with_oauth: Dovecot) -> Iterator[OAuthProvider]:
    with OAuthProvider(dovecot_with_oauth.new_user()) as running:
        yield running


def rules(server: Dovecot, provider: OAuthProvider, *, more: str = "") -> None:
    Path("rules.yaml").write_text(
        f"""
accounts:
  work:
    host: {server.host}
    port: {server.imap_port}
    security: none
    username: {provider.user}
    auth: oauth
    password: {{file: work.token}}
    oauth:
      client_id: me
      authorize_url: {provider.url}/authorize
      token_url: {provider.url}/token
      device_url: {provider.url}/device
      scope: mail
{more}
rules: [{{name: all, when: always, then: [{{flag: $Seen}}]}}]
"""
    )


def test_by_code_and_from_then_on_by_itself(
    alone: Path, dovecot_with_oauth: Dovecot, provider: OAuthProvider, capsys: Capture
) -> None:
    """The tokens are kept, the login is tried, and `run --once` renews them when their hour is over."""
    server = dovecot_with_oauth
    rules(server, provider)
    server.append(provider.user, b"Subject: a\r\n\r\nx\r\n")
    assert main(["login", "work", "--device", "--json"]) == 0
    captured = capsys.readouterr()
    assert "WDJB-MJHT" in captured.err
    (told,) = objects("login", captured.out)
    assert told == {"account": "work", "host": server.host, "username": provider.user, "kept": True}
    kept = Path("work.token")
    assert kept.stat().st_mode & 0o077 == 0
    tokens = Tokens.from_text(kept.read_text())
    assert tokens is not None
    assert tokens.access not in captured.out + captured.err
    provider.lifetime = 1.0
    kept.write_text(kept.read_text().replace(str(tokens.expires), "1.0"))
    assert main(["apply", "--yes", "--state", "s"]) == 0
    assert "1 done" in capsys.readouterr().out
    assert provider.requests[-1]["grant_type"] == "refresh_token"


def test_by_browser(alone: Path, dovecot_with_oauth: Dovecot, provider: OAuthProvider) -> None:
    """The address is shown; whoever opens it comes back, and the program ends."""
    rules(dovecot_with_oauth, provider)
    process = subprocess.Popen(
        [sys.executable, "-m", "mailrules", "login", "work", "--no-browser"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(provider.url):
            httpx.get(line.strip(), follow_redirects=True)
            break
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert re.search(r"(?m)^Next: mailrules plan --account work$", out)


def test_a_token_that_is_not_taken(
    alone: Path, dovecot_with_oauth: Dovecot, provider: OAuthProvider, capsys: Capture
) -> None:
    """A token for somebody else is the server's refusal, in words, and not a hang."""
    rules(dovecot_with_oauth, provider)
    Path("work.token").write_text(token_for("u2999"))
    Path("work.token").chmod(0o600)
    assert main(["plan"]) == 1
    assert "refuses the login" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("work", "wrok"), "no account 'work'"),
        (("auth: oauth", "auth: password"), "write auth: oauth"),
        (("{file: work.token}", "{env: TOKEN}"), "password: {keyring: mailrules} or {file: PATH}"),
        (("client_id: me", "client_id: ~"), "has no client id"),
        (("scope: mail", "scope: ~"), "does not say where its tokens come from"),
    ],
)
def test_what_is_missing_is_said(
    alone: Path,
    dovecot_with_oauth: Dovecot,
    provider: OAuthProvider,
    change: tuple[str, str],
    words: str,
    capsys: Capture,
) -> None:
    """Before a browser is opened."""
    rules(dovecot_with_oauth, provider)
    path = Path("rules.yaml")
    path.write_text(path.read_text().replace(*change))
    assert main(["login", "work", "--device"]) in (1, 2)
    assert words in capsys.readouterr().err
    assert provider.requests == []


def test_a_grant_that_is_gone_is_said(
    alone: Path, dovecot_with_oauth: Dovecot, provider: OAuthProvider, capsys: Capture
) -> None:
    """Who does not renew the token any more wants its person; nothing is tried in vain."""
    rules(dovecot_with_oauth, provider)
    assert main(["login", "work", "--device"]) == 0
    tokens = Tokens.from_text(Path("work.token").read_text())
    assert tokens is not None
    Path("work.token").write_text(Path("work.token").read_text().replace(str(tokens.expires), "1.0"))
    provider.refuse = "invalid_grant"
    assert main(["check", "--online"]) == 1
    assert "Say `mailrules login work`." in capsys.readouterr().out
    assert main(["doctor"]) == 1
    assert "  → Say `mailrules login work`." in capsys.readouterr().out


def test_mail_is_sent_with_the_token(
    alone: Path, dovecot_with_oauth: Dovecot, provider: OAuthProvider, lab_ca: LabCA
) -> None:
    """SMTP logs in as IMAP does: XOAUTH2."""
    server = dovecot_with_oauth
    token = token_for(provider.user)
    with SmtpSink(lab_ca, require_auth=True, implicit_tls=True) as sink:
        sink.tokens[provider.user] = token
        smtp = f"    address: me@example.org\n    smtp: {{host: 127.0.0.1, port: {sink.port}}}"
        rules(server, provider, more=smtp)
        path = Path("rules.yaml")
        path.write_text(path.read_text().replace("flag: $Seen", "forward: you@example.org"))
        Path("work.token").write_text(token)
        Path("work.token").chmod(0o600)
        server.append(provider.user, b"From: a@example.net\r\nSubject: a\r\n\r\nx\r\n")
        ran = subprocess.run(
            [sys.executable, "-m", "mailrules", "apply", "--yes", "--state", "s"],
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
            env={**os.environ, "SSL_CERT_FILE": str(lab_ca.ca_file)},
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        (sent,) = sink.wait(1)
        assert (sent.auth_user, sent.rcpt_tos) == (provider.user, ["you@example.org"])

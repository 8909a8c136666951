"""Webhooks through the worker: once, with the same key on every try."""

from __future__ import annotations

import json
from pathlib import Path

from tests.lab.dovecot import Dovecot, message
from tests.lab.program import Program, account
from tests.lab.web import WebSink


def config(server: Dovecot, user: str, rules: str) -> str:
    return "accounts:\n" + account(server, user) + "rules:\n" + rules


def test_a_webhook_gets_what_scripts_get(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Without `json` the body is the message's facts; with it what the file says; each once, ever."""
    with WebSink() as web:
        rules = f"""
  - name: tell
    when: {{subject: order}}
    then:
      - webhook: {web.url}/all
      - webhook:
          url: "{web.url}/one/{{{{ message.subject }}}}"
          headers: {{X-Token: {{env: LAB_TOKEN}}}}
          json: {{title: "{{{{ message.subject }}}}", urgent: true}}
      - move: Told
"""
        program = Program(tmp_path, config(dovecot, user, rules), environment={"LAB_TOKEN": "t0ken-t0ken"})
        with program:
            program.run("run", "--once")
            dovecot.append(user, message(1, subject="order 1/2"))
            program.run("run", "--once")
            with dovecot.session(user, "Told") as client:
                client.uid("COPY", "1:*", "INBOX")
            program.run("apply", "--yes")
            assert len(web.requests) == 2
            told, one = (json.loads(request.body) for request in web.requests)
            assert told["headers"]["subject"] == ["order 1/2"] and told["uid"] == 1 and told["rule"] == "tell"
            assert one == {"title": "order 1/2", "urgent": True}
            assert web.requests[1].line == "POST /one/order%201%2F2 HTTP/1.1"
            assert web.requests[1].headers["x-token"] == "t0ken-t0ken"
            entries = program.log("--action", "webhook")
            assert {e["state"] for e in entries} == {"done"}
            assert "t0ken-t0ken" not in program.run("log", "--json").stdout


def test_the_same_key_on_every_try(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Busy, then cut off, then done: three calls, one key; the message leaves after the last."""
    with WebSink() as web:
        web.answers = [b"HTTP/1.1 503 Busy\r\n\r\n", b""]
        rules = f"  - {{name: tell, when: always, then: [{{webhook: {web.url}/}}, {{move: Told}}]}}\n"
        with Program(tmp_path, config(dovecot, user, rules)) as program:
            program.run("run", "--once")
            dovecot.append(user, message(1))
            for left in (1, 1, 0):
                program.run("run", "--once", status=None)
                with dovecot.session(user, "INBOX") as client:
                    assert len(client.uid("SEARCH", "ALL")[1][0].split()) == left
                [entry] = program.log("--action", "webhook")
                if entry["state"] == "later":
                    program.run("retry", str(entry["id"]))
            assert len(web.requests) == 3
            assert len({request.headers["idempotency-key"] for request in web.requests}) == 1


def test_not_idempotent(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """With `idempotent: false` a call that was cut off is unknown, and waits for a person."""
    with WebSink() as web:
        web.answer = b""
        hook = f"{{url: '{web.url}/', idempotent: false}}"
        rules = f"  - {{name: tell, when: always, then: [{{webhook: {hook}}}, {{move: Told}}]}}\n"
        with Program(tmp_path, config(dovecot, user, rules)) as program:
            program.run("run", "--once")
            dovecot.append(user, message(1))
            for _ in range(2):
                program.run("run", "--once", status=None)
            assert len(web.requests) == 1
            assert [e["state"] for e in program.log("--action", "webhook")] == ["unknown"]

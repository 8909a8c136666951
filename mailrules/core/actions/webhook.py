"""Telling a web service about a message: webhook. How it is called: `adapters/webhook.py`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self
from urllib.parse import unquote, urlsplit

from mailrules.core.actions.base import Action, ActionContext, RenderContext
from mailrules.core.actions.reading import check_keys
from mailrules.core.calling import read_timeout
from mailrules.core.errors import Path, RenderError, Report
from mailrules.core.message import Fact, Message
from mailrules.core.template import Template
from mailrules.core.values import Plain, describe, parse_bool
from mailrules.core.variables import clean

METHODS = ("POST", "PUT", "PATCH", "GET", "DELETE")
LONGEST_URL = 8 * 1024
LONGEST_HEADER = 8 * 1024
LONGEST_TIMEOUT = "10m"
_KEYS = ("url", "method", "headers", "json", "timeout", "idempotent", "private")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,100}", re.ASCII)
_OURS = frozenset({
    "host", "content-length", "transfer-encoding", "connection", "idempotency-key", "te", "trailer",
    "upgrade", "expect", "accept-encoding", "proxy-authorization", "keep-alive",
})  # fmt: skip
_FIXED = re.compile(r"https?://[^/?#\\@\s{}]+[/?#]", re.IGNORECASE)
_HOST = re.compile(r"[A-Za-z0-9._\-]+|\[[0-9A-Fa-f:.]+\]|[^\x00-\x7f].*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,17})(?:\.\d{1,17})?", re.ASCII)
_SECRET = re.compile(r"authorization|token|secret|api-?key|cookie|password", re.IGNORECASE)
_DEEPEST = 20
_TEXT: Mapping[str, Any] = {"type": "string"}
Header = Template | Mapping[str, str]
"""A value, or where it is kept: `{env: NAME}` or `{file: PATH}`."""


class Webhook(Action):
    """Call a URL about the message: `POST` with a JSON body. 2xx is done, 429 and 5xx are tried again later
    (when `Retry-After` says), anything else failed; redirects are not followed. Once per message and rule.

    Without `json` the body is what a script gets with `input: json`: account, mailbox, uid, rule, flags,
    size and headers. Every try carries the same `Idempotency-Key`: where a call was cut off, it is made
    again, and the other side can tell. If it can't, write `idempotent: false`: then the call is `unknown`.

    Values from the message go into path and query, percent-encoded, never before them. A token stands in
    `headers` as `{env: NAME}` or `{file: PATH}`. `timeout` is 30s. A name that leads into a private
    network needs `private: true`. ::

        - webhook: https://hooks.example.org/mail
        - webhook:
            url: https://api.example.org/tickets/{{ message.from.domain }}
            method: PUT
            headers: {Authorization: {env: TICKETS_TOKEN}}
            json: {title: "{{ message.subject }}", urgent: true}
    """

    key: ClassVar[str] = "webhook"
    once: ClassVar[bool] = True
    url: Template
    method: Literal["POST", "PUT", "PATCH", "GET", "DELETE"] = "POST"
    headers: Mapping[str, Any] = {}
    body: Any = None
    """As the file has it, its strings as templates; None: the message itself."""
    has_body: bool = False
    timeout: float = 30.0
    idempotent: bool = True
    private: bool = False
    base: str = ""
    value_schema: ClassVar[Mapping[str, Any]] = {
        "anyOf": [
            _TEXT,
            {
                "type": "object",
                "properties": {
                    "url": _TEXT,
                    "method": {"enum": list(METHODS)},
                    "headers": {
                        "type": "object",
                        "additionalProperties": {"type": ["string", "number", "object"]},
                    },
                    "json": {},
                    "timeout": _TEXT,
                    "idempotent": {"type": "boolean"},
                    "private": {"type": "boolean"},
                },
                "required": ["url"],
                "additionalProperties": False,
            },
        ]
    }

    @property
    def repeatable(self) -> bool:  # type: ignore[override]
        return self.idempotent

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ActionContext) -> Self | None:
        before = len(report.problems)
        form = value if isinstance(value, dict) else {"url": value}
        check_keys(form, _KEYS, key=cls.key, path=path, report=report)
        where = (*path, "url") if isinstance(value, dict) and "url" in form else path
        url = _url(form.get("url"), path=where, report=report, context=context)
        method = str(form.get("method", "POST")).upper()
        if method not in METHODS:
            found = describe(form["method"])
            report.error((*path, "method"), f"expected one of {', '.join(METHODS)}, found {found}.")
        headers = _headers(form.get("headers", {}), path=(*path, "headers"), report=report, context=context)
        body = _body(form.get("json"), path=(*path, "json"), report=report, context=context, depth=0)
        timeout = read_timeout(form, default="30s", longest=LONGEST_TIMEOUT, path=path, report=report)
        truths = {"idempotent": True, "private": False}
        for name in truths:
            if name in form:
                try:
                    truths[name] = parse_bool(form[name])
                except ValueError as error:
                    report.error((*path, name), str(error))
        if url is None or any(p.severity == "error" for p in report.problems[before:]):
            return None
        return cls(
            url=url, method=method, headers=headers, body=body, has_body="json" in form, timeout=timeout,
            base=context.base_dir, **truths,
        )  # fmt: skip

    def facts(self) -> frozenset[Fact]:
        texts = [self.url, *(h for h in self.headers.values() if isinstance(h, Template)), *_texts(self.body)]
        return frozenset[Fact]().union(*(text.facts() for text in texts))

    def render(self, message: Message, context: RenderContext) -> tuple[str, dict[str, Any], str]:
        url = self.url.render(message, context).strip()
        problem = url_problem(url)
        if problem:
            raise RenderError(f"'webhook': {problem}")
        arguments: dict[str, Any] = {
            "url": url,
            "method": self.method,
            "headers": {
                name: self._header(name, value, message, context) for name, value in self.headers.items()
            },
            "timeout": self.timeout,
        }
        if self.has_body:
            arguments["json"] = _rendered(self.body, message, context)
        if self.private:
            arguments["private"] = True
        if any("file" in value for value in self.headers.values() if isinstance(value, dict)):
            arguments["base"] = self.base
        # The text of the file, not what was filled in: a UID or "now" in a URL is no new webhook.
        return self.key, arguments, f"{self.method} {self.url.source}"

    def _header(self, name: str, value: Header, message: Message, context: RenderContext) -> Any:
        if not isinstance(value, Template):
            return dict(value)
        text = clean(value.render(message, context)).strip()
        if len(text) > LONGEST_HEADER:
            raise RenderError(f"'webhook': the header {name} is longer than {LONGEST_HEADER // 1024} KB.")
        return text

    def conflicts_with(self, other: Action) -> str | None:
        if isinstance(other, Webhook) and (other.url, other.method) == (self.url, self.method):
            return "the same 'webhook' stands twice in one rule."
        return None


def url_problem(url: str) -> str | None:
    """Why this can't be called, in a sentence; None if it can."""
    shown = clean(url)[:80]
    try:
        parts = urlsplit(url)
        port_is_right = parts.port is None or 0 < parts.port < 65536
    except ValueError:
        return f"'{shown}' is not a URL. Write https://host/path."
    host = parts.netloc.rpartition(":")[0] if re.search(r":\d*$", parts.netloc) else parts.netloc
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return f"'{shown}' is not the URL of a web service. Write https://host/path."
    if "@" in parts.netloc:
        return "a name or password does not stand in the URL. Write a header: Authorization: {env: NAME}."
    if not port_is_right or not _HOST.fullmatch(host):
        return f"'{shown}' has no host and port that can be called."
    if len(url) > LONGEST_URL:
        return f"the URL is longer than {LONGEST_URL // 1024} KB."
    if any(c.isspace() or not c.isprintable() for c in url) or "\\" in url:
        return f"'{shown}' has a blank, a backslash or a control character."
    if any(unquote(level) in (".", "..") for level in parts.path.split("/")):
        return f"'{shown}' has a level '.' or '..'."
    return None


def _url(value: Any, *, path: Path, report: Report, context: ActionContext) -> Template | None:
    if value is None:
        report.error(path, "'webhook' needs a URL: 'webhook: https://hooks.example.org/mail'.")
        return None
    url = Template.parse(value, path=path, report=report, context=context, url=True)
    if url is None:
        return None
    problem = url_problem(url.source.strip()) if url.literal else None
    if url.tainted and not _FIXED.match(url.prefix):
        problem = (
            "mail may not choose who is called: scheme, host and port are written out, and a value from the"
            " message or from a match comes behind them, as in 'https://host/path?id={{ message.uid }}'."
        )
    if problem:
        report.error(path, problem)
        return None
    if url.prefix.lower().startswith("http://") and not _is_here(url.prefix):
        report.warning(path, "http:// is not encrypted: what it says of your mail can be read on its way.")
    return url


def _is_here(url: str) -> bool:
    return bool(re.match(r"http://(localhost|127\.[\d.]+|\[::1\])([:/?#]|$)", url, re.IGNORECASE))


def _headers(value: Any, *, path: Path, report: Report, context: ActionContext) -> dict[str, Header]:
    if not isinstance(value, dict):
        report.error(path, f"expected names and values, such as {{X-Team: sales}}, found {describe(value)}.")
        return {}
    found: dict[str, Header] = {}
    for name, item in value.items():
        where = (*path, name)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            report.error(where, f"'{str(name)[:40]}' is not the name of a header.", at="key")
        elif name.lower() in _OURS:
            report.error(where, f"mailrules itself writes {name}.", at="key")
        elif name.lower() in {known.lower() for known in found}:
            report.error(where, f"the header {name} stands twice.", at="key")
        elif isinstance(item, dict):
            if (
                len(item) == 1
                and set(item) <= {"env", "file"}
                and all(isinstance(v, str) for v in item.values())
            ):
                found[str(name)] = {str(k): str(v) for k, v in item.items()}
            else:
                report.error(where, "expected text, or where it is kept: {env: NAME} or {file: PATH}.")
        else:
            template = Template.parse(item, path=where, report=report, context=context)
            if template is not None:
                found[str(name)] = template
            if template is not None and template.literal and _SECRET.search(name):
                report.warning(
                    where, f"a secret in the file shows in the log, too. Write {name}: {{env: NAME}}."
                )
    return found


def _body(value: Any, *, path: Path, report: Report, context: ActionContext, depth: int) -> Any:
    """The JSON of the file: strings are templates, plain scalars are what they look like."""
    if depth > _DEEPEST:
        report.error(path, f"the JSON is nested deeper than {_DEEPEST} levels.")
        return None
    if isinstance(value, dict):
        return {
            str(name): _body(item, path=(*path, name), report=report, context=context, depth=depth + 1)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [
            _body(item, path=(*path, index), report=report, context=context, depth=depth + 1)
            for index, item in enumerate(value)
        ]
    if isinstance(value, Plain):
        if value in ("true", "false"):
            return value == "true"
        if _NUMBER.fullmatch(value):
            return float(value) if "." in value else int(value)
    if isinstance(value, str):
        return Template.parse(value, path=path, report=report, context=context)
    return value


def _texts(body: Any) -> list[Template]:
    if isinstance(body, Template):
        return [body]
    parts = body.values() if isinstance(body, dict) else body if isinstance(body, list) else ()
    return [text for part in parts for text in _texts(part)]


def _rendered(body: Any, message: Message, context: RenderContext) -> Any:
    if isinstance(body, Template):
        return body.render(message, context)
    if isinstance(body, dict):
        return {name: _rendered(item, message, context) for name, item in body.items()}
    if isinstance(body, list):
        return [_rendered(item, message, context) for item in body]
    return body

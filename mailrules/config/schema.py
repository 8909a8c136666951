"""The JSON Schema of the file, for editors: completion, and the manual of each word as hover text.

An editor's YAML parser resolves plain scalars to types, ours does not: where text is expected the schema
takes numbers and truth values too. `mailrules check` is stricter than any schema.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from mailrules.adapters.secret import SOURCES
from mailrules.config.accounts import SPECIAL_USES
from mailrules.config.oauth import AUTHS, OAUTH_KEYS
from mailrules.config.providers import ALIASES, PROVIDERS
from mailrules.config.schema_words import explained
from mailrules.config.server import SECURITIES
from mailrules.config.settings import LOG_FORMATS
from mailrules.core.actions import TABLE as ACTIONS
from mailrules.core.conditions import TABLE as CONDITIONS
from mailrules.core.conditions.auth import METHODS, RESULTS
from mailrules.core.fixture import ADDRESS_HEADERS

Schema = dict[str, Any]
_TEXT: Schema = {"type": ["string", "number", "boolean"]}
_BOOLEAN: Schema = {"type": "boolean"}
_DURATION: Schema = {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*[smhdw]\s*$"}
_SIZE: Schema = {
    "anyOf": [
        {"type": "integer", "minimum": 0},
        {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*([bB]|[kKmMgG]([iI]?[bB])?)?\s*$"},
    ]
}
_TEXT_OPERATORS = ("contains", "is", "starts_with", "ends_with", "glob", "regex", "in")
_ADDRESS_OPERATORS = ("address", "domain", "localpart", "user", "detail", "name")


def _one_or_more(item: Schema) -> Schema:
    return {"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]}


def _mapping(properties: Mapping[str, Schema], *, required: tuple[str, ...] = (), least: int = 0) -> Schema:
    found: Schema = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    if required:
        found["required"] = list(required)
    if least:
        found["minProperties"] = least
    return found


_TEXTS = _one_or_more(_TEXT)
_OPERATORS: dict[str, Schema] = {
    **{operator: {"$ref": "#/$defs/texts"} for operator in _TEXT_OPERATORS},
    "exists": _BOOLEAN,
    "case_sensitive": _BOOLEAN,
}
_TEXT_VALUE: Schema = {"anyOf": [{"$ref": "#/$defs/texts"}, {"$ref": "#/$defs/text_operators"}]}
_ADDRESS_VALUE: Schema = {
    "anyOf": [
        {"$ref": "#/$defs/texts"},
        _mapping(
            {**_OPERATORS, **{name: {"$ref": "#/$defs/text_value"} for name in _ADDRESS_OPERATORS}}, least=1
        ),
    ]
}
_DATE_VALUE = _mapping(
    {
        "since": _TEXT,
        "before": _TEXT,
        "on": _TEXT,
        "weekday": _TEXTS,
        "between": {"type": "string", "pattern": r"^\s*\d{1,2}:\d\d\s*-\s*\d{1,2}:\d\d\s*$"},
    },
    least=1,
)
_STRING: Schema = {"type": "string"}
_ADDRESSES: Schema = {"$ref": "#/$defs/address_value"}
_WORDS: Schema = {"$ref": "#/$defs/text_value"}
_CONDITIONS: Schema = {"type": "array", "items": {"$ref": "#/$defs/condition"}, "minItems": 1}
_ARGV: Schema = {"type": "array", "items": _TEXT, "minItems": 1}
_SHAPES: dict[str, Schema] = {
    **dict.fromkeys(
        ("from", "to", "cc", "bcc", "reply_to", "sender", "recipient", "delivered_to"), _ADDRESSES
    ),
    **dict.fromkeys(("subject", "body", "text", "list_id"), _WORDS),
    "header": {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": {"$ref": "#/$defs/text_value"},
    },
    **dict.fromkeys(("larger_than", "smaller_than"), _SIZE),
    **dict.fromkeys(("older_than", "newer_than", "duplicate", "unanswered_for"), _DURATION),
    "script": {
        "anyOf": [
            _ARGV,
            _mapping(
                {
                    "run": _ARGV,
                    "input": {"enum": ["message", "headers", "json", "none"]},
                    "timeout": _DURATION,
                    "env": {"type": "object", "additionalProperties": _TEXT},
                },
                required=("run",),
            ),
        ]
    },
    **dict.fromkeys(("received", "sent"), _DATE_VALUE),
    **dict.fromkeys(
        (
            "seen",
            "flagged",
            "answered",
            "draft",
            "deleted",
            "has_attachment",
            "is_bulk",
            "is_auto",
            "replied_to",
        ),
        _BOOLEAN,
    ),
    **dict.fromkeys(("keyword", "gmail_label", "exists"), _TEXTS),
    "attachment": {
        "anyOf": [
            _TEXTS,
            _mapping(
                {
                    **_OPERATORS,
                    "name": {"$ref": "#/$defs/text_value"},
                    "type": {"$ref": "#/$defs/text_value"},
                    "larger_than": _SIZE,
                    "smaller_than": _SIZE,
                },
                least=1,
            ),
        ]
    },
    "auth": _mapping(dict.fromkeys(("dmarc", "spf", "dkim"), _TEXTS), least=1),
    **dict.fromkeys(("search", "gmail"), _STRING),
    **dict.fromkeys(("all", "any"), _CONDITIONS),
    "not": {"$ref": "#/$defs/when"},
}


def _manual(kind: type) -> str:
    """The docstring, which is the manual, without reStructuredText's mark before an example."""
    return inspect.cleandoc(kind.__doc__ or "").replace(" ::\n", "\n").replace("::\n", ":\n")


def _relaxed(schema: Any) -> Any:
    """The same with every text also as the number or truth value that an editor makes of it."""
    if isinstance(schema, Mapping):
        if schema == {"type": "string"}:
            return dict(_TEXT)
        return {key: _relaxed(value) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_relaxed(item) for item in schema]
    return schema


def _condition() -> Schema:
    properties = {
        key: {**_SHAPES.get(key, {}), "description": _manual(kind)}
        for key, kind in CONDITIONS.items()
        if key != "always"
    }
    return _mapping(properties, least=1)


def _action() -> Schema:
    bare = [key for key, kind in ACTIONS.items() if kind.bare]
    described = [{"const": key, "description": _manual(ACTIONS[key])} for key in bare]
    keyed = {
        key: {**_relaxed(kind.value_schema), "description": _manual(kind)} if not kind.bare
        else {"type": "null", "description": _manual(kind)}
        for key, kind in ACTIONS.items()
    }  # fmt: skip
    return {"anyOf": [*described, {**_mapping(keyed, least=1), "maxProperties": 1}]}


def _password() -> Schema:
    words = {
        "env": "The name of an environment variable.",
        "file": "A file that nobody else can read, relative to this one.",
        "command": "A program and its arguments; the first line it prints.",
        "keyring": "A service in the system's keyring.",
        "credential": "A systemd credential (LoadCredential=).",
    }
    forms: dict[str, Schema] = {name: {"type": "string", "description": words[name]} for name in SOURCES}
    forms["command"] = {
        "type": "array", "items": _TEXT, "minItems": 1, "description": words["command"],
    }  # fmt: skip
    return {
        **_mapping(forms, least=1),
        "maxProperties": 1,
        "description": "Where the password is kept. It never stands in the file itself.",
    }


def _described(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}


def _server() -> dict[str, Schema]:
    return {
        "host": _described({"type": "string"}, "The server's name."),
        "port": {"type": "integer", "minimum": 1, "maximum": 65535},
        "security": _described(
            {"enum": list(SECURITIES)}, "tls (default) | starttls | none (this machine only)."
        ),
        "username": _TEXT,
        "password": {"$ref": "#/$defs/password"},
    }


def _oauth() -> Schema:
    words = {
        "client_id": "The client id that your provider has given you.",
        "client_secret": "Its secret, if it has one: where it is kept.",
        "authorize_url": "Where a browser is sent. Known providers have it.",
        "token_url": "Where codes become tokens. Known providers have it.",
        "device_url": "Where a code for another device comes from. Known providers have it.",
        "scope": "What the tokens are for, parted by blanks. Known providers have it.",
    }
    forms: dict[str, Schema] = {key: _described({"type": "string"}, words[key]) for key in OAUTH_KEYS}
    forms["client_secret"] = {"$ref": "#/$defs/password"}
    return _mapping(forms)


def _account() -> Schema:
    smtp = {**_server(), "from": _described({"type": "string"}, "The sender's address.")}
    smtp["username"] = {"type": ["string", "number", "boolean", "null"]}
    return _mapping(
        {
            **_server(),
            "provider": _described(
                {"enum": [*PROVIDERS, *ALIASES]}, "Fills in host, port, security and smtp."
            ),
            "auth": _described(
                {"enum": list(AUTHS)}, "password (default), or oauth: password is where the tokens are kept."
            ),
            "oauth": _described(_oauth(), "As which client `mailrules login` asks for tokens, and where."),
            "address": _described({"type": "string"}, "The account's own address, if its username is none."),
            "mailboxes": _described(_TEXTS, "The watched mailboxes, globs allowed. Default: [INBOX]."),
            "smtp": {
                "anyOf": [_mapping(smtp), {"type": "null"}],
                "description": "Needed by forward, redirect and reply.",
            },
            "special_use": _described(
                _mapping(dict.fromkeys(SPECIAL_USES, _TEXT)), "Only where the server does not say."
            ),
            "trusted_authserv": _described(_TEXTS, "Whose Authentication-Results count."),
            "trust_search": _described(_BOOLEAN, "Let the server's SEARCH leave messages out."),
            "vars": _described(
                {"type": "object", "additionalProperties": _TEXT}, "For templates: {{ vars.NAME }}."
            ),
            "connections": {"type": "integer", "minimum": 1, "maximum": 15},
            "idle": _described(_DURATION, "How long one IDLE lasts, 2m to 29m. Default: 9m."),
        }
    )


def _rule() -> Schema:
    count: Schema = {"type": "integer", "minimum": 1}
    return _mapping(
        {
            "name": _described(_TEXT, "Required and unique: the rule's identity in the log and in undo."),
            "accounts": _described(_TEXTS, "Default: all."),
            "mailboxes": _described(_TEXTS, "Default: all watched ones."),
            "when": {"$ref": "#/$defs/when"},
            "unless": {"$ref": "#/$defs/when"},
            "then": _described(
                {"type": "array", "items": {"$ref": "#/$defs/action"}}, "What to do, in order."
            ),
            "stop": _described(_BOOLEAN, "No later rule sees the message. Default: false."),
            "enabled": _BOOLEAN,
            "dry_run": _described(_BOOLEAN, "Only say what it would do."),
            "schedule": {
                **_mapping({"every": _DURATION, "cron": {"type": "string"}, "on_new": _BOOLEAN}, least=1),
                "description": 'Run over all messages: {every: 1h} or {cron: "0 3 * * mon"}.',
            },
            "on_new": _described(_BOOLEAN, "A scheduled rule that looks at new mail, too."),
            "limits": _described(
                _mapping({"per_run": count, "per_hour": count}),
                "Brakes: how many messages the rule acts on in one run and within an hour. Beyond that it is "
                "paused, and what it would do is held until `mailrules resume`.",
            ),
            "on_unknown": {"enum": ["hold", "retry"]},
            "on_return": {"enum": ["leave", "apply"]},
        },
        required=("name", "when"),
    )


def _settings() -> Schema:
    return _mapping(
        {
            "timezone": _described({"type": "string"}, "Such as Europe/Berlin. Default: the system's."),
            "dry_run": _BOOLEAN,
            "state": _described({"type": "string"}, "A directory, or a postgresql:// URL."),
            "log_retention": _DURATION,
            "body_limit": _SIZE,
            "create_mailboxes": _BOOLEAN,
            "log": _mapping({"pii": _BOOLEAN, "format": {"enum": list(LOG_FORMATS)}}),
        }
    )


def _message() -> Schema:
    """What a test's message may say."""
    person = "As in a mail's header, such as Anna <anna@example.com>; a list for several."
    texts: dict[str, str] = {
        **dict.fromkeys(ADDRESS_HEADERS, person),
        "delivered_to": "The address it was delivered to.",
        "subject": "The subject.",
        "message_id": "The Message-ID. Default: one is made.",
        "in_reply_to": "The Message-ID that it answers.",
        "references": "The Message-IDs of the conversation.",
        "list_id": "The mailing list's id, with or without <…>.",
        "flags": "What is set: seen, flagged, answered, draft, deleted, or a keyword. Default: nothing.",
        "keywords": "Keywords that are set, such as $Todo. The same as flags.",
        "gmail_labels": "Gmail's labels.",
        "search": "The `search` expressions that select the message. Without it they can't be judged.",
        "gmail": "The `gmail` expressions that select the message. Without it they can't be judged.",
    }
    attachment = _mapping(
        {
            "name": _described(_TEXT, "The file's name."),
            "type": _described({"type": "string"}, "Such as application/pdf. Default: as the name says."),
            "size": _described(_SIZE, "The size of the file, such as 2 MB."),
            "text": _described(_TEXT, "What is in it."),
            "inline": _described(_BOOLEAN, "Shown within the text, as pictures are."),
        },
        least=1,
    )
    other: dict[str, Schema] = {
        "date": _described({"type": ["string", "null"]}, "The Date field. Default: received; null: none."),
        "headers": {
            "type": "object",
            "additionalProperties": {"anyOf": [*_TEXTS["anyOf"], {"type": "null"}]},
            "description": "Any other header; a list for several of one name, the topmost first.",
        },
        "body": _described(_TEXTS, "The text (text/plain)."),
        "text": _described(_TEXTS, "The text (text/plain), as body."),
        "html": _described(_TEXTS, "The text as HTML."),
        "attachments": {
            **_one_or_more({"anyOf": [_TEXT, attachment]}),
            "description": "Names, or {name, type, size, text, inline}.",
        },
        "auth": {
            **_mapping({method: {"enum": list(RESULTS)} for method in METHODS}),
            "description": "What the account's trusted_authserv says, such as {dmarc: pass}.",
        },
        "account": _described(_TEXT, "The account it is in. Default: the first."),
        "mailbox": _described(_TEXT, "The mailbox it is in. Default: INBOX."),
        "received": _described({"type": "string"}, "When it arrived. Default: its Date, else `at`."),
        "size": _described(_SIZE, "The size of the whole message. Default: as it is."),
        "returned": _described(_BOOLEAN, "A rule took it away before, and somebody brought it back."),
        "file": _described(
            {"type": "string"}, "The message is in this file; flags and the like stand beside it."
        ),
    }
    return _mapping({key: _described(_TEXTS, words) for key, words in texts.items()} | other)


def _test() -> Schema:
    return _mapping(
        {
            "name": _described(_TEXT, "Required and unique."),
            "message": {**_message(), "description": "What is judged, as far as rules look at it."},
            "file": _described({"type": "string"}, "What is judged: a message in a file (.eml)."),
            "expect": {
                **_mapping({"rules": {"type": "array", "items": _TEXT},
                            "actions": {"type": "array", "items": {"$ref": "#/$defs/action"}}}, least=1),
                "description": "The rules that match and the actions that come of it; each list is whole, "
                "and either may be left out.",
            },
            "at": _described({"type": "string"}, "When it is judged, as in 2026-03-01T10:00:00+01:00. "
                             "Default: now."),
            "rule": _described(_TEXT, "Judge it as a run of this rule with a schedule."),
        },
        required=("name", "expect"),
    )  # fmt: skip


def file_schema() -> Schema:
    """The JSON Schema (2020-12) of the whole file."""
    values = _one_or_more(_TEXT)
    account = _account()
    listed = {"anyOf": [values, _mapping({"file": {"type": "string"}}, required=("file",))]}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "mailrules",
        **_mapping(
            {
                "include": _described(_one_or_more({"type": "string"}), "Other files; globs allowed."),
                "accounts": {"type": "object", "additionalProperties": {"$ref": "#/$defs/account"}},
                "defaults": {"$ref": "#/$defs/account"},
                "lists": {"type": "object", "additionalProperties": listed},
                "rules": {"type": ["array", "null"], "items": {"$ref": "#/$defs/rule"}},
                "tests": {"type": "array", "items": {"$ref": "#/$defs/test"}},
                "settings": _settings(),
            }
        ),
        "$defs": {
            "texts": values,
            "text_operators": _mapping(_OPERATORS, least=1),
            "text_value": _TEXT_VALUE,
            "address_value": _ADDRESS_VALUE,
            "password": _password(),
            "account": account,
            "condition": _condition(),
            "when": {
                "anyOf": [
                    {"const": "always"},
                    {"$ref": "#/$defs/condition"},
                    {"type": "array", "items": {"$ref": "#/$defs/condition"}, "minItems": 1},
                ]
            },
            "action": _action(),
            "rule": _rule(),
            "test": _test(),
        },
    }
    return explained(schema)

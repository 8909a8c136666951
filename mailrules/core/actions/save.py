"""Putting mail into files: save. How they are written: `adapters/files.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, ClassVar, Literal, Self

from mailrules.core.actions.base import Action, ActionContext, RenderContext
from mailrules.core.actions.reading import check_keys
from mailrules.core.errors import Path, RenderError, Report, did_you_mean
from mailrules.core.message import Fact, Message
from mailrules.core.template import Template
from mailrules.core.values import describe

LONGEST_LEVEL = 255
"""Bytes of a directory's name."""
_WHAT = ("attachments", "message")
_KEYS = ("to", "what", "name")
_TEXT: Mapping[str, Any] = {"type": "string"}


class Save(Action):
    """Save the attachments (or with `what: message` the whole message, as `SUBJECT.eml`) to a directory.

    It is made when it is missing; a relative one stands beside the file of rules. A value from the message
    fills one level, under one that is written out. `name` chooses among the attachments, by globs. Files
    keep their names, made safe; nothing is overwritten: another file of that name is `name-2.pdf`, and
    a file that is there already with the same contents is not written again. Only mailrules' user can
    read them (0600). Once per message and rule. A message without attachments has nothing to save. ::

        - save: /srv/mail/attachments
        - save:
            to: invoices/{{ received.year }}
            name: ["*.pdf", "*.xml"]
    """

    key: ClassVar[str] = "save"
    once: ClassVar[bool] = True
    to: Template
    what: Literal["attachments", "message"] = "attachments"
    name: tuple[str, ...] = ()
    base: str = "."
    value_schema: ClassVar[Mapping[str, Any]] = {
        "anyOf": [
            _TEXT,
            {
                "type": "object",
                "properties": {
                    "to": _TEXT,
                    "what": {"enum": list(_WHAT)},
                    "name": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]},
                },
                "required": ["to"],
                "additionalProperties": False,
            },
        ]
    }

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ActionContext) -> Self | None:
        before = len(report.problems)
        form = value if isinstance(value, dict) else {"to": value}
        check_keys(form, _KEYS, key=cls.key, path=path, report=report)
        where = (*path, "to") if isinstance(value, dict) and "to" in form else path
        to = _directory(form.get("to"), path=where, report=report, context=context)
        what = form.get("what", "attachments")
        if what not in _WHAT:
            hint = did_you_mean(str(what), _WHAT)
            report.error((*path, "what"), f"expected attachments or message, found {describe(what)}.{hint}")
        globs = (
            form["name"] if isinstance(form.get("name"), list) else [form["name"]] if "name" in form else []
        )
        if not all(isinstance(glob, str) and glob.strip() for glob in globs) or (
            "name" in form and not globs
        ):
            report.error((*path, "name"), "expected a name or a glob, such as '*.pdf', or a list of them.")
        elif globs and what == "message":
            report.error(
                (*path, "name"), "'name' chooses among attachments. Leave it out, or say what: attachments."
            )
        if to is None or len(report.problems) > before:
            return None
        return cls(to=to, what=what, name=tuple(str(glob) for glob in globs), base=context.base_dir)

    def facts(self) -> frozenset[Fact]:
        return self.to.facts()

    def render(self, message: Message, context: RenderContext) -> tuple[str, dict[str, Any], str]:
        to = self.to.render(message, context).strip()
        problem = directory_problem(to)
        if problem:
            raise RenderError(f"'save': {problem}")
        directory = str(PurePosixPath(self.base) / to)
        arguments: dict[str, Any] = {"to": directory, "what": self.what}
        if self.name:
            arguments["name"] = list(self.name)
        return self.key, arguments, " ".join((self.what, self.to.source, *self.name))

    def conflicts_with(self, other: Action) -> str | None:
        if isinstance(other, Save) and (other.to, other.what, other.name) == (self.to, self.what, self.name):
            return "the same 'save' stands twice in one rule."
        return None


def directory_problem(text: str) -> str | None:
    """Why this can't be a directory, in a sentence; None if it can."""
    shown = text[:80]
    if not text.strip("/. "):
        return "the name of the directory is empty."
    if text.startswith("~"):
        return "'~' is not expanded: no shell reads it. Write the whole path."
    if not text.isprintable():
        return f"the directory '{shown!r}' has a control character."
    if any(len(level.encode("utf-8", "replace")) > LONGEST_LEVEL for level in text.split("/")):
        return f"the directory '{shown}' has a level of more than {LONGEST_LEVEL} bytes."
    return None


def _directory(value: Any, *, path: Path, report: Report, context: ActionContext) -> Template | None:
    if value is None:
        report.error(path, "'save' needs a directory: 'save: /srv/mail/attachments'.")
        return None
    to = Template.parse(value, path=path, report=report, context=context, levels=True)
    if to is None:
        return None
    problem = directory_problem(to.source) if to.literal else None
    if to.tainted and not to.prefix.rpartition("/")[0].strip("/. "):
        problem = (
            "mail may not choose where it is saved: a value from the message or from a match fills one level"
            " under one that is written out, as in 'attachments/{{ message.from.domain }}'."
        )
    if problem is None and to.prefix.startswith("~"):
        problem = directory_problem(to.prefix)
    if problem:
        report.error(path, problem)
        return None
    return to

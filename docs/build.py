"""Writes what is made from the program itself: the docstrings are the manual.

docs/rules.md: a page for each condition and action. man/mailrules.1: every command, option and exit status.
`make docs` runs it; tests/test_docs.py and tests/test_manual.py fail while a file is not what it would write.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mailrules.cli.app import COMMANDS, load
from mailrules.core import actions, conditions

RULES = Path(__file__).with_name("rules.md")
MAN = Path(__file__).parents[1] / "man" / "mailrules.1"


def manual(model: type) -> str:
    """The docstring as Markdown. What follows `::` at its end is an example; `---` parts examples."""
    text, _, example = inspect.cleandoc(model.__doc__ or "").partition("::\n")
    if example:
        text = f"{text.rstrip()}\n\n```yaml\n{textwrap.dedent(example).strip()}\n```"
    return text.replace("\n---\n", "\n```\n```yaml\n")


def section(table: Mapping[str, type]) -> str:
    """A heading and a manual page for each class in the table."""
    return "\n".join(f"### `{key}`\n{manual(model)}\n" for key, model in table.items())


def build(page: str) -> str:
    """The page with its generated parts written anew."""
    for name, table in (("conditions", conditions.TABLE), ("actions", actions.TABLE)):
        begin, end = f"<!-- {name}, by make docs -->\n", f"<!-- end of {name} -->"
        head, rest = page.split(begin)
        page = f"{head}{begin}{section(table)}{end}{rest.split(end)[1]}"
    return page


# -- the manual page -------------------------------------------------------------------------------------
def roff(text: str) -> str:
    """Text as roff takes it."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "")
    return re.sub(r"(?m)^([.'])", r"\\&\1", text)


def manual_page() -> str:
    """man/mailrules.1: from the commands' own help."""
    lines = [HEAD]
    heading = ""
    for name, (group, words) in COMMANDS.items():
        if group != heading:
            heading = group
            lines.append(f".SS {roff(group)}")
        command = load(name)
        lines += [".TP", f".B {name}" + "".join(f" {roff(p)}" for p in arguments(command)), roff(words)]
        *paragraphs, example = (command.help or words).split("\n\n")
        for paragraph in [*paragraphs[1:], example]:
            lines += [".IP", roff(paragraph)]
        for option in options(command):
            lines += [".RS", ".TP", *option, ".RE"]
    return "\n".join([*lines, TAIL]) + "\n"


def arguments(command: Any) -> list[str]:
    """What stands behind a command's name."""
    return [p.metavar or p.name.upper() for p in command.params if p.param_type_name == "argument"]


def options(command: Any) -> list[list[str]]:
    """A command's own options: the line that names it, and its words."""
    found = []
    for parameter in command.params:
        if parameter.param_type_name != "option" or parameter.name in SHARED:
            continue
        names = ", ".join(sorted(parameter.opts, key=len))
        value = f" {parameter.metavar}" if parameter.metavar else ""
        found.append([f".B {roff(names)}{roff(value)}", roff(parameter.help or "")])
    return found


SHARED = ("config", "state", "json", "verbose", "help")
HEAD = """\
.\\" Made by docs/build.py from the program itself: `make docs`.
.TH MAILRULES 1 "" mailrules "User Commands"
.SH NAME
mailrules \\- keep IMAP mailboxes in order by rules written in YAML
.SH SYNOPSIS
.B mailrules
.I COMMAND
.RI [ OPTIONS ]
.SH DESCRIPTION
mailrules watches IMAP mailboxes, judges every new message by the rules in a YAML file, and moves, flags,
copies, forwards or answers it, or hands it to a script. Every decision and every effect is in a log that can
be read, explained and undone.
.PP
Begin with
.B mailrules demo
or, with your own mail,
.BR "mailrules init" .
.SH OPTIONS
Every command takes these:
.TP
.BI \\-\\-config " FILE"
The rules. Default: see FILES.
.TP
.BI \\-\\-state " DIRECTORY"
Where the journal is kept. Default: see FILES.
.TP
.B \\-\\-json
One JSON object a line on stdout, and nothing else there.
.TP
.BR \\-v ", " \\-\\-verbose
Say more.
.TP
.BR \\-h ", " \\-\\-help
Show a command's help and end.
.SH COMMANDS"""
TAIL = """\
.SH EXIT STATUS
.TP
.B 0
Fine.
.TP
.B 1
It ran, and something failed.
.TP
.B 2
Used wrongly.
.TP
.B 75
Not now; try later.
.TP
.B 77
No permission, or another process holds the state.
.TP
.B 78
The configuration is wrong.
.SH ENVIRONMENT
.TP
.B MAILRULES_CONFIG
The rules, if
.B \\-\\-config
does not name them.
.TP
.B STATE_DIRECTORY
The state, if neither
.B \\-\\-state
nor the file names it.
.TP
.B NO_COLOR
If set, nothing is coloured.
.TP
.B SSL_CERT_FILE
The certificates that are trusted, instead of the system's.
.SH FILES
.TP
.I ./rules.yaml\\fR, \\fI$XDG_CONFIG_HOME/mailrules/rules.yaml\\fR, \\fI/etc/mailrules/rules.yaml
The rules: the first that is there.
.TP
.I $XDG_STATE_HOME/mailrules\\fR, \\fI/var/lib/mailrules
The state; the second if the rules are in /etc.
.SH SEE ALSO
The rule language: docs/rules.md. What can be relied on: docs/reliability.md. As a service:
docs/operations.md."""


if __name__ == "__main__":
    MAN.parent.mkdir(exist_ok=True)
    MAN.write_text(manual_page())
    RULES.write_text(build(RULES.read_text()))

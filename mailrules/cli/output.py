"""What commands print: JSON lines for programs; for people words, tables and colours, plain when piped.

Everything that comes from mail, servers or files goes through `safe` here, once.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mailrules.core.safe import safe

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

STYLES = {
    "done": "green", "planned": "cyan", "running": "cyan", "held": "yellow", "later": "yellow",
    "failed": "red", "unknown": "bold red", "gone": "dim", "skipped": "dim", "would": "blue",
}  # fmt: skip
"""Colours of the log's states."""


def emit(value: Mapping[str, Any]) -> None:
    """One JSON object a line on stdout, at once. ASCII only, so that nothing in it can move a terminal."""
    # json leaves DEL alone.
    sys.stdout.write(json.dumps(value).replace("\x7f", "\\u007f") + "\n")
    sys.stdout.flush()


@functools.cache
def console(*, stderr: bool = False) -> Console:
    """Where words for people go: wrapped on a terminal, never cut into a pipe; NO_COLOR is obeyed."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(
        stderr=stderr,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=not stream.isatty(),
        width=None if stream.isatty() else 10_000,
    )


def plain(*, stderr: bool = False) -> bool:
    """Whether words go into a pipe or a file. Then they need no Rich, which takes 30 ms to import."""
    if os.environ.get("FORCE_COLOR") or os.environ.get("TTY_COMPATIBLE") == "1":  # as Rich has it
        return False
    return not (sys.stderr if stderr else sys.stdout).isatty()


def say(text: str, *, style: str | None = None) -> None:
    """A line for people on stdout."""
    _print(text, style, stderr=False)


def note(text: str, *, style: str | None = None) -> None:
    """A line for people beside the output proper: on stderr."""
    _print(text, style, stderr=True)


def _print(text: str, style: str | None, *, stderr: bool) -> None:
    if not plain(stderr=stderr):
        console(stderr=stderr).print(safe(text), style=style)
        return
    stream = sys.stderr if stderr else sys.stdout
    stream.write(safe(text) + "\n")
    stream.flush()


def words(parts: Sequence[tuple[str, str | None]]) -> Text:
    """A text of (words, style) parts, made safe."""
    from rich.text import Text

    text = Text()
    for said, style in parts:
        text.append(safe(said), style=style or "")
    return text


def line(parts: Sequence[tuple[str, str | None]]) -> None:
    """A line of (text, style) parts; on a terminal cut at its width."""
    if plain():
        say("".join(said for said, _ in parts))
        return
    text = words(parts)
    text.no_wrap = True
    where = console()
    if where.is_terminal:
        text.truncate(where.width, overflow="ellipsis")
    where.print(text)


def table(
    heads: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = (), title: str = ""
) -> None:
    """A table: as wide as the terminal at most; piped, columns of blanks and nothing cut.

    `right`: heads of columns of numbers. A cell may be a (text, style) pair; None is shown as a dash.
    """
    from rich.table import Table
    from rich.text import Text

    where = console()
    drawn = Table(
        title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False,
        padding=(0, 2, 0, 0), header_style="dim" if where.is_terminal else "",
    )  # fmt: skip
    for head in heads:
        drawn.add_column(
            head, justify="right" if head in right else "left", overflow="ellipsis", no_wrap=True
        )
    for row in rows:
        cells = []
        for cell in row:
            words, style = cell if isinstance(cell, tuple) else (cell, "")
            cells.append(Text("–" if words is None else safe(str(words)), style=style))
        drawn.add_row(*cells)
    with_blanks = where.is_terminal
    if with_blanks:
        where.print(drawn)
        return
    with where.capture() as captured:
        where.print(drawn)
    where.print("\n".join(one.rstrip() for one in captured.get().splitlines()))


def moment(text: str | None) -> str:
    """An RFC 3339 time as people here read it: local, to the second."""
    if text is None:
        return "never"
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def rfc3339(when: datetime | None) -> str | None:
    """A time for JSON: RFC 3339 in UTC."""
    if when is None:
        return None
    return when.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def duration(seconds: float) -> str:
    """A span as people say it: `4 s`, `12 min`, `3 h`, `2 d`."""
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (seconds >= size and name != "min"):
            return f"{seconds / size:.0f} {name}"
    return f"{max(seconds, 0):.0f} s"


def what(action: str, arguments: Mapping[str, Any]) -> str:
    """An action and what it does it with, in a few words: `move to Work`, `flag $Todo`."""
    if action == "assign":
        to = arguments.get("to")
        return f"assign to {'one of ' + ', '.join(to) if isinstance(to, list) else to}"
    if arguments.get("mailbox"):
        return f"{action} to {arguments['mailbox']}"
    if names := arguments.get("flags") or arguments.get("labels"):
        return f"{action} {' '.join(map(str, names))}"
    if action == "save":
        return f"save {arguments.get('what')} to {arguments.get('to')}"
    if to := arguments.get("to"):
        return f"{action} to {', '.join(map(str, to)) if isinstance(to, list) else to}"
    if url := arguments.get("url"):
        return f"{action} {arguments.get('method', '')} {url}"
    if run := arguments.get("run"):
        return f"{action} {' '.join(map(str, run)) if isinstance(run, list) else run}"
    if text := arguments.get("text"):
        return f"{action}: {text}"
    return action


def count(number: int, thing: str) -> str:
    """`1 message`, `2 messages`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"

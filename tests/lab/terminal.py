"""A terminal of 80 columns: what a person sees, after the cursor has gone where it was told to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pexpect

_CONTROL = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])|\x1b[()][A-Z0-9]|\x1b[=>78]|[\r\n\b\x07]")


def screen(stream: str) -> list[str]:
    """The lines that stand there at the end, without blanks at their ends. Colours are left out."""
    lines: list[list[str]] = [[]]
    row = column = at = 0

    def put(text: str) -> None:
        nonlocal column
        line = lines[row]
        line.extend(" " * (column - len(line)))
        line[column : column + len(text)] = text
        column += len(text)

    for match in _CONTROL.finditer(stream):
        put(stream[at : match.start()])
        at = match.end()
        count = int(match[2] or 1) if (match[2] or "1").isdigit() else 1
        if match[0] == "\r":
            column = 0
        elif match[0] == "\n":
            row += 1
            if row == len(lines):
                lines.append([])
        elif match[0] == "\b":
            column = max(0, column - 1)
        elif match[3] == "A":
            row = max(0, row - count)
        elif match[3] == "B":
            row = min(len(lines) - 1, row + count)
        elif match[3] == "K":
            lines[row] = [] if match[2] == "2" else lines[row][:column]
        elif match[3] == "J":
            lines[row] = lines[row][:column]
            del lines[row + 1 :]
    put(stream[at:])
    found = ["".join(line).rstrip() for line in lines]
    while found and not found[-1]:
        found.pop()
    return found


def run(
    program: Sequence[str],
    answers: Mapping[str, str],
    *,
    directory: Path,
    environment: Mapping[str, str],
    width: int = 80,
) -> tuple[int, list[str]]:
    """Run it; where a question appears (a regular expression), type its answer. (Exit status, screen.)"""
    status, stream = watch(program, answers, directory=directory, environment=environment, width=width)
    return status, screen(stream)


def watch(
    program: Sequence[str],
    answers: Mapping[str, str],
    *,
    directory: Path,
    environment: Mapping[str, str],
    width: int = 80,
) -> tuple[int, str]:
    """The same with all that was sent to the terminal, instead of what stands there at the end."""
    terminal = pexpect.spawn(
        program[0], list(program[1:]), encoding="utf-8", timeout=60, dimensions=(50, width),
        cwd=str(directory), env=dict(environment),
    )  # fmt: skip
    seen: list[str] = []
    questions = list(answers)
    while True:
        which = terminal.expect([*questions, pexpect.EOF])
        seen.append(terminal.before or "")
        if which == len(questions):
            break
        seen.append(terminal.after)
        terminal.sendline(answers[questions[which]])
    terminal.close()
    return terminal.exitstatus or 0, "".join(seen)

"""`mailrules completion`: what makes a shell complete commands, options, and the names in the file."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from mailrules.cli.options import Common
from mailrules.cli.output import emit, note

SHELLS = ("bash", "zsh", "fish")


def _actions() -> list[str]:
    from mailrules.core.actions import TABLE

    return list(TABLE)


def _states() -> list[str]:
    from mailrules.adapters.store.runlog import STATES

    return list(STATES)


def _providers() -> list[str]:
    from mailrules.config.providers import PROVIDERS

    return list(PROVIDERS)


WORDS: dict[str, Callable[[], list[str]]] = {
    "actions": _actions, "providers": _providers, "states": _states,
}  # fmt: skip
"""What is completed by words of the program, not of the file."""
USAGE = 2


def command(
    common: Common,
    shell: Annotated[
        str | None, typer.Argument(metavar="bash|zsh|fish", help="Default: the one that $SHELL names.")
    ] = None,
) -> int:
    """Print what makes your shell complete commands, options, and the names of rules and accounts.

    bash: in ~/.bashrc, eval "$(mailrules completion bash)". zsh: the same in ~/.zshrc, after compinit.
    fish: mailrules completion fish > ~/.config/fish/completions/mailrules.fish.

    Example: mailrules completion bash > ~/.local/share/bash-completion/completions/mailrules
    """
    from typer._completion_shared import get_completion_script

    name = shell or Path(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        note(f"mailrules completion: there is none for '{name}'. Name bash, zsh or fish.")
        return USAGE
    script = get_completion_script(prog_name="mailrules", complete_var="_MAILRULES_COMPLETE", shell=name)
    if common.json:
        emit({"shell": name, "script": script})
    else:
        sys.stdout.write(script + "\n")
    return 0


def names(kind: str, incomplete: str, *, config: Path | None = None) -> list[str]:
    """The names of rules, accounts, or both in the file that begin so; none if it can't be read.

    A wrong file has names all the same, so its text is read and not judged.
    """
    from mailrules import config as configuration
    from mailrules.config import yaml_source

    try:
        data = yaml_source.load(configuration.find(Path(config) if config else None)).data
    except Exception:  # noqa: BLE001 - a shell that completes is no place for an error
        return []
    if not isinstance(data, dict):
        return []
    found: list[str] = []
    rules, accounts = data.get("rules"), data.get("accounts")
    if kind in ("rules", "all") and isinstance(rules, list):
        found += [str(rule["name"]) for rule in rules if isinstance(rule, dict) and "name" in rule]
    if kind in ("accounts", "all") and isinstance(accounts, dict):
        found += [str(name) for name in accounts]
    found = [name for name in found if name.startswith(incomplete)]
    if os.environ.get("_MAILRULES_COMPLETE", "").endswith("bash"):  # the others quote by themselves
        return [re.sub(r"([^\w@%+=:,./-])", r"\\\1", name) for name in found]
    return found

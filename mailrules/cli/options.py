"""The options that every command takes, and what follows from them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mailrules.core.errors import ConfigError

if TYPE_CHECKING:
    from mailrules.adapters.store import Store
    from mailrules.config import Config
    from mailrules.operations import Names
    from mailrules.state import State


@dataclass(frozen=True, slots=True)
class Common:
    """`--config`, `--json`, `-v`, `--state`. A command with a parameter of this type takes them all."""

    config: Path | None = None
    json: bool = False
    verbose: int = 0
    state: str | None = None

    def config_path(self) -> Path:
        """Where the configuration is (SPEC section 2). Raises ConfigError that says where it looked."""
        from mailrules import config

        return config.find(self.config)

    def load(self, *, warnings: bool = False) -> Config:
        """The configuration. Raises ConfigError with every line that is wrong. `warnings`: also for them."""
        from mailrules import config

        return config.load(self.config_path(), warnings=warnings)

    def locate(self, config: Config | None = None) -> State:
        """Where the state is. Without a loaded `config`, `settings.state` alone is looked up.

        A wrong rule must not keep anybody from reading the log, so nothing else of the file is judged.
        """
        from mailrules.state import locate

        if self.state is not None:
            return locate(explicit=self.state)
        if config is not None:
            return locate(configured=config.settings.state, config_path=config.path)
        path = self._existing_config()
        configured = _configured_state(path) if path is not None else None
        return locate(configured=configured, config_path=path)

    def open_for_reading(self) -> Store:
        """The journal, to read. Raises PermanentError that says where it looked, if there is none."""
        from mailrules.adapters.store import Store

        state = self.locate()
        if not state.exists:
            raise state.missing()
        return Store.open(state.directory, read_only=True)

    def names(self) -> Names:
        """The rules and accounts of the file, if it can be read; the journal knows more."""
        return names_of(self.readable())

    def readable(self) -> Config | None:
        """The configuration, or None where there is none that can be read."""
        try:
            return self.load()
        except ConfigError:
            return None

    def _existing_config(self) -> Path | None:
        try:
            path = self.config_path()
        except ConfigError:
            return None
        if not path.exists():
            if self.config is not None or os.environ.get("MAILRULES_CONFIG"):
                raise ConfigError([f"{path}: there is no such file."])
            return None
        return path


def names_of(config: Config | None) -> Names:
    """The rules and accounts of a file, if there is one."""
    from mailrules.operations import Names

    if config is None:
        return Names()
    return Names(frozenset(rule.name for rule in config.rules), frozenset(config.accounts))


def _configured_state(path: Path) -> str | None:
    from mailrules.config import yaml_source

    try:
        data: Any = yaml_source.load(path).data
    except (ConfigError, OSError):
        return None  # `check` says what is wrong with it
    settings = data.get("settings") if isinstance(data, dict) else None
    state = settings.get("state") if isinstance(settings, dict) else None
    return str(state) if isinstance(state, str) else None

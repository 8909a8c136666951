"""The house keeps its shape: arrows between rooms point down only (docs/architecture.md)."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import mailrules

ROOT = Path(mailrules.__file__).parent
ROOMS = (
    "cli", "demo", "watching", "setup", "explaining", "undoing", "planning", "once", "scheduled", "house",
    "logins", "run", "ahead", "judging", "performing", "config", "operations", "control", "state", "logs",
    "adapters", "garbage", "clock", "core",
)  # fmt: skip
"""From the top down."""
CORE_MAY_IMPORT = {"pydantic", "pydantic_core", "jinja2", "re2"}
CORE_MAY_NOT = {
    "socket", "ssl", "select", "selectors", "asyncio", "threading", "multiprocessing", "concurrent", "queue",
    "subprocess", "signal", "sqlite3", "smtplib", "imaplib", "http", "urllib", "time", "os", "shutil",
    "tempfile", "logging",
}  # fmt: skip


def imports(path: Path) -> set[str]:
    """Every module a file imports, wherever in the file; `from a import b` counts as a and a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


FILES = {path.relative_to(ROOT).as_posix(): imports(path) for path in ROOT.rglob("*.py")}


def test_core_is_pure() -> None:
    """The core imports the standard library's pure part, pydantic, Jinja2 and re2, and nothing above it."""
    for name, modules in FILES.items():
        if not name.startswith("core/"):
            continue
        for module in modules:
            if within(module, "urllib.parse"):
                continue  # it reads text, and opens nothing
            top = module.split(".")[0]
            assert top not in CORE_MAY_NOT, f"{name} imports {module}"
            assert top in CORE_MAY_IMPORT or top in sys.stdlib_module_names or within(
                module, "mailrules.core"
            ) or module == "mailrules", f"{name} imports {module}"  # fmt: skip


def test_core_asks_no_clock() -> None:
    """No `datetime.now()` or `.today()` in the core: "now" is a fact of the message."""
    for name in FILES:
        if name.startswith("core/"):
            for node in ast.walk(ast.parse((ROOT / name).read_text())):
                called = (
                    node.func.attr
                    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
                    else ""
                )
                assert called not in {"now", "utcnow", "today"}, f"{name}:{node.lineno}: asks the time"


def test_arrows_point_down() -> None:
    """No room imports one above it, and each room has its place."""
    for name, modules in FILES.items():
        room = name.split("/")[0].removesuffix(".py")
        if room in ("__init__", "__main__"):
            continue
        assert room in ROOMS, f"{name}: where in ROOMS is its room?"
        above = [f"mailrules.{other}" for other in ROOMS[: ROOMS.index(room)]]
        for imported in modules:
            assert not within(imported, *above), f"{name} imports {imported}"


def test_the_worker_is_layered_within() -> None:
    """service → worker → poller: none imports one above it."""
    above = [f"mailrules.watching.{name}" for name in ("service", "worker", "poller")]
    for place, module in enumerate(above):
        for imported in FILES[module.removeprefix("mailrules.").replace(".", "/") + ".py"]:
            assert not within(imported, *above[:place]), f"{module} imports {imported}"


def test_each_library_behind_one_door() -> None:
    """Only adapters/imap imports imapclient, only adapters/store sqlalchemy, only demo pymap, and so on."""
    doors = {
        "imapclient": ("adapters/imap/",), "imaplib": ("adapters/imap/",),
        "sqlalchemy": ("adapters/store/",), "sqlite3": ("adapters/store/",),
        "smtplib": ("adapters/smtp",), "yaml": ("config/yaml_",),
        "typer": ("cli/",), "rich": ("cli/",), "pymap": ("demo/",), "keyring": ("adapters/secret.py",),
    }  # fmt: skip
    for name, modules in FILES.items():
        for module in modules:
            door = doors.get(module.split(".")[0])
            assert door is None or name.startswith(door), f"{name} imports {module}"


def test_rooms_have_names() -> None:
    """No room is called utils, helpers, common, misc, manager or handler."""
    vague = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "handler"}
    assert not [name for name in FILES if Path(name).stem in vague]

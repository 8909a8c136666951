"""The command line's frame: which commands there are, the options they share, how every run ends.

A command is a module of this package with a function `command`. It is imported when it is called, and
only then: `mailrules --help` must not cost what a worker costs.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from mailrules.cli.options import Common
from mailrules.core.errors import ConfigError, MailrulesError, NoSuchName, NotPermitted, TransientError
from mailrules.core.safe import safe

FAILED, USAGE, LATER, DENIED, MISCONFIGURED, INTERRUPTED = 1, 2, 75, 77, 78, 130
"""Exit statuses (SPEC section 8; sysexits.h; a shell's 128 + SIGINT)."""

RULES, MAIL, WORKER, START = "Rules", "What happened", "The worker", "First steps"
COMMANDS: dict[str, tuple[str, str]] = {
    "check": (RULES, "Say whether the file is right, and where not."),
    "plan": (RULES, "Show what the rules would do to the mail that is there now."),
    "apply": (RULES, "Do it (asks first)."),
    "explain": (RULES, "Say for messages which rules match, which do not, and why."),
    "test": (RULES, "Run the tests of rules that the file has."),
    "log": (MAIL, "Show what was done, and what waits."),
    "undo": (MAIL, "Take back what was done: moves, copies and flags (asks first)."),
    "status": (MAIL, "Show how accounts and rules are, and what needs a decision."),
    "retry": (MAIL, "Try effects again that failed or whose outcome is unknown."),
    "skip": (MAIL, "Do without effects that failed, are held or unknown."),
    "run": (WORKER, "Watch the mailboxes and keep them in order."),
    "reload": (WORKER, "Let the running worker read the file again."),
    "pause": (WORKER, "Hold the effects of a rule, an account, or all."),
    "resume": (WORKER, "End a pause and do what was held."),
    "resync": (WORKER, "Go on with a journal that was put back from a copy."),
    "init": (START, "Make a first rules.yaml for your mail."),
    "login": (START, "Let mailrules into an account that wants OAuth."),
    "doctor": (START, "Say what is wrong here, and what to do about it."),
    "demo": (START, "Watch it work on sample mail; no account needed."),
    "schema": (START, "Print the JSON Schema of the file, for editors."),
    "completion": (START, "Print what makes your shell complete mailrules."),
}
"""Name -> (heading, short help). The module of the same name has the rest."""

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The rules. Default: ./rules.yaml, ~/.config/mailrules/, /etc/mailrules/.",
    ),
]
StateOption = Annotated[
    str | None, typer.Option("--state", metavar="DIRECTORY", help="Where the journal is kept.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON object a line on stdout, and nothing else there.")
]
VerboseOption = Annotated[
    int, typer.Option("--verbose", "-v", count=True, show_default=False, help="Say more.")
]

_COMMON: dict[str, tuple[Any, Any]] = {
    "config": (ConfigOption, None),
    "state": (StateOption, None),
    "json": (JsonOption, False),
    "verbose": (VerboseOption, 0),
}

_BEHIND = (*(f"--{name}" for name in _COMMON), "-v")


METAVARS = {
    "rule": "NAME", "account": "NAME", "mailbox": "NAME", "action": "NAME", "limit": "N", "message_id": "ID",
    "uid": "UID", "flag": "FLAG", "received": "TIME", "since": "2h|TIME", "until": "2h|TIME",
}  # fmt: skip
"""What stands for an option's value in its help, where the command does not say."""
COMPLETED = {
    "rule": "rules",
    "rules": "rules",
    "account": "accounts",
    "accounts": "accounts",
    "targets": "all",
    "action": "actions",
    "provider": "providers",
    "states": "states",  # of `log`, whose --state is not the directory
}
"""Parameters whose values are names of the file, or words of the program: of which kind."""


class Lazy(TyperGroup):
    """Knows every command by its short help, and imports the one that is called."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        option = args[0].partition("=")[0] if args else ""
        if option in _BEHIND and not ctx.resilient_parsing:
            command = next((word for word in args if word in COMMANDS), "COMMAND")
            ctx.fail(f"{option} goes after the command: mailrules {command} {option} …")
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name in COMMANDS else command, rest


def load(name: str) -> Any:
    """A command by its name, imported now, with all its options and its help."""
    module = importlib.import_module(f"mailrules.cli.{name}")
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=_markup())
    app.command(name)(with_common_options(module.command))
    command = typer.main.get_command(app)
    for parameter in command.params:
        _describe(parameter)
    return command


def _describe(parameter: Any) -> None:
    """`--rule NAME` instead of a type of Python's, and names of the file where they are completed."""
    if parameter.metavar is None and parameter.param_type_name == "option" and not parameter.is_flag:
        parameter.metavar = METAVARS.get(parameter.name, parameter.name.upper())
    if parameter.param_type_name == "argument" or parameter.is_flag or parameter.count:
        parameter.display_type_rich = lambda ctx: None  # no column says <bool> or <list[str]>
    if "_MAILRULES_COMPLETE" not in os.environ:
        return
    kind = COMPLETED.get("states" if parameter.metavar == "STATE" else parameter.name)
    if kind is not None or "|" in (parameter.metavar or ""):

        def complete(context: Any, parameter: Any, incomplete: str) -> list[str]:
            from mailrules.cli import completion

            if kind is None:  # tls|starttls|none; what is in capitals is none of the words
                words = [word for word in parameter.metavar.split("|") if word.isalpha() and word.islower()]
            elif kind in completion.WORDS:
                words = completion.WORDS[kind]()
            else:
                return completion.names(kind, incomplete, config=context.params.get("config"))
            return [word for word in words if word.startswith(incomplete)]

        parameter._custom_shell_complete = complete


def _markup() -> Any:
    """Frames and colours on a terminal; into a pipe, plain lines that can be searched."""
    return "rich" if sys.stderr.isatty() or sys.stdout.isatty() else None


def with_common_options(function: Callable[..., int | None]) -> Callable[..., None]:
    """A typer function out of a command's: a `Common` parameter becomes the options it is made of.

    What the function returns is the exit status; None is 0.
    """
    signature = inspect.signature(function, eval_str=True)
    own = {name for name, p in signature.parameters.items() if p.annotation is not Common}
    common = next((name for name, p in signature.parameters.items() if p.annotation is Common), None)
    # `log` has a `--state` of its own, and passes on what is not meant for it.
    added = [name for name in _COMMON if common is not None and name not in own]

    def wrapper(**given: Any) -> None:
        if common is not None:
            given[common] = Common(**{name: given.pop(name) for name in added})
            _Ending.verbose = given[common].verbose > 0
        status = function(**given)
        if status:
            raise typer.Exit(status)

    parameters = [p for p in signature.parameters.values() if p.name != common]
    for name in added:
        annotation, default = _COMMON[name]
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        )
    wrapper.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    )
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    wrapper.__doc__ = _flowing(function.__doc__ or "")
    wrapper.__name__ = function.__name__
    return wrapper


def _flowing(text: str) -> str:
    """A docstring whose paragraphs are lines: a terminal breaks them where it ends. Examples stay apart."""
    paragraphs = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("Examples: "):
            lines = paragraph.removeprefix("Examples: ").splitlines()
            paragraphs += [f"Example: {line.strip()}" for line in lines]
        else:
            paragraphs.append(" ".join(paragraph.split()))
    return "\n\n".join(paragraphs)


def _print_version(wanted: bool) -> None:
    if wanted:
        from mailrules import __version__

        sys.stdout.write(f"mailrules {__version__}\n")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version.")
    ] = False,
) -> None:
    """Keeps IMAP mailboxes in order by rules written in YAML, and can say why.

    Start with `mailrules demo`, or with your own mail: `mailrules init`.

    Example: mailrules plan --since 7d
    """


def build() -> Any:
    """The whole command line."""
    app = typer.Typer(
        cls=Lazy, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=_markup(),
        context_settings={"help_option_names": ["-h", "--help"]},
    )  # fmt: skip
    app.callback()(_root)
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    for parameter in group.params:  # `mailrules completion` says it in our words
        if parameter.name in ("install_completion", "show_completion"):
            parameter.hidden = True  # type: ignore[attr-defined]
    for name, (heading, words) in COMMANDS.items():
        group.add_command(TyperCommand(name, help=words, rich_help_panel=heading))
    return group


class _Ending:
    """How this run ends."""

    verbose = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; every ending becomes words on stderr and an exit status."""
    try:
        build().main(list(sys.argv[1:] if arguments is None else arguments), prog_name="mailrules")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else (0 if end.code is None else FAILED)
    except ConfigError as error:
        _words(error.lines)
        return MISCONFIGURED
    except MailrulesError as error:
        _words([f"mailrules: {error}"])
        if isinstance(error, NoSuchName):
            return USAGE
        if isinstance(error, NotPermitted):
            return DENIED
        return LATER if isinstance(error, TransientError) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as bug:  # noqa: BLE001 - the last one to see it
        return _unexpected(bug)
    return 0


def _words(lines: Sequence[str]) -> None:
    from mailrules.adapters.secret import scrub

    for line in lines:
        sys.stderr.write(safe(scrub(line)) + "\n")
    if _Ending.verbose and sys.exc_info()[1] is not None:
        sys.stderr.write(_traceback())


def _traceback() -> str:
    from mailrules.adapters.secret import scrub

    return "".join(safe(line) + "\n" for line in scrub(traceback.format_exc()).splitlines())


def _unexpected(bug: Exception) -> int:
    frames = traceback.extract_tb(bug.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    words = f"mailrules: this should not happen: {type(bug).__name__}: {bug}{where}."
    if not _Ending.verbose:
        words += f" The traceback is in {_keep(_traceback())}; please report it."
    _words([words])
    return FAILED


def _keep(text: str) -> str:
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="mailrules-traceback-", suffix=".txt", delete=False
        ) as file:
            file.write(text)
    except OSError:
        return "no file, since none could be written (-v shows it)"
    return file.name

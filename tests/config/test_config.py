"""mailrules.config: the file's meaning, and every error of it at its place."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from pathlib import Path

import pytest

from mailrules import config
from mailrules.config import yaml_source
from mailrules.config.providers import ALIASES, PROVIDERS
from mailrules.config.providers import find as find_provider
from mailrules.core.errors import ConfigError
from mailrules.core.rule import Schedule

ACCOUNT = "accounts:\n  work: {host: imap.example.org, username: me@example.org, password: {env: WORK}}\n"
RULE = "  - {name: a, when: always, then: [keep]}\n"


def errors(text: str, name: str = "rules.yaml") -> list[str]:
    """The errors of a text, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        config.parse(text, name)
    return [line.removeprefix(f"{name}:") for line in caught.value.lines]


def account(body: str, defaults: str = "") -> config.Account:
    """The account of a text of flow entries, such as `host: a.example, port: 1`."""
    outer = re.sub(r"\{[^}]*\}", "", f"{body}, {defaults}")
    for key, value in {"host": "imap.example.org", "username": "me", "password": "{env: X}"}.items():
        if f"{key}:" not in outer and not ("provider:" in outer and key == "host"):
            body += f", {key}: {value}"
    text = f"accounts:\n  work: {{{body.removeprefix(', ')}}}\n"
    return config.parse(text + (f"defaults: {{{defaults}}}\n" if defaults else "")).accounts["work"]


def rules(body: str) -> tuple[config.Rule, ...]:
    return config.parse(ACCOUNT + "rules:\n" + body).rules


# -- finding it ------------------------------------------------------------------------------------------


def test_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is the explicit one, else $MAILRULES_CONFIG, else ./rules.yaml, else the user's."""
    monkeypatch.chdir(tmp_path)
    environ = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    with pytest.raises(
        ConfigError, match=r"Looked for \./rules\.yaml, .*/etc/mailrules/rules\.yaml\. `mailrules init`"
    ):
        config.find(environ=environ)
    users = tmp_path / "xdg" / "mailrules" / "rules.yaml"
    users.parent.mkdir(parents=True)
    users.touch()
    assert config.find(environ=environ) == users
    (tmp_path / "rules.yaml").touch()
    assert config.find(environ=environ) == Path("rules.yaml")
    assert config.find(environ={**environ, "MAILRULES_CONFIG": "x.yaml"}) == Path("x.yaml")
    assert config.find(Path("y.yaml"), environ={"MAILRULES_CONFIG": "x.yaml"}) == Path("y.yaml")


def test_find_of_a_user_without_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without XDG_CONFIG_HOME it is ~/.config."""
    monkeypatch.chdir(tmp_path)
    users = tmp_path / ".config" / "mailrules" / "rules.yaml"
    users.parent.mkdir(parents=True)
    users.touch()
    assert config.find(environ={"HOME": str(tmp_path)}) == users


# -- accounts --------------------------------------------------------------------------------------------


def test_account_defaults() -> None:
    """An account needs host, username and password; the rest has defaults."""
    found = account("username: me@example.org")
    assert (found.host, found.port, found.security) == ("imap.example.org", 993, "tls")
    assert (found.mailboxes, found.smtp, found.address) == (("INBOX",), None, "me@example.org")
    assert (found.connections, found.idle) == (3, timedelta(minutes=9))
    assert not found.trust_search


@pytest.mark.parametrize(
    ("body", "port"),
    [
        ("", 993),
        ("security: starttls", 143),
        ("security: none, host: localhost", 143),
        ("security: none, host: 127.8.9.1", 143),
        ('security: none, host: "::1"', 143),
        ("port: 1143", 1143),
    ],
)
def test_ports(body: str, port: int) -> None:
    """The port follows from security, unless it is said."""
    assert account(body).port == port


@pytest.mark.parametrize("host", ["imap.example.org", "localhost.example.org", "10.0.0.1", "0.0.0.0"])
def test_no_plain_text_over_a_network(host: str) -> None:
    """`security: none` is refused unless the host is this machine, for IMAP and SMTP."""
    imap = f"accounts:\n  a: {{host: {host}, security: none, username: u, password: {{env: X}}}}\n"
    assert "security: none would send the password in the clear" in errors(imap)[0]
    smtp = ACCOUNT.replace("username", f"smtp: {{host: {host}, security: none}}, username")
    assert "security: none would send the password in the clear" in errors(smtp)[0]


@pytest.mark.parametrize(
    ("username", "host", "address"),
    [
        ("me@example.org", "imap.example.com", "me@example.org"),
        ("me", "imap.example.com", "me@example.com"),
        ("me", "example.com", "me@example.com"),
    ],
)
def test_address(username: str, host: str, address: str) -> None:
    """The account's address is its username, or the username at the host's domain, or what is said."""
    assert account(f"username: {username}, host: {host}").address == address
    assert (
        account(f"username: {username}, host: {host}, address: you@example.net").address == "you@example.net"
    )


def test_provider() -> None:
    """A provider fills in host, port, security and smtp."""
    found = account("provider: icloud, username: me@icloud.com")
    assert (found.host, found.port, found.security) == ("imap.mail.me.com", 993, "tls")
    assert found.smtp is not None
    assert (found.smtp.host, found.smtp.port, found.smtp.security) == ("smtp.mail.me.com", 587, "starttls")
    assert found.smtp.username == "me@icloud.com"


def test_providers_are_whole() -> None:
    """Every provider has both hosts, and every other name leads to one."""
    for name, provider in PROVIDERS.items():
        assert provider.host and provider.smtp_host and name == name.lower()
        assert account(f"provider: {name}, username: me@example.org").provider == name
    assert all(find_provider(name) for name in ALIASES)
    assert find_provider("GMail") is PROVIDERS["gmail"]


def test_smtp() -> None:
    """SMTP takes username, password and address from the account, unless it has its own."""
    found = account("username: me@example.org, smtp: {host: smtp.example.org}").smtp
    assert found is not None
    assert (found.port, found.security, found.username, found.from_address) == (
        465, "tls", "me@example.org", "me@example.org",
    )  # fmt: skip
    assert found.password is not None and found.password.where == "the environment variable X"
    own = account("smtp: {host: a.example, username: you, password: {env: Y}, from: you@b.example}").smtp
    assert own is not None and own.password is not None
    assert (own.username, own.password.where, own.from_address) == (
        "you", "the environment variable Y", "you@b.example",
    )  # fmt: skip


@pytest.mark.parametrize(
    "body", ["smtp: {host: localhost, security: none}", "smtp: {host: a.example, username: ~}"]
)
def test_smtp_without_login(body: str) -> None:
    """A relay on this machine, and a server for which `username: ~` stands, get no password."""
    smtp = account(body).smtp
    assert smtp is not None
    assert (smtp.username, smtp.password) == (None, None)


def test_no_smtp() -> None:
    """`smtp: ~` means that the account can't send, whatever its provider or the defaults say."""
    assert account("provider: gmail, smtp: ~").smtp is None
    assert account("smtp: ~", defaults="smtp: {host: smtp.example.org}").smtp is None


def test_defaults() -> None:
    """What defaults say holds for every account that does not say it itself, vars and smtp key by key."""
    found = account(
        "host: a.example, vars: {b: 3}, smtp: {from: x@y.example}",
        defaults="host: d.example, idle: 5m, vars: {a: 1, b: 2}, smtp: {host: smtp.example.org}, "
        "password: {env: D}",
    )
    assert (found.host, found.idle, found.vars) == ("a.example", timedelta(minutes=5), {"a": "1", "b": "3"})
    assert found.smtp is not None
    assert (found.smtp.host, found.smtp.from_address) == ("smtp.example.org", "x@y.example")
    assert found.password.where == "the environment variable D"


def test_defaults_and_provider() -> None:
    """An account's own host sets the defaults' provider aside, and the other way round."""
    assert account("host: a.example", defaults="provider: gmail").host == "a.example"
    found = account("provider: gmail", defaults="host: a.example, port: 1143")
    assert (found.host, found.port) == ("imap.gmail.com", 993)


def test_errors_in_defaults_once() -> None:
    """What is wrong in defaults is told once, where it stands."""
    text = (
        "defaults: {idle: 1s}\naccounts:\n"
        "  a: {host: a.example, username: a, password: {env: A}}\n"
        "  b: {host: b.example, username: b, password: {env: B}}\n"
    )
    assert errors(text) == ["1:18: idle: '1s' is too short. Write 2m or more."]


def test_mailboxes() -> None:
    """Mailboxes are names or globs; INBOX is INBOX in any case; one may stand alone."""
    assert account('mailboxes: [inbox, "Team/*", Inbox]').mailboxes == ("INBOX", "Team/*")
    assert account("mailboxes: Team").mailboxes == ("Team",)


def test_norway() -> None:
    """Words that YAML takes for truth values or numbers are text where text is expected."""
    found = account(
        "username: on, mailboxes: [NO, 1.10], vars: {a: yes, NO: 12:30}, special_use: {trash: off}"
    )
    assert (found.username, found.mailboxes) == ("on", ("NO", "1.10"))
    assert found.vars == {"a": "yes", "NO": "12:30"}
    assert found.special_use == {"\\Trash": "off"}


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ("{env: X}", "the environment variable X"),
        ("{command: [pass, show, mail/work]}", "the command pass show mail/work"),
        ("{keyring: mail}", "the keyring's service mail"),
        ("{credential: work}", "the systemd credential work"),
        ("{file: /run/x}", "the file /run/x"),
    ],
)
def test_password(body: str, where: str) -> None:
    """A password says where it is kept; nothing is read while the file is loaded."""
    assert account(f"password: {body}").password.where == where


def test_password_file_is_relative_to_the_file(tmp_path: Path) -> None:
    """A relative password file stands beside the file that names it."""
    path = tmp_path / "rules.yaml"
    path.write_text(ACCOUNT.replace("{env: WORK}", "{file: secrets/work}"))
    assert config.load(path).accounts["work"].password.where == f"the file {tmp_path}/secrets/work"


def test_password_in_the_file() -> None:
    """A password in the file is refused, and is not repeated in the error."""
    for value in ("hunter2", "[hunter2]", "{command: hunter2}", "{env: hunter-2}", "{hunter: 2}", "12345"):
        found = errors(ACCOUNT.replace("{env: WORK}", value))
        assert len(found) == 1
        assert "hunter2" not in found[0] and "12345" not in found[0]


def test_warning_for_port_143() -> None:
    """Implicit TLS on port 143 is nearly always meant otherwise."""
    found = config.parse(ACCOUNT.replace("host:", "port: 143, host:"))
    assert found.warnings[0].startswith("rules.yaml:2:16: port 143 speaks STARTTLS as a rule.")


# -- lists and includes ----------------------------------------------------------------------------------


def test_lists(tmp_path: Path) -> None:
    """A list is written in the file, or kept one value a line with comments in a file beside it."""
    (tmp_path / "blocked.txt").write_text("# spam\n\n a@b.example # why\n@c.example\r\n#x\nc#1@d.example\n")
    path = tmp_path / "rules.yaml"
    path.write_text("lists:\n  vip: [NO, '@b.example']\n  one: x\n  blocked: {file: blocked.txt}\n")
    found = config.load(path)
    assert found.lists == {
        "vip": ("NO", "@b.example"),
        "one": ("x",),
        "blocked": ("a@b.example", "@c.example", "c#1@d.example"),
    }
    assert found.files == (path, tmp_path / "blocked.txt")


def test_lists_are_read_again(tmp_path: Path) -> None:
    """A changed list file makes another configuration, by its contents and by its hash."""
    path = tmp_path / "rules.yaml"
    path.write_text("lists: {blocked: {file: b.txt}}\n")
    (tmp_path / "b.txt").write_text("a@b.example\n")
    before = config.load(path)
    (tmp_path / "b.txt").write_text("c@d.example\n")
    after = config.load(path)
    assert after.lists["blocked"] == ("c@d.example",)
    assert before.text_hash != after.text_hash
    assert after.text_hash == config.load(path).text_hash


def write(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        (directory / f"{name}.yaml").write_text(text)
    return directory / "main.yaml"


def test_include(tmp_path: Path) -> None:
    """Included rules stand where `include` stands; accounts and lists are joined."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "2.yaml").write_text("rules:\n" + RULE.replace("name: a", "name: two"))
    (tmp_path / "d" / "1.yaml").write_text(
        "rules:\n" + RULE.replace("name: a", "name: one") + "lists: {l: [x]}\n"
    )
    main = write(
        tmp_path,
        main='include: [accounts.yaml, "d/*.yaml"]\nrules:\n' + RULE + "lists: {m: [y]}\n",
        accounts=ACCOUNT,
    )
    found = config.load(main)
    assert [rule.name for rule in found.rules] == ["one", "two", "a"]
    assert list(found.accounts) == ["work"]
    assert found.lists == {"l": ("x",), "m": ("y",)}
    assert found.rules[0].source == {"file": str(tmp_path / "d/1.yaml"), "line": 2, "column": 5}
    main.write_text("rules:\n" + RULE + 'include: ["d/*.yaml", accounts.yaml]\n')
    assert [rule.name for rule in config.load(main).rules] == ["a", "one", "two"]


def test_errors_in_includes_have_their_own_file(tmp_path: Path) -> None:
    """What is wrong in an included file is told with that file's name, after the main file's errors."""
    main = write(
        tmp_path,
        main="include: other.yaml\nsettings: {dry_run: perhaps}\n",
        other="rulez: []\naccounts: [x]\n",
    )
    with pytest.raises(ConfigError) as caught:
        config.load(main)
    assert [line.split(": ")[0] for line in caught.value.lines] == [
        f"{main}:2:21", f"{tmp_path}/other.yaml:1:1", f"{tmp_path}/other.yaml:2:11",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"main": "include: main.yaml\n"}, "main.yaml:1:10: .*includes itself"),
        ({"main": "include: a.yaml\n", "a": "include: main.yaml\n"}, "a.yaml:1:10: .*includes itself"),
        ({"main": "include: [a.yaml, a.yaml]\n", "a": "lists: {}\n"}, "main.yaml:1:19: .*included already"),
        ({"main": "include: nope.yaml\n"}, "main.yaml:1:10: there is no file"),
        ({"main": "include: {a: b}\n"}, "main.yaml:1:10: 'include' takes file names"),
        (
            {"main": "include: a.yaml\n", "a": "settings: {dry_run: true}\n"},
            "a.yaml:1:1: 'settings' belongs in",
        ),
        ({"main": "include: a.yaml\n", "a": "a: [\n"}, r"a.yaml:\d:\d: "),
        (
            {"main": "include: a.yaml\nlists: {x: [a]}\n", "a": "lists: {x: [b]}\n"},
            "main.yaml:2:9: 'x' stands a second time in lists, first at .*a.yaml:1:9",
        ),
    ],
)
def test_include_errors(tmp_path: Path, files: dict[str, str], message: str) -> None:
    """Loops, missing files and names that stand in two files are errors at their place."""
    with pytest.raises(ConfigError, match=message):
        config.load(write(tmp_path, **files))


def test_include_glob_that_matches_nothing(tmp_path: Path) -> None:
    """An empty glob is a warning: a directory of rules may be empty."""
    found = config.load(write(tmp_path, main='include: "rules.d/*.yaml"\n' + ACCOUNT))
    assert len(found.warnings) == 1
    assert "no file matches 'rules.d/*.yaml'" in found.warnings[0]


def test_include_glob_that_matches_its_own_file(tmp_path: Path) -> None:
    """A glob beside the main file does not include the main file."""
    found = config.load(write(tmp_path, main='include: "*.yaml"\n' + ACCOUNT, other="lists: {a: [b]}\n"))
    assert found.lists == {"a": ("b",)}


# -- settings --------------------------------------------------------------------------------------------


def test_settings(tmp_path: Path) -> None:
    """Settings are read as the types they are; a relative state stands beside the file."""
    path = tmp_path / "rules.yaml"
    path.write_text(
        "settings:\n  timezone: Asia/Kolkata\n  dry_run: true\n  state: var\n  log_retention: 30d\n"
        "  body_limit: 2 MiB\n  create_mailboxes: false\n  log: {pii: true, format: json}\n"
    )
    found = config.load(path).settings
    assert (found.timezone_name, str(found.timezone)) == ("Asia/Kolkata", "Asia/Kolkata")
    assert (found.dry_run, found.create_mailboxes, found.log_pii, found.log_format) == (
        True,
        False,
        True,
        "json",
    )
    assert (found.log_retention, found.body_limit) == (timedelta(days=30), 2 * 1024 * 1024)
    assert found.state == str(tmp_path / "var")


def test_settings_without_any() -> None:
    """Without settings everything has its default, the time zone is the system's."""
    found = config.parse(ACCOUNT).settings
    assert (found.dry_run, found.state, found.body_limit) == (False, None, 1_000_000)
    assert found.timezone_name


def test_state_url() -> None:
    """A PostgreSQL URL is kept; its password is known to be secret."""
    from mailrules.adapters.secret import scrub

    url = "postgresql://mail:pa%24sword1@db/mailrules"
    assert config.parse(f'settings: {{state: "{url}"}}\n').settings.state == url
    assert scrub("connect with pa$sword1 failed") == "connect with *** failed"


# -- rules -----------------------------------------------------------------------------------------------


def test_rule() -> None:
    """Everything a rule may say is in the Rule."""
    [rule] = rules(
        "  - name: invoices\n    accounts: [work]\n    mailboxes: [inbox]\n    when: {subject: invoice}\n"
        '    unless: {from: "@spam.example"}\n    then: [{flag: $Invoice}, {move: Accounting}]\n'
        "    stop: true\n"
        "    enabled: false\n    dry_run: true\n    schedule: {every: 1h}\n    on_new: true\n"
        "    limits: {per_run: 100, per_hour: 500}\n    on_unknown: retry\n    on_return: apply\n"
    )
    assert (rule.name, rule.accounts, rule.mailboxes) == ("invoices", ("work",), ("INBOX",))
    assert [action.key for action in rule.then] == ["flag", "move"]
    assert (rule.stop, rule.enabled, rule.dry_run, rule.on_new) == (True, False, True, True)
    assert (rule.schedule, rule.limits.per_run, rule.limits.per_hour) == (Schedule(every=3600), 100, 500)
    assert (rule.on_unknown, rule.on_return) == ("retry", "apply")
    assert rule.text.startswith("name: invoices\naccounts: [work]\n")
    assert rule.source == {"file": "rules.yaml", "line": 4, "column": 5}


def test_rule_defaults() -> None:
    """A rule is for all accounts and mailboxes, enabled, and does not stop."""
    [rule] = rules(RULE)
    assert (rule.accounts, rule.mailboxes, rule.stop, rule.enabled) == (None, None, False, True)
    assert (rule.on_unknown, rule.on_return, rule.schedule) == ("hold", "leave", None)


def test_stop_alone_is_a_rule() -> None:
    """`then` may be absent where `stop: true` says it all."""
    [rule] = rules("  - {name: a, when: always, stop: true}\n")
    assert (rule.then, rule.stop) == ((), True)
    assert "does nothing" in errors(ACCOUNT + "rules:\n  - {name: a, when: always, stop: false}\n")[0]


def test_revision_is_what_the_rule_says() -> None:
    """Comments and layout leave a rule's revision alone; its words and the lists it uses change it."""
    plain = rules(RULE)[0].revision
    assert (
        rules("  # c\n  -   name: a # why\n      when: always\n      then:\n        - keep\n")[0].revision
        == plain
    )
    assert rules(RULE.replace("keep", "archive"))[0].revision != plain
    listed = "rules:\n  - {name: a, when: {from: {in: vip}}, then: [keep]}\n"
    one, two, other = (
        config.parse(ACCOUNT + listed + f"lists: {{vip: [{vip}], b: [{b}]}}\n").rules[0].revision
        for vip, b in (("a@b.example", "x"), ("c@b.example", "x"), ("a@b.example", "y"))
    )
    assert one != two
    assert one == other


def test_same_name_twice() -> None:
    """Two rules of one name are refused, both places named."""
    assert errors(ACCOUNT + "rules:\n" + RULE + RULE) == [
        "5:12: the name 'a' is taken by the rule at rules.yaml:4:12. Rename one of them."
    ]


def test_unknown_account() -> None:
    """A rule for an account that is not there is an error with the near name; a glob is a warning."""
    text = ACCOUNT + "rules:\n  - {name: a, accounts: [wrok], when: always, then: [keep]}\n"
    assert errors(text) == ["4:26: unknown account 'wrok'. Did you mean 'work'?"]
    found = config.parse(text.replace("wrok", "'home*'"))
    assert "no account matches 'home*'" in found.warnings[0]


def test_unwatched_mailbox() -> None:
    """A rule for a mailbox that nobody watches is warned of, unless it has a schedule."""
    text = ACCOUNT + "rules:\n  - {name: a, mailboxes: [Sent], when: always, then: [keep]}\n"
    assert "no account of this rule watches 'Sent'" in config.parse(text).warnings[0]
    scheduled = config.parse(text.replace("when:", "schedule: {every: 1d}, when:")).warnings
    assert not any("watches" in warning for warning in scheduled)
    assert not config.parse(text.replace("host:", 'mailboxes: ["S*"], host:')).warnings


def test_forward_needs_smtp() -> None:
    """A rule that sends is refused for accounts that can't."""
    text = ACCOUNT + "rules:\n  - {name: a, when: always, then: [{forward: you@example.com}]}\n"
    assert "no 'smtp' on: work" in errors(text)[0]
    assert config.parse(text.replace("host:", "smtp: {host: smtp.example.org}, host:", 1)).rules


@pytest.mark.parametrize(
    "cron",
    [
        "* * * * *",
        "*/5 0-6 1,15 jan-mar mon-fri",
        "0 3 * * 7",
        "0 3 29 2 *",
        "5/10 * * * *",
        "0 0 31 * 0",
        "0 0 * * fri-sun",
    ],
)
def test_cron(cron: str) -> None:
    """Five fields, names, ranges, lists and steps are cron."""
    [rule] = rules(f'  - {{name: a, when: always, then: [keep], schedule: {{cron: "{cron}"}}}}\n')
    assert rule.schedule == Schedule(cron=cron)


@pytest.mark.parametrize(
    ("cron", "message"),
    [
        ("* * * *", "4 fields instead of five"),
        ("60 * * * *", "'60' is no minute. Write 0 to 59."),
        ("* * 0 * *", "'0' is no day of the month"),
        ("* * * 13 *", "'13' is no month"),
        ("* * * * 8", "'8' is no weekday"),
        ("* * * * monday", "'monday' is no weekday. Write 0 to 7 or sun, mon"),
        ("5-1 * * * *", "the range '5-1' runs backwards"),
        ("*/0 * * * *", "the step in '*/0' is 0"),
        ("@daily", "1 fields"),
        ("a,b * * * *", "'a' is no minute"),
        ("- * * * *", "'-' is no minute"),
        ("0 0 30 feb *", "there is no day 30 in month feb"),
    ],
)
def test_cron_errors(cron: str, message: str) -> None:
    """What is no cron, or would never run, is an error at load."""
    text = ACCOUNT + f'rules:\n  - {{name: a, when: always, then: [keep], schedule: {{cron: "{cron}"}}}}\n'
    [line] = errors(text)
    assert line.startswith("4:60: cron: ")
    assert message in line


def test_never_reached() -> None:
    """A rule below one that takes every message is warned of; other accounts are not its business."""
    text = ACCOUNT + "rules:\n  - {name: all, when: always, then: [archive]}\n" + RULE
    [line] = config.parse(text).warnings
    assert line.startswith("rules.yaml:5:5: the rule 'a' is never reached: 'all' takes every message")
    assert not config.parse(text.replace("name: all,", "name: all, mailboxes: [INBOX],")).warnings
    assert not config.parse(text.replace("name: all,", "name: all, dry_run: true,")).warnings


def test_auth_without_anybody_trusted() -> None:
    """`auth` on an account that trusts nobody's word can never be judged: a warning."""
    text = (
        ACCOUNT + "rules:\n  - {name: a, when: always, unless: {not: {auth: {dmarc: pass}}}, then: [keep]}\n"
    )
    [line] = config.parse(text).warnings
    assert line.startswith("rules.yaml:4:5: 'auth' can't be judged on: work. Add trusted_authserv")
    assert not config.parse(text.replace("host:", "trusted_authserv: mx.example.org, host:")).warnings


def test_no_accounts() -> None:
    """A file without accounts can be explained and tested, and is warned of."""
    found = config.parse("rules:\n" + RULE)
    assert found.accounts == {}
    assert "there are no accounts" in found.warnings[0]


def test_tests_are_kept() -> None:
    """Tests are read with the file, and their names of rules are checked."""
    text = (
        ACCOUNT + "rules:\n" + RULE + "tests:\n  - {name: t, message: {subject: NO}, expect: {rules: [a]}}\n"
    )
    [test] = config.parse(text).tests
    assert (test.name, test.rules, test.actions) == ("t", ("a",), None)
    assert test.message.headers == (("Subject", "NO"),)
    assert "unknown rule 'b'" in errors(text.replace("rules: [a]", "rules: [b]"))[0]


# -- all of it -------------------------------------------------------------------------------------------


def test_all_at_once_in_order() -> None:
    """Problems of every kind are told together, sorted by place."""
    found = errors(
        "settings: {dry_run: 1}\naccounts:\n  a: {hots: x}\n  a: {}\nrules:\n"
        "  - {name: a, when: always, then: [kepe]}\n"
    )
    places = [tuple(map(int, line.split(":")[:2])) for line in found]
    assert places == sorted(places)
    assert [place[0] for place in places] == [1, 3, 3, 3, 4, 6]


def test_hint_for_null_and_comment() -> None:
    """Where nothing stands although something seems to, the error says what YAML makes of it."""
    null, comment = errors(ACCOUNT + "lists:\n  x: [~]\n  y:\n  - #a\n")
    assert "If the text ~ is meant, quote it." in null
    assert "What follows '#' is a comment" in comment


def test_secrets_never_in_a_config() -> None:
    """A loaded configuration shows no password, however it is printed."""
    found = config.parse(ACCOUNT, environ={"WORK": "c4nary-password"})
    assert found.accounts["work"].password.read() == "c4nary-password"
    assert "c4nary" not in repr(found) + str(found.accounts)


def test_large_file_is_quick() -> None:
    """Two thousand rules are read in a few seconds."""
    text = ACCOUNT + "rules:\n" + "".join(RULE.replace("name: a", f"name: r{n}") for n in range(2000))
    started = time.perf_counter()
    assert len(config.parse(text).rules) == 2000
    assert time.perf_counter() - started < 8


# -- sixty broken files ----------------------------------------------------------------------------------

BAD = sorted((Path(__file__).parent / "bad_yaml").glob("*.yaml"))
NEXT_STEPS = (
    "did you mean", "write", "remove", "keep one", "put", "quote", "check", "rename", "add ", "indent",
    "save", "close it", "make it", "use ", "align", "leave", "one of", "instead", "known", "needs",
    "such as", "choose", "give", "it is a number", "say ", "begin", "must be", "expected", "takes", "missing",
)  # fmt: skip


def test_there_are_sixty() -> None:
    """There are at least sixty broken files."""
    assert len(BAD) >= 60


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_broken_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken file gives each of its errors at its place, with a next step, within a second."""
    monkeypatch.chdir(path.parent)
    head = path.read_bytes().decode("utf-8", "replace").split("\n")
    expected = [line.removeprefix("# expect: ") for line in head if line.startswith("# expect: ")]
    started = time.perf_counter()
    with pytest.raises(ConfigError) as caught:
        config.load(Path(path.name), environ={})
    assert time.perf_counter() - started < 1
    found = [line.removeprefix(f"{path.name}:") for line in caught.value.lines]
    assert len(found) == len(expected), found
    for line, wanted in zip(found, expected, strict=True):
        assert line == wanted or (wanted.endswith("…") and line.startswith(wanted[:-1]))
        assert any(step in line.lower() for step in NEXT_STEPS), line
        assert "Traceback" not in line and "object at" not in line


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_broken_file_without_libyaml(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyYAML comes without libyaml, the errors have the same places and words."""
    import yaml

    monkeypatch.chdir(path.parent)
    with pytest.raises(ConfigError) as first:
        config.load(Path(path.name), environ={})
    monkeypatch.setattr(yaml_source, "_LOADER", yaml.SafeLoader)
    with pytest.raises(ConfigError) as second:
        config.load(Path(path.name), environ={})
    assert first.value.lines == second.value.lines


def test_nobody_asks_for_warnings(tmp_path: Path) -> None:
    """Who reads no warnings has the same rules without them, and every error."""
    path = tmp_path / "rules.yaml"
    path.write_text(ACCOUNT + "lists: {few: [a@b.example]}\nrules:\n" + RULE)
    loud, quiet = config.load(path), config.load(path, warnings=False)
    assert "no rule uses the list 'few'" in loud.warnings[0]
    assert not quiet.warnings
    assert quiet.rules == loud.rules
    path.write_text(ACCOUNT + "rules:\n" + RULE.replace("always", "{form: x}"))
    with pytest.raises(ConfigError, match="Did you mean 'from'"):
        config.load(path, warnings=False)

"""A private Dovecot 2.3 on loopback: the reference server of the tests.

::

    with Dovecot() as server:
        server.append("u0", b"Subject: hello\r\n\r\nworld\r\n")
        client = server.session("u0")       # a plain imaplib session, for the tests' own look

The whole process tree runs as one unprivileged user (nobody, if we are root), in a directory of its own.
Users `u0`, `u1`, … exist from the start, because a name added to a running Dovecot is refused for up
to a second (its passwd-file is looked at once a second).
"""

from __future__ import annotations

import grp
import imaplib
import itertools
import os
import pwd
import re
import resource
import shutil
import signal
import smtplib
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.ca import Certificate, LabCA

PASSWORD = "pw"
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
_STORAGE = {
    # storage: (mail_location, shared namespace, public namespace)
    "sdbox": (
        "sdbox:~/sdbox",
        "sdbox:%%h/sdbox:INDEXPVT=~/shared/%%u",
        "sdbox:{root}/public:INDEXPVT=~/pubpvt",
    ),
    "mdbox": (
        "mdbox:~/mdbox",
        "mdbox:%%h/mdbox:INDEXPVT=~/shared/%%u",
        "mdbox:{root}/public:INDEXPVT=~/pubpvt",
    ),
    "maildir": (
        "maildir:~/Maildir",
        "maildir:%%h/Maildir:INDEXPVT=~/Maildir/shared/%%u",
        "maildir:{root}/public:INDEXPVT=~/Maildir/public",
    ),
}


def binary() -> str | None:
    """Where Dovecot's master is, or None."""
    return shutil.which("dovecot", path=os.environ.get("PATH", "") + os.pathsep + _SBIN)


@dataclass(frozen=True)
class Layout:
    """What may differ between servers. `capability` replaces the list that is announced."""

    storage: str = "sdbox"
    separator: str = "/"
    prefix: str = ""
    special_use: bool = True  # Drafts, Sent, Junk, Trash and Archive exist, with their attributes
    capability: str = ""
    hibernate: str = "0"
    idle_notify: str = "2 mins"  # how often "* OK Still here" is sent
    max_userip: int = 0
    users: int = 3000
    extra: str = ""


class Dovecot:
    """One instance; a context manager. `imap_port` speaks plaintext and STARTTLS, `imaps_port` TLS."""

    def __init__(
        self,
        layout: Layout = Layout(),
        *,
        directory: Path | None = None,
        ca: LabCA | None = None,
        certificate: Certificate | None = None,
    ) -> None:
        # Not pytest's tmp_path: its parents are 0700, and a socket's path may have only 107 bytes.
        self._own_directory = directory is None
        self.root = directory or Path(tempfile.mkdtemp(prefix="dovecot-", dir="/tmp"))
        self.root.chmod(0o755)
        self.layout = layout
        self.host = "127.0.0.1"
        self.imap_port, self.imaps_port, self.lmtp_port = free_ports(3)
        self.ca = ca or LabCA(self.root / "tls")
        self.certificate = certificate or self.ca.issue()
        # Dovecot's master reads the key as whoever it runs as.
        self.certificate = Certificate(
            *(Path(shutil.copy(path, self.root / f"server{path.suffix}")) for path in self.certificate)
        )
        me = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        self._uid, self._gid, self._user = me.pw_uid, me.pw_gid, me.pw_name
        self._process: subprocess.Popen[bytes] | None = None
        self._names = iter([f"u{n}" for n in range(layout.users)])
        self._special: dict[str, str] = {}
        for folder in ("run", "state", "home", "public"):
            (self.root / folder).mkdir(exist_ok=True)
        (self.root / "global-acl").touch()
        self._write_users()
        self.configure(layout)

    # -- configuration ------------------------------------------------------------------------
    def configure(self, layout: Layout) -> None:
        """Write the configuration; a running server sees it after `reload`."""
        self.layout = layout
        location, shared, public = (text.format(root=self.root) for text in _STORAGE[layout.storage])
        (self.root / "dovecot.conf").write_text(
            _CONFIG.format(
                root=self.root,
                user=self._user,
                group=grp.getgrgid(self._gid).gr_name,
                uid=self._uid,
                gid=self._gid,
                cert=self.certificate.cert,
                key=self.certificate.key,
                imap_port=self.imap_port,
                imaps_port=self.imaps_port,
                lmtp_port=self.lmtp_port,
                location=location,
                shared=shared,
                public=public,
                storage=layout.storage,
                separator=layout.separator,
                prefix=layout.prefix,
                auto="create" if layout.special_use else "no",
                capability=layout.capability,
                hibernate=layout.hibernate,
                idle_notify=layout.idle_notify,
                max_userip=layout.max_userip,
                extra=layout.extra,
            )
        )
        self._own(self.root)

    def new_user(self) -> str:
        """A user nobody has used yet; the password is PASSWORD."""
        return next(self._names)

    def set_user(self, name: str, *, password: str = PASSWORD, extra: str = "") -> None:
        """Change a user: `extra` are Dovecot's userdb or passdb fields ("nologin=y reason=…").

        On a running server this waits until the change is seen.
        """
        self._special[name] = f"{name}:{{PLAIN}}{password}::::::{extra}"
        self._write_users()
        if self._process is not None:
            time.sleep(1.05)

    def _write_users(self) -> None:
        lines = {f"u{n}": f"u{n}:{{PLAIN}}{PASSWORD}::::::" for n in range(self.layout.users)}
        lines.update(self._special)
        new = self.root / "users.new"
        new.write_text("\n".join(lines.values()) + "\n")
        self._own(new)
        new.replace(self.root / "users")

    def _own(self, top: Path) -> None:
        if os.geteuid() == 0:
            for path in (top, *top.rglob("*")):
                os.chown(path, self._uid, self._gid, follow_symlinks=False)

    # -- the process --------------------------------------------------------------------------
    def __enter__(self) -> Dovecot:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        if self._own_directory:
            shutil.rmtree(self.root, ignore_errors=True)

    def start(self, timeout: float = 10) -> None:
        """Returns when the server greets."""
        command = binary()
        if command is None:
            raise RuntimeError("no dovecot binary; install Dovecot (Debian: dovecot-imapd dovecot-lmtpd)")

        def raise_limits() -> None:
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

        with (self.root / "stdout.log").open("ab") as out:
            self._process = subprocess.Popen(
                [command, "-F", "-c", str(self.root / "dovecot.conf")],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd="/",
                start_new_session=True, preexec_fn=raise_limits, **self._as_user(),
            )  # fmt: skip
        deadline = time.monotonic() + timeout
        while not self._greets():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(
                    "Dovecot does not come up:\n" + (self.root / "stdout.log").read_text() + self.log()
                )
            time.sleep(0.005)

    def _greets(self) -> bool:
        try:
            with socket.create_connection((self.host, self.imap_port), timeout=5) as probe:
                return probe.recv(512).startswith(b"* OK")
        except OSError:
            return False

    def _as_user(self) -> dict[str, Any]:
        if os.geteuid() != 0:
            return {}
        return {"user": self._uid, "group": self._gid, "extra_groups": []}

    def kill(self) -> None:
        """A power cut: SIGKILL to all of it. `start` brings it back on the same ports."""
        if self._process is None:
            return
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait(5)
        self._process = None

    def stop(self, timeout: float = 10) -> None:
        """A decent shutdown: sessions are told BYE. Takes about a second."""
        if self._process is None:
            return
        self.bye()
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            pass
        self.kill()

    def reload(self) -> None:
        """Read the configuration again (SIGHUP); new logins see it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def processes(self, service: str = "imap", user: str | None = None) -> list[int]:
        """Process ids of one service of this instance, for one user or all."""
        assert self._process is not None
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                state, _, group = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:3]
                title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if int(group) != self._process.pid or state in "ZX":
                continue
            if not re.match(rf"dovecot(-lab)?/{re.escape(service)}(\s|$)", title):
                continue
            if user is None or re.search(rf"[\[ ]{re.escape(user)}[ \]]", title):
                found.append(int(entry.name))
        return found

    def signal(self, number: int, service: str = "imap", user: str | None = None) -> None:
        """Send a signal to processes of a service: SIGSTOP freezes a session, SIGCONT thaws it."""
        for process in self.processes(service, user):
            try:
                os.kill(process, number)
            except ProcessLookupError:
                pass

    def bye(self, user: str | None = None) -> None:
        """Sessions get `* BYE Server shutting down.` at once."""
        self.signal(signal.SIGTERM, user=user)

    def log(self) -> str:
        path = self.root / "dovecot.log"
        return path.read_text(errors="replace") if path.exists() else ""

    # -- mail ---------------------------------------------------------------------------------
    def session(self, user: str, mailbox: str | None = None) -> imaplib.IMAP4:
        """A second pair of eyes: imaplib, logged in, with `mailbox` selected."""
        client = imaplib.IMAP4(self.host, self.imap_port, timeout=30)
        client.login(user, PASSWORD)
        if mailbox is not None:
            status, answer = client.select(f'"{mailbox}"')
            assert status == "OK", answer
        return client

    def append(
        self, user: str, raw: bytes | Iterable[bytes], mailbox: str = "INBOX", *, flags: str = ""
    ) -> list[int]:
        """Put messages into a mailbox; returns their UIDs."""
        messages = [raw] if isinstance(raw, bytes) else raw
        uids = []
        with self.session(user) as client:
            for message in messages:
                status, answer = client.append(f'"{mailbox}"', flags, "", message)
                assert status == "OK", answer
                uids.append(int(answer[0].split(b"APPENDUID ")[1].split(b"]")[0].split()[1]))
        return uids

    def deliver(self, user: str, raw: bytes, sender: str = "sender@example.test") -> None:
        """Through LMTP, as new mail comes."""
        with smtplib.LMTP(self.host, self.lmtp_port) as client:
            client.sendmail(sender, [user], raw)

    def doveadm(self, *arguments: str) -> str:
        """Run doveadm on this instance; raises with its words if it fails."""
        command = shutil.which("doveadm") or "/usr/bin/doveadm"
        result = subprocess.run(
            [command, "-c", str(self.root / "dovecot.conf"), *arguments],
            capture_output=True, text=True, cwd="/", check=False, **self._as_user(),
        )  # fmt: skip
        if result.returncode:
            raise RuntimeError(f"doveadm {arguments}: {result.stderr}")
        return result.stdout


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on at the moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def message(number: int = 0, *, body: str = "Hello.", **headers: str) -> bytes:
    """A small message; `list_id="<x>"` gives `List-Id: <x>`."""
    fields = {
        "from": "Ann <ann@example.test>",
        "to": "bob@example.test",
        "subject": f"message {number}",
        "date": "Mon, 02 Mar 2026 10:00:00 +0000",
        "message_id": f"<{number}.{next(_serial)}@example.test>",
    } | headers
    lines = [f"{name.replace('_', '-').title()}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", body, ""]).encode()


_serial: Iterator[int] = itertools.count(1)

_CONFIG = r"""
base_dir = {root}/run
state_dir = {root}/state
instance_name = lab
log_path = {root}/dovecot.log
protocols = imap lmtp
listen = 127.0.0.1
login_greeting = lab ready.
default_internal_user = {user}
default_login_user = {user}
default_internal_group = {group}
first_valid_uid = 1
first_valid_gid = 1
default_vsz_limit = 0
verbose_proctitle = yes
shutdown_clients = yes
mail_fsync = never
mail_max_userip_connections = {max_userip}
imap_idle_notify_interval = {idle_notify}
imap_hibernate_timeout = {hibernate}
imap_capability = {capability}

disable_plaintext_auth = no
ssl = yes
ssl_cert = <{cert}
ssl_key = <{key}
ssl_min_protocol = TLSv1.2

auth_mechanisms = plain login
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  args = {root}/users
}}
userdb {{
  driver = passwd-file
  args = {root}/users
  default_fields = uid={uid} gid={gid} home={root}/home/%u
}}

mail_home = {root}/home/%u
mail_location = {location}
mail_plugins = acl quota

namespace inbox {{
  type = private
  inbox = yes
  prefix = {prefix}
  separator = {separator}
  mailbox Drafts {{
    special_use = \Drafts
    auto = {auto}
  }}
  mailbox Sent {{
    special_use = \Sent
    auto = {auto}
  }}
  mailbox Junk {{
    special_use = \Junk
    auto = {auto}
  }}
  mailbox Trash {{
    special_use = \Trash
    auto = {auto}
  }}
  mailbox Archive {{
    special_use = \Archive
    auto = {auto}
  }}
}}
# Two messages fit in here: the only way to have MOVE meet a full quota.
namespace capped {{
  type = private
  separator = {separator}
  prefix = Capped{separator}
  location = {storage}:~/capped
  list = yes
  subscriptions = no
}}
namespace shared {{
  type = shared
  separator = {separator}
  prefix = shared{separator}%%u{separator}
  location = {shared}
  subscriptions = no
  list = children
}}
namespace public {{
  type = public
  separator = {separator}
  prefix = Public{separator}
  location = {public}
  subscriptions = no
  list = children
}}

protocol imap {{
  mail_plugins = $mail_plugins imap_acl imap_quota
}}
protocol lmtp {{
  postmaster_address = postmaster@localhost
}}
lda_mailbox_autocreate = yes
recipient_delimiter = +

plugin {{
  acl = vfile:{root}/global-acl:cache_secs=1
  acl_shared_dict = file:{root}/state/shared-mailboxes.db
  acl_anyone = allow
  quota = count:User quota
  quota_vsizes = yes
  quota_rule = *:storage=20G
  quota_grace = 0
  quota2 = count:Capped quota:ns=Capped{separator}
  quota2_rule = *:messages=2
}}

service imap-login {{
  service_count = 0
  process_min_avail = 1
  chroot =
  inet_listener imap {{
    port = {imap_port}
  }}
  inet_listener imaps {{
    port = {imaps_port}
    ssl = yes
  }}
}}
service lmtp {{
  client_limit = 1
  process_min_avail = 1
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp_port}
  }}
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
{extra}
"""

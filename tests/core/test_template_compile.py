"""What needs Jinja2, and who does without."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from mailrules import config
text = (
    "accounts: {a: {host: h.example, username: u, password: {env: P}}}\\n"
    "rules: [{name: r, when: always, then: [move: %s]}]"
)
assert config.parse(text).rules
print("jinja2" in sys.modules)
"""


@pytest.mark.parametrize(("mailbox", "needed"), [("Work", False), ("'Lists/{{ message.list_id }}'", True)])
def test_only_templates_need_it(mailbox: str, needed: bool) -> None:
    """A file that fills nothing in is read without Jinja2."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM % mailbox], capture_output=True, text=True, check=True
    )
    assert ran.stdout == f"{needed}\n"

"""`mailrules run`: what it asks of the system before it starts. What it does is in tests/integration."""

from __future__ import annotations

import subprocess
import sys

import pytest

SAY = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
from mailrules.cli.run import prepare_process
prepare_process()
print(*resource.getrlimit(resource.RLIMIT_NOFILE), sys.getswitchinterval())
"""


@pytest.mark.parametrize(("soft", "hard"), [(256, 700), (700, 700)])
def test_as_many_files_as_allowed(soft: int, hard: int) -> None:
    """The limit on open files is raised as far as it goes, and threads change places often."""
    ran = subprocess.run(
        [sys.executable, "-c", SAY.format(soft=soft, hard=hard)], capture_output=True, text=True, check=True
    )
    said = ran.stdout.split()
    assert said[:2] == [str(hard), str(hard)]
    assert float(said[2]) < 0.005

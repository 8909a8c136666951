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


LOADED = """
import re, sys
from pathlib import Path
import mailrules.cli.run, mailrules.watching.service, mailrules.watching.serving
mailrules.cli.run.import_all()
needed = re.compile(r"^[ \\t]+from (mailrules[\\w.]*) import", re.MULTILINE)
for name, module in sorted(sys.modules.items()):
    if name.startswith("mailrules.") and not name.startswith("mailrules.cli"):
        print(*(one for one in needed.findall(Path(module.__file__).read_text()) if one not in sys.modules))
"""


def test_a_worker_imports_nothing_later() -> None:
    """After its start a worker takes no more from its files: by then they may be another version's."""
    ran = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []

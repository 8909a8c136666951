"""`mailrules`, and `python -m mailrules`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line and give its exit status."""
    if sys.argv[1:] == ["--version"]:  # before anything is imported: scripts ask this often
        from mailrules import __version__

        sys.stdout.write(f"mailrules {__version__}\n")
        return 0
    from mailrules import garbage

    garbage.importing()
    from mailrules.cli.app import main as run

    status = run()
    garbage.ending()
    return status


if __name__ == "__main__":
    sys.exit(main())

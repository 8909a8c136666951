"""`mailrules schema`: the JSON Schema of the file, for editors."""

from __future__ import annotations

import json
import sys

from mailrules.cli.options import Common
from mailrules.config.schema import file_schema


def command(common: Common) -> int:
    """Print the JSON Schema of the file, for editors.

    Keep it beside the file, and begin the file with the line
    "# yaml-language-server: $schema=./rules.schema.json"; `mailrules init` does both.

    Example: mailrules schema > rules.schema.json
    """
    sys.stdout.write(json.dumps(file_schema(), indent=None if common.json else 2) + "\n")
    return 0

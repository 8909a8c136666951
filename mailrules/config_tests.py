"""`tests`: only their shape is checked here; `mailrules test` runs them."""

from __future__ import annotations

from typing import Any

from mailrules.config_reader import Section, suggest
from mailrules.core.errors import Report
from mailrules.core.values import describe

TEST_KEYS = ("name", "message", "file", "expect", "at")


def read_tests(data: list[Any], report: Report, *, rules: frozenset[str]) -> list[dict[str, Any]]:
    """The tests as they stand in the file. `rules`: the rules' names, for typing errors in `expect`."""
    names: set[str] = set()
    for index, value in enumerate(data):
        section = Section(value, path=("tests", index), report=report, known=TEST_KEYS, what="a test")
        if not isinstance(value, dict):
            continue
        name = section.text("name")
        if section.lacks("name"):
            section.missing("this test has no 'name'. Write '- name: …'.")
        elif name is not None and name in names:
            section.error("name", f"there is a test '{name}' already. Rename one of them.")
        names.add(name or "")
        section.text("file")
        section.text("at")
        section.mapping("message")
        if ("message" in section) == ("file" in section):
            section.missing("a test needs exactly one of 'message' and 'file': what is judged. Write one.")
        if "expect" not in section:
            if section.lacks("expect"):
                section.missing("this test expects nothing. Write expect: {rules: […], actions: […]}.")
            continue
        expect = Section(
            value["expect"],
            path=("tests", index, "expect"),
            report=report,
            known=("rules", "actions"),
            what="expect",
        )
        for key in ("rules", "actions"):
            items = expect.data.get(key)
            if items is not None and not isinstance(items, list):
                expect.error(key, f"{key} must be a list, not {describe(items)}. Write [] for none.")
        for place, rule in enumerate(expect.data.get("rules") or ()):
            if isinstance(rule, str) and rule not in rules:
                hint = suggest(rule, sorted(rules), what="Rules")
                report.error(("tests", index, "expect", "rules", place), f"unknown rule '{rule}'. {hint}")
    return [test for test in data if isinstance(test, dict)]

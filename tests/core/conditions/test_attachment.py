"""has_attachment, attachment."""

from __future__ import annotations

import pytest

from mailrules.core.message import STRUCTURE
from mailrules.core.mime import Part
from tests.core.conditions.speaking import condition, groups, mail, matches, problem, trace

TEXT = Part("1")
PDF = Part("2", "application/pdf", encoding="base64", filename="Invoice 42.pdf", size=1_000_000)
PNG = Part("3", "image/png", filename="photo.png", size=100)
LOGO = Part("4", "image/png", filename="logo.png", disposition="inline")
NAMELESS = Part("5", "application/zip", disposition="attachment", size=10)


def of(*parts: Part) -> dict[object, object]:
    return {STRUCTURE: parts}


def test_has_attachment() -> None:
    """Files count, images within the text do not."""
    assert matches("has_attachment: true", facts=of(TEXT, PDF))
    assert matches("has_attachment: false", facts=of(TEXT, LOGO))
    assert matches("has_attachment: true", facts=of(NAMELESS))
    assert matches("has_attachment: false", body="text only")
    assert trace("has_attachment: true", mail(facts=of(PDF, NAMELESS))).value == [
        "Invoice 42.pdf",
        "application/zip",
    ]


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ("'*.pdf'", True),
        ("'*.PDF'", True),
        ("'invoice*'", True),
        ("invoice", False),
        ("['*.doc', '*.png']", True),
        ("{name: '*.pdf'}", True),
        ("{name: {contains: voice}}", True),
        ("{type: application/pdf}", True),
        ("{type: 'image/*'}", True),
        ("{type: 'audio/*'}", False),
        ("{larger_than: 700 KB}", True),
        ("{larger_than: 740 KB}", False),
        ("{smaller_than: 101}", True),
        ("{name: '*.pdf', smaller_than: 1 KB}", False),
        ("{name: '*.png', smaller_than: 1 KB}", True),
        ("{name: '*.png', type: application/pdf}", False),
        ("{in: names}", True),
        ("{name: {in: names}, type: 'image/*'}", False),
        ("{name: {exists: false}}", False),
    ],
)
def test_attachment(test: str, expected: bool) -> None:
    """A scalar is a glob over the name; all of a mapping holds of the same attachment; sizes are decoded."""
    lists = {"names": ("*.exe", "*.pdf")}
    assert matches(f"attachment: {test}", facts=of(TEXT, PDF, PNG, LOGO), lists=lists) is expected


def test_a_nameless_attachment() -> None:
    """It has a type and a size, and no name."""
    assert matches("attachment: {name: {exists: false}, type: application/zip}", facts=of(NAMELESS))
    assert not matches("attachment: '*'", facts=of(NAMELESS))


def test_groups() -> None:
    """Groups come from the attachment that fits."""
    when = "attachment: {name: {regex: '(?P<n>[0-9]+)'}, type: application/pdf}"
    assert groups(when, facts=of(Part("1", "x/y", filename="1.x"), PDF)) == {"n": "42"}
    assert condition(when).group_names() == {"n": False}


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("has_attachment: '*.pdf'", "true or false"),
        ("has_attachment: {name: x}", "go under 'attachment'"),
        ("attachment: {nam: x}", "Did you mean 'name'?"),
        ("attachment: {larger_than: big}", "is not a size"),
        ("attachment: []", "empty list"),
        ("attachment: {type: {regex: '('}}", "missing )"),
    ],
)
def test_errors(when: str, words: str) -> None:
    """Each says what to write instead."""
    assert words in problem(when)

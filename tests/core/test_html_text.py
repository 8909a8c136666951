"""mailrules.core.html_text: what a reader of an HTML part sees."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrules.core.html_text import visible_text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<p>caf&eacute; &amp; <b>b</b>old<br>x</p>", "café & bold\nx"),
        ("<html><head><title>t</title><style>p{}</style></head><body>b</body>", "b"),
        ("a<script>if (1<2) alert('</b>')</script>b", "ab"),
        ("a<SCRIPT\n>x</Script >b", "ab"),
        ("a<!-- <p>hidden --> b", "a b"),
        ("a<!--[if mso]>x<![endif]-->b<![if !mso]>c<![endif]>", "abc"),
        ("a<!-- open", "a"),
        ("a<script>open", "a"),
        ("1 < 2 && 3 > 2", "1 < 2 && 3 > 2"),
        ("<a title=\"x > y\" href='z'>t</a>", "t"),
        ('<a title="open>t', "t"),
        ("<tr><td>a</td><td>b</td></tr><tr><td>c", "a b\nc"),
        ("a \n\t b", "a b"),
        ("<p>a</p>\n\n<p>b</p>", "a\nb"),
        ("&lt;b&gt;", "<b>"),
        ("&#0;&#xD800;x&#99999999999999999999;", "��x�"),
        ("&nbsp;x", "\xa0x".strip()),
        ("", ""),
        ("<", "<"),
    ],
)
def test_visible_text(source: str, text: str) -> None:
    """Tags, comments, scripts, styles and titles are not seen; entities are, blocks stand on lines."""
    assert visible_text(source) == text


@given(st.text(alphabet=st.sampled_from("<>/!-'\"&#;x pscript \n="), max_size=200))
def test_never_raises(source: str) -> None:
    """Any markup gives some text."""
    visible_text(source)


@pytest.mark.parametrize(
    "piece",
    [
        "<a ",
        '<a ">"',
        "<!",
        "<!--",
        "<script>",
        "<style></style ",
        "&",
        "&#",
        "<p>",
        " \n",
        "<a '",
        "</",
        "<![CDATA[",
    ],
)
def test_hostile_markup_takes_linear_time(piece: str) -> None:
    """A megabyte of any unclosed markup is read in less than a second (CVE-2025-6069)."""
    began = time.process_time()
    visible_text(piece * (1_000_000 // len(piece)))
    assert time.process_time() - began < 1


def test_numbers_of_thousands_of_digits() -> None:
    """An entity with more digits than Python converts is a replacement character."""
    assert visible_text("a&#" + "9" * 10_000 + ";b") == "a\N{REPLACEMENT CHARACTER}b"

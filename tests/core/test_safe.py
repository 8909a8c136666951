"""mailrules.core.safe: nothing that is shown can command a terminal or deceive an eye."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from mailrules.core.safe import cut, safe


def test_control_and_bidi_characters_are_written_as_escapes() -> None:
    """ESC, C1, line separators and bidi controls are shown, not obeyed; everything else stays."""
    assert safe("a\x1b[31mb\x9bc\r\nd\u2028\u202ee\x7f") == "a\\x1b[31mb\\x9bc\\r\\nd\\u2028\\u202ee\\x7f"
    assert safe("Grüße, 日本 🎉") == "Grüße, 日本 🎉"


@given(st.text(alphabet=st.characters(codec=None)))
def test_no_control_or_format_character_that_moves_text_is_left(text: str) -> None:
    """Whatever comes in, no control character and no surrogate comes out, and the result can be encoded."""
    shown = safe(text)
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in shown)
    shown.encode("utf-8")


def test_cut_says_that_there_was_more() -> None:
    """A text that is too long ends in an ellipsis and has exactly the length."""
    assert cut("abcdef", 4) == "abc…" and cut("abcd", 4) == "abcd"

"""Addresses that mail may be sent to."""

from __future__ import annotations

from mailrules.core.recipient import recipient_problem


def test_letters_begin_where_blanks_end() -> None:
    """What is beyond ASCII may stand in both parts; control characters and no-break spaces may not."""
    for there in ("a{}b@example.org", "a@b{}c.example"):
        assert recipient_problem(there.format("\u00a1")) is None
        assert recipient_problem(there.format("\U0010ffff")) is None
        for bad in ("\x00", " ", "\x7f", "\x80", "\u00a0", ",", ":", ";", "<", "[", "\\", "(", '"'):
            assert recipient_problem(there.format(bad)) is not None, bad
    for mark in "!#$%&'*+/=?^_`{|}~":
        assert recipient_problem(f"a{mark}b@example.org") is None
        assert recipient_problem(f"a@b{mark}c.example") is not None

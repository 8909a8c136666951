"""Message-IDs, as two of them are compared."""

from __future__ import annotations

import pytest

from mailrules.core.message_ids import MOST, message_ids, own_message_id


@pytest.mark.parametrize(
    ("raws", "expected"),
    [
        ([b"<a@b>"], ("a@b",)),
        ([b"<a@b> <c@d>\r\n <a@b>", b"<e@f>"], ("a@b", "c@d", "e@f")),
        ([b"<very.\r\n long@b>"], ("very.long@b",)),
        ([b"Your message of Monday <a@b>"], ("a@b",)),
        ([b"a@b", b"<>", b"< >", b""], ()),
        ([b"<\xff\xfe@b>" * 2000], None),
    ],
)
def test_message_ids(raws: list[bytes], expected: tuple[str, ...] | None) -> None:
    """What stands in `<…>`, each once, in order, blanks of folding taken out; never an exception."""
    found = message_ids(raws)
    assert len(found) <= MOST
    assert expected is None or found == expected


@pytest.mark.parametrize(
    ("raws", "expected"),
    [([b" <a@b> (comment)"], "a@b"), ([b"a@b "], "a@b"), (["<a@b>"], "a@b"), ([], ""), ([b"  "], "")],
)
def test_own_message_id(raws: list[bytes | str], expected: str) -> None:
    """The first header's, with or without angle brackets."""
    assert own_message_id(raws) == expected

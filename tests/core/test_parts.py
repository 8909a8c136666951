"""mailrules.core.parts: what a part counts as."""

from __future__ import annotations

import pytest

from mailrules.core.parts import Part, attachments


@pytest.mark.parametrize(
    ("fields", "attached"),
    [
        ({"content_type": "text/plain"}, False),
        ({"content_type": "text/plain", "filename": "a.txt"}, True),
        ({"content_type": "text/plain", "disposition": "attachment"}, True),
        ({"content_type": "text/plain", "disposition": "inline"}, False),
        ({"content_type": "image/png"}, False),
        ({"content_type": "image/png", "filename": "a.png"}, True),
        ({"content_type": "image/png", "filename": "a.png", "content_id": "<a>"}, False),
        ({"content_type": "image/png", "filename": "a.png", "disposition": "inline"}, False),
        ({"content_type": "image/png", "disposition": "attachment", "content_id": "<a>"}, True),
        ({"content_type": "application/pdf", "disposition": "inline", "filename": "a.pdf"}, True),
        ({"content_type": "message/rfc822"}, False),
    ],
)
def test_what_counts_as_an_attachment(fields: dict[str, str], attached: bool) -> None:
    """A file name or `attachment`, or a whole message; not an image shown within the text."""
    assert bool(attachments([Part("1", **fields)])) is attached  # type: ignore[arg-type]


def test_the_decoded_size_is_estimated_from_the_encoded() -> None:
    """Base64 in lines of 76 characters is three quarters and the line ends."""
    import base64

    encoded = base64.encodebytes(bytes(57 * 100)).replace(b"\n", b"\r\n")
    assert Part("1", encoding="base64", size=len(encoded)).decoded_size == 57 * 100
    assert Part("1", encoding="8bit", size=10).decoded_size == 10

"""One part of a message, and what it counts as: text to be read, or an attachment.

`part` makes a Part from the fields of a server's BODYSTRUCTURE or of the part's own headers, so that
both roads give the same answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mailrules.core.parameters import Parameters, parameter


@dataclass(frozen=True, slots=True)
class Part:
    """One leaf of a message's structure.

    `content_type` is lower case (`text/plain`); `charset` and `encoding` are lower case, "" if unsaid.
    `filename` is decoded (RFC 2231, RFC 2047). `disposition` is lower case, without parameters.
    `size` counts octets as they are encoded for transfer, line ends as CRLF.
    """

    section: str
    content_type: str = "text/plain"
    charset: str = ""
    encoding: str = ""
    filename: str | None = None
    disposition: str | None = None
    content_id: str | None = None
    size: int = 0

    @property
    def decoded_size(self) -> int:
        """About how many octets it has once decoded: the size that conditions compare.

        An estimate (lines of 76 characters for base64), because a server does not tell the real one.
        """
        if self.encoding == "base64":
            return self.size * 57 // 78
        if self.encoding in ("x-uuencode", "uuencode", "x-uue"):
            return self.size * 45 // 63
        return self.size


def part(
    *,
    section: str,
    content_type: str,
    parameters: Parameters = (),
    encoding: str = "",
    disposition: str | None = None,
    disposition_parameters: Parameters = (),
    content_id: str | None = None,
    size: int = 0,
) -> Part:
    """A Part from the fields of BODYSTRUCTURE or of a part's own headers."""
    name = parameter(disposition_parameters, "filename") or parameter(parameters, "name")
    return Part(
        section=section,
        content_type=content_type.lower(),
        charset=(parameter(parameters, "charset") or "").lower()[:60],
        encoding=encoding.strip().lower()[:60],
        filename=name or None,
        disposition=disposition.strip().lower()[:60] or None if disposition else None,
        content_id=content_id or None,
        size=size,
    )


def is_attachment(part: Part) -> bool:
    """A file name or `attachment` disposition; not an image shown within the text (SPEC section 3)."""
    if part.disposition == "attachment":
        return True
    if part.content_type.startswith("image/") and (part.disposition == "inline" or part.content_id):
        return False
    return part.filename is not None


def attachments(parts: Iterable[Part]) -> tuple[Part, ...]:
    return tuple(p for p in parts if is_attachment(p))


def text_parts(parts: Iterable[Part]) -> tuple[Part, ...]:
    """The parts that `body` reads, in order: text/plain and text/html that are not attached."""
    return tuple(p for p in parts if p.content_type in ("text/plain", "text/html") and not is_attachment(p))

"""FETCH responses into items: the fast way against the thorough one, and against IMAPClient's parser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imapclient.response_parser import parse_fetch_response

from mailrules.adapters.imap import items as module
from mailrules.adapters.imap.framing import Framer, Limits, Response
from mailrules.adapters.imap.items import Items, UsualAnswer, internal_date, read_any_fetch, read_fetch
from mailrules.adapters.imap.tokens import Unreadable

_FLAG = st.from_regex(rb"\A\\?[A-Za-z$!#&_][A-Za-z$!#&'+,./:;<=>?@^_`|~0-9-]{0,12}\Z").filter(
    lambda f: f.upper() != b"NIL"
)
_NUMBER = st.integers(0, 2**32 - 1).map(lambda n: b"%d" % n)
_SECTIONS = [b"HEADER", b"HEADER.FIELDS (FROM SUBJECT LIST-ID)", b"header.fields (x-a)"]
_DATES = [b" 2-Mar-2026 10:00:00 +0100", b"02-Mar-2026 23:59:59 -0530", b"31-Dec-1999 00:00:00 +0000"]
_OTHERS = [b"MODSEQ (624140003)", b"X-GM-LABELS (a (b))", b"BODY[TEXT] NIL"]


@st.composite
def responses(draw: st.DrawFn) -> Response:
    """What sane servers send: some of the usual items, each once, in any order; sometimes others."""
    shown = {
        b"UID": b"UID %b" % draw(_NUMBER),
        b"FLAGS": b"FLAGS (%b)" % b" ".join(draw(st.lists(_FLAG, max_size=4, unique=True))),
        b"INTERNALDATE": b'INTERNALDATE "%b"' % draw(st.sampled_from(_DATES)),
        b"RFC822.SIZE": b"RFC822.SIZE %b" % draw(_NUMBER),
        b"BODY": b"BODY[%b] \0" % draw(st.sampled_from(_SECTIONS)),
        b"other": draw(st.sampled_from(_OTHERS)),
    }
    names = draw(st.lists(st.sampled_from(sorted(shown)), min_size=1, unique=True))
    inside = b" ".join(shown[name] for name in names)
    text = b"* %b FETCH (%b)" % (draw(_NUMBER), inside)
    before, literal, after = text.partition(b"\0")
    return [before, draw(st.binary(max_size=80)), after] if literal else [text]


def thorough(response: Response) -> Items | str | None:
    try:
        return read_any_fetch(response)
    except Unreadable as error:
        return str(error)


def fast(response: Response) -> Items | str | None:
    try:
        return read_fetch(response)
    except Unreadable as error:
        return str(error)


@given(responses())
def test_both_ways_read_the_same(response: Response) -> None:
    """Whatever sane servers send, in any order."""
    assert isinstance(fast(response), dict)
    assert fast(response) == thorough(response)


@given(
    responses(),
    st.lists(
        st.tuples(
            st.integers(0, 399), st.integers(0, 3),
            st.sampled_from([b"", b" ", b"(", b")", b'"', b"\\", b"]", b"[", b"{", b"\0", b"\t", b"NIL", b"5",
                             b"UID 7", b"\xff", b"\r", b"<0>", b" FLAGS ()", b"BODY[HEADER] ", b"\x0b", b"%",
                             b"9" * 25]),
        ),
        min_size=1, max_size=4,
    ),
)  # fmt: skip
def test_both_ways_read_the_same_of_what_is_broken(
    response: Response, changes: Sequence[tuple[int, int, bytes]]
) -> None:
    """A response with octets taken out and put in, in its text: the same items, or the same complaint."""
    texts = list(response)
    for at, out, put in changes:
        place = (at // 200) * 2 if len(texts) > 1 else 0
        text = texts[place]
        here = at % 200 % (len(text) + 1)
        texts[place] = text[:here] + put + text[here + out :]
    assert fast(texts) == thorough(texts)


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=3))
def test_both_ways_read_the_same_of_noise(texts: list[bytes]) -> None:
    """Noise behind a beginning that promises a FETCH."""
    response = [b"* 1 FETCH (UID 5 " + texts[0], *texts[1:]]
    assert fast(response) == thorough(response)


@given(responses())
def test_imapclient_reads_the_same(response: Response) -> None:
    """IMAPClient's parser, which is slow, comes to the same values."""
    ours = read_fetch(response)
    assert ours is not None
    if b"UID" not in ours:
        return
    data: list[Any] = [response[0].removeprefix(b"* ").replace(b" FETCH", b"", 1)]
    if len(response) == 3:
        data = [(data[0] + b"{%d}" % len(response[1]), response[1]), response[2]]
    (theirs,) = parse_fetch_response(data, normalise_times=False).items()
    assert theirs[0] == ours[b"UID"]
    for name, value in ours.items():
        if name == b"FLAGS":
            assert tuple(value) == theirs[1][name]
        elif name == b"INTERNALDATE":
            assert internal_date(value) == theirs[1][name]
        elif name == b"RFC822.SIZE":
            assert int(value) == theirs[1][name]
        elif name.startswith(b"BODY[HEADER"):
            assert value == theirs[1][name]


@pytest.mark.parametrize(
    "response",
    [
        [b"* 12 FETCH (UID 7 BODY[HEADER.FIELDS (FROM SUBJECT)] ", b"From: a\r\n\r\n", b")"],
        [b"* 12 FETCH (BODY[HEADER] ", b"\0", b" UID 7 FLAGS (\\Seen $x))"],
        [b'* 3 FETCH (FLAGS () UID 7 INTERNALDATE "02-Mar-2026 10:00:00 +0000" RFC822.SIZE 70)'],
    ],
)
def test_usual_answers_go_the_fast_way(response: Response, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Dovecot, Gmail and Exchange send is not read token by token."""
    wanted = thorough(response)
    monkeypatch.delattr(module, "read_any_fetch")
    assert read_fetch(response) == wanted


_SHOWN = {
    b"FLAGS": st.lists(_FLAG, max_size=4).map(lambda flags: b"(%b)" % b" ".join(flags)),
    b"INTERNALDATE": st.sampled_from(_DATES).map(lambda date: b'"%b"' % date),
    b"RFC822.SIZE": _NUMBER,
    b"X-GUID": st.from_regex(rb"\A[0-9a-f]{1,32}\Z"),
    b"EMAILID": st.from_regex(rb"\A\([A-Za-z0-9_-]{1,20}\)\Z"),
    b"X-GM-MSGID": _NUMBER,
}


@given(st.data(), st.lists(st.sampled_from(sorted(_SHOWN)), unique=True), st.booleans())
def test_several_at_once_are_read_the_same(data: st.DataObject, names: list[bytes], cut: bool) -> None:
    """What a pattern for the whole answer reads out of the bytes is what tokens give."""
    header = b"BODY.PEEK[HEADER.FIELDS (FROM SUBJECT)]"
    usual = UsualAnswer.made([*names, header])
    assert usual is not None
    sent, wanted = b"", []
    for n in range(data.draw(st.integers(1, 4))):
        shown = b"".join(b" %b %b" % (name, data.draw(_SHOWN[name])) for name in names)
        text = b"* %d FETCH (UID %d%b BODY[HEADER.FIELDS (FROM SUBJECT)] " % (n + 1, n + 7, shown)
        literal = data.draw(st.binary(max_size=40))
        sent += text + b"{%d}\r\n%b)\r\n" % (len(literal), literal)
        wanted.append(read_any_fetch([text, literal, b")"]))
    if cut:
        sent, wanted = sent[: -data.draw(st.integers(1, 3))], wanted[:-1]
    framer = Framer(Limits())
    framer.feed(sent + (b"" if cut else b"* 9 EXISTS\r\n"))
    assert [usual.read(groups, block) for groups, block in framer.several(usual.pattern, 500)] == wanted
    if not cut:
        assert framer.next() == [b"* 9 EXISTS"]


@pytest.mark.parametrize("shown", [b"X-GUID NIL", b"X-GUID nil", b"EMAILID (NIL)"])
def test_nil_is_no_name(shown: bytes) -> None:
    """Messages of which the server knows no identity are not all the same one."""
    usual = UsualAnswer.made([shown.split()[0], b"BODY.PEEK[HEADER]"])
    assert usual is not None
    assert usual.pattern.match(b"* 1 FETCH (UID 7 %b BODY[HEADER] {2}\r\n\r\n)\r\n" % shown) is None


@pytest.mark.parametrize(
    "what", [[b"FLAGS"], [b"BODYSTRUCTURE", b"BODY.PEEK[HEADER]"], [b"FLAGS", b"BODY.PEEK[TEXT]"]]
)
def test_what_has_no_usual_answer(what: list[bytes]) -> None:
    """Other questions are read response by response."""
    assert UsualAnswer.made(what) is None


def test_what_is_no_fetch() -> None:
    """Other news is none, and a FETCH without its list is unreadable."""
    assert read_fetch([b"* 3 EXISTS"]) is None and read_fetch([b"* OK FETCH (UID 5)"]) is None
    with pytest.raises(Unreadable):
        read_fetch([b"* 3 FETCH UID 5"])

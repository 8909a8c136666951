"""from, to, cc, bcc, reply_to, sender, recipient, delivered_to."""

from __future__ import annotations

import pytest

from mailrules.core.search import And, Everything, Key, Or, usable
from tests.core.conditions.speaking import condition, groups, mail, matches, problem, trace

LISTS = {"vip": ("alice@example.com", "@board.example", "partner.example", "*-bot@ci.example")}


@pytest.mark.parametrize(
    ("test", "header", "expected"),
    [
        ("alice@example.com", "Alice <ALICE@Example.COM>", True),
        ("alice@example.com", "malice@example.com", False),
        ("alice@example.com", "alice@example.com.evil.example", False),
        ("alice@example.com", '"alice@example.com" <mallory@evil.example>', False),
        ("'@example.com'", "a@example.com", True),
        ("'@example.com'", "a@sub.example.com", False),
        ("'@example.com'", "a@notexample.com", False),
        ("example.com", "a@example.com", True),
        ("example.com", "a@deep.sub.example.com", True),
        ("example.com", "a@notexample.com", False),
        ("example.com", "a@example.com.evil.example", False),
        ('"*-noreply@*.example.com"', "x-noreply@a.b.example.com", True),
        ('"*-noreply@*.example.com"', "x-noreply@example.com", False),
        ('"@*.example.com"', "x@a.b.example.com", True),
        ('"@*.example.com"', "x@example.com", False),
        ('"*.example.com"', "x@a.b.example.com", True),
        ("example.*", "x@mail.example.org", True),
        ("a?@example.com", "ab@example.com", True),
        ("a?@example.com", "abc@example.com", False),
        ("müller.example", "a@xn--mller-kva.example", True),
        ("a@xn--mller-kva.example", "a@MÜLLER.example", True),
        ("'@example.com'", "a@example.com.", True),
        ("[a@x.y, b@x.y]", "b@x.y", True),
        ("[a@x.y, b@x.y]", "c@x.y", False),
        ("a@x.y", "Team: b@x.y, A <a@x.y>;", True),
        ("a@localhost", "a@localhost", True),
        ("'@*'", "a@localhost", True),
        ("'@*'", "root", False),
    ],
)
def test_the_address_test(test: str, header: str, expected: bool) -> None:
    """An address, @domain, a domain with what is under it, wildcards; never the display name."""
    assert matches(f"from: {test}", f"From: {header}") is expected


@pytest.mark.parametrize(
    ("test", "header", "expected"),
    [
        ("{name: alice}", "Alice A <x@y.z>", True),
        ("{name: alice}", "alice@example.com", False),
        ("{name: {is: alice}}", "Alice A <x@y.z>", False),
        ("{name: josé}", "=?utf-8?q?Jos=C3=A9?= <x@y.z>", True),
        ("{name: {exists: false}}", "x@y.z", True),
        ("{domain: y.z}", "x@mail.y.z", True),
        ("{domain: {is: y.z}}", "x@mail.y.z", False),
        ("{domain: [a.b, y.z]}", "x@y.z", True),
        ('{domain: "*.y.z"}', "x@mail.y.z", True),
        ("{localpart: ann}", "Ann@y.z", True),
        ("{localpart: an}", "ann@y.z", False),
        ("{localpart: {starts_with: bounce}}", "bounce-42@y.z", True),
        ("{user: ann}", "ann+shop@y.z", True),
        ("{user: ann}", "ann@y.z", True),
        ("{detail: shop}", "ann+shop@y.z", True),
        ("{detail: shop}", "shop@y.z", False),
        ("{detail: shop+x}", "ann+shop+x@y.z", True),
        ("{detail: {exists: true}}", "ann@y.z", False),
        ("{address: ann@y.z}", "Ann@y.z", True),
        ("{address: {ends_with: '@y.z'}}", "ann@y.z", True),
        ("{contains: nn@y}", "Ann@y.z", True),
        ("{contains: xn--mller}", "a@xn--mller-kva.example", True),
        ("{contains: müller}", "a@xn--mller-kva.example", True),
        ("{is: ann@y.z}", "ann@y.z", True),
        ("{glob: 'a*@?.z'}", "ann@y.z", True),
        ("{regex: '^a.n@'}", "Ann@y.z", True),
        ("{contains: Ann, case_sensitive: true}", "ann@y.z", False),
    ],
)
def test_operators(test: str, header: str, expected: bool) -> None:
    """Parts of a mailbox, each with its own default, and text operators on the bare address."""
    assert matches(f"from: {test}", f"From: {header}") is expected


def test_all_operators_hold_of_the_same_mailbox() -> None:
    """A name here and a domain there do not make a mailbox that has both."""
    when = "to: {name: ann, domain: x.y}"
    assert not matches(when, "To: Ann <a@b.c>, Bob <b@x.y>")
    assert matches(when, "To: Bob <b@b.c>, Ann <a@x.y>")
    assert matches(when, "To: Bob <b@b.c>", "To: Ann <a@x.y>")


@pytest.mark.parametrize(
    ("address", "expected"),
    [("alice@example.com", True), ("x@board.example", True), ("x@sub.board.example", False),
     ("x@a.partner.example", True), ("lint-bot@ci.example", True), ("bob@example.com", False)],
)  # fmt: skip
def test_lists(address: str, expected: bool) -> None:
    """`in: LIST` tests each entry as a scalar of the field."""
    assert matches("from: {in: vip}", f"From: {address}", lists=LISTS) is expected


def test_lists_beside_other_operators_and_within_parts() -> None:
    """A list is one more operator of the same mailbox; a part's list has the part's default."""
    assert matches("from: {in: vip, name: ann}", "From: Ann <x@board.example>", lists=LISTS)
    assert not matches("from: {in: vip, name: ann}", "From: Bob <x@board.example>", lists=LISTS)
    assert matches("from: {domain: {in: d}}", "From: x@a.b.c", lists={"d": ("b.c",)})
    assert matches("from: {localpart: {in: l}}", "From: X@a.b.c", lists={"l": ("x",)})


def test_which_headers() -> None:
    """Each condition looks at its own header; recipient and delivered_to at several."""
    for key, name in [("from", "From"), ("to", "To"), ("cc", "Cc"), ("bcc", "Bcc"), ("reply_to", "Reply-To"),
                      ("sender", "Sender")]:  # fmt: skip
        assert matches(f"{key}: a@b.c", f"{name}: a@b.c")
        assert not matches(f"{key}: a@b.c", "X-Other: a@b.c")
    for name in ("To", "Cc", "Bcc", "Resent-To", "Resent-Cc", "Delivered-To", "X-Original-To", "Envelope-To"):
        assert matches("recipient: a@b.c", f"{name}: a@b.c")
    for name in ("Delivered-To", "X-Original-To", "Envelope-To"):
        assert matches("delivered_to: a@b.c", f"{name}: <a@b.c>")
    assert not matches("delivered_to: a@b.c", "To: a@b.c")
    assert not matches("recipient: a@b.c", "From: a@b.c")


def test_absent_headers() -> None:
    """A header that is absent matches nothing but `exists: false`."""
    assert not matches("reply_to: {contains: a}")
    assert matches("reply_to: {exists: false}") and not matches("reply_to: {exists: true}")
    assert matches("reply_to: {exists: true}", "Reply-To: a@b.c")
    assert matches("not: {reply_to: {contains: a}}")


def test_groups() -> None:
    """Named groups come from the mailbox of which everything holds."""
    when = "to: {regex: '(?P<who>[^@]+)@x', name: bob}"
    assert groups(when, "To: Ann <a@x>, Bob <b@x>") == {"who": "b"}
    assert condition(when).group_names() == {"who": False}


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("from: Alice", "{name: Alice} for display names, {localpart: Alice}"),
        ("from: alice smith", "neither an address"),
        ("from: alice@", "{localpart: alice}"),
        ("from: .example", "write '@*.example'"),
        ("from: '*'", "{exists: true}"),
        ("from: ''", "{exists: true}"),
        ("from: Alice <a@b.c>", "write the address alone: a@b.c."),
        ("from: a b@c.d", "{contains: …}"),
        ("from: {nam: x}", "Did you mean 'name'?"),
        ("from: {domain: '@x.y'}", "behind the @: x.y."),
        ("from: {domain: .x}", "is not a domain"),
        ("from: {in: vipp}", "unknown list 'vipp'. Did you mean 'vip'?"),
        ("from: {in: wrong}", "'Alice' is neither"),
        ("from: {exists: true, name: x}", "stands alone"),
        ("from: {case_sensitive: true, name: x}", "beside text operators"),
        ("from: []", "empty list"),
        ("from: {}", "empty mapping"),
        ("from:", "has no value"),
        ("from: {address: bob}", "neither an address"),
    ],
)
def test_errors_name_the_right_operator(when: str, words: str) -> None:
    """What is no address test is refused with the operator that was probably meant."""
    assert words in problem(when, {**LISTS, "wrong": ("Alice",)})


def test_trace() -> None:
    """The value is who stands in the header; the argument is what was written."""
    shown = trace("to: [a@b.c, x.y]", mail("To: Ann <a@b.c>, d@e.f"))
    assert (shown.argument, shown.value) == (["a@b.c", "x.y"], ["Ann <a@b.c>", "d@e.f"])
    assert trace("to: a@b.c", mail()).value is None


def test_search_asks_for_pieces_only_where_it_is_trusted() -> None:
    """Keys are substrings that the header must hold, marked as text; names may be encoded, domains IDN."""
    assert condition("from: '*-bot@*.example.com'").search() == Key("FROM", (".example.com",), text=True)
    assert condition("reply_to: a@b.c").search() == Key("HEADER", ("reply-to", "a@b.c"), text=True)
    assert isinstance(condition("from: [a@b.c, d.e]").search(), Or)
    assert isinstance(condition("delivered_to: a@b.c").search(), Or)
    assert isinstance(condition("from: {name: ann, address: a@b.c}").search(), And)
    for when in (
        "from: müller.example",
        "from: {regex: a}",
        "from: {exists: false}",
        "from: {domain: {is: b.c}}",
    ):
        assert condition(when).search() == Everything(exact=False)
    assert usable(condition("from: a@b.c").search(), trusted=False) == Everything(exact=False)


def test_a_long_list_costs_no_more_than_one_entry() -> None:
    """Ten thousand addresses are one look-up."""
    import time

    lists = {"many": tuple(f"user{i}@example{i}.com" for i in range(10_000))}
    many = condition("from: {in: many}", lists)
    message = mail("From: nobody@example.org")
    many.judge(message)
    began = time.process_time()
    for _ in range(1000):
        many.judge(message)
    assert time.process_time() - began < 0.1

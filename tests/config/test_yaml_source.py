"""mailrules.config.yaml_source: text as it was written, and where everything stands."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mailrules.config import yaml_source
from mailrules.config.yaml_nodes import dump, without_comments
from mailrules.config.yaml_source import MAX_BYTES, compose, load, parse
from mailrules.core.errors import ConfigError
from mailrules.core.values import Plain

PARSERS = [yaml.SafeLoader, *([yaml.CSafeLoader] if yaml.__with_libyaml__ else [])]


@pytest.fixture(params=PARSERS, ids=lambda loader: loader.__name__, autouse=True)
def either_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test holds with PyYAML's own parser and with libyaml's."""
    monkeypatch.setattr(yaml_source, "_LOADER", request.param)


def errors(text: str | bytes) -> list[str]:
    return [f"{place.line}:{place.column}: {message}" for place, message in compose(text, "r.yaml").problems]


def test_plain_scalars_stay_text() -> None:
    """The traps of YAML 1.1 are read as the text that was written, as values and as keys."""
    data = parse("NO: on\non: 1.10\n1: 12:30\n'~': 0o10\nyes: 2026-01-01\n=: 1_000\n").data
    assert data == {"NO": "on", "on": "1.10", "1": "12:30", "~": "0o10", "yes": "2026-01-01", "=": "1_000"}
    assert all(type(value) is Plain for value in data.values())
    assert all(type(key) is str for key in data)


def test_quoted_scalars_are_not_plain() -> None:
    """A quoted or block scalar is str, so that a number or truth value in quotes can be told apart."""
    data = parse("a: 'true'\nb: \"1\"\nc: |\n  NO\nd: !!str 5\n").data
    assert data == {"a": "true", "b": "1", "c": "NO\n", "d": "5"}
    assert all(type(value) is str for value in data.values())


@pytest.mark.parametrize("written", ["", "~", "null", "Null", "NULL"])
def test_nothing(written: str) -> None:
    """An empty value, `~` and null are None, as YAML 1.2 says; in quotes they are text."""
    assert parse(f"a: {written}\n").data == {"a": None}
    assert parse(f"a: '{written}'\n").data == {"a": written}


def test_places() -> None:
    """Every key and every value has its line and column, in characters, from 1."""
    document = parse('a: ä\n"ö": [ x,  y ]\nc:\n  - d: é\n    e: f\n')
    assert document.position(("a",), "key") == ("rules.yaml", 1, 1)
    assert document.position(("a",)) == ("rules.yaml", 1, 4)
    assert document.position(("ö", 1)) == ("rules.yaml", 2, 12)
    assert document.position(("c", 0, "e"), "key") == ("rules.yaml", 5, 5)
    assert document.position(("c", 0, "e")) == ("rules.yaml", 5, 8)
    assert str(document.position(("c", 0))) == "rules.yaml:4:5"


def test_place_of_what_is_not_there() -> None:
    """A path that does not exist has the place of its nearest parent."""
    document = parse("a:\n  b: {c: d}\n")
    assert document.position(("a", "b", "x", "y"))[1:] == (2, 3)
    assert document.position(("a", "b", "c", 0))[1:] == (2, 10)
    assert document.position(("z",))[1:] == (1, 1)


def test_aliases_and_merge_keys() -> None:
    """Aliases repeat a value; a merge key fills in what a mapping does not say itself."""
    data = parse("x: &x {a: 1, b: 2}\ny: &y {b: 5, c: 6}\nz:\n  <<: [*x, *y]\n  c: 7\nl: [*x, *x]\n").data
    assert data["z"] == {"a": "1", "b": "2", "c": "7"}
    assert list(data["z"]) == ["a", "b", "c"]
    assert data["l"] == [{"a": "1", "b": "2"}] * 2


def test_aliased_data_is_not_shared() -> None:
    """Changing one copy of an aliased value leaves the other alone."""
    data = parse("a: &a [1]\nb: *a\n").data
    data["a"].append("2")
    assert data["b"] == ["1"]


def test_place_of_aliased_text() -> None:
    """What is wrong inside an aliased value is shown where it is written."""
    document = parse("x: &x\n  a: 1\ny: *x\nz:\n  <<: *x\n")
    assert document.position(("y", "a"))[1:] == (2, 6)
    assert document.position(("z", "a"), "key")[1:] == (2, 3)


def test_text_of() -> None:
    """The text of a rule is what stands in the file, comments inside kept, what follows left out."""
    document = parse(
        "rules:\n  # above\n  - name: a  # why\n    s: |\n      x\n       y\n    then:\n      - keep\n"
        "      # behind\n\n  # next\n  - {name: b,\n     c: d} # e\n"
    )
    assert document.text_of(("rules", 0)) == "name: a  # why\ns: |\n  x\n   y\nthen:\n  - keep"
    assert document.text_of(("rules", 1)) == "{name: b,\n c: d}"
    assert document.text_of(("rules", 9)) == ""


def test_text_of_what_uses_aliases() -> None:
    """A rule that uses aliases is written out, so that its text says everything."""
    document = parse("x: &x {seen: true, t: 'true'}\nrules:\n  - name: a\n    when: *x\n")
    text = document.text_of(("rules", 0))
    assert "*" not in text
    assert parse(text).data == document.data["rules"][0]


@given(
    st.recursive(
        st.none() | st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=8).map(str),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text("abc #:-", min_size=1), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_dump_reads_back(data: Any) -> None:
    """What is written out is read as the same data."""
    read = parse(dump({"data": data})).data["data"]
    assert read == data


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: 1\nb: 2\na: 3\n", "3:1: the key 'a' stands a second time, first at line 1, column 1."),
        ("a: &a [*a]\n", "1:8: '*a' stands inside of what it names."),
        ("a: *b\n", "1:4: '*b' names an anchor that is not above it."),
        ("a: !x y\n", "1:4: tags have no meaning here: remove '!x'"),
        ("a: b\n---\nc: d\n", "2:1: a second document begins here."),
        ("a: \x00\n", "1:4: a NUL byte stands here."),
        (b"a: b\nc: \xff\n", "2:4: the byte 0xff is not UTF-8."),
        ("a: b\n".encode("utf-16"), "1:1: the file is UTF-16. Save it as UTF-8."),
        ("a:\n\tb: c\n", "2:1: a tab stands where YAML wants blanks."),
        ("? [a]\n: b\n", "1:3: a key is text, not a list."),
        ("a: {{ b }}\n", '1:5: a key is text, not a mapping. Put a template into quotes: "{{ … }}".'),
        ("<<: 1\n", "1:1: '<<' merges a mapping or a list of mappings"),
        ("a: '\n", "1:4: the quote that opens here is never closed."),
        ("x" * (MAX_BYTES + 1), "1:1: the file is larger than 1 MB."),
    ],
)
def test_refused(text: str | bytes, place: str) -> None:
    """What is wrong has its place, and the message says what to do next."""
    found = errors(text)
    assert len(found) == 1
    assert found[0].startswith(place)


def test_all_at_once() -> None:
    """Several duplicate keys and tags are all told, in the order of the text."""
    assert [line.split(": ")[0] for line in errors("a: !x 1\nb: 2\nb: 3\na: 4\n")] == ["1:4", "3:1", "4:1"]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5000,
        "{a: " * 5000,
        "- " * 5000,
        "[" * 400_000,
        "".join(" " * depth + "a:\n" for depth in range(1300)),
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(
            f"{n}: &{n} [{', '.join(['*' + p] * 9)}]\n" for p, n in zip("abcdefgh", "bcdefghi", strict=True)
        ),
        "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 5000)),
        "x: &x {" + ", ".join(f"k{n}: v" for n in range(1000)) + "}\ny: [" + ", ".join(["*x"] * 1000) + "]\n",
        "- a\n" * 100_001,
    ],
    ids=["lists", "mappings", "dashes", "many", "blocks", "laughs", "chain", "wide", "long"],
)
def test_what_explodes_is_refused_quickly(text: str) -> None:
    """Deep nesting and alias bombs end in one clear line within a second, not in a RecursionError."""
    started = time.process_time()  # of this process: others may have the machine
    found = errors(text)
    # A wheel of PyYAML has libyaml; its own parser needs 2 s to read the hundred thousand lines at all.
    slow = yaml_source._LOADER is yaml.SafeLoader
    assert time.process_time() - started < (10 if slow else 1)
    assert len(found) == 1
    assert "30 levels deep" in found[0] or "100,000 nodes" in found[0]


def test_depth_of_thirty_works() -> None:
    """Thirty levels are read."""
    assert parse("[" * 30 + "a" + "]" * 30).data is not None
    assert errors("[" * 31 + "a" + "]" * 31)


def test_load(tmp_path: Path) -> None:
    """A file is read with its path as its name, a byte order mark is no part of it."""
    path = tmp_path / "rules.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: b\r\nc: d\r\n")
    document = load(path)
    assert document.data == {"a": "b", "c": "d"}
    assert document.position(("a",), "key") == (str(path), 1, 1)


def test_load_what_can_not_be_read(tmp_path: Path) -> None:
    """A missing file and a directory are one clear line each."""
    for path in (tmp_path / "nope.yaml", tmp_path):
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert len(caught.value.lines) == 1
        assert caught.value.lines[0].startswith(f"{path}:1:1: cannot be read: ")


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_any_input(text: str | bytes) -> None:
    """Whatever the bytes, the answer is data or problems with places, never another exception."""
    document = compose(text, "r.yaml")
    assert document.root is not None or document.problems
    for place, message in document.problems:
        assert place.line >= 1 and place.column >= 1 and message


@given(
    st.lists(
        st.sampled_from(
            [
                "a",
                "b",
                ":",
                "- ",
                "[",
                "]",
                "{",
                "}",
                ",",
                "\n",
                "  ",
                "&x ",
                "*x",
                "<<: ",
                "'",
                "|",
                "# ",
                "!t ",
                "? ",
            ]
        ),
        max_size=25,
    )
)
def test_any_yaml(parts: list[str]) -> None:
    """Whatever stands side by side, the answer is data or problems, and text_of what was read parses."""
    document = compose("".join(parts), "r.yaml")
    assert document.root is not None or document.problems
    if not document.problems and isinstance(document.data, dict):
        for key in document.data:
            document.text_of((key,))


def test_a_comment_says_nothing() -> None:
    """What two texts of a rule say is compared without comments; a `#` in a value is part of the value."""
    before = """name: order#1   # the first
# a line of its own
when: {subject: "ticket #7"}   # quoted
then:
  - reply: |
      # not a comment
      Thank you.
  - archive   # here: Archive
dry_run: true"""
    assert without_comments(before) == (
        "name: order#1",
        'when: {subject: "ticket #7"}',
        "then:",
        "  - reply: |",
        "      # not a comment",
        "      Thank you.",
        "  - archive",
        "dry_run: true",
    )
    assert without_comments("when: [") == ("when: [",)
    assert without_comments('name: "\n# x') == ('name: "', "# x")

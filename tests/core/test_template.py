"""core/template.py: what templates see, what they may say, and that no bomb goes off."""

from __future__ import annotations

import resource
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrules.core.actions.base import ActionContext, RenderContext
from mailrules.core.errors import RenderError, Report
from mailrules.core.message import (
    FLAGS,
    INTERNALDATE,
    SIZE,
    Fact,
    Message,
    MessageKey,
    MissingFact,
    Unavailable,
    UnknownFact,
    header_fact,
)
from mailrules.core.template import Template

HEADERS = {
    "subject": b"Invoice =?utf-8?q?f=C3=BCr_M=C3=A4rz?=",
    "from": b'"Ann Lee" <Ann@Acme.example>',
    "to": b"bob@our.example, Eve <eve@our.example>",
    "cc": b"",
    "list-id": b"The list <python.lists.example>",
    "date": b"Sat, 28 Feb 2026 23:30:00 +0000",
    "message-id": b"<1@acme.example>",
    "x-team": b"sales",
}
CONTEXT = ActionContext(
    group_names={"number": False, "maybe": True, "items": False}, vars=frozenset({"team"})
)
RENDER = RenderContext(
    account="work",
    rule="invoices",
    match={"number": "42", "items": "i"},
    vars={"team": "sales"},
    address="me@our.example",
    timezone="Europe/Berlin",
)


def message(**more: bytes) -> Message:
    headers = {**HEADERS, **{name.replace("_", "-"): value for name, value in more.items()}}
    facts: dict[Fact, object] = {header_fact(n): (v,) if v else () for n, v in headers.items()}
    facts |= {
        INTERNALDATE: datetime(2026, 3, 1, 23, 30, tzinfo=UTC),
        SIZE: 2048,
        FLAGS: frozenset({"\\Seen", "$Todo"}),
    }
    return Message(MessageKey("work", "INBOX", 1, 7), datetime(2026, 3, 2, 9, 5, tzinfo=UTC), facts)


def parsed(source: str, *, levels: bool = False) -> Template:
    report = Report()
    template = Template.parse(source, path=("x",), report=report, context=CONTEXT, levels=levels)
    assert template is not None, [p.message for p in report.problems]
    return template


def rendered(source: str, *, levels: bool = False, **headers: bytes) -> str:
    return parsed(source, levels=levels).render(message(**headers), RENDER)


def refused(source: str) -> str:
    report = Report()
    assert Template.parse(source, path=("x",), report=report, context=CONTEXT) is None
    assert {p.path for p in report.problems} == {("x",)}
    return " ".join(p.message for p in report.problems)


# -- what they see --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("plain { text } %", "plain { text } %"),
        ("Accounting/{{ received.year }}", "Accounting/2026"),
        ("{{ received.month }}/{{ '%02d' % received.month }}", "3/03"),
        ("{{ received | date('%Y-%m') }} {{ received.strftime('%d %H') }}", "2026-03 02 00"),
        ("{{ received }}", "2026-03-02T00:30:00+01:00"),
        (
            "{{ received.weekday }} {{ received.week }} {{ received.date }} {{ received.time }}",
            "mon 10 2026-03-02 00:30",
        ),
        ("{{ now.hour }}:{{ '%02d' % now.minute }}", "10:05"),
        ("{{ message.date.day }}", "1"),
        ("{{ message.subject }}", "Invoice für März"),
        ("{{ message.from }} {{ message.from.address }}", "Ann@Acme.example Ann@Acme.example"),
        ("{{ message.from.name }} {{ message.from.domain | lower }}", "Ann Lee acme.example"),
        ("{{ message['from'].localpart }}", "Ann"),
        ("{{ message.to }}", "bob@our.example, eve@our.example"),
        ("{{ message.to[1].name }}", "Eve"),
        ("{{ message.to | map(attribute='domain') | unique | join('+') }}", "our.example"),
        (
            "{% for a in message.to %}{{ loop.index }}{{ a.localpart }}"
            "{% if not loop.last %},{% endif %}{% endfor %}",
            "1bob,2eve",
        ),
        ("{{ message.cc }}|{{ message.cc | length }}", "|0"),
        ("{{ message.list_id }}", "python.lists.example"),
        ("{{ message.size }} {{ message.uid }} {{ message.message_id }}", "2048 7 <1@acme.example>"),
        ("{{ message.flags | join(' ') }}", "$Todo \\Seen"),
        ("{{ message.headers['X-Team'] }}{{ message.headers['X-None'] }}", "sales"),
        (
            "{{ account }} {{ account.address }} {{ mailbox }} {{ rule }}",
            "work me@our.example INBOX invoices",
        ),
        ("{{ vars.team }}{{ vars.none | default('!') }}", "sales!"),
        ("{{ match.number }}{{ match.maybe | default('-') }}{{ match.items }}", "42-i"),
        ("{% if 'voice' in message.subject %}yes{% else %}no{% endif %}", "yes"),
        ("{{ 'big' if message.size > 1024 else 'small' }}", "big"),
        ("{{ message.size // 1024 + 1 }} {{ message.size | filesizeformat }}", "3 2.0 kB"),
        ("{{ message.subject[:7] | upper }}{{ message.subject.lower()[0] }}", "INVOICEi"),
        ("{{ message.subject.split(' ')[0] ~ '-' ~ match.number }}", "Invoice-42"),
        ("{{ message.subject | replace('Invoice', 'Bill') | truncate(6) }}", "Bill …"),
        ("{{ message.cc or 'nobody' }}", "nobody"),
        ("{# a comment #}x\n", "x\n"),
        ("{% raw %}{{ x }}{% endraw %}", "{{ x }}"),
    ],
)
def test_what_templates_see(source: str, text: str) -> None:
    """Every name of SPEC section 5, times in the settings' zone, and what can be done with them."""
    assert rendered(source, x_none=b"") == text


def test_facts_are_known_before() -> None:
    """A template says which facts it reads; without them it says which is missing."""
    template = parsed(
        "{{ message.subject }} {{ received.year }} {{ message.headers['X-Team'] }} {{ message.uid }}"
    )
    assert template.facts() == {header_fact("subject"), INTERNALDATE, header_fact("x-team")}
    blank = Message(MessageKey("work", "INBOX", 1, 7), datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(MissingFact):
        template.render(blank, RENDER)
    blank.facts[header_fact("subject")] = Unavailable("no")
    with pytest.raises(UnknownFact):
        parsed("{{ message.subject }}").render(blank, RENDER)


def test_literal_reads_nothing() -> None:
    """Text without `{{` is no template: it reads no fact and is given as it is."""
    template = parsed("Archive")
    assert template.literal and template.facts() == frozenset() and template == Template.plain("Archive")


@pytest.mark.parametrize(
    ("source", "tainted"),
    [
        ("{{ message.subject }}", True),
        ("{{ match.number }}", True),
        ("{{ message.size }}", True),
        ("{{ 'a' ~ message.from.domain }}", True),
        ("{{ vars.x | default(message.subject) }}", True),
        ("{% for a in message.to %}{{ a }}{% endfor %}", True),
        ("{{ message.to | first }}", True),
        ("{{ (message.subject if 1 else 'x') }}", True),
        ("{{ '%s' % message.subject }}", True),
        ("{{ ['a', message.subject] | join }}", True),
        ("{{ message.subject.lower() }}", True),
        ("{{ received.year }}", False),
        ("{{ vars.team }}{{ account }}{{ rule }}{{ mailbox }}", False),
        ("{{ 'a' if message.subject else 'b' }}", False),
        ("{% if message.subject %}a{% endif %}", False),
        ("{{ message.subject == 'x' }}", False),
    ],
)
def test_what_mail_can_choose(source: str, tainted: bool) -> None:
    """A value of mail taints whatever it flows into; choosing among words of the file does not."""
    assert parsed(source).tainted is tainted


# -- mail is hostile ------------------------------------------------------------------------------------
def test_mail_is_data_never_template() -> None:
    """Template syntax in a mail is text."""
    assert rendered("{{ message.subject }}", subject=b"{{ 7*7 }}{% raw %}") == "{{ 7*7 }}{% raw %}"


def test_values_are_cut_and_cleaned() -> None:
    """Values from mail have at most 64 KB and no control characters, line ends or lone surrogates."""
    assert len(rendered("{{ message.subject }}", subject=b"x" * 100_000)) == 65536
    dirty = b"=?utf-8?q?a=0D=0ABcc:_x=00=1B[2J=C2=85=E2=80=A8b?="
    text = rendered("{{ message.subject }}", subject=dirty)
    assert text.isprintable() and text.split() == ["a", "Bcc:", "x[2J", "b"]


@pytest.mark.parametrize(
    ("value", "level"),
    [
        (b"a/b", "a-b"),
        (b"..\\..\\x", "x"),
        (b"../../etc", "etc"),
        (b"~root", "root"),
        (b"#news", "news"),
        (b"a\tb", "a b"),
        (b"100%*", "100__"),
        (b"=?utf-8?q?a=E2=80=AEb?=", "ab"),
        (b"  a  ", "a"),
        (b"-x", "x"),
    ],
)
def test_one_level_of_a_mailbox(value: bytes, level: str) -> None:
    """In a mailbox name a value of mail is (part of) one level, and made safe."""
    assert rendered("L/{{ message.subject }}", levels=True, subject=value) == f"L/{level}"


@given(st.text(max_size=60))
def test_level_never_escapes(text: str) -> None:
    """No value makes a second level, or leaves one empty: then the rule fails for this message."""
    raw = text.encode("utf-8", "replace").replace(b"\n", b" ").replace(b"\r", b" ")
    try:
        name = rendered("L/{{ message.subject }}", levels=True, subject=raw or b" ")
    except RenderError:
        return
    first, _, rest = name.partition("/")
    assert first == "L" and rest.strip() == rest != "" and not set(rest) & set("/\\*%\r\n\0")
    assert rest not in (".", "..")


# -- what they may not say ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{ mesage.subject }}", "Did you mean 'message'?"),
        ("{{ message.subjekt }}", "Did you mean 'subject'?"),
        ("{{ message.from.adress }}", "Did you mean 'address'?"),
        ("{{ received.years }}", "Did you mean 'year'?"),
        ("{{ message }}", "message.subject"),
        ("{{ vars }}", "vars.NAME"),
        ("{{ vars.teem }}", "Did you mean 'team'?"),
        ("{{ match.numbre }}", "Did you mean 'number'?"),
        ("{{ match.maybe }}", "default('…')"),
        ("{{ match.maybe | upper | default('x') }}", "default('…')"),
        ("{{ message.subject | uper }}", "Did you mean 'upper'?"),
        ("{{ message.headers }}", "message.headers['X-Name']"),
        ("{{ message.headers['a b'] }}", "not the name of a header"),
        ("{{ message[vars.team] }}", "a name in quotes"),
        ("{{ x", "can't be read"),
        ("{% if %}", "can't be read"),
        ("a\n{{ b c }}", "in its line 2"),
        ("{{ 1 is prime }}", "unknown test"),
    ],
)
def test_mistakes_are_found_at_load(source: str, words: str) -> None:
    """A wrong name, group or syntax is an error in the file, with the nearest right one."""
    assert words in refused(source)


ESCAPES = [
    "{{ ''.__class__ }}",
    "{{ ''['__class__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ message.__class__ }}",
    "{{ message.subject.__class__.__mro__ }}",
    "{{ (1).__class__ }}",
    "{{ [].__class__.__base__ }}",
    "{{ self }}",
    "{{ self._TemplateReference__context }}",
    "{{ config }}",
    "{{ request }}",
    "{{ cycler.__init__ }}",
    "{{ lipsum.__globals__ }}",
    "{{ namespace() }}",
    "{{ range(10) }}",
    "{{ dict(a=1) }}",
    "{{ joiner() }}",
    "{{ '{0.__class__}'.format(1) }}",
    "{{ '{0.__class__}'.format_map({}) }}",
    "{{ ''.format.__globals__ }}",
    "{{ message.subject.encode() }}",
    "{{ message.subject.translate({}) }}",
    "{% set x = 1 %}{{ x }}",
    "{% import 'os' as o %}",
    "{% from 'os' import x %}",
    "{% include '/etc/passwd' %}",
    "{% extends 'x' %}",
    "{% macro m() %}{% endmacro %}",
    "{% call x() %}{% endcall %}",
    "{% block x %}{% endblock %}",
    "{% filter upper %}x{% endfilter %}",
    "{% with a = 1 %}{{ a }}{% endwith %}",
    "{% autoescape false %}x{% endautoescape %}",
    "{{ message.items() }}",
    "{{ vars.keys() }}",
    "{{ message.to.append(1) }}",
    "{{ message.to | map('upper') | list }}",
    "{{ match.items() }}",
    "{{ caller() }}",
    "{{ loop }}",
    "{{ varargs }}",
    "{{ ''.join(message.to) }}",
    "{{ {'a': 1} }}",
    "{{ message.to | groupby('x') }}",
    "{{ x.y.z }}",
    "{{ message.subject | pprint }}",
    "{{ 'x' | safe }}",
    "{{ message.subject.strip.__self__ }}",
    "{{ '' | string | attr('x') }}",
    "{{ '%(__class__)s' % message }}",
    "{% for x in message.to recursive %}{{ loop(x) }}{% endfor %}",
    "{{ _level }}",
    "{{ 'x' | _level }}",
    "{{ 'x' | _concat }}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_no_escape(source: str) -> None:
    """Nothing of Python or of Jinja's own objects is reachable from a template."""
    report = Report()
    template = Template.parse(source, path=(), report=report, context=CONTEXT)
    if template is not None:
        with pytest.raises(RenderError):
            template.render(message(), RENDER)


LIST = b", ".join(b"a%d@b.example" % n for n in range(300))
BOMBS = [
    "{{ 'a' * 10**9 }}",
    "{{ 'a' * 1000000000 }}",
    "{{ [1] * 1000000000 }}",
    "{{ '%999999999d' % 1 }}",
    "{{ '%.999999999f' % 1 }}",
    "{{ '%*d' % (999999999, 1) }}",
    "{{ 'a'.center(2000000000) }}",
    "{{ 'a'.ljust(2000000000) }}",
    "{{ 'a' | center(2000000000) }}",
    "{{ 'a'.zfill(2000000000) }}",
    "{{ '{:>999999999}'.format(1) }}",
    "{{ 9**9**9 }}",
    "{{ 'a' | indent(999999999) }}",
    "{{ 'ab\n' | wordwrap(1) }}",
    "{{ range(999999999) | list }}",
    "{{ 'a' | format(1) * 3 }}",
    "{% for a in message.to %}{% for b in message.to %}x{% endfor %}{% endfor %}",
    "{{ message.subject | replace('', message.subject) }}",
    "{{ message.subject.replace('x', message.subject) }}",
    "{{ " + " ~ ".join(["message.subject"] * 400) + " }}",
    "{{ message.to | join(message.subject) }}",
    "{% for a in message.to %}{{ message.subject | upper | lower | title }}{% endfor %}",
    "{{ " + "9" * 5000 + " }}",
    "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "{{ " + "-" * 4000 + "1 }}",
    "{{ " + "[" * 2000 + "]" * 2000 + " }}",
    "{% if 1 %}" * 1200 + "{% endif %}" * 1200,
    "{{ message.subject % 1 }}",
    "{{ 'a'" + " | upper" * 1500 + " }}",
    "{{ received | date('" + "%c" * 4000 + "') }}",
    "{{ message.subject[::-1] }}" * 500,
    "x" * 20000 + "{{ account }}",
    "{{ '" + "%s" * 800 + "' % (" + "message.subject," * 800 + ") }}",
    "{{ [" + "message.subject," * 800 + "] | join | length }}",
]


@pytest.mark.parametrize("source", BOMBS, ids=lambda s: s[:40])
def test_no_bomb(source: str) -> None:
    """A bomb is refused at load or stopped: quickly, and without filling the memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    report = Report()
    template = Template.parse(source, path=(), report=report, context=CONTEXT)
    if template is not None:
        subject = b"%999999999d" if "% 1" in source else b"x" * 70000
        with pytest.raises(RenderError):
            template.render(message(subject=subject, to=LIST), RENDER)
    assert time.monotonic() - started < 1.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_failure_names_the_template() -> None:
    """What could not be filled in is told with its text and its reason."""
    with pytest.raises(
        RenderError, match=r"'\{\{ message.to\[9\].name \}\}' could not be filled in: there is no"
    ):
        rendered("{{ message.to[9].name }}")


@pytest.mark.parametrize(
    "source",
    [
        "{{ message.date.year }}",
        "{{ 1 // 0 }}",
        "{{ 'a' + 1 }}",
        "{{ message.cc[0].name }}",
        "{{ 'x' | date }}",
    ],
)
def test_strict(source: str) -> None:
    """What is not there is an error for this message, never an empty string."""
    with pytest.raises(RenderError):
        rendered(source, date=b"not a date")


def test_default_reaches_what_is_missing() -> None:
    """`default` stands in for a date that can't be read, or a recipient that is not there."""
    assert rendered("{{ message.date.year | default(received.year) }}", date=b"?") == "2026"
    assert rendered("{{ message.cc[0].name | default('-') }}") == "-"

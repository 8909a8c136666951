"""mailrules.core.rule: for which accounts a rule is."""

from __future__ import annotations

import pytest

from mailrules.core.rule import account_named, is_glob


@pytest.mark.parametrize(
    ("patterns", "named"),
    [
        (None, True),
        (("home", "work"), True),
        (("home", "w*"), True),
        (("home", "w?rk"), True),
        (("home", "[vw]ork"), True),
        (("home", "Work"), False),
        (("home", "wor"), False),
        ((), False),
    ],
)
def test_accounts_by_name_and_by_glob(patterns: tuple[str, ...] | None, named: bool) -> None:
    """All of them where a rule names none; a name as it is, or a glob; case counts."""
    assert account_named(patterns, "work") is named


def test_what_a_glob_is() -> None:
    """A name with `*`, `?` or a bracket."""
    assert [is_glob(name) for name in ("a*", "a?", "[a]", "a", "a]")] == [True, True, True, False, False]

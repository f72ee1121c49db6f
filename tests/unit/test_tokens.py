"""Access tokens: their form, what is kept of them, and how their images are counted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aws.in_memory import InMemoryStateStore
from aws.tokens import TokenStore, UsageStore
from core.errors import CloudError, DecodeError
from core.tokens import AccessToken, TokenError, check_owner, new_token, parse

NOW = 1_790_000_000.0


def test_a_token_is_known_by_its_secret_and_only_its_hash_is_kept() -> None:
    text, record = new_token("ada", ["read", "upload"], NOW, name="laptop")
    parts = parse(text)
    assert parts is not None and parts[0] == record.token_id
    assert record.accepts(parts[1])
    assert not record.accepts(parts[1][:-1] + ("A" if parts[1][-1] != "A" else "B"))
    assert not record.accepts("")
    assert parts[1].encode() not in record.encode()
    assert AccessToken.decode(record.encode()) == record
    assert record.scopes == ("upload", "read")


def test_secrets_are_long_and_never_the_same() -> None:
    secrets = {parse(new_token("ada", ["read"], NOW)[0]) for _number in range(100)}
    assert len(secrets) == 100
    # 43 characters of base64 are 256 bits.
    assert all(parts is not None and len(parts[1]) == 43 for parts in secrets)


@given(st.text(max_size=80))
def test_any_other_text_is_no_token(text: str) -> None:
    assert parse(text) is None
    assert parse(f"eic_{text}") is None


@pytest.mark.parametrize(
    ("options", "later_seconds", "valid"),
    [({}, 1e9, True), ({"expires_days": 1}, 86_399, True), ({"expires_days": 1}, 86_400, False)],
)
def test_expiry(options: dict[str, Any], later_seconds: float, valid: bool) -> None:
    _text, record = new_token("ada", ["read"], NOW, **options)
    assert record.is_valid(NOW + later_seconds) == valid


@pytest.mark.parametrize("owner", ["", "a/b", "../up", ".hidden", "a b", "a\n", "ä", "x" * 65, "deleted/x"])
def test_an_owner_is_a_safe_part_of_a_key(owner: str) -> None:
    with pytest.raises(TokenError):
        check_owner(owner)


@pytest.mark.parametrize(
    ("scopes", "options"),
    [
        ([], {}),
        (["write"], {}),
        (["read", "root"], {}),
        (["read"], {"name": "a\nb"}),
        (["read"], {"name": "x" * 101}),
        (["read"], {"expires_days": 0}),
        (["read"], {"expires_days": float("nan")}),
        (["read"], {"images_per_day": -1}),
        (["read"], {"images_per_day": 10**20}),
        (["read"], {"expires_days": float("inf")}),
        (["read"], {"expires_days": 1e9}),
    ],
)
def test_what_makes_no_sense_is_refused(scopes: list[str], options: dict[str, Any]) -> None:
    with pytest.raises(TokenError):
        new_token("ada", scopes, NOW, **options)


@pytest.mark.parametrize(
    "change",
    [{"v": 2}, {"owner": "a/b"}, {"scopes": None}, {"secret_sha256": 5}, {"expires_at": "soon"}, {"extra": 1}],
)
def test_a_record_of_another_form_opens_nothing(change: dict[str, Any]) -> None:
    _text, record = new_token("ada", ["read"], NOW)
    state = InMemoryStateStore()
    body = json.dumps({**json.loads(record.encode()), **change}).encode()
    with pytest.raises(DecodeError):
        AccessToken.decode(body)
    state.put(record.key, body)
    assert TokenStore(state).find(record.token_id) is None  # type: ignore[arg-type]


def test_tokens_are_added_listed_and_revoked() -> None:
    state: Any = InMemoryStateStore()
    store = TokenStore(state)
    records = [new_token(owner, ["read"], NOW)[1] for owner in ("ada", "bob")]
    for record in records:
        store.add(record)
    state.put("tokens/rubbish.json", b"{}")
    assert {record.owner for record in store.all()} == {"ada", "bob"}
    assert store.find(records[0].token_id) == records[0]
    assert store.revoke(records[0].token_id)
    assert not store.revoke(records[0].token_id)
    assert store.find(records[0].token_id) is None
    assert store.find("../controller/lease") is None
    assert not store.revoke("../controller/lease")


# --- counting ------------------------------------------------------------------------------------


DAYS = ("2026-11-21", "2026-11-22")
OPERATIONS = st.sampled_from(["take", "prepay", "take_prepaid", "give_back", "midnight"])


@given(st.lists(st.tuples(OPERATIONS, st.integers(0, 30)), max_size=30), st.integers(1, 50))
def test_no_more_is_granted_than_the_limit(spec: list[tuple[str, int]], limit: int) -> None:
    usage, token_id = UsageStore(InMemoryStateStore()), "a" * 16  # type: ignore[arg-type]
    day, used, prepaid = 0, 0, 0
    for operation, count in spec:
        if operation == "take":
            granted = usage.take(token_id, DAYS[day], count, limit)
            assert granted == min(count, limit - used)
            used += granted
        elif operation == "prepay":
            granted = count if usage.prepay(token_id, DAYS[day], count, limit) else 0
            assert granted == (count if used + count <= limit else 0)
            used, prepaid = used + granted, prepaid + granted
        elif operation == "take_prepaid":
            granted = usage.take_prepaid(token_id, DAYS[day], count, limit)
            assert granted == min(count, prepaid + limit - used)
            used, prepaid = used + max(0, granted - prepaid), max(0, prepaid - granted)
        elif operation == "give_back":
            returned = min(count, used - prepaid)
            usage.give_back(token_id, DAYS[day], returned)
            used -= returned
        elif day == 0:
            day, used, prepaid = 1, 0, 0
        assert 0 <= prepaid <= used <= limit
    assert usage.take(token_id, DAYS[day], 1000, limit) == limit - used


def test_requests_of_two_days_in_turn_share_the_limit_of_the_later_day() -> None:
    usage = UsageStore(InMemoryStateStore())  # type: ignore[arg-type]
    assert usage.take("a" * 16, DAYS[0], 100, 100) == 100
    granted = [usage.take("a" * 16, DAYS[turn % 2], 20, 100) for turn in range(1, 100)]
    assert sum(granted) == 100
    usage.give_back("a" * 16, DAYS[0], 20)
    assert usage.take("a" * 16, DAYS[1], 20, 100) == 0, "what a past day's request returns is no use today"


def test_a_day_from_a_wrong_clock_does_not_hold() -> None:
    usage = UsageStore(InMemoryStateStore())  # type: ignore[arg-type]
    assert usage.take("a" * 16, "2099-01-01", 5, 5) == 5
    assert usage.take("a" * 16, DAYS[0], 5, 5) == 5


def test_a_new_day_begins_at_nothing_and_tokens_do_not_share() -> None:
    usage = UsageStore(InMemoryStateStore())  # type: ignore[arg-type]
    assert usage.take("a" * 16, "2026-11-21", 7, 5) == 5
    assert usage.take("a" * 16, "2026-11-21", 1, 5) == 0
    assert usage.take("b" * 16, "2026-11-21", 1, 5) == 1
    assert usage.take("a" * 16, "2026-11-22", 1, 5) == 1


def test_two_who_count_at_the_same_time_count_both() -> None:
    state = InMemoryStateStore()
    usage = UsageStore(state, pause=lambda seconds: None)  # type: ignore[arg-type]
    usage.take("a" * 16, "2026-11-21", 1, 100)
    once = iter([True])

    def meanwhile(_method: str, effect: Any) -> str:
        if next(once, False):
            usage.take("a" * 16, "2026-11-21", 10, 100)
        return str(effect())

    state.around = meanwhile
    assert usage.take("a" * 16, "2026-11-21", 20, 100) == 20
    state.around = lambda _method, effect: effect()
    assert usage.take("a" * 16, "2026-11-21", 100, 100) == 69


def test_a_client_that_cannot_be_counted_is_asked_to_try_again() -> None:
    state = InMemoryStateStore()
    pauses: list[float] = []
    usage = UsageStore(state, pauses.append)  # type: ignore[arg-type]

    def always_changed(_method: str, effect: Any) -> str:
        effect()
        state.put("usage/" + "a" * 16 + ".json", b'{"day": "2026-11-21", "images": %d}' % len(pauses))
        return str(effect())

    usage.take("a" * 16, "2026-11-21", 1, 100)
    state.around = always_changed
    with pytest.raises(CloudError):
        usage.take("a" * 16, "2026-11-21", 1, 100)
    assert len(pauses) == 11, "one after each attempt but the last"
    assert all(0.0 <= pause <= 0.2 for pause in pauses) and len(set(pauses)) > 1

"""Settings are validated as a whole, and every one is documented."""

from __future__ import annotations

import pytest

from core.errors import SettingsError
from core.paths import REPOSITORY_ROOT
from core.profiles import PROFILES
from core.settings import Settings, render_markdown

REFERENCE = REPOSITORY_ROOT / "docs" / "reference" / "settings.md"


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_environment({}) == Settings()


def test_values_are_read_with_their_types_and_others_ignored() -> None:
    settings = Settings.from_environment({"EIC_MAX_SIZE": "3", "EIC_UNSURE_BELOW": "0.25", "HOME": "/root"})
    assert (settings.max_size, settings.unsure_below) == (3, 0.25)


def test_the_environment_wins_over_defaults_and_overrides_over_both() -> None:
    settings = Settings.from_environment(
        {"EIC_MAX_SIZE": "3", "EIC_TOP_K": "2"}, {"max_size": 9, "min_size": 1}, {"top_k": 4}
    )
    assert (settings.max_size, settings.min_size, settings.top_k) == (3, 1, 4)


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"EIC_MAX_SIZE": "many"}, "EIC_MAX_SIZE must be a whole number"),
        ({"EIC_UNSURE_BELOW": "1.5"}, "EIC_UNSURE_BELOW must be 0.0 to 1.0"),
        ({"EIC_UNSURE_BELOW": "nan"}, "EIC_UNSURE_BELOW must be"),
        ({"EIC_MAX_SIZE": "0"}, "EIC_MAX_SIZE must be at least 1"),
        ({"EIC_TARGET_LATENCY_SECONDS": "inf"}, "EIC_TARGET_LATENCY_SECONDS must be finite"),
        ({"EIC_LEASE_SECONDS": "1e9"}, "EIC_LEASE_SECONDS must be 1.0 to 86400.0"),
        ({"EIC_MIN_SIZE": "5", "EIC_MAX_SIZE": "4"}, "must not exceed"),
        ({"EIC_MAXSIZE": "4"}, "EIC_MAXSIZE is not a setting"),
        ({"EIC_PROFILE": "frugal"}, "EIC_PROFILE must be one of balanced, fast, thrifty, course, not 'frugal'"),
        ({"EIC_MAX_MESSAGE_BYTES": "1023"}, "EIC_MAX_MESSAGE_BYTES must be 0, or at least 1024"),
        ({"EIC_COMPAT_KEYS": "id"}, "EIC_COMPAT_KEYS must be batch or name"),
        ({"EIC_COMPAT_ANSWER": "x"}, "EIC_COMPAT_ANSWER must be one of name:label, stem:label, label"),
        ({"EIC_SCALING_POLICY": "guess"}, "EIC_SCALING_POLICY must be backlog or request"),
    ],
)
def test_a_wrong_value_is_named_in_one_sentence(environment: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        Settings.from_environment(environment)


def test_a_named_profile_comes_between_defaults_and_single_variables() -> None:
    local = {"target_latency_seconds": 4.0, "boot_payback": 0.0, "receive_wait_seconds": 2}
    assert Settings.from_environment({}, local).boot_payback == 0.0
    named = Settings.from_environment({"EIC_PROFILE": "thrifty", "EIC_BOOT_PAYBACK": "7"}, local, {"max_size": 3})
    assert (named.profile, named.purchase_option) == ("thrifty", "spot")
    assert named.target_latency_seconds == PROFILES["thrifty"]["target_latency_seconds"]
    assert (named.boot_payback, named.receive_wait_seconds, named.max_size) == (7.0, 2, 3)
    assert Settings.from_environment(named.to_environment()) == named


def test_the_profiles_set_the_same_settings_of_scaling_and_the_first_sets_the_defaults() -> None:
    assert all(PROFILES["balanced"].keys() <= values.keys() for values in PROFILES.values())
    assert Settings.from_environment({"EIC_PROFILE": "balanced"}) == Settings()


def test_the_deployments_id_is_part_of_the_names_in_the_cloud() -> None:
    settings = Settings.from_environment(
        {"EIC_PROFILE": "course", "EIC_DEPLOYMENT_ID": "1234567890", "EIC_STATE_BUCKET": "{id}-state"}
    )
    names = settings.input_bucket, settings.output_bucket, settings.state_bucket, settings.queue_name
    assert names == ("1234567890-in-bucket", "1234567890-out-bucket", "1234567890-state", "1234567890-req-queue")
    assert Settings.from_environment(settings.to_environment()) == settings


def test_settings_travel_to_child_processes() -> None:
    settings = Settings(max_size=7, target_latency_seconds=0.5, worker_id="i-1")
    assert Settings.from_environment(settings.to_environment()) == settings


def test_every_setting_is_documented() -> None:
    assert render_markdown() in REFERENCE.read_text("utf-8"), (
        "docs/reference/settings.md is out of step: put the output of core.settings.render_markdown() into it"
    )

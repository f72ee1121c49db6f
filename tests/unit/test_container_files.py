"""Dockerfile, compose.yaml and .dockerignore agree with the program and with each other."""

from __future__ import annotations

import re

import pytest
import yaml

from ami.image_spec import PROGRAM_PACKAGES
from core.paths import REPOSITORY_ROOT
from infra.program import FOLDERS, PACKAGES

TEXT = (REPOSITORY_ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
STAGES = {
    match[2]: (match[1], match[3])
    for match in re.finditer(r"^FROM (\S+) AS (\S+)\n(.*?)(?=^FROM |\Z)", TEXT, re.MULTILINE | re.DOTALL)
}
FINAL = ("web", "controller", "worker", "local")


def instructions(target: str) -> str:
    """The instructions of a target and of the stages that it begins with."""
    base, text = STAGES[target]
    return (instructions(base) if base in STAGES else "") + text


def copied(target: str) -> set[str]:
    return set(re.findall(r"^COPY (\w\S*) ", instructions(target), re.MULTILINE))


def test_every_package_is_a_wheel_with_a_known_hash() -> None:
    installs = re.findall(r"pip (?:--python \S+ )?install (.*?)(?:;|$)", TEXT, re.MULTILINE)
    from_lists = [line for line in installs if "--editable ." not in line]
    assert len(installs) == 4 and len(from_lists) == 3
    assert all("--require-hashes" in line and "--only-binary :all:" in line for line in from_lists)
    assert "ADD " not in TEXT and "curl" not in TEXT


@pytest.mark.parametrize("target", FINAL)
def test_programs_run_without_rights_and_say_how_healthy_they_are(target: str) -> None:
    text = instructions(target)
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE) == ["10001"]
    # What is copied or made after it would belong to the user.
    assert not re.search(r"^(COPY|RUN)", text.partition("USER ")[2], re.MULTILINE)
    assert len(re.findall(r"^HEALTHCHECK ", text, re.MULTILINE)) == 1
    assert re.search(r"^CMD \[", text, re.MULTILINE)


def test_images_have_the_packages_that_the_machines_have() -> None:
    assert copied("web") == {*PACKAGES, *FOLDERS} - {"controller", "infra/machine"}
    assert copied("controller") == set(PACKAGES) - {"web_tier"}
    assert copied("worker") == {*PROGRAM_PACKAGES, "models/resnet50-imagenet"} - {"ami"}


def test_what_other_machines_reach_asks_for_tokens() -> None:
    for target in FINAL:
        serves_all = "0.0.0.0" in instructions(target)
        assert serves_all is ("EIC_AUTHENTICATION=tokens" in instructions(target)), target


def test_compose_publishes_a_target_on_loopback_only() -> None:
    [service] = yaml.safe_load((REPOSITORY_ROOT / "compose.yaml").read_text("utf-8"))["services"].values()
    assert service["build"]["target"] in STAGES
    for port in service["ports"]:
        address, published, inside = port.split(":")
        assert address == "127.0.0.1" and published == inside
        assert f"EXPOSE {inside}" in instructions(service["build"]["target"])
    assert service["cap_drop"] == ["ALL"] and service["read_only"] is True


def test_only_what_the_program_reads_is_sent_to_the_builder() -> None:
    lines = (REPOSITORY_ROOT / ".dockerignore").read_text("ascii").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*", "nothing but what is named"
    named = {line.removeprefix("!").rstrip("/") for line in rules if line.startswith("!")}
    packages = {path.parent.name for path in REPOSITORY_ROOT.glob("*/__init__.py")} - {"tests"}
    assert packages | {"models", *FOLDERS} - {"infra/machine"} <= named
    assert not named & {"tests", "docs", "var", ".git", ".venv", "shared"}
    for name in named:
        assert (REPOSITORY_ROOT / name).exists(), name

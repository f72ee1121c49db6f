"""The workers' image and their types have one processor architecture, and both templates' defaults do, too."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ami.bake import ARCHITECTURES, DEFAULT_ARCHITECTURE
from aws.images import MachineImage
from cli import architectures
from cli.architectures import architecture_of, check_image, check_worker_image, template_default, workers_architecture
from core.errors import ArgumentError
from core.prices import load_prices
from core.settings import split_list
from infra import template

PROCESSORS = {"c7g.large": {"arm64"}, "c8g.large": {"arm64"}, "t3.large": {"x86_64"}, "c5.large": {"i386", "x86_64"}}


class FakeAccount:
    def __init__(self, _clients: object = None) -> None: ...

    def architectures(self, instance_type: str) -> set[str]:
        return PROCESSORS[instance_type]


def image(**tags: str) -> MachineImage:
    return MachineImage("ami-1", "image", "available", datetime(2026, 11, 28, tzinfo=UTC), tags=tags)


ACCOUNT: Any = FakeAccount()


@pytest.mark.parametrize(
    ("types", "expected"), [(("c7g.large", "c8g.large"), "arm64"), (("t3.large", "c5.large"), "amd64"), ((), "arm64")]
)
def test_types_have_the_architecture_that_all_of_them_have(types: tuple[str, ...], expected: str) -> None:
    assert workers_architecture(ACCOUNT, types) == expected
    assert expected in ARCHITECTURES


def test_types_of_different_processors_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"several architectures \(c7g\.large: arm64, t3\.large: amd64\)"):
        workers_architecture(ACCOUNT, ("c7g.large", "t3.large"))


def test_only_images_of_this_program_are_judged() -> None:
    check_image(image(), "arm64")
    check_image(image(architecture="arm64"), "arm64")
    with pytest.raises(ArgumentError, match=r"ami-1 is an image for amd64.*image build --architecture arm64"):
        check_image(image(architecture="amd64"), "arm64")


def test_images_from_before_the_tag_are_for_x86_64() -> None:
    assert (architecture_of(image()), architecture_of(image(architecture="arm64"))) == ("amd64", "arm64")


@pytest.mark.parametrize(
    ("parameters", "refused"),
    [
        ({"MaxWorkers": "3"}, False),
        ({"WorkerImageId": "ami-1"}, True),
        ({"WorkerImageId": "ami-1", "InstanceTypes": "t3.large"}, False),
    ],
)
def test_a_stack_with_an_image_for_another_processor_is_refused(
    monkeypatch: pytest.MonkeyPatch, parameters: dict[str, str], refused: bool
) -> None:
    class FakeImages:
        def __init__(self, *_: object) -> None: ...

        def describe(self, image_id: str) -> MachineImage:
            return image(architecture="amd64")

    monkeypatch.setattr(architectures, "Images", FakeImages)
    monkeypatch.setattr(architectures, "Account", FakeAccount)
    clients: Any = {"ec2": None, "ssm": None}
    if refused:
        with pytest.raises(ArgumentError, match="ami-1 is an image for amd64"):
            check_worker_image(clients, parameters, None)
    else:
        check_worker_image(clients, parameters, None)


def test_the_default_types_are_of_the_default_architecture_and_cheaper() -> None:
    types = split_list(template_default("InstanceTypes"))
    assert workers_architecture(ACCOUNT, types) == DEFAULT_ARCHITECTURE
    instances = load_prices().instances
    assert all(instances[name] < instances["c7i.large"] for name in types)
    assert template.simple()["Parameters"]["PurchaseOption"]["Default"] == "spot"

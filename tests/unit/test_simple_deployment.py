"""The simple deployment's own decisions: addresses, certificates, the image, the token, and the order of its steps."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from aws.account import Subnet
from aws.images import MachineImage
from aws.in_memory.stores import InMemoryStateStore
from aws.stacks import ChangeSet, StackError, StackState
from cli import deploy_simple
from cli.deploy import deploy as deploy_command
from cli.deploy_simple import own_address, wait_until_ready
from core.errors import ArgumentError, CloudError
from core.packaging import Archive
from core.tokens import AccessToken, new_token
from infra import simple, template
from infra.certificate import RENEWAL_DAYS, VALID_DAYS, make_certificate, read_certificate
from infra.deployment import StackActions, StackSpec
from tests.serving import running, serving, silent_port
from tests.unit.test_infra import DONE, FakeStack, Notes, polling

NOW = datetime(2026, 11, 28, tzinfo=UTC)
FOUNDATION = replace(DONE, outputs={**DONE.outputs, "BuilderProfile": "builder", "StateBucket": "state"})
IMAGE_PARAMETERS = {"ClientCidr": True, "WorkerImageId": False, "ProgramSha256": True}
SPEC = StackSpec("template", {"ClientCidr": "198.51.100.7/32"}, Archive(b"archive"), "elastic:stack")


@pytest.mark.parametrize(
    ("given", "cidr"),
    [
        ("198.51.100.7", "198.51.100.7/32"),
        (" 198.51.100.7\n", "198.51.100.7/32"),
        ("198.51.100.0/24", "198.51.100.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_an_address_becomes_a_range(given: str, cidr: str) -> None:
    assert simple.client_cidr(given) == cidr


@pytest.mark.parametrize("given", ["", "example.org", "198.51.100.7/24", "2001:db8::1", "<html>", "198.51.100.0/33"])
def test_what_is_no_range_is_refused_with_an_example(given: str) -> None:
    with pytest.raises(ArgumentError, match=r"--allow: .* is no IPv4 address or range, such as 198.51.100.7"):
        simple.client_cidr(given)


def test_the_own_address_is_what_the_service_answers(tmp_path: Path) -> None:
    (tmp_path / "ip").write_text("203.0.113.9\n")
    with serving(tmp_path) as url:
        assert own_address(f"{url}/ip") == "203.0.113.9/32"


def test_without_an_own_address_a_sentence_asks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page").write_text("<html>sign in to the network first</html>")
    monkeypatch.setattr("cli.deploy_simple.ADDRESS_SECONDS", 0.2)
    with serving(tmp_path) as url, silent_port() as port:
        for service in (f"{url}/page", f"{url}/missing", f"http://127.0.0.1:{port}/"):
            with pytest.raises(ArgumentError, match=r"cannot be found .* such as --allow 198.51.100.7"):
                own_address(service)


class FakeAccount:
    """A region whose zones a and b have subnets, of which b alone offers the instance's type."""

    def __init__(self, vpc_id: str | None = "vpc-1", subnets: int = 2) -> None:
        self._vpc_id, self._subnets = vpc_id, subnets

    def default_vpc(self) -> str | None:
        return self._vpc_id

    def subnets(self, vpc_id: str) -> list[Subnet]:
        return [Subnet(f"subnet-{zone}", zone, 100) for zone in "ab"[: self._subnets]]

    def zones_with(self, instance_type: str) -> set[str]:
        return {"b"}


def parameters(account: FakeAccount, given: dict[str, str], before: StackState | None = None) -> dict[str, str]:
    options = deploy_simple.Options("photos", given, "198.51.100.7", "", "", yes=True, dry_run=False, wait=False)
    return deploy_simple._parameters(account, options, before)  # type: ignore[arg-type]


def test_the_instance_is_launched_where_its_type_is_offered_and_workers_in_every_zone() -> None:
    found = parameters(FakeAccount(), {"MaxWorkers": "3"})
    assert (found["VpcId"], found["SubnetIds"], found["MaxWorkers"]) == ("vpc-1", "subnet-b,subnet-a", "3")
    assert found["ClientCidr"] == "198.51.100.7/32"
    named = parameters(FakeAccount(None), {"VpcId": "vpc-2", "SubnetIds": "subnet-x"})
    assert (named["VpcId"], named["SubnetIds"]) == ("vpc-2", "subnet-x")


def test_an_existing_stack_keeps_what_is_not_given() -> None:
    assert parameters(FakeAccount(None), {}, FOUNDATION) == {"ClientCidr": "198.51.100.7/32"}


@pytest.mark.parametrize(
    ("account", "given", "sentence"),
    [
        (FakeAccount(None), {}, "no default VPC: `aws ec2 create-default-vpc`"),
        (FakeAccount(subnets=0), {}, "vpc-1 has no subnets"),
        (FakeAccount(), {"VpcId": "vpc-2"}, "belong together"),
        (FakeAccount(), {"SubnetIds": "subnet-x"}, "belong together"),
    ],
)
def test_a_network_that_is_missing_is_named(account: FakeAccount, given: dict[str, str], sentence: str) -> None:
    with pytest.raises(ArgumentError, match=sentence):
        parameters(account, given)


def test_a_certificate_is_for_its_address_and_time_and_is_stored_once() -> None:
    state = InMemoryStateStore()
    made = simple.certificate_of(state, "203.0.113.9", NOW)
    renewed_from = NOW + timedelta(days=VALID_DAYS - RENEWAL_DAYS)
    assert simple.certificate_of(state, "203.0.113.9", renewed_from - timedelta(hours=1)) == made
    assert simple.certificate_of(state, "203.0.113.9", renewed_from + timedelta(hours=1)) != made
    other = simple.certificate_of(state, "203.0.113.10", NOW)
    assert other.fingerprint != made.fingerprint and other.serves("203.0.113.10", NOW)
    assert not other.serves("203.0.113.9", NOW)


def test_a_certificate_that_ends_soon_is_renewed_and_the_instance_replaced() -> None:
    state = InMemoryStateStore()
    assert simple.renewal(state, "203.0.113.9", NOW) == {}, "the first one: its instance has not booted"
    assert simple.renewal(state, "203.0.113.9", NOW + timedelta(days=300)) == {}
    later = NOW + timedelta(days=VALID_DAYS - RENEWAL_DAYS + 1)
    until = f"{later + timedelta(days=VALID_DAYS):%Y-%m-%d}"
    assert simple.renewal(state, "203.0.113.9", later) == {"CertificateUntil": until}
    assert simple.renewal(state, "203.0.113.9", later) == {}
    machine = template.simple()["Resources"]["MachineTemplate"]["Properties"]["LaunchTemplateData"]["UserData"]
    assert "${CertificateUntil}" in str(machine), "another version of the launch template makes another instance"


def test_the_public_certificate_has_no_key_and_the_other_loads_into_a_server(tmp_path: Path) -> None:
    made = make_certificate("203.0.113.9", NOW)
    assert b"PRIVATE KEY" in made.pem and b"PRIVATE KEY" not in made.public_pem
    assert read_certificate(made.pem) == made
    file = tmp_path / "tls.pem"
    file.write_bytes(made.pem)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file)
    assert made.fingerprint.count(":") == 31


def test_the_page_is_waited_for_with_its_own_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.deploy_simple.POLL_SECONDS", 0.05)
    made, other = (make_certificate("127.0.0.1", datetime.now(UTC)) for _ in range(2))
    (tmp_path / "tls.pem").write_bytes(made.pem)
    (tmp_path / "healthz").write_text("ok")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with running(server) as address:
        url = f"{address.replace('http:', 'https:')}/healthz"
        wait_until_ready(url, made)
        with pytest.raises(CloudError, match=r"has not answered in 0 s .*--allow"):
            wait_until_ready(url, other, timeout_seconds=0)


def image(image_id: str, sha256: str, state: str = "available") -> MachineImage:
    return MachineImage(image_id, image_id, state, NOW, tags={"sha256": sha256})


def test_the_newest_available_image_of_this_program_is_used() -> None:
    images = [image("a", "new", "pending"), image("b", "old"), image("c", "new"), image("d", "new")]
    assert simple.usable_image(images, "new") == images[2]
    assert simple.usable_image(images, "other") is None


@dataclass
class FakeTokens:
    tokens: list[AccessToken] = field(default_factory=list)

    def all(self) -> list[AccessToken]:
        return self.tokens

    def add(self, token: AccessToken) -> None:
        self.tokens.append(token)


def test_a_token_is_made_once_and_again_when_it_has_expired() -> None:
    tokens = FakeTokens()
    assert simple.first_token(tokens, "owner", 0.0) is not None
    assert simple.first_token(tokens, "owner", 1.0) is None
    expired = FakeTokens([new_token("owner", ("read",), 0.0, expires_days=1)[1], new_token("b", ("read",), 0.0)[1]])
    assert simple.first_token(expired, "owner", 90_000.0) is not None


class SimpleStack(FakeStack):
    """Counts up the proposed images."""

    def __init__(self, states: list[StackState | None]) -> None:
        super().__init__(states)
        self.images: list[str] = []

    def state(self) -> StackState | None:
        return self.look(self.name)

    def validate(self, template: str) -> dict[str, bool]:
        return IMAGE_PARAMETERS

    def propose(self, template: str, parameters: object, kept: list[str], tag: str) -> str:
        assert isinstance(parameters, dict)
        self.images.append(parameters["WorkerImageId"])
        return super().propose(template, parameters, kept, tag)


def deploy(stack: SimpleStack, image_id: str, actions: StackActions) -> tuple[StackState | None, list[tuple[str, str]]]:
    built: list[tuple[str, str]] = []

    def build(bucket: str, profile: str) -> str:
        built.append((bucket, profile))
        return "ami-built"

    return simple.deploy(stack, SPEC, actions, simple.ImageChoice(image_id, build), polling()), built


def test_without_an_image_the_stack_is_begun_the_image_built_and_the_stack_completed() -> None:
    stack = SimpleStack([None, None, FOUNDATION])
    state, built = deploy(stack, "", Notes().actions())
    assert state == FOUNDATION
    assert stack.images == ["", "ami-built"] and built == [("state", "builder")]


def test_with_an_image_the_stack_is_made_at_once() -> None:
    stack = SimpleStack([None, None, FOUNDATION])
    assert deploy(stack, "ami-found", Notes().actions())[1] == []
    assert stack.images == ["ami-found"]


def test_an_existing_stack_serves_while_its_next_image_is_built() -> None:
    stack = SimpleStack([FOUNDATION])
    assert deploy(stack, "", Notes().actions())[1] == [("state", "builder")]
    assert stack.images == ["ami-built"], "without workers in between"


def test_nothing_is_built_without_consent() -> None:
    notes = Notes(yes=False)
    state, built = deploy(SimpleStack([None, None, FOUNDATION]), "", notes.actions())
    assert state is None and built == [] and isinstance(notes.shown[0], ChangeSet)


@pytest.mark.parametrize(
    "option", [["--allow", "198.51.100.7"], ["--instance-profile", "p"], ["--image", "ami-1"], ["--no-wait"]]
)
def test_options_of_the_simple_deployment_need_it(option: list[str]) -> None:
    result = CliRunner().invoke(deploy_command, option)
    assert isinstance(result.exception, ArgumentError) and "belong to --simple" in str(result.exception)


def test_a_stack_of_the_other_kind_is_not_touched() -> None:
    stack = SimpleStack([DONE])
    with pytest.raises(StackError, match="is not a simple one"):
        deploy(stack, "ami-found", Notes().actions())
    assert stack.images == []

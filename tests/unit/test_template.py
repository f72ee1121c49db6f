"""The template of the simple deployment: how it takes its resources from the other template, and what it is."""

from __future__ import annotations

import json
import re
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.prices import load_prices
from core.settings import Settings
from infra.outputs import SETTINGS
from infra.template import MAX_BYTES, SIMPLE_PATH, Shared, TemplateError, resolve, simple, simple_text
from tests.serving import running
from tests.stack.emulated import original
from tests.unit.test_infra_permissions import as_list, statements

SOURCE = {
    "A": {
        "Type": "T",
        "Text": "one two",
        "List": ["${X}", {"Size": 1, "Name": "n"}],
        "Value": {"Fn::GetAtt": ["B", "C"]},
    }
}
SIMPLE = simple()
RESOURCES = SIMPLE["Resources"]


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({"From": "A.Text"}, "one two"),
        ({"From": "A.List.1.Size"}, 1),
        ({"From": "A.List", "Edit": {"${X}": "${Y}"}}, ["${Y}", {"Size": 1, "Name": "n"}]),
        ({"From": "A.List.1", "Size": 2}, {"Size": 2, "Name": "n"}),
        ({"From": "A.List", 1: {"Size": 2}}, ["${X}", {"Size": 2, "Name": "n"}]),
        ({"From": "A.Value", "Fn::GetAtt": ["B", "D"]}, {"Fn::GetAtt": ["B", "D"]}),
        (
            {"From": "A", "Text": "x", "List": [], "Value": {"Ref": "B"}},
            {"Type": "T", "Text": "x", "List": [], "Value": {"Ref": "B"}},
        ),
    ],
)
def test_a_shared_node_is_that_of_the_other_template_with_its_changes(node: dict[Any, Any], expected: object) -> None:
    assert resolve({"List": [Shared(node)]}, SOURCE) == {"List": [expected]}


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        ({"From": "A.Other"}, "has no A.Other: Other is missing"),
        ({"From": "A.List.7"}, "7 is missing"),
        ({"From": "A.Text.x"}, "x is missing"),
        ({"From": "A", "Edit": {"three": "3"}}, "'three' 0 times, not once"),
        ({"From": "A.Text", "Edit": {"o": "0"}}, "'o' 2 times, not once"),
    ],
)
def test_a_change_of_the_other_template_that_breaks_a_reference_is_an_error(
    node: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(TemplateError, match=re.escape(sentence)):
        resolve(Shared(node), SOURCE)


@given(st.recursive(st.integers() | st.text(), lambda part: st.lists(part) | st.dictionaries(st.text(), part)))
def test_what_is_not_shared_stays(node: object) -> None:
    assert resolve(node, SOURCE) == node


def test_the_simple_template_fits_and_is_short() -> None:
    assert len(simple_text().encode()) <= MAX_BYTES / 2
    assert len(SIMPLE_PATH.read_bytes()) <= MAX_BYTES / 4
    assert json.loads(simple_text()) == SIMPLE
    assert SETTINGS.keys() <= SIMPLE["Outputs"].keys()
    assert set(re.findall(r"\bEIC_[A-Z0-9_]+", simple_text())) <= {
        f"EIC_{name.upper()}" for name in Settings.__dataclass_fields__
    }


def test_nothing_in_it_costs_money_while_idle_but_one_instance_and_its_address() -> None:
    types = [entry["Type"] for entry in RESOURCES.values()]
    free = ("AWS::IAM::", "AWS::EC2::LaunchTemplate", "AWS::EC2::SecurityGroup", "AWS::EC2::EIPAssociation")
    # Paid by use: S3 and SQS by request, logs by volume.
    by_use = ("AWS::S3::", "AWS::SQS::", "AWS::Logs::LogGroup")
    assert sorted(kind for kind in types if not kind.startswith((*free, *by_use))) == [
        "AWS::EC2::EIP",
        "AWS::EC2::Instance",
    ]
    assert SIMPLE["Parameters"]["MachineInstanceType"]["Default"] == load_prices().simple["instance_type"]


def test_with_an_instance_profile_no_iam_resource_is_made() -> None:
    conditions = {entry["Condition"] for entry in RESOURCES.values() if entry["Type"].startswith("AWS::IAM::")}
    made = {"Fn::Equals": [{"Ref": "InstanceProfile"}, ""]}
    assert conditions == {"MakeRoles", "MakeMachineRole"} and SIMPLE["Conditions"]["MakeRoles"] == made
    assert {"Condition": "MakeRoles"} in SIMPLE["Conditions"]["MakeMachineRole"]["Fn::And"]


def test_the_instance_may_what_web_tier_and_controller_may_and_a_worker_what_it_may() -> None:
    theirs = original()
    (web,), (controller,) = (
        theirs["Resources"][role]["Properties"]["Policies"] for role in ("WebRole", "ControllerRole")
    )
    assert RESOURCES["MachineRole"]["Properties"]["Policies"] == [web, controller]
    assert statements(SIMPLE, "WorkerRole") == statements(theirs, "WorkerRole")


def test_the_page_is_reached_over_https_from_the_clients_alone() -> None:
    (rule,) = RESOURCES["MachineGroup"]["Properties"]["SecurityGroupIngress"]
    assert (rule["FromPort"], rule["ToPort"], rule["CidrIp"]) == (443, 443, {"Ref": "ClientCidr"})
    assert "SecurityGroupIngress" not in RESOURCES["WorkerGroup"]["Properties"]
    assert "Default" not in SIMPLE["Parameters"]["ClientCidr"]


def test_a_change_of_the_user_data_replaces_the_instance() -> None:
    """User data runs at an instance's first boot only: changed in place, it would have no effect."""
    from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", "AWS::EC2::Instance").schema
    assert "/properties/LaunchTemplate" in schema["createOnlyProperties"]
    version = {"Fn::GetAtt": ["MachineTemplate", "LatestVersionNumber"]}
    assert RESOURCES["Machine"]["Properties"]["LaunchTemplate"]["Version"] == version


def test_the_instance_installs_both_tiers_after_program_and_certificate() -> None:
    user_data = RESOURCES["MachineTemplate"]["Properties"]["LaunchTemplateData"]["UserData"]["Fn::Base64"]["Fn::Sub"]
    lines, values = user_data[0].splitlines(), user_data[1]
    assert lines[2] == "${WaitForAddress}" and "urllib" in values["WaitForAddress"]["Fn::Sub"]
    [fetched] = [number for number, line in enumerate(lines) if line.startswith("until")]
    assert "program/${ProgramSha256}.tar.gz" in lines[fetched] and "program/tls.pem" in lines[fetched]
    assert lines[-1].endswith("install.sh web ${WebLogs} controller ${ControllerLogs}")
    settings = {line.partition("=")[0] for line in lines if line.startswith("EIC_")}
    theirs = original()["Resources"]
    for template in ("WebTemplate", "ControllerTemplate"):
        data = theirs[template]["Properties"]["LaunchTemplateData"]["UserData"]["Fn::Base64"]["Fn::Sub"][0]
        names = {line.partition("=")[0] for line in data.splitlines() if line.startswith("EIC_")}
        assert names - settings <= {"EIC_FORWARDED_PROXIES"}, "no proxy is in front"


class MetadataHandler(BaseHTTPRequestHandler):
    """The metadata service of an instance whose public address changes."""

    answers: ClassVar[list[str]] = []

    def do_PUT(self) -> None:
        self._respond(200, "a token")

    def do_GET(self) -> None:
        assert self.headers["X-aws-ec2-metadata-token"] == "a token"
        answer = self.answers.pop(0) if self.path == "/latest/meta-data/public-ipv4" else ""
        self._respond(200 if answer else 404, answer)

    def log_message(self, *_: object) -> None:
        pass

    def _respond(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


def test_the_user_data_waits_until_the_instance_has_its_address() -> None:
    user_data = RESOURCES["MachineTemplate"]["Properties"]["LaunchTemplateData"]["UserData"]["Fn::Base64"]["Fn::Sub"]
    script = user_data[1]["WaitForAddress"]["Fn::Sub"].partition("<<'END'\n")[2].partition("\nEND\n")[0]
    # None yet, then the one of the launch, then its own.
    MetadataHandler.answers = ["", "198.51.100.1", "203.0.113.9", "never asked for"]
    with running(ThreadingHTTPServer(("127.0.0.1", 0), MetadataHandler)) as service:
        script = script.replace("http://169.254.169.254", service).replace("${Address}", "203.0.113.9")
        exec(script.replace("time.sleep(2)", "time.sleep(0)"), {})
    assert MetadataHandler.answers == ["never asked for"]


@pytest.mark.parametrize("name", ["MachineTemplate", "ControllerTemplate", "WebTemplate"])
def test_the_user_data_is_a_shell_script(name: str) -> None:
    resources = RESOURCES if name == "MachineTemplate" else original()["Resources"]
    text, values = resources[name]["Properties"]["LaunchTemplateData"]["UserData"]["Fn::Base64"]["Fn::Sub"]
    for variable, value in values.items():
        text = text.replace(f"${{{variable}}}", value.get("Fn::Sub", "x") if isinstance(value, dict) else "x")
    subprocess.run(["sh", "-n"], input=re.sub(r"\$\{[A-Za-z:0-9.]+\}", "x", text), text=True, check=True)


@pytest.mark.parametrize("name", ["install.sh", "ship-logs.sh"])
def test_the_scripts_that_it_runs_are_shell_scripts(name: str) -> None:
    subprocess.run(["sh", "-n", SIMPLE_PATH.parent / "machine" / name], check=True)


def test_every_instance_has_imdsv2_and_an_encrypted_disk() -> None:
    for name in ("MachineTemplate", "WorkerTemplate"):
        data = RESOURCES[name]["Properties"]["LaunchTemplateData"]
        assert data["MetadataOptions"]["HttpTokens"] == "required"
        assert data["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
    assert as_list(RESOURCES["BuilderRole"]["Properties"]["ManagedPolicyArns"])

"""Deploying and deleting a stack, against fakes of CloudFormation; properties of the template."""

from __future__ import annotations

import itertools
import re
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from io import BytesIO
from pathlib import Path

import pytest
import yaml

from aws.fleet import Instance
from aws.stacks import Change, ChangeSet, Event, Resource, StackError, StackState
from cli.deploy import alarms_of, drift_of, table_of
from core.object_keys import DROPPED
from core.packaging import Archive
from core.paths import REPOSITORY_ROOT
from core.settings import Settings
from infra.deployment import StackActions, StackSpec, check_parameters, deploy
from infra.outputs import ADDED_SETTINGS, SETTINGS, OutputError, settings_of
from infra.program import key_of, program_archive
from infra.stack_waiter import PollPolicy
from infra.teardown import BUCKET, GROUP, INSTANCE, destroy
from infra.template import MAX_BYTES, PATH, text, without_comments
from tests.stack.emulated import differences, original

DONE = StackState(
    "id-1", "CREATE_COMPLETE", outputs={name: f"the-{name}" for name in SETTINGS} | {"LaunchTemplateVersion": "3"}
)
PARAMETERS = {"DomainName": True, "ProgramSha256": True, "ImageDays": False}
CHANGES = ChangeSet("cs-1", "CREATE_COMPLETE", "", (Change("Add", "InputBucket", "AWS::S3::Bucket"),))


@dataclass
class FakeStack:
    """A stack whose states come one after the other; the last one stays."""

    states: list[StackState | None]
    change_set: ChangeSet = CHANGES
    name: str = "photos"
    calls: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    given: dict[str, str] = field(default_factory=dict)
    waiting: list[Event] = field(default_factory=list)

    def state(self) -> StackState | None:
        return self.states[0]

    def look(self, name_or_id: str) -> StackState | None:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def validate(self, template: str) -> dict[str, bool]:
        return PARAMETERS

    def propose(self, template: str, parameters: Mapping[str, str], kept: list[str], tag: str) -> str:
        self.kept, self.given = kept, dict(parameters)
        return self.change_set.change_set_id

    def proposal(self, change_set_id: str) -> ChangeSet:
        return self.change_set

    def discard(self, change_set_id: str) -> None:
        self.calls.append("discard")

    def execute(self, change_set_id: str) -> None:
        self.calls.append("execute")
        self._begin()

    def delete(self) -> None:
        self.calls.append("delete")
        self._begin()

    def events(self, stack_id: str, seen: set[str]) -> list[Event]:
        waiting, self.waiting = self.waiting, []
        return waiting

    def _begin(self) -> None:
        self.waiting = [Event("e-1", self.name, "AWS::CloudFormation::Stack", "…_IN_PROGRESS", "")]

    made: tuple[Resource, ...] = (
        Resource("InputBucket", BUCKET, "bucket-1"),
        Resource("WebInstances", GROUP, "group-1"),
    )

    def resources(self) -> list[Resource]:
        return list(self.made)


@dataclass
class Notes:
    """Records the calls of a deployment's actions."""

    yes: bool = True
    uploads: list[tuple[str, str]] = field(default_factory=list)
    versions: list[tuple[str, int]] = field(default_factory=list)
    shown: list[ChangeSet] = field(default_factory=list)

    def actions(self) -> StackActions:
        def confirm(change_set: ChangeSet) -> bool:
            self.shown.append(change_set)
            return self.yes

        return StackActions(
            confirm,
            lambda event: None,
            lambda bucket, key, body: self.uploads.append((bucket, key)),
            lambda name, version: self.versions.append((name, version)),
        )


def polling(seconds: float = 100.0) -> PollPolicy:
    ticks = itertools.count()
    return PollPolicy(lambda: float(next(ticks)), lambda wait: None, 1.0, seconds)


ARCHIVE = Archive(b"archive")
SPEC = StackSpec("template", {"DomainName": "photos.example.org"}, ARCHIVE, "elastic:stack")
KEY = key_of(ARCHIVE.sha256)


def test_a_new_stack_is_made_and_then_gets_its_program() -> None:
    stack, notes = FakeStack([None, replace(DONE, status="CREATE_IN_PROGRESS"), DONE]), Notes()
    assert deploy(stack, SPEC, notes.actions(), polling()) == DONE
    assert stack.calls == ["execute"]
    assert stack.given == {"DomainName": "photos.example.org", "ProgramSha256": ARCHIVE.sha256}
    assert notes.uploads == [("the-StateBucket", KEY)]
    assert notes.versions == [("the-LaunchTemplateName", 3)]


def test_a_version_that_is_no_number_is_an_error_after_the_program_is_stored() -> None:
    after = replace(DONE, outputs={**DONE.outputs, "LaunchTemplateVersion": "unknown"})
    stack, notes = FakeStack([None, replace(DONE, status="CREATE_IN_PROGRESS"), after]), Notes()
    with pytest.raises(StackError, match="LaunchTemplateVersion is 'unknown', not a number"):
        deploy(stack, SPEC, notes.actions(), polling())
    assert notes.uploads == [("the-StateBucket", KEY)], "instances wait for it"
    assert notes.versions == []


def test_an_update_stores_the_program_before_instances_ask_for_it_and_keeps_parameters() -> None:
    before = replace(DONE, parameters={"DomainName": "old.example.org", "ImageDays": "7", "Forgotten": "1"})
    stack, notes = FakeStack([before]), Notes()
    stored_first: list[list[str]] = []
    actions = notes.actions()
    actions = replace(actions, confirm=lambda change_set: not stored_first.append([key for _, key in notes.uploads]))
    deploy(stack, SPEC, actions, polling())
    assert stored_first == [[KEY]]
    assert stack.kept == ["ImageDays"]


@pytest.mark.parametrize(
    ("change_set", "yes", "result"),
    [
        (CHANGES, False, None),
        (ChangeSet("cs-2", "FAILED", "The submitted information didn't contain changes."), True, DONE),
    ],
    ids=["refused", "nothing to change"],
)
def test_nothing_is_executed_without_need_or_consent(
    change_set: ChangeSet, yes: bool, result: StackState | None
) -> None:
    stack, notes = FakeStack([DONE], change_set), Notes(yes)
    assert deploy(stack, SPEC, notes.actions(), polling()) == result
    assert stack.calls == ["discard"]
    assert bool(notes.shown) is not change_set.empty


@pytest.mark.parametrize(
    ("states", "change_set", "sentence"),
    [
        ([replace(DONE, status="UPDATE_IN_PROGRESS")], CHANGES, "is being changed"),
        ([replace(DONE, status="ROLLBACK_COMPLETE")], CHANGES, "elastic destroy"),
        ([DONE, replace(DONE, status="UPDATE_ROLLBACK_COMPLETE")], CHANGES, "UPDATE_ROLLBACK_COMPLETE"),
        ([None, replace(DONE, status="ROLLBACK_COMPLETE", reason="no")], CHANGES, "ROLLBACK_COMPLETE: no"),
        ([DONE], ChangeSet("cs-3", "FAILED", "Parameter X is wrong"), "Parameter X is wrong"),
    ],
)
def test_a_failure_gives_the_reason(states: list[StackState | None], change_set: ChangeSet, sentence: str) -> None:
    notes = Notes()
    with pytest.raises(StackError, match=sentence):
        deploy(FakeStack(states, change_set), SPEC, notes.actions(), polling())
    assert notes.versions == []


def test_the_old_state_right_after_a_request_is_not_taken_for_the_end() -> None:
    class Slow(FakeStack):
        looks = 0

        def events(self, stack_id: str, seen: set[str]) -> list[Event]:
            self.looks += 1
            return super().events(stack_id, seen) if self.looks > 3 else []

    after = replace(DONE, status="UPDATE_COMPLETE")
    stack = Slow([DONE, DONE, DONE, DONE, replace(DONE, status="UPDATE_IN_PROGRESS"), after])
    assert deploy(stack, SPEC, Notes().actions(), polling()) == after


def test_waiting_ends() -> None:
    stack = FakeStack([DONE, replace(DONE, status="UPDATE_IN_PROGRESS")])
    with pytest.raises(StackError, match="longer than 5 s"):
        deploy(stack, SPEC, Notes().actions(), polling(5.0))


@pytest.mark.parametrize(
    ("given", "sentence"), [({"Domain": "x"}, "no parameter Domain"), ({}, "needed: DomainName, ProgramSha256")]
)
def test_parameters_are_checked_before_anything_is_asked_of_aws(given: dict[str, str], sentence: str) -> None:
    with pytest.raises(StackError, match=sentence):
        check_parameters(PARAMETERS, given, {})


@dataclass
class FakeStackResources:
    log: list[str]
    left: list[list[str]]

    def stop_groups(self, names: Iterable[str]) -> None:
        self.log.append(f"stop {' '.join(names)}")

    def instances(self) -> list[str]:
        return []

    def empty_bucket(self, bucket: str) -> int:
        self.log.append(f"empty {bucket}")
        return 3

    def tagged(self) -> list[str]:
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]


@dataclass
class InMemoryFleet:
    log: list[str]
    rounds: list[list[str]]

    def describe(self) -> list[Instance]:
        ids = self.rounds.pop(0) if len(self.rounds) > 1 else self.rounds[0]
        return [Instance(instance_id, "", "running", datetime.now(UTC)) for instance_id in ids]

    def terminate(self, instance_ids: list[str]) -> None:
        self.log.append(f"terminate {' '.join(instance_ids)}")


def tear_down(
    left: list[list[str]], after: StackState | None = None, made: tuple[Resource, ...] = FakeStack.made
) -> tuple[list[str], list[str]]:
    log: list[str] = []
    stack = FakeStack([DONE, replace(DONE, status="DELETE_IN_PROGRESS"), after], calls=log, made=made)
    # A worker that the stopping controller still launched is found in the second round.
    fleet = InMemoryFleet(log, [["i-1"], ["i-1"], ["i-2"], []])
    return destroy(stack, FakeStackResources(log, left), fleet, lambda step: None, lambda event: None, polling()), log


def test_the_controller_stops_before_workers_end_and_buckets_are_emptied_last() -> None:
    left, log = tear_down([["arn"], []])
    assert log == ["stop group-1", "terminate i-1", "terminate i-2", "empty bucket-1", "delete"]
    assert left == []


def test_the_single_instance_of_a_simple_stack_ends_before_workers_do() -> None:
    made = (Resource("InputBucket", BUCKET, "bucket-1"), Resource("Machine", INSTANCE, "i-9"))
    log = tear_down([[]], made=made)[1]
    assert log == ["stop ", "terminate i-9", "terminate i-1", "terminate i-2", "empty bucket-1", "delete"]


def test_resources_that_remain_are_returned() -> None:
    assert tear_down([["arn:left"]])[0] == ["arn:left"]


def test_a_stack_that_cannot_be_deleted_is_an_error() -> None:
    with pytest.raises(StackError, match="DELETE_FAILED"):
        tear_down([[]], replace(DONE, status="DELETE_FAILED"))


def test_outputs_name_the_settings_that_they_are() -> None:
    fields = {f"EIC_{name.upper()}" for name in Settings.__dataclass_fields__}
    assert {*SETTINGS.values(), *ADDED_SETTINGS.values()} <= fields
    assert settings_of(DONE.outputs)["EIC_QUEUE_NAME"] == "the-QueueName"
    with pytest.raises(OutputError, match="QueueName"):
        settings_of({"InputBucket": "x"})
    assert SETTINGS.keys() | ADDED_SETTINGS.keys() <= original()["Outputs"].keys()


def test_a_stack_of_an_earlier_version_has_no_bulk_queue() -> None:
    assert settings_of(DONE.outputs)["EIC_BULK_QUEUE_NAME"] == ""
    assert settings_of({**DONE.outputs, "BulkQueueName": "bulk"})["EIC_BULK_QUEUE_NAME"] == "bulk"


def test_changes_that_lose_something_come_first() -> None:
    changes = (
        Change("Add", "A", "t"),
        Change("Modify", "B", "t", "True"),
        Change("Remove", "C", "t"),
        Change("Modify", "D", "t", "False"),
    )
    table = table_of(ChangeSet("cs", "CREATE_COMPLETE", "", changes))
    assert list(table.columns[1].cells) == ["C", "B", "A", "D"]


def test_alarms_and_drift_in_words() -> None:
    assert alarms_of([]) == "Alarms: 0, none in the ALARM state."
    assert "outside CloudFormation" in drift_of(replace(DONE, drift="DRIFTED"), "photos")


def test_the_archive_is_the_same_each_time_and_holds_what_instances_start(tmp_path: Path) -> None:
    archive = program_archive(REPOSITORY_ROOT)
    assert archive == program_archive(REPOSITORY_ROOT)
    with tarfile.open(fileobj=BytesIO(archive.body)) as found:
        names = set(found.getnames())
    assert {"infra/machine/install.sh", "infra/requirements.txt", "web_tier/wsgi.py", "templates/base.html"} <= names
    assert {"web_tier/domain/label_groups.tsv", "web_tier/languages/label_names.tsv", "core/prices.toml"} <= names
    assert {"translations/de/LC_MESSAGES/messages.mo", "translations/de/scripts.json"} <= names
    assert not any(name.endswith((".pyc", ".tflite")) or "__pycache__" in name for name in names)


def test_the_template_fits_into_a_request_and_has_no_yaml_aliases() -> None:
    assert len(text().encode()) <= MAX_BYTES
    # CloudFormation refuses aliases and merges.
    assert not [event for event in yaml.parse(text()) if isinstance(event, yaml.AliasEvent)]


def test_what_is_sent_is_the_file_without_its_comments_and_with_all_of_its_scripts() -> None:
    assert original(text()) == original()
    assert len(text()) < len(PATH.read_text("utf-8"))
    assert "#!/bin/sh" in text() and "# The first instance boots before" in text(), "a script's comments are data"
    assert "# ---- Buckets ----" not in text()


@pytest.mark.parametrize(
    ("yaml_text", "kept"),
    [
        ("a: 1\n# comment\n  # another\nb: 2\n", "a: 1\nb: 2\n"),
        ("a: |\n  #!/bin/sh\n\n  # a script\n# file\nb: 2\n", "a: |\n  #!/bin/sh\n\n  # a script\nb: 2\n"),
        ("- - |\n    # script\n  - x: 1\n  # comment\n", "- - |\n    # script\n  - x: 1\n"),
        ("a: 1 # beside\nb: '#'\n", "a: 1 # beside\nb: '#'\n"),
    ],
)
def test_comments_are_whole_lines_outside_of_literal_blocks(yaml_text: str, kept: str) -> None:
    assert without_comments(yaml_text) == kept
    assert yaml.safe_load(yaml_text) == yaml.safe_load(kept)


def test_user_data_names_only_settings() -> None:
    known = {f"EIC_{name.upper()}" for name in Settings.__dataclass_fields__}
    assert set(re.findall(r"\bEIC_[A-Z0-9_]+", text())) <= known


def test_each_bucket_is_private_encrypted_expiring_and_for_tls_only() -> None:
    resources = original()["Resources"]
    buckets = {name: entry["Properties"] for name, entry in resources.items() if entry["Type"] == "AWS::S3::Bucket"}
    assert len(buckets) == 3
    for name, properties in buckets.items():
        assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
        assert properties["BucketEncryption"]
        rules = properties["LifecycleConfiguration"]["Rules"]
        assert any("AbortIncompleteMultipartUpload" in rule for rule in rules)
        (statement,) = resources[f"{name}Policy"]["Properties"]["PolicyDocument"]["Statement"]
        assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


def test_s3_notifies_the_job_queue_of_dropped_photos_and_may_do_nothing_else() -> None:
    resources = original()["Resources"]
    bucket = resources["InputBucket"]
    (notified,) = bucket["Properties"]["NotificationConfiguration"]["QueueConfigurations"]
    (rule,) = notified["Filter"]["S3Key"]["Rules"]
    assert (notified["Event"], rule) == ("s3:ObjectCreated:*", {"Name": "prefix", "Value": DROPPED.prefix})
    queue = {"Fn::GetAtt": ["JobQueue", "Arn"]}
    assert notified["Queue"] == queue
    # S3 checks when it is configured that it may send.
    assert bucket["DependsOn"] == "QueuePolicy"
    statements = resources["QueuePolicy"]["Properties"]["PolicyDocument"]["Statement"]
    (allowed,) = [statement for statement in statements if statement["Effect"] == "Allow"]
    assert allowed["Principal"] == {"Service": "s3.amazonaws.com"}
    assert (allowed["Action"], allowed["Resource"]) == ("sqs:SendMessage", queue)
    # Buckets of other accounts may have such a name.
    assert allowed["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    pattern = allowed["Condition"]["ArnLike"]["aws:SourceArn"]["Fn::Sub"]
    named = pattern.replace("${AWS::Partition}", "aws")
    assert fnmatchcase("arn:aws:s3:::photos-inputbucket-1a2b3c4d5e6f", named)
    assert not fnmatchcase("arn:aws:s3:::photos-outputbucket-1a2b3c4d5e6f", named)


def test_photos_are_deleted_after_their_days_however_they_came() -> None:
    rules = original()["Resources"]["InputBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    prefixes = [rule["Prefix"] for rule in rules if rule.get("ExpirationInDays") == {"Ref": "ImageDays"}]
    assert sorted(prefixes) == ["2", DROPPED.prefix]


@pytest.mark.parametrize("name", ["WorkerTemplate", "WebTemplate", "ControllerTemplate"])
def test_instances_have_imdsv2_and_encrypted_disks(name: str) -> None:
    data = original()["Resources"][name]["Properties"]["LaunchTemplateData"]
    assert data["MetadataOptions"] == {
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 1,
        "HttpEndpoint": "enabled",
        # Tags say which release a worker is of.
        **({"InstanceMetadataTags": "enabled"} if name == "WorkerTemplate" else {}),
    }
    assert data["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True


def test_the_emulator_gets_the_template_but_for_what_the_documentation_says() -> None:
    changed = differences()
    assert changed["image_parameter"] == {"BaseImageId"}
    assert changed["balancer_name"] == {"WebAlarm", "Dashboard"}
    assert changed["machine_image"] == {"Machine"}
    assert changed.keys() == {"image_parameter", "balancer_name", "machine_image"}


def test_each_exception_of_the_scan_has_a_reason() -> None:
    lines = (PATH.parent / "checkov.yaml").read_text("utf-8").splitlines()
    skips = [index for index, line in enumerate(lines) if line.lstrip().startswith("- CKV")]
    assert skips
    assert all(lines[index - 1].lstrip().startswith("#") for index in skips)

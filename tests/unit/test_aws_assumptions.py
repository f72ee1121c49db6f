"""docs/reference/aws-assumptions.md: its files exist, its kinds of checks are known, and "none" does not grow."""

from __future__ import annotations

import re

from core.paths import REPOSITORY_ROOT
from tests.requests_to_aws import requests_in_code

PAGE = (REPOSITORY_ROOT / "docs" / "reference" / "aws-assumptions.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith(("| assumption |", "| --- |"))
]
KINDS = re.compile(r"\b(?:model|schema|documentation|emulator|moto|none)\b")
# Lower it when one more has been checked.
MOST_UNCHECKED = 10


def test_every_row_says_where_the_assumption_is_used_and_how_it_was_checked() -> None:
    assert len(ROWS) > 40
    for assumption, used, checked in ROWS:
        assert assumption and KINDS.search(checked), assumption
        for path in re.findall(r"`([^`]+)`", used):
            assert (REPOSITORY_ROOT / path).exists(), f"{assumption}: there is no {path}"


def test_unchecked_assumptions_do_not_become_more() -> None:
    unchecked = [row[0] for row in ROWS if re.search(r"\bnone\b", row[2])]
    assert len(unchecked) <= MOST_UNCHECKED, "\n".join(unchecked)


def test_a_row_of_the_documentation_names_the_page() -> None:
    for assumption, _, checked in ROWS:
        assert "documentation" not in checked or re.search(r"documentation \(|documentation, where", checked), (
            assumption
        )


def test_each_service_that_requests_are_made_of_is_on_the_page() -> None:
    names = {"s3": "S3", "sqs": "SQS", "ec2": "EC2", "cloudformation": "CloudFormation", "iam": "IAM", "ssm": "Systems"}
    names |= {"autoscaling": "Auto Scaling", "cloudwatch": "CloudWatch", "sts": "STS"}
    names |= {"resourcegroupstaggingapi": "tagging service", "service-quotas": "quota", "pricing": "price list"}
    assert {request.service for request in requests_in_code()} == names.keys()
    assert [name for name in names.values() if name not in PAGE] == []

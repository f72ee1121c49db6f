"""What the image holds, and the pure parts of putting it there."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from crontab import CronTab

from ami import image_spec, provision
from ami.layout import LOCK_FILE, RUN_DIRECTORY, SITE_PACKAGES, USER
from ami.program import DEFAULT_BUNDLE, image_archive, program_files
from app_tier import smoke_test
from core.paths import REPOSITORY_ROOT
from tests.image.root import mirrors_of
from tests.waiting import PATIENCE_SECONDS

FILES = {str(entry.path): entry.text for entry in image_spec.files(DEFAULT_BUNDLE)}


def test_the_image_is_made_for_the_python_that_the_program_asks_for() -> None:
    mypy = tomllib.loads((REPOSITORY_ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert SITE_PACKAGES.parent.name == f"python{mypy['python_version']}"


def test_the_services_that_stay_are_those_that_workers_open() -> None:
    sources = [path.read_text() for folder in ("app_tier", "ami") for path in (REPOSITORY_ROOT / folder).glob("*.py")]
    baking = {"ec2", "ssm"}  # only where images are made
    opened = {name for text in sources for name in re.findall(r'clients\["(\w+)"\]', text)} - baking
    assert opened == set(image_spec.AWS_SERVICES) == set(smoke_test.SERVICES)


def test_every_start_is_guarded_by_the_same_lock() -> None:
    boot, minute, rotate = image_spec.crontab()
    assert (boot.when, minute.when) == ("@reboot", "* * * * *")
    assert boot.command == minute.command
    assert f"flock --nonblock {LOCK_FILE} " in boot.command
    assert "logrotate" in rotate.command and len({entry.comment for entry in image_spec.crontab()}) == 3


def test_the_machine_powers_off_on_the_idle_marker_and_drains_while_there_is_a_network() -> None:
    assert f"PathExists={RUN_DIRECTORY}/idle" in FILES["/etc/systemd/system/elastic-idle.path"]
    drain = FILES["/etc/systemd/system/elastic-drain.service"]
    assert f"User={USER}" in drain and "ami.worker_supervisor stop" in drain
    assert "network.target" in re.findall(r"^After=(.*)$", drain, re.MULTILINE)[0].split()


def test_units_are_masked_and_enabled_and_not_both() -> None:
    masked = {link.path.name for link in image_spec.links() if link.target == "/dev/null"}
    enabled = {link.path.name for link in image_spec.links() if link.path.parent.name == "multi-user.target.wants"}
    assert masked == set(image_spec.MASKED_UNITS) and not masked & enabled
    assert {"elastic-drain.service", "elastic-idle.path"} <= enabled


def test_the_archive_holds_what_provisioning_and_workers_need_and_is_the_same_each_time() -> None:
    archive = image_archive(REPOSITORY_ROOT, DEFAULT_BUNDLE)
    with tarfile.open(fileobj=io.BytesIO(archive.body)) as tar:
        names = set(tar.getnames())
    assert names >= {"ami/provision.sh", "ami/requirements.txt", "app_tier/requirements.txt", "app_tier/__main__.py"}
    assert f"{DEFAULT_BUNDLE}/model.tflite" in names
    assert not [name for name in names if name.startswith(("web_tier", "local_cloud", "tests", "."))]
    assert archive.sha256 == image_archive(REPOSITORY_ROOT, DEFAULT_BUNDLE).sha256


def test_the_program_runs_without_the_rest_of_the_checkout(tmp_path: Path) -> None:
    for name, source in program_files(REPOSITORY_ROOT, DEFAULT_BUNDLE).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(source.read_bytes())
    command = [sys.executable, "-m", "app_tier.smoke_test", DEFAULT_BUNDLE]
    answer = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert answer.returncode == 0 and answer.stdout.startswith("a worker can run here"), answer.stderr


def test_the_smoke_test_fails_without_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert smoke_test.main([str(tmp_path)]) == 1
    assert "a worker cannot run here" in capsys.readouterr().err


def test_files_and_links_are_written_once(tmp_path: Path) -> None:
    steps: list[Callable[[], bool]] = [
        lambda: provision.write(tmp_path / "etc" / "a", "text\n"),
        lambda: provision.link(tmp_path / "units" / "b", "/dev/null"),
    ]
    assert [step() for step in steps] == [True, True]
    assert [step() for step in steps] == [False, False]
    (tmp_path / "etc" / "a").write_text("changed")
    (tmp_path / "units" / "b").unlink()
    (tmp_path / "units" / "b").write_text("a file")
    assert [step() for step in steps] == [True, True]
    assert (tmp_path / "etc" / "a").read_text() == "text\n"
    assert str((tmp_path / "units" / "b").readlink()) == "/dev/null"


def test_a_crontab_is_written_once_and_holds_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "crontab"
    path.write_text("MAILTO=root\n5 4 * * * /bin/false\n")

    def write() -> bool:
        return provision.write_crontab(CronTab(tabfile=str(path)), image_spec.crontab())

    assert write() and not write()
    lines = [line for line in path.read_text().splitlines() if line]
    assert [line.partition(" /")[0] for line in lines] == [entry.when for entry in image_spec.crontab()]
    path.write_text(path.read_text().replace("--nonblock", ""))
    assert write() and not write()


def test_what_no_worker_imports_is_found_and_nothing_else(tmp_path: Path) -> None:
    stay = ("numpy/core.py", "botocore/data/s3/x.gz", "botocore/data/endpoints.json", "ai_edge_litert/interpreter.py")
    go = ("numpy/f2py/a.py", "numpy/linalg/tests/t.py", "botocore/data/ec2/x.gz", "ai_edge_litert/vendors/a.so")
    for name in (*stay, *go):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = {str(path.relative_to(tmp_path)) for path in provision.unused_paths(tmp_path)}
    assert found == {"numpy/f2py", "numpy/linalg/tests", "botocore/data/ec2", "ai_edge_litert/vendors"}


def test_stale_files_are_those_of_an_older_program(tmp_path: Path) -> None:
    for name in (
        "core/a.py",
        "core/__pycache__/a.cpython-311.pyc",
        "core/old.py",
        "core/__pycache__/old.cpython-311.pyc",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    stale = {path.name for path in provision.stale_files(tmp_path, {"core/a.py": Path("a")})}
    assert stale == {"old.py", "old.cpython-311.pyc"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("deb http://a/debian bookworm main\n", ["http://a/debian"]),
        ("deb [signed-by=/k] http://a/debian bookworm main\n", ["http://a/debian"]),
        ("deb http://a/debian bookworm-updates main\n", []),
        ("Types: deb\nURIs: http://b/debian\nSuites: bookworm bookworm-updates\n", ["http://b/debian"]),
        ("Types: deb\nURIs: http://b/security\nSuites: bookworm-security\n", []),
        (
            "Types: deb\nURIs: https://c/x\nSuites: nodistro\n\nURIs: http://b/debian\nSuites: bookworm\n",
            ["http://b/debian"],
        ),
    ],
)
def test_the_archive_is_the_one_of_apt(text: str, found: list[str]) -> None:
    assert mirrors_of([text]) == found

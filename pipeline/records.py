"""Runs the recorded experiments and trains the weight files whose code or data changed.

    python -m pipeline.records experiments [names]   run what is missing or stale
    python -m pipeline.records weights [names]       train what is missing or stale
    python -m pipeline.records check                 list what is stale, and fail if anything is

Options: --force runs again what is up to date, --jobs N runs N at a time (as many as there are
cores, where it is left out), --check only looks.
A run that was interrupted continues: finished runs wait in `_build/records`.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline import messages
from pipeline.chapters import ROOT
from pipeline.code_hash import code_hash, data_hash
from pipeline.messages import PipelineError, say
from rnnlib import records
from rnnlib.training.checkpoint import write_atomically
from rnnlib.training.progress import progress_bar

BUDGET_SECONDS = 2 * 3 * 3600  # of one thread: three hours on two cores
LARGEST_WEIGHTS = 3 * 2**20


@dataclass(frozen=True)
class Task:
    """One experiment or one weight file: what stands in its source now."""

    name: str
    root: Path
    trains_weights: bool = False

    @property
    def module(self) -> str:
        return f"experiments.{'weights.' if self.trains_weights else ''}{self.name}"

    @property
    def function(self) -> str:
        return "train" if self.trains_weights else "run"

    @property
    def source(self) -> Path:
        return self.root.joinpath(*self.module.split(".")).with_suffix(".py")

    @property
    def target(self) -> Path:
        """The JSON file that this task writes."""
        return (
            self.root
            / "rnnlib"
            / ("_weights" if self.trains_weights else "_records")
            / (f"{self.name}.json")
        )

    @property
    def workshop(self) -> Path:
        """Where finished runs wait until all are finished."""
        return self.root / "_build" / "records" / self.module

    def hashes(self) -> dict[str, str]:
        arguments = (self.module, self.function, self.root)
        return {"code_hash": code_hash(*arguments), "data_hash": data_hash(*arguments)}

    def plan(self) -> list[str]:
        """Return the arguments of every run, as JSON (`-` for weights, which take none)."""
        if self.trains_weights:
            return ["-"]
        specification = importlib.util.spec_from_file_location(f"_planned_{self.name}", self.source)
        assert specification is not None and specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        sys.modules[specification.name] = module  # dataclasses look their module up
        try:
            specification.loader.exec_module(module)
            seeds, settings = module.SEEDS, module.SETTINGS
        except AttributeError as error:
            raise PipelineError(f"{self.module} must define SEEDS, SETTINGS and run") from error
        finally:
            del sys.modules[specification.name]
        if not seeds or not settings or len(set(seeds)) < len(seeds):
            raise PipelineError(f"{self.module} needs different SEEDS, and at least one setting")
        plan = [_arguments(setting, seed) for setting in settings for seed in seeds]
        if len(set(plan)) < len(plan):
            raise PipelineError(f"{self.module} has the same setting twice")
        return plan


def _arguments(setting: dict[str, Any], seed: int) -> str:
    return json.dumps({**setting, "seed": seed}, sort_keys=True, allow_nan=False)


def tasks(weights: bool, root: Path = ROOT) -> list[Task]:
    """Return the experiments (files that define `run`) or the weight files (`train`), by name."""
    folder = root / "experiments" / ("weights" if weights else "")
    function = "def train(" if weights else "def run("
    marks = (function,) if weights else (function, "SEEDS =", "SETTINGS =")
    return [
        Task(path.stem, root, weights)
        for path in sorted(folder.glob("*.py"))
        if any(f"\n{mark}" in path.read_text(encoding="utf-8") for mark in marks)
    ]


def staleness(task: Task) -> str:
    """Return why a record must be made again, or "" where it is up to date."""
    if not task.target.exists():
        return "is missing"
    try:
        if task.trains_weights:
            manifest = records.load_weights(task.name, task.target.parent)[1]
            stored = {key: manifest[key] for key in ("code_hash", "data_hash")}
            made = ["-"]
        else:
            record = records.load(task.name, task.target.parent)
            stored = {"code_hash": record.code_hash, "data_hash": record.data_hash}
            made = [_arguments(dict(run.setting), run.seed) for run in record.runs]
    except (records.RecordError, KeyError) as error:
        return f"is damaged: {error}"
    now = task.hashes()
    if stored["code_hash"] != now["code_hash"]:
        return "is stale: the code changed"
    if stored["data_hash"] != now["data_hash"]:
        return "is stale: the data changed"
    if sorted(made) != sorted(task.plan()):
        return "is stale: the seeds or settings changed"
    return ""


def problems(root: Path = ROOT) -> Iterator[str]:
    """Yield everything that keeps the records from being in step with their sources."""
    total = 0.0
    for weights in (False, True):
        kind = "weights" if weights else "record"
        known = tasks(weights, root)
        for task in known:
            reason = staleness(task)
            if reason:
                yield f"{kind} {task.name} {reason}: run `make {_target(weights)}`"
            if task.target.exists():
                total += _seconds(task.target)
        folder = root / "rnnlib" / ("_weights" if weights else "_records")
        for path in sorted(folder.glob("*.json")):
            if path.stem not in {task.name for task in known}:
                yield f"{kind} {path.name} has no source in experiments/"
        for path in sorted(folder.glob("*.safetensors")):
            if path.stat().st_size > LARGEST_WEIGHTS:
                yield f"{kind} {path.name} has {path.stat().st_size:,} bytes, over 3 MB"
    if total > BUDGET_SECONDS:
        yield (
            f"all records together take {total / 7200:.1f} h to make on two cores, "
            "over the limit of 3 h"
        )


def _target(weights: bool) -> str:
    return "weights" if weights else "experiments"


def _seconds(path: Path) -> float:
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))["total_seconds"])
    except (KeyError, TypeError, ValueError):
        return 0.0


def make(task: Task, force: bool = False, jobs: int = 1) -> None:
    """Run what is missing of one task, then write its record whole.

    Raises:
        PipelineError: A run failed, or the code changed while it ran. Finished runs are kept.
    """
    hashes, plan = task.hashes(), task.plan()
    if force:
        shutil.rmtree(task.workshop, ignore_errors=True)
    elif not task.trains_weights:
        _reuse(task, hashes)
    finished = {arguments: _finished(task, hashes, arguments) for arguments in plan}
    missing = [arguments for arguments, path in finished.items() if not path.exists()]
    failures: list[str] = []
    with (
        progress_bar(len(plan), task.name, len(plan) - len(missing)) as bar,
        ThreadPoolExecutor(jobs) as pool,
    ):
        futures = {pool.submit(_one_run, task, arg, finished[arg]): arg for arg in missing}
        try:
            for future in as_completed(futures):
                bar.update()
                if future.result():
                    failures.append(f"{futures[future]}: {future.result()}")
                if task.hashes() != hashes:
                    finished[futures[future]].unlink(missing_ok=True)
                    raise PipelineError(f"the code of {task.name} changed while it ran: run again")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        finally:
            _close_benches()
    if failures:
        raise PipelineError(f"{len(failures)} runs of {task.name} failed:\n" + "\n".join(failures))
    _write(task, hashes, [(arguments, finished[arguments]) for arguments in plan])
    shutil.rmtree(task.workshop, ignore_errors=True)


def _finished(task: Task, hashes: dict[str, str], arguments: str) -> Path:
    key = hashlib.sha256(json.dumps([hashes, arguments], sort_keys=True).encode()).hexdigest()
    return task.workshop / f"{key[:24]}.json"


def _reuse(task: Task, hashes: dict[str, str]) -> None:
    """Keep the runs of the present record that the same code and data made."""
    try:
        record = records.load(task.name, task.target.parent)
    except records.RecordError:
        return
    if {"code_hash": record.code_hash, "data_hash": record.data_hash} == hashes:
        for run in record.runs:
            results = {name: records.encode(value) for name, value in run.results.items()}
            content = json.dumps({"seconds": run.seconds, "results": results})
            path = _finished(task, hashes, _arguments(dict(run.setting), run.seed))
            write_atomically(path, content.encode())


_benches = threading.local()
_started: list[subprocess.Popen[str]] = []


def _bench(task: Task) -> subprocess.Popen[str]:
    """Return this thread's process that makes the runs of a task; start it where there is none."""
    known: dict[Any, subprocess.Popen[str]] = _benches.__dict__.setdefault("known", {})
    bench = known.get((task.module, task.root))
    if bench is None or bench.poll() is not None:
        paths = [str(task.root), str(ROOT), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "RNNLIB_PROGRESS": "0",
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        }
        bench = known[task.module, task.root] = subprocess.Popen(
            [sys.executable, "-m", "pipeline.one_run", task.module],
            cwd=task.root,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        _started.append(bench)
    return bench


def _close_benches() -> None:
    """End the processes that make runs; one that is at work ends with its run."""
    while _started:
        bench = _started.pop()
        if bench.stdin is not None:
            bench.stdin.close()


def _one_run(task: Task, arguments: str, output: Path) -> str:
    """Run once in a process of its own; return "" or the end of what it said when it failed."""
    output.parent.mkdir(parents=True, exist_ok=True)
    bench = _bench(task)
    assert bench.stdin is not None and bench.stdout is not None
    try:
        print(json.dumps([arguments, str(output)]), file=bench.stdin, flush=True)
        return str(json.loads(bench.stdout.readline()))
    except (BrokenPipeError, json.JSONDecodeError):
        return f"the process that makes the runs ended with exit code {bench.wait()}"


def _write(task: Task, hashes: dict[str, str], finished: list[tuple[str, Path]]) -> None:
    runs = [
        (arguments, json.loads(path.read_text(encoding="utf-8"))) for arguments, path in finished
    ]
    content: dict[str, Any] = {
        "weights" if task.trains_weights else "experiment": task.name,
        **hashes,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "total_seconds": round(sum(run["seconds"] for _, run in runs), 3),
    }
    if task.trains_weights:
        trained = finished[0][1].with_suffix(".safetensors")
        content["figures"] = runs[0][1]["results"]
        content["bytes"], content["sha256"] = trained.stat().st_size, records.file_hash(trained)
        if content["bytes"] > LARGEST_WEIGHTS:
            raise PipelineError(f"weights {task.name} have {content['bytes']:,} bytes, over 3 MB")
        write_atomically(task.target.with_suffix(".safetensors"), trained.read_bytes())
    else:
        content["runs"] = []
        for arguments, run in runs:
            setting = json.loads(arguments)
            seed = setting.pop("seed")
            content["runs"].append({"setting": setting, "seed": seed, **run})
    write_atomically(task.target, _readable(content).encode())


def _readable(content: dict[str, Any]) -> str:
    """Write JSON with one run a line, so that a change is seen in a comparison of versions."""
    head = {key: value for key, value in content.items() if key != "runs"}
    text = json.dumps(head, indent=1, allow_nan=False)
    if "runs" in content:
        lines = ",\n  ".join(json.dumps(run, allow_nan=False) for run in content["runs"])
        text = f'{text[:-2]},\n "runs": [\n  {lines}\n ]\n}}'
    return text + "\n"


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.records", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("what", choices=("experiments", "run", "weights", "check"))
    parser.add_argument("names", nargs="*", help="only these (default: all)")
    parser.add_argument("--force", action="store_true", help="run again what is up to date")
    parser.add_argument("--check", action="store_true", help="only list what is not up to date")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time")
    options = parser.parse_intermixed_args(arguments)
    if options.what == "check" or options.check:
        found = list(problems(root))
        for problem in found:
            say(problem)
        return 1 if found else 0
    if options.jobs < 1:
        raise PipelineError(f"--jobs must be at least 1, not {options.jobs}")
    known = {task.name: task for task in tasks(options.what == "weights", root)}
    unknown = [name for name in options.names if name not in known]
    if unknown:
        raise PipelineError(
            f"unknown: {', '.join(unknown)}; there are {', '.join(known) or 'none'}"
        )
    failures = []
    for task in (known[name] for name in options.names or known):
        reason = staleness(task)
        if reason or options.force:
            say(f"{task.name} {reason or 'is made again'}")
            try:
                make(task, options.force, options.jobs)
            except PipelineError as error:
                failures.append(str(error))
    _report(list(known.values()))
    if failures:
        raise PipelineError("\n".join(failures))
    return 0


def _report(all_tasks: list[Task]) -> None:
    """Print how long each record took, and what is left of the limit for all."""
    total = 0.0
    for task in all_tasks:
        if task.target.exists():
            seconds = _seconds(task.target)
            total += seconds
            say(f"{task.name:<32}{seconds:>10.1f} s")
    say(f"{'all together':<32}{total:>10.1f} s of {BUDGET_SECONDS} s")


if __name__ == "__main__":
    messages.run(main)

"""Records are in step with the code that made them: comments may change, formulas may not."""

from __future__ import annotations

import importlib.metadata
import json
import math
import shutil
import sys
import textwrap
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import code_hash as hashing
from pipeline import records as maker
from pipeline.code_hash import Closure, code_hash, data_hash
from pipeline.messages import PipelineError
from rnnlib import records

FILES = {
    "rnnlib/__init__.py": '__version__ = "1"\n',
    "rnnlib/cells.py": '''
        """Cells."""
        import math
        from rnnlib import helpers as h
        from rnnlib.data import loader

        GAIN = 2.0
        UNUSED = 3.0

        def step(x: float) -> float:
            """One step."""
            check_number(x)
            if x > 1e9:
                raise ValueError(f"x is too large: {x}")
            return GAIN * h.half(x)  # a comment

        def check_number(x):
            if not isinstance(x, float):
                raise TypeError("x")

        def lonely():
            return UNUSED
    ''',
    "rnnlib/helpers.py": """
        import numpy as np
        from math import tanh as squash

        def half(x):
            return squash(x) / 2 * np.float64(1)

        def other(x):
            return x
    """,
    "rnnlib/data/__init__.py": "",
    "rnnlib/data/loader.py": """
        def read():
            return folder("pyyaml")

        def folder(name):
            return name
    """,
    "experiments/__init__.py": "",
    "experiments/common.py": '''
        """A helper without settings of its own."""
        def shift(x):
            return x + 1
    ''',
    "experiments/adding.py": '''
        """How large is it?"""
        from experiments.common import shift
        from rnnlib import cells

        SEEDS = [1, 2]
        SETTINGS = [{"length": 5}, {"length": 7}]

        def run(seed: int, length: int) -> dict:
            """Run once."""
            total = cells.step(float(shift(seed)) * length)
            return {"total": total, "steps": [1, total]}

        def drawn(record):
            return record
    ''',
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text), encoding="utf-8")
    return tmp_path


def edit(project: Path, name: str, old: str, new: str) -> None:
    path = project / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def digest(project: Path) -> str:
    return code_hash("experiments.adding", "run", project)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("rnnlib/cells.py", "# a comment", "# another comment"),
        ("rnnlib/cells.py", '"""One step."""', '"""One step, said differently."""'),
        ("rnnlib/cells.py", '"""One step."""', ""),
        ("rnnlib/cells.py", '"""Cells."""', '"""Rooms."""'),
        ("rnnlib/cells.py", "x: float", "x: complex"),
        ("rnnlib/cells.py", "-> float", "-> complex"),
        ("rnnlib/cells.py", "x is too large", "x is far too large"),
        ("rnnlib/cells.py", "if x > 1e9:", "if x > 1e12:"),
        ("rnnlib/cells.py", "    check_number(x)\n", ""),
        ("rnnlib/cells.py", "UNUSED = 3.0", "UNUSED = 4.0"),
        ("rnnlib/cells.py", "return UNUSED", "return -UNUSED"),
        ("rnnlib/helpers.py", "return x\n", "return -x\n"),
        ("rnnlib/__init__.py", '"1"', '"2"'),
        ("experiments/adding.py", "How large", "How big"),
        ("experiments/adding.py", "return record", "return None"),
        ("experiments/adding.py", "SEEDS = [1, 2]", "SEEDS = [1, 2, 3]"),
        ("experiments/adding.py", "total = cells.step(float(", "total = cells.step( float("),
    ],
)
def test_what_changes_no_result_changes_no_hash(project: Path, name, old, new) -> None:
    before = digest(project)
    edit(project, name, old, new)
    assert digest(project) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("rnnlib/cells.py", "GAIN = 2.0", "GAIN = 2.5"),
        ("rnnlib/cells.py", "GAIN * h.half", "GAIN + h.half"),
        ("rnnlib/cells.py", "h.half(x)", "h.other(x)"),
        ("rnnlib/cells.py", "GAIN = 2.0", "GAIN = 2.0\nGAIN += 1"),
        ("rnnlib/cells.py", "UNUSED = 3.0", "math.side_effect(3.0)"),
        ("rnnlib/helpers.py", "/ 2", "/ 3"),
        ("rnnlib/helpers.py", "import tanh as squash", "import sin as squash"),
        ("rnnlib/helpers.py", "import numpy as np", "import jax.numpy as np"),
        ("rnnlib/__init__.py", "__version__", "print(1)\n__version__"),
        ("experiments/common.py", "x + 1", "x + 2"),
        ("experiments/adding.py", "[1, total]", "[1, 2 * total]"),
        ("experiments/adding.py", "length: int)", "length: int = 3)"),
        ("experiments/adding.py", "import cells", "import helpers as cells"),
    ],
)
def test_what_may_change_a_result_changes_the_hash(project: Path, name, old, new) -> None:
    before = digest(project)
    if "import helpers" in new:
        edit(project, "rnnlib/helpers.py", "def other", "def step")
    edit(project, name, old, new)
    assert digest(project) != before


def used(project: Path, code: str) -> set[str]:
    """Return the symbols of rnnlib that a function `run` with this code uses."""
    path = project / "experiments" / "tried.py"
    path.write_text(textwrap.dedent(code), encoding="utf-8")
    found = Closure(project).of("experiments.tried", "run")
    return {f"{m}.{n}" for m, n in found if m.startswith("rnnlib") and n[0].isalpha()} - {
        f"{m}.{n}" for m, n in found if n.startswith("import ")
    }


HALF = {"rnnlib.helpers.half"}


@pytest.mark.parametrize(
    "code",
    [
        "import rnnlib.helpers\ndef run(): return rnnlib.helpers.half(1)",
        "import rnnlib.helpers as z\ndef run(): return z.half(1)",
        "from rnnlib.helpers import half as z\ndef run(): return [z(y) for y in (1, 2)]",
        "from rnnlib.helpers import half\nclass A:\n  f = half\ndef run(): return A().f(1)",
        "from rnnlib.helpers import half\ndef run(f=half): return f(1)",
        "from rnnlib.helpers import half\nALL = {'half': half}\ndef run(): return ALL['half'](1)",
        "def run():\n  from rnnlib.helpers import half\n  return half(1)",
        "try:\n  from rnnlib.helpers import half\nexcept ImportError:\n  half = None\n"
        "def run(): return half(1)",
        "from rnnlib.helpers import half\n@half\ndef run(): return 1",
        "from rnnlib.helpers import half\ndef run(): return (lambda half: 0)(1), half(1)",
        "from rnnlib.helpers import half\ndef run(): return [half for half in ()], half(1)",
        "from rnnlib import cells\nfrom rnnlib.helpers import half\n"
        "def run(): return (lambda cells: cells)(half)",
    ],
)
def test_names_are_followed_however_they_are_imported(project: Path, code: str) -> None:
    assert used(project, code) == HALF


def test_a_name_that_is_local_is_not_followed(project: Path) -> None:
    code = "from rnnlib.helpers import half\ndef run(half): return half(1)"
    assert used(project, code) == set()
    assert (
        used(project, "from rnnlib.helpers import half\ndef run():\n  half = 1\n  return half")
        == set()
    )


def test_a_module_as_a_value_counts_whole(project: Path) -> None:
    code = "from rnnlib import helpers\ndef run(): return vars(helpers)"
    assert used(project, code) == {"rnnlib.helpers.half", "rnnlib.helpers.other"}


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("from rnnlib import lost\ndef run(): return lost.x", "cannot follow rnnlib.lost"),
        ("from rnnlib.lost import x\ndef run(): return x", "there is no module rnnlib.lost"),
        ("from rnnlib.helpers import *\ndef run(): return half(1)", "name what it needs"),
        ("x = 1", "has no function 'run'"),
    ],
)
def test_what_cannot_be_followed_is_an_error(project: Path, code: str, words: str) -> None:
    with pytest.raises(PipelineError, match=words):
        used(project, code)


def test_relative_imports_are_followed(project: Path) -> None:
    (project / "rnnlib" / "near.py").write_text("from .helpers import half\nf = half\n")
    code = "from rnnlib import near\ndef run(): return near.f(1)"
    assert used(project, code) == {"rnnlib.near.f", *HALF}


def test_the_data_hash_follows_the_package_that_a_loader_names(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert data_hash("experiments.adding", "run", project) == ""
    edit(project, "rnnlib/cells.py", "return GAIN", "loader.read()\n    return GAIN")
    before = data_hash("experiments.adding", "run", project)
    assert before

    class Newer:
        version = "99"
        files = None

    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Newer)
    assert hashing.data_hash("experiments.adding", "run", project) != before


# Running ------------------------------------------------------------------------------------


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the process of each run by a short computation; collect what was run."""
    done: list[str] = []
    # The plan is read by importing the experiment, which imports its helper.
    monkeypatch.setitem(sys.modules, "experiments.common", types.SimpleNamespace(shift=None))

    def quick(task: maker.Task, arguments: str, output: Path) -> str:
        done.append(arguments)
        given = json.loads(arguments)
        if given["length"] == 13:
            return "ValueError: thirteen"
        output.parent.mkdir(parents=True, exist_ok=True)
        results = {"total": given["seed"] * given["length"], "lost": "NaN"}
        output.write_text(json.dumps({"seconds": 0.5, "results": results}))
        return ""

    monkeypatch.setattr(maker, "_one_run", quick)
    return done


def run(project: Path, *words: str) -> int:
    return maker.main(["experiments", *words], project)


def stale(project: Path) -> list[str]:
    return list(maker.problems(project))


def load(project: Path) -> records.Record:
    return records.load("adding", project / "rnnlib" / "_records")


def test_a_stale_record_is_made_and_an_up_to_date_one_left_alone(project: Path, ran: list) -> None:
    assert stale(project) == ["record adding is missing: run `make experiments`"]
    assert run(project, "--check") == 1 and run(project) == 0
    assert len(ran) == 4 and stale(project) == [] and run(project, "--check") == 0
    assert run(project) == 0 and len(ran) == 4
    record = load(project)
    assert record.experiment == "adding" and record.total_seconds == 2.0
    assert record.code_hash == digest(project) and record.torch == torch.__version__
    assert record.values("total", length=7).tolist() == [7.0, 14.0]
    assert math.isnan(record.runs[0].results["lost"])
    assert not (project / "_build" / "records" / "experiments.adding").exists()

    edit(project, "rnnlib/cells.py", "# a comment", "# more words")
    assert stale(project) == []
    edit(project, "rnnlib/helpers.py", "/ 2", "/ 3")
    assert stale(project) == ["record adding is stale: the code changed: run `make experiments`"]
    assert run(project) == 0 and len(ran) == 8 and stale(project) == []
    assert run(project, "--force", "adding") == 0 and len(ran) == 12


def test_new_seeds_run_alone(project: Path, ran: list) -> None:
    run(project)
    edit(project, "experiments/adding.py", "SEEDS = [1, 2]", "SEEDS = [2, 3]")
    assert "the seeds or settings changed" in stale(project)[0]
    run(project)
    assert ran[4:] == ['{"length": 5, "seed": 3}', '{"length": 7, "seed": 3}']
    assert load(project).seeds == [2, 3] and stale(project) == []


def test_a_killed_command_continues(
    project: Path, ran: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = maker._one_run

    def killed_at_the_third(*arguments):
        if len(ran) == 2:
            raise KeyboardInterrupt
        return quick(*arguments)

    monkeypatch.setattr(maker, "_one_run", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run(project)
    assert "is missing" in stale(project)[0]
    monkeypatch.setattr(maker, "_one_run", quick)
    run(project)
    assert len(ran) == len(set(ran)) == 4 and stale(project) == []


def test_a_failed_run_is_reported_and_the_others_kept(project: Path, ran: list) -> None:
    edit(project, "experiments/adding.py", '{"length": 5}', '{"length": 13}')
    with pytest.raises(PipelineError, match=r"(?s)2 runs of adding failed.*13.*thirteen"):
        run(project)
    assert "is missing" in stale(project)[0]
    edit(project, "experiments/adding.py", '{"length": 13}', '{"length": 5}')
    run(project)
    assert ran.count('{"length": 7, "seed": 1}') == 1 and stale(project) == []


def test_code_that_changes_under_way_spoils_the_run(
    project: Path, ran: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = maker._one_run

    def edited(*arguments):
        if not ran:  # once, and before the first run is over: nobody reads a half-written file
            edit(project, "rnnlib/helpers.py", "/ 2", "/ 2 / 1")
        return quick(*arguments)

    monkeypatch.setattr(maker, "_one_run", edited)
    with pytest.raises(PipelineError, match="changed while it ran"):
        run(project, "--jobs", "1")
    assert "is missing" in stale(project)[0]


def test_wrong_names_plans_and_leftovers_are_reported(project: Path, ran: list) -> None:
    with pytest.raises(PipelineError, match="unknown: multiplying; there are adding"):
        run(project, "multiplying")
    with pytest.raises(PipelineError, match="--jobs must be at least 1"):
        run(project, "--jobs", "0")
    run(project)
    folder = project / "rnnlib" / "_records"
    (folder / "old.json").write_text("{}")
    assert stale(project) == ["record old.json has no source in experiments/"]
    (folder / "old.json").unlink()
    text = (folder / "adding.json").read_text()
    (folder / "adding.json").write_text(
        text.replace('"total_seconds": 2.0', '"total_seconds": 4e4')
    )
    assert stale(project) == [
        "all records together take 5.6 h to make on two cores, over the limit of 3 h"
    ]
    (folder / "adding.json").write_text(text[:-40])
    assert "adding is damaged" in stale(project)[0]
    edit(project, "experiments/adding.py", "SEEDS = [1, 2]", "SEEDS = [1, 1]")
    with pytest.raises(PipelineError, match="needs different SEEDS"):
        run(project)
    edit(project, "experiments/adding.py", "SEEDS = [1, 1]", "SEEDED = [1, 1]")
    with pytest.raises(PipelineError, match="must define SEEDS, SETTINGS and run"):
        run(project)


def test_experiments_and_weights_really_run(project: Path, capfd) -> None:
    """Without replacement: one experiment and one weight file, each in its own process."""
    shutil.rmtree(project / "rnnlib")
    (project / "experiments" / "one.py").write_text(
        "import os\nimport torch\nSEEDS = [4]\nSETTINGS = [{'size': 3}, {'size': 0}]\n"
        "def run(seed, size):\n"
        "    threads = torch.get_num_threads(), int(os.environ['OMP_NUM_THREADS'])\n"
        "    return {'sum': torch.ones(size).sum(), 'threads': threads, 'seed': seed,\n"
        "            'share': 1.0 if size else float('nan')}\n"
    )
    (project / "experiments" / "adding.py").unlink()
    assert maker.main(["run", "--jobs", "2"], project) == 0
    record = records.load("one", project / "rnnlib" / "_records")
    assert record.values("threads", size=3).tolist() == [[1.0, 1.0]]
    assert record.values("sum", size=3).tolist() == [3.0]
    assert math.isnan(record.values("share", size=0)[0])
    assert "of 21600 s" in capfd.readouterr().out

    weights = project / "experiments" / "weights"
    weights.mkdir()
    (weights / "__init__.py").write_text("")
    (weights / "small.py").write_text(
        "import torch\ndef train():\n"
        "    return {'w': torch.arange(6.0).reshape(2, 3).T}, {'loss': 0.25}\n"
    )
    assert stale(project) == ["weights small is missing: run `make weights`"]
    assert maker.main(["weights"], project) == 0 and stale(project) == []
    folder = project / "rnnlib" / "_weights"
    state, manifest = records.load_weights("small", folder)
    assert torch.equal(state["w"], torch.arange(6.0).reshape(2, 3).T)
    assert manifest["figures"] == {"loss": 0.25} and manifest["bytes"] < 1000
    edit(project, "experiments/weights/small.py", "6.0", "6.5")
    assert stale(project) == ["weights small is stale: the code changed: run `make weights`"]
    edit(project, "experiments/weights/small.py", "6.5", "6.0")
    data = bytearray((folder / "small.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "small.safetensors").write_bytes(data)
    with pytest.raises(records.RecordError, match="sha256 differs"):
        records.load_weights("small", folder)
    assert "small is damaged" in stale(project)[0]


def test_a_failing_process_shows_its_error(project: Path) -> None:
    shutil.rmtree(project / "rnnlib")
    edit(
        project,
        "experiments/adding.py",
        "total = ",
        "raise RuntimeError('oh')\n    total = ",
    )
    task = maker.tasks(False, project)[0]
    words = maker._one_run(task, '{"length": 1, "seed": 1}', project / "_build" / "x.json")
    assert "RuntimeError: oh" in words


def test_a_run_leaves_nothing_to_the_next_one(project: Path) -> None:
    shutil.rmtree(project / "rnnlib")
    (project / "experiments" / "one.py").write_text(
        "import os\nimport torch\nSEEDS = [1, 2, 3]\nSETTINGS = [{}]\n"
        "def run(seed):\n"
        "    clean = torch.get_default_dtype() == torch.float32\n"
        "    torch.set_default_dtype(torch.float64)\n"
        "    print('this is not an answer')\n"
        "    return {'clean': float(clean), 'process': os.getpid(), 'bench': os.getppid()}\n"
    )
    (project / "experiments" / "adding.py").unlink()
    assert maker.main(["run", "--jobs", "1"], project) == 0
    record = records.load("one", project / "rnnlib" / "_records")
    assert record.values("clean").tolist() == [1.0, 1.0, 1.0]
    assert len(set(record.values("process"))) == 3 and len(set(record.values("bench"))) == 1


def test_a_run_that_is_killed_is_reported_and_the_next_one_made(project: Path) -> None:
    shutil.rmtree(project / "rnnlib")
    (project / "experiments" / "one.py").write_text(
        "import os\nSEEDS = [1, 2]\nSETTINGS = [{}]\n"
        "def run(seed):\n"
        "    if seed == 1:\n"
        "        os.kill(os.getpid(), 9)\n"
        "    return {'seed': seed}\n"
    )
    task = next(t for t in maker.tasks(False, project) if t.name == "one")
    with pytest.raises(PipelineError, match=r"1 runs of one failed:\n.*exit code -9"):
        maker.make(task)
    assert len(list(task.workshop.glob("*.json"))) == 1


# Loading ------------------------------------------------------------------------------------


def write(folder: Path, **changes: object) -> None:
    rows = [
        ({"T": 5}, 2, {"loss": 0.5, "curve": [1, 2]}),
        ({"T": 5}, 1, {"loss": 0.25, "curve": [3]}),
        ({"T": 9}, 1, {"loss": "-Infinity"}),
    ]
    content: dict = {
        "experiment": "adding",
        "code_hash": "a",
        "data_hash": "",
        "python": "3",
        "torch": "2",
        "total_seconds": 3,
        "runs": [
            {"setting": setting, "seed": seed, "seconds": 1, "results": results}
            for setting, seed, results in rows
        ],
    }
    (folder / "adding.json").write_text(json.dumps({**content, **changes}))


def test_a_record_gives_values_by_seed(tmp_path: Path) -> None:
    write(tmp_path)
    record = records.load("adding", tmp_path)
    assert record.values("loss", T=5).tolist() == [0.25, 0.5]
    assert record.values("loss", T=9).tolist() == [-np.inf]
    assert record.seeds == [1, 2] and [run.seed for run in record.select(T=5)] == [1, 2]
    with pytest.raises(records.RecordError, match=r"no run with \{'T': 6\}; it has"):
        record.select(T=6)
    with pytest.raises(records.RecordError, match="no run with"):
        record.select(width=5)
    with pytest.raises(records.RecordError, match="no result 'curve'"):
        record.values("curve", T=9)
    with pytest.raises(records.RecordError, match="differs in length"):
        record.values("curve", T=5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"experiment": "other"}, "says that it is of 'other'"),
        ({"runs": []}, "has no runs"),
        ({"runs": [{"seed": 1}]}, "is damaged"),
        ({"runs": 3}, "is damaged"),
        ({"total_seconds": "long"}, "is damaged"),
        ({"runs": [{"setting": {}, "seed": 1, "seconds": 1, "results": {"x": "big"}}]}, "damaged"),
    ],
)
def test_a_damaged_record_is_an_error(tmp_path: Path, changes: dict, words: str) -> None:
    write(tmp_path, **changes)
    with pytest.raises(records.RecordError, match=words):
        records.load("adding", tmp_path)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(records.RecordError, match=r"no record 'none'.*there are: adding"):
        records.load("none", tmp_path)
    with pytest.raises(records.RecordError, match=r"no weights 'none'.*there are: none"):
        records.load_weights("none", tmp_path)


@pytest.mark.parametrize("value", [1, 0.1, math.inf, -math.inf, [1.0, math.nan], np.float32(0.5)])
def test_results_survive_json(value: object) -> None:
    back = records.decode(json.loads(json.dumps(records.encode(value), allow_nan=False)))
    assert np.array_equal(np.asarray(back), np.asarray(value), equal_nan=True)


@pytest.mark.parametrize("value", ["text", True, None, [[1.0]], np.ones(2), {"a": 1}])
def test_other_results_are_refused(value: object) -> None:
    with pytest.raises(records.RecordError, match="a number or a list of numbers"):
        records.encode(value)


def test_the_books_records_are_up_to_date() -> None:
    assert stale(maker.ROOT) == []

"""Recorded runs, each in a process of its own: one thread, nothing left over from another run.

python -m pipeline.one_run experiments.adding

imports the experiment once, and then reads one line a run: the arguments (`-` for weights, which
take none) and the file to write, as a JSON list. Each run is a fork of this process, so that it
starts clean and does not wait for the imports again. The answer to each line is one line: "" or
the last words of a run that failed, as JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path

import torch
from safetensors.torch import save

from rnnlib.records import encode
from rnnlib.training.checkpoint import write_atomically


def main(module_name: str, arguments: str, output: Path) -> None:
    """Run `run(**arguments)`, or `train()` for weights, and write what it returns."""
    torch.set_num_threads(1)
    module = importlib.import_module(module_name)
    start = time.process_time()  # one thread: what a quiet machine's clock would show
    if arguments == "-":
        state, results = module.train()
        weights = save({name: value.detach().cpu().contiguous() for name, value in state.items()})
        write_atomically(output.with_suffix(".safetensors"), weights)
    else:
        results = module.run(**json.loads(arguments))
    if not isinstance(results, dict) or not results:
        raise TypeError(f"{module_name} must return its results by name, not {results!r:.80}")
    content = {
        "seconds": round(time.process_time() - start, 3),
        "results": {name: encode(value) for name, value in results.items()},
    }
    write_atomically(output, json.dumps(content, allow_nan=False).encode())


def forked(module_name: str, arguments: str, output: Path) -> str:
    """Run in a fork of this process; return "" or the last words of a run that failed."""
    words = output.with_suffix(".log")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            said = os.open(words, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(said, 1)  # the parent answers on the real standard output
            os.dup2(said, 2)
            main(module_name, arguments, output)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    said_last = words.read_text(encoding="utf-8").strip().splitlines()[-8:]
    words.unlink()
    if code == 0 and output.exists():
        return ""
    return "\n".join(said_last) or f"exit code {code}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        importlib.import_module(sys.argv[1])
    except BaseException:  # every run will say why
        traceback.print_exc()
    for line in sys.stdin:
        what, where = json.loads(line)
        print(json.dumps(forked(sys.argv[1], what, Path(where))), flush=True)

"""Keeps what nbval computes and would throw away: outputs, seconds and memory of one notebook."""

from __future__ import annotations

import copy
import json
import os
import re
import sys
from pathlib import Path
from queue import Empty
from typing import Any

import nbformat
from nbformat import NotebookNode

# Pictures differ between machines by a pixel and are judged by eye; the claim's JSON holds the
# measured values, which are checked against the claim's interval and not against a reference.
NOT_COMPARED = (
    "image/svg+xml",
    "application/pdf",
    "application/vnd.rnnlib.claim+json",
)
KEY = "book_run"

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def is_cell(item: Any) -> bool:
    """Say whether a pytest item is a notebook cell."""
    return type(item).__name__ == "IPyNbCell"


def adapt_nbval() -> None:
    """Make nbval run a cell as a notebook does, and notice a dead kernel at once.

    Without history, IPython does not see the `;` at a cell's end and shows the last value all the
    same; and nbval waits out the cell's whole time limit for a kernel that no longer exists.
    """
    from nbval.kernel import RunningKernel

    if getattr(RunningKernel, "adapted", False):
        return
    wait_for = RunningKernel.await_reply

    def execute_cell_input(self: Any, cell_input: str, allow_stdin: bool | None = None) -> Any:
        return self.kc.execute(
            cell_input, store_history=True, allow_stdin=allow_stdin, stop_on_error=False
        )

    def await_reply(self: Any, msg_id: str, timeout: float | None = None) -> None:
        waited = 0.0
        while True:
            try:
                return wait_for(self, msg_id, timeout=1)
            except Empty:
                waited += 1
                if not self.is_alive():
                    raise RuntimeError(
                        "the kernel died while it ran this cell (out of memory?)"
                    ) from None
                if timeout is not None and waited >= timeout:
                    raise

    RunningKernel.execute_cell_input = execute_cell_input
    RunningKernel.await_reply = await_reply
    RunningKernel.adapted = True


def note(item: Any, call: Any, report: Any) -> None:
    """Remember what one cell took, how it failed, and what its kernel has used so far."""
    if report.when == "setup":
        item.busy_before = busy_seconds(item.parent.kernel)
    if report.when == "call":
        # The kernel's processor time: beside other work a cell takes longer, but not more of it.
        busy = busy_seconds(item.parent.kernel) - item.busy_before
        item.seconds = min(call.duration, busy) if busy > 0 else call.duration
        item.peak_bytes = peak_memory(item.parent.kernel)
    if report.failed:
        message = _ANSI.sub("", str(call.excinfo.value))
        inner = getattr(call.excinfo.value, "inner_traceback", None)
        differs = "outputs differ" in message
        traceback = _ANSI.sub("", str(inner or (call.excinfo.value.args or ("",))[-1]))
        item.failure = {
            "cell": item.cell_num,
            "kind": "difference" if differs else "error",
            "message": _clear(traceback if inner else f"{message}\n{traceback}"),
            "source": item.cell.source,
        }


def _clear(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.strip())


def peak_memory(kernel: Any) -> int:
    """Return the most memory that the kernel has held so far, in bytes (0: unknown)."""
    pid = _process(kernel)
    if not pid:
        return 0
    try:
        if sys.platform.startswith("linux"):
            # Not ru_maxrss: a child inherits that figure from the process that started it.
            status = Path(f"/proc/{pid}/status").read_text()
            return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]
        import psutil

        memory = psutil.Process(pid).memory_info()
        return int(getattr(memory, "peak_wset", memory.rss))
    except (OSError, TypeError, ImportError, LookupError):
        return 0


def _process(kernel: Any) -> int | None:
    manager = getattr(kernel, "km", None)
    return getattr(getattr(manager, "provisioner", None), "pid", None)


def busy_seconds(kernel: Any) -> float:
    """Return the processor time that the kernel's process has used so far (0: unknown)."""
    import psutil

    pid = _process(kernel)
    if pid is None:
        return 0.0  # psutil would take None for this process
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def write(items: list[Any], destination: Path) -> None:
    """Write the executed notebook with its outputs and the figures of its run."""
    cells = [item for item in items if is_cell(item)]
    files = {str(item.path) for item in cells}
    if len(files) != 1:
        raise ValueError(f"--harvest takes exactly one notebook, got {sorted(files) or 'none'}")
    notebook = cells[0].parent.nb
    for number, item in enumerate(cells, 1):
        item.cell.execution_count = number
        item.cell.outputs = [_output(output, number) for output in item.test_outputs or []]
    notebook.metadata[KEY] = {
        "seconds": sum(getattr(item, "seconds", 0.0) for item in cells),
        "cell_seconds": [round(getattr(item, "seconds", 0.0), 3) for item in cells],
        "peak_bytes": max((getattr(item, "peak_bytes", 0) for item in cells), default=0),
        "failures": [item.failure for item in cells if hasattr(item, "failure")],
        "finished": all(item.test_outputs is not None for item in cells),
    }
    write_whole(destination, nbformat.writes(notebook, sort_keys=False) + "\n")


def _output(output: Any, number: int) -> NotebookNode:
    node = nbformat.from_dict(json.loads(json.dumps(copy.deepcopy(output))))
    if node.output_type == "execute_result":
        node["execution_count"] = number
    return node


def write_whole(path: Path, text: str) -> None:
    """Write a file so that nobody ever finds half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    draft.write_text(text, encoding="utf8")
    os.replace(draft, path)

"""Serves the finished site on this machine.

python -m pipeline.serve [PORT]     (default 8000; the next free one where that is taken)
"""

from __future__ import annotations

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from pipeline.build import SITE
from pipeline.messages import PipelineError, run, say


def main() -> int:
    """Serve until Ctrl-C."""
    if not (SITE / "index.html").is_file():
        raise PipelineError("there is no site yet: run `make book`")
    first = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    handler = partial(SimpleHTTPRequestHandler, directory=str(SITE))
    for port in range(first, first + 20):
        try:
            server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        except OSError:
            continue
        say(f"the book is at http://127.0.0.1:{port}/ (stop with Ctrl-C)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    raise PipelineError(
        f"the ports {first} to {first + 19} are all taken: free one, or name another"
    )


if __name__ == "__main__":
    run(main)

"""Pushes the finished site to the branch that GitHub Pages serves.

    python -m pipeline.publish [REMOTE]      (default: origin)

The branch holds the site and nothing else, one commit at a time: its notebooks are what the
links to Colab and Binder open.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pipeline.build import SITE
from pipeline.chapters import BUILD, ROOT
from pipeline.messages import PipelineError, run, say
from pipeline.site.settings import PUBLISHED_BRANCH

AUTHOR = {"NAME": "The book's build", "EMAIL": "build@localhost"}


def publish(remote: str = "origin", site: Path = SITE, repository: Path = ROOT) -> str:
    """Make one commit of the site and push it; return the commit.

    Raises:
        PipelineError: there is no site, or git refused.
    """
    if not (site / "index.html").is_file():
        raise PipelineError("there is no site to publish: run `make book`")
    index = BUILD / "publish.index"
    index.unlink(missing_ok=True)
    environment = {**os.environ, "GIT_INDEX_FILE": str(index)}
    for who in ("AUTHOR", "COMMITTER"):
        for what, value in AUTHOR.items():
            environment.setdefault(f"GIT_{who}_{what}", value)

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", f"--git-dir={repository / '.git'}", f"--work-tree={site}", *arguments],
            cwd=site,
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise PipelineError(f"git {arguments[0]} refused: {done.stderr.strip()}")
        return done.stdout.strip()

    git("add", "--all", "--force", ".")
    source = git("rev-parse", "--short", "HEAD")
    commit = git("commit-tree", git("write-tree"), "-m", f"Site built from {source}")
    git("push", "--force", remote, f"{commit}:refs/heads/{PUBLISHED_BRANCH}")
    index.unlink(missing_ok=True)
    return commit


def main() -> int:
    """Publish the site."""
    remote = sys.argv[1] if len(sys.argv) > 1 else "origin"
    say(f"pushed {publish(remote)[:10]} to {remote}/{PUBLISHED_BRANCH}")
    return 0


if __name__ == "__main__":
    run(main)

"""Files of data sets that come inside installed packages: found, read and checked in one place.

A package is found without importing it, and so without what it imports. What is read must have the
one SHA-256 that the book's numbers were measured with; everything else stops with the line that
mends it.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PackagedFiles:
    """Some files of one version of a package.

    Attributes:
        package: the name it is imported by.
        requirement: what pip installs, with the exact version.
        pattern: which files, as a pattern (`data/*.txt`) below the package's folder.
        sha256: of all of them in the order of their names, each as name, zero byte, content.
    """

    package: str
    requirement: str
    pattern: str
    sha256: str

    def read(self) -> dict[str, bytes]:
        """Return the files' contents by their paths below the package's folder, sorted.

        Raises:
            ModuleNotFoundError: the package is not installed.
            RuntimeError: it is installed, but a file is missing, added or changed.
        """
        folder = self._folder()
        paths = sorted(folder.glob(self.pattern), key=lambda path: path.as_posix())
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        digest = hashlib.sha256()
        for name, content in files.items():
            digest.update(name.encode() + b"\0" + content)
        if digest.hexdigest() != self.sha256:
            raise RuntimeError(
                f"the package {self.package} holds {len(files)} files {self.pattern} with sha256 "
                f"{digest.hexdigest()[:8]}…, expected {self.sha256[:8]}…; {self._cure}"
            )
        return files

    def _folder(self) -> Path:
        found = importlib.util.find_spec(self.package)
        if found is None or not found.submodule_search_locations:
            raise ModuleNotFoundError(
                f"the package {self.package} is missing; {self._cure}", name=self.package
            )
        return Path(found.submodule_search_locations[0])

    @property
    def _cure(self) -> str:
        return f"install it with: pip install {self.requirement}"

"""Looking for secret values where none may be."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote


def forms(value: str) -> set[bytes]:
    """A value as it is, as URLs and JSON write it, in hexadecimal, and in base64 at each of the three offsets, of both
    alphabets."""
    text = {value, quote(value, safe=""), json.dumps(value)[1:-1], value.encode().hex()}
    for shift in range(3):
        shifted = b"x" * shift + value.encode()
        text |= {encode(shifted).decode()[4:-4] for encode in (base64.b64encode, base64.urlsafe_b64encode)}
    return {one.encode() for one in text}


def held(values: Iterable[str], within: bytes | str) -> list[str]:
    """The first letters of each value that stands in a text, in whatever form."""
    data = within.encode() if isinstance(within, str) else within
    return [f"{value[:3]}…" for value in values if any(form in data for form in forms(value))]


def files(folder: Path, *, but: Iterable[Path] = ()) -> Iterator[tuple[Path, bytes]]:
    """Every file below a folder that can be read, with its content."""
    left_out = {path.resolve() for path in but}
    for path, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if (Path(path) / name).resolve() not in left_out]
        for name in names:
            with contextlib.suppress(OSError):
                file = Path(path) / name
                if file.is_file() and not file.is_symlink():
                    yield file, file.read_bytes()


@dataclass
class Watch:
    """What could be seen meanwhile by whoever lists this process's children, or looks into the temporary folder."""

    temporary: Path
    #: Command lines and environments.
    processes: set[bytes] = field(default_factory=set)
    #: Temporary files.
    files: set[bytes] = field(default_factory=set)

    def __enter__(self) -> Watch:
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(0.003):
            for pid in _descendants(os.getpid()):
                for name in ("cmdline", "environ"):
                    with contextlib.suppress(OSError):
                        self.processes.add(Path(f"/proc/{pid}/{name}").read_bytes())
            self.files |= {content for _, content in files(self.temporary)}

    @property
    def seen(self) -> bytes:
        """All of it."""
        return b"\n".join(self.processes | self.files)


def _descendants(pid: int) -> Iterator[int]:
    # The kernel lists children by thread.
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError, ValueError):
            for child in (thread / "children").read_text().split():
                yield int(child)
                yield from _descendants(int(child))

"""kubectl against one cluster: found once, called with that cluster's kubeconfig and context, errors in one line."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from cloudmart.errors import UserError

#: Bytes that one call may print; a list of 10,000 pods has some 80 MiB. And of errors.
_LARGEST, _LARGEST_ERROR = 128 << 20, 1 << 20
#: A call that may take longer than this many seconds is not left waiting for an API server that is gone.
_PATIENCE = 120.0
#: It is asked so often (seconds) whether it is ready, with as long to answer, and is gone after so many times in a row.
_ASK_SECONDS, _UNANSWERED = 5.0, 3


class KubectlError(UserError):
    """kubectl said no; the message is what it said."""


@dataclass(frozen=True, kw_only=True)
class Kubectl:
    """`kubeconfig` and `context` default to what kubectl would take by itself."""

    path: Path
    kubeconfig: Path | None = None
    context: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def command(self) -> list[str]:
        """The command line up to the verb."""
        command = [str(self.path)]
        if self.kubeconfig is not None:
            command += ["--kubeconfig", str(self.kubeconfig)]
        if self.context is not None:
            command += ["--context", self.context]
        return command

    def run(self, *args: str, stdin: str | None = None, timeout: float = 120) -> str:
        """Standard output of one call. `timeout` in seconds. Raises ``KubectlError`` when it fails.

        With a timeout of more than two minutes, a call also fails when the API server is not ready for half a minute:
        kubectl itself goes on with each further object of an `apply`, and waits for what it has deleted to go.
        """
        gone = _Gone(self) if timeout > _PATIENCE else None
        try:
            code, out, said = _answered(
                [*self.command, *args], stdin, {**os.environ, **self.env}, timeout=timeout, most=_LARGEST, gone=gone
            )
        except subprocess.TimeoutExpired:
            if gone is not None and gone.why:
                raise KubectlError(f"kubectl {args[0]}: the API server is not ready any more: {gone.why}") from None
            raise KubectlError(f"kubectl {args[0]}: no answer within {timeout:.0f} s") from None
        except OverflowError:
            raise KubectlError(f"kubectl {args[0]}: prints more than {_LARGEST >> 20} MiB") from None
        except OSError as error:
            raise KubectlError(f"{self.path}: cannot be run ({error.strerror})") from None
        except ValueError as error:  # a NUL in an argument
            raise KubectlError(f"kubectl {args[0]}: cannot be asked ({error})") from None
        if code != 0:
            raise KubectlError(f"kubectl {args[0]}: {_said(said) or f'exit code {code}'}")
        return out

    def json(self, *args: str, stdin: str | None = None, timeout: float = 120) -> Any:
        """What one call prints as JSON; None where it prints nothing (``--ignore-not-found``)."""
        text = self.run(*args, "-o", "json", stdin=stdin, timeout=timeout)
        try:
            return json.loads(text) if text.strip() else None
        except (ValueError, RecursionError):
            raise KubectlError(f"kubectl {args[0]}: prints something that is not JSON") from None

    def items(self, *args: str, stdin: str | None = None) -> Sequence[Any]:
        """What one ``get --ignore-not-found`` finds, which prints nothing, the one that was asked for, or a list."""
        found = self.json(*args, "--ignore-not-found", stdin=stdin)
        return () if found is None else found.get("items", (found,))

    def follow(self, *args: str, line: Callable[[str], None], timeout: float) -> bool:
        """Runs a call that reports as it goes, such as ``rollout status``; True when it succeeded within `timeout`."""
        process = subprocess.Popen(
            [*self.command, *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **self.env},
        )
        try:
            # kubectl's own --timeout ends it; this one is for a kubectl that hangs.
            output, _ = process.communicate(timeout=timeout + 10)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
        for text in output.splitlines():
            line(text)
        return process.returncode == 0


class _Gone:
    """Whether an API server has stopped answering; to be called again and again."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl
        self._unanswered = 0
        #: What was said last, once it is gone.
        self.why = ""

    def __call__(self) -> bool:
        try:
            self._kubectl.run("get", "--raw", "/readyz", timeout=_ASK_SECONDS)
        except KubectlError as error:
            if "orbidden" not in str(error):
                self._unanswered += 1
                self.why = str(error) if self._unanswered >= _UNANSWERED else ""
                return bool(self.why)
        self._unanswered = 0
        return False


def _answered(
    command: Sequence[str],
    stdin: str | None,
    environment: Mapping[str, str],
    *,
    timeout: float,
    most: int,
    gone: Callable[[], bool] | None = None,
) -> tuple[int, str, str]:
    """Exit code, output and errors. What is no UTF-8 is replaced. Raises ``OverflowError`` beyond `most` bytes."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    texts: dict[str, bytes] = {}

    def read(name: str, pipe: IO[bytes], limit: int) -> None:
        texts[name] = pipe.read(limit + 1)
        if len(texts[name]) > limit:
            process.kill()
            pipe.close()  # for what it started, a credential plugin say, which would write on

    def write(pipe: IO[bytes]) -> None:
        # A kubectl that ends before it has read everything says why.
        with contextlib.suppress(BrokenPipeError), pipe:
            pipe.write((stdin or "").encode("utf-8", "surrogateescape"))

    threads = []
    with process:
        for name, pipe, limit in (("out", process.stdout, most), ("errors", process.stderr, _LARGEST_ERROR)):
            if pipe is not None:
                threads.append(threading.Thread(target=read, args=(name, pipe, limit), daemon=True))
        if process.stdin is not None:
            threads.append(threading.Thread(target=write, args=(process.stdin,), daemon=True))
        for thread in threads:
            thread.start()
        try:
            _wait(process, timeout, gone)
        except BaseException:
            process.kill()
            raise
        for thread in threads:
            thread.join()
    if len(texts["out"]) > most or len(texts["errors"]) > _LARGEST_ERROR:
        raise OverflowError
    return process.returncode, texts.pop("out").decode("utf-8", "replace"), texts["errors"].decode("utf-8", "replace")


def _wait(process: subprocess.Popen[bytes], timeout: float, gone: Callable[[], bool] | None) -> None:
    """Until a process ends. Raises ``TimeoutExpired`` after `timeout` seconds, and when what it talks to is gone."""
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        try:
            process.wait(left if gone is None else min(left, _ASK_SECONDS))
        except subprocess.TimeoutExpired:
            if time.monotonic() >= deadline or (gone is not None and gone()):
                raise
        else:
            return


def _said(stderr: str) -> str:
    # Warnings and client-go's own log lines are not the reason.
    lines = [line for line in stderr.splitlines() if line and not line.startswith(("Warning:", "E0", "E1", "I0", "W0"))]
    text = "; ".join(_short(lines))
    # HTTP/2's own words for it.
    return f"{text} (the API server broke off its answer)" if "stream error" in text else text


def _short(lines: Sequence[str]) -> Sequence[str]:
    return lines if len(lines) <= 5 else [*lines[:5], f"and {len(lines) - 5} more lines"]

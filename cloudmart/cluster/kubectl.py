"""kubectl against one cluster: found once, called with that cluster's kubeconfig and context, errors in one line."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloudmart.errors import UserError


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
        """Standard output of one call. `timeout` in seconds. Raises ``KubectlError`` when it fails."""
        try:
            done = subprocess.run(
                [*self.command, *args],
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout,
                env={**os.environ, **self.env},
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise KubectlError(f"kubectl {args[0]}: no answer within {timeout:.0f} s") from None
        except OSError as error:
            raise KubectlError(f"{self.path}: cannot be run ({error.strerror})") from None
        if done.returncode != 0:
            raise KubectlError(f"kubectl {args[0]}: {_said(done.stderr) or f'exit code {done.returncode}'}")
        return done.stdout

    def json(self, *args: str, stdin: str | None = None, timeout: float = 120) -> Any:
        """What one call prints as JSON; None where it prints nothing (``--ignore-not-found``)."""
        text = self.run(*args, "-o", "json", stdin=stdin, timeout=timeout)
        return json.loads(text) if text.strip() else None

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


def _said(stderr: str) -> str:
    # Warnings and client-go's own log lines are not the reason.
    lines = [line for line in stderr.splitlines() if line and not line.startswith(("Warning:", "E0", "E1", "I0", "W0"))]
    return "; ".join(_short(lines))


def _short(lines: Sequence[str]) -> Sequence[str]:
    return lines if len(lines) <= 5 else [*lines[:5], f"and {len(lines) - 5} more lines"]

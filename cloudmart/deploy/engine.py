"""The way with a Pulumi CLI: `pulumi up` and `pulumi destroy` through the Automation API, the policy pack on."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import yaml
from pulumi import automation
from semver import VersionInfo

from cloudmart.deploy.local_state import LocalState, passphrase_file, writing
from cloudmart.deploy.processes import interrupt_children
from cloudmart.deploy.watcher import WORDS, Progress, Watcher, resource_label
from cloudmart.errors import UserError
from cloudmart.preview.recorder import overridden
from cloudmart.settings import stack_file

#: The oldest CLI that the locked SDK was tried with; newer ones of the same major version understand it.
OLDEST_CLI = VersionInfo(3, 260, 0)

#: The provider's own variable, which `components/provider.py` reads too.
_TAKE_OVER = "PULUMI_K8S_UPSERT_EXISTING_OBJECTS"
_SECONDS_TO_ASK_FOR_THE_INSTALLER = 10.0
#: Within so many seconds the engine's word that it was interrupted has arrived here.
_SECONDS_TO_SAY_SO = 1.5
#: Operations at a time. The engine's own four a core are soon all taken by Deployments that are waited for.
_AT_ONCE = 64


#: What the engine writes into a stack's file of its own accord: without it nobody can decrypt the state any more.
_KEYS_TO_SECRETS = ("secretsprovider", "encryptedkey", "encryptionsalt")


class PolicyViolated(UserError):  # noqa: N818 (a verdict, not a fault)
    """A mandatory policy stopped the run; the message lists each violation."""

    exit_code = 1


@dataclass(frozen=True)
class NoCli:
    """Why there is no Pulumi CLI to use, in one line."""

    reason: str


def find_cli(root: Path, progress: Progress = lambda _line: None) -> automation.PulumiCommand | NoCli:
    """The CLI on PATH if it fits the SDK, else the one that the SDK's own installer puts into ``.local/``."""
    found = present_cli(root)
    if not isinstance(found, NoCli):
        return found
    progress(f"{found.reason}: asking for the official installer, which puts it into .local/pulumi-cli")
    try:
        with _socket_timeout(_SECONDS_TO_ASK_FOR_THE_INSTALLER):
            return automation.PulumiCommand.install(root=str(_installed(root)), skip_version_check=False)
    except Exception:  # noqa: BLE001 - as below, and whatever a machine without a network answers
        return NoCli(f"{found.reason}, and the official installer cannot be reached")


def present_cli(root: Path) -> automation.PulumiCommand | NoCli:
    """The CLI that :func:`find_cli` takes without downloading one."""
    reason = "no pulumi on PATH"
    if shutil.which("pulumi"):
        try:
            return automation.PulumiCommand(version=OLDEST_CLI)
        except Exception as error:  # noqa: BLE001 - the SDK raises several kinds, all of which mean "does not fit"
            reason = f"the pulumi on PATH does not fit ({str(error).splitlines()[0]})"
    try:
        # As the installer looks for the one that it has put there: that of the SDK's version, or a newer one.
        return automation.PulumiCommand(
            root=str(_installed(root)), version=VersionInfo.parse(importlib.metadata.version("pulumi"))
        )
    except Exception:  # noqa: BLE001 - as above
        return NoCli(reason)


def _installed(root: Path) -> Path:
    return root / ".local" / "pulumi-cli"


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@dataclass
class Engine:
    """One stack of this project, under the CLI."""

    cli: automation.PulumiCommand
    root: Path
    stack: str
    #: Of the cluster that this run goes to; the user's own where it is None.
    kubeconfig: Path | None
    #: Merged over the stack's configuration for this run only, by full key (``cloudmart:cluster``).
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def recover(self, progress: Progress) -> bool:
        """Mends what a run that was killed, or a full disk, has left of a state in local files. Whether it is an
        earlier one now, which does not know all that is live, until an `up` with `refresh` has gone through."""
        if (local := self._local_state()) is None:
            return False
        local.release_dead(progress)
        return local.put_back(progress)

    def disk_room(self) -> contextlib.AbstractContextManager[None]:
        """Room on the disk for a state in local files, while `up` or `destroy` runs. ``UserError`` without any."""
        local = self._local_state()
        return local.room() if local is not None else contextlib.nullcontext()

    def up(
        self, progress: Progress, *, delete_autoscaler: Callable[[str, str], None], refresh: bool = False
    ) -> Mapping[str, Any]:
        """`pulumi up` with the policy pack; the stack's outputs, less what is secret.

        `delete_autoscaler` is called, after the preview and before anything else is changed, with namespace and name of
        each that is not declared any more. With `refresh` the state is first brought to what is live, so that what
        somebody has changed is put back, and the declared fields are taken from whoever has set them since.
        """
        stack = self._selected()
        if refresh:
            stack.workspace.env_vars = {**stack.workspace.env_vars, "PULUMI_K8S_ENABLE_PATCH_FORCE": "true"}
        options: dict[str, Any] = {
            "policy_packs": [str(self.root / "policy")],
            "policy_pack_configs": [str(config)] if (config := self._policy_config()) else None,
            "color": "never",
            "refresh": refresh,
            # Or it would look through the provider of before, at the cluster of before.
            "run_program": refresh or None,
            "parallel": _AT_ONCE,
        }
        # The Automation API's `up` makes no preview, and rules on the whole stack only speak at its end: too late to
        # stop anything. So the preview comes first.
        planned = self._previewed(stack, progress, options)
        progress("previewed: nothing breaks a mandatory rule")
        for namespace, name in planned.leaving_autoscalers:
            # The engine deletes last: until then it would put back its own minimum of replicas, over what its service
            # declares from now on. A `destroy` of it alone is refused where something depends on it.
            delete_autoscaler(namespace, name)
        with self._events(progress, advise=False) as on_event:
            result = stack.up(on_event=on_event, **options)
        if refresh:
            # The state keeps that the provider was allowed to do so; this takes it away again.
            stack.workspace.env_vars = self.environment()
            with self._events(lambda _line: None, advise=False) as on_event:
                stack.up(on_event=on_event, **options | {"refresh": False, "run_program": None})
            if (local := self._local_state()) is not None:
                local.is_of_now()
        changes = result.summary.resource_changes or {}
        progress(", ".join(f"{count} {WORDS.get(op, op)}" for op, count in sorted(changes.items())) or "nothing to do")
        return {key: output.value for key, output in result.outputs.items() if not output.secret}

    def _previewed(self, stack: automation.Stack, progress: Progress, options: Mapping[str, Any]) -> Watcher:
        """What a preview that went through has shown."""
        try:
            with self._events(progress) as planned:
                stack.preview(on_event=planned, **options)
        except UserError:
            if not planned.only_replacements_failed:
                raise
            # The provider asks the API server to change the object that is still there, which is refused: that is why
            # it is replaced. Where it may not take over what is there, it asks for another one.
            progress("what is to be replaced is still there: previewed once more, as if it were not")
            given = stack.workspace.env_vars
            stack.workspace.env_vars = {**given, _TAKE_OVER: "false"}
            with self._events(progress) as planned:
                stack.preview(on_event=planned, **options)
            stack.workspace.env_vars = given
        return planned

    def destroy(self, progress: Progress) -> None:
        """`pulumi destroy`; what is protected stops it, what is retained stays."""
        stack = self._selected()
        self._require_unprotected(stack)
        with self._events(progress) as on_event:
            stack.destroy(on_event=on_event, color="never")

    def _require_unprotected(self, stack: automation.Stack) -> None:
        # The Automation API's `destroy` makes no preview: it would delete all that does not wait for something
        # protected, and fail then.
        resources = (stack.export_stack().deployment or {}).get("resources", [])
        protected = [resource_label(found["urn"]).removesuffix(": ") for found in resources if found.get("protect")]
        if protected:
            raise UserError(
                f"stack {self.stack}: found protected resources ({', '.join(protected)}); allowed: none, so "
                f"nothing was deleted. Set protect to false in {stack_file(self.stack)} and run up once more, or run "
                f"`pulumi -C .local/pulumi state unprotect --all -s {self.stack}`"
            )

    def exists(self) -> bool:
        """Whether the backend knows the stack."""
        if not (self.project / stack_file(self.stack)).is_file():
            # Else that of the last `up` stays: with what that left out, plain Pulumi finds no change.
            self._write_project()
        try:
            known = self._workspace().list_stacks()
        except automation.CommandError as error:
            raise UserError(f"pulumi stack ls: {_last_error(str(error))}") from None
        return any(summary.name.split("/")[-1] == self.stack for summary in known)

    def held(self) -> frozenset[tuple[str, str]]:
        """Kinds and names of the Kubernetes objects that the stack's state has, wherever they are."""
        if not self.exists():
            return frozenset()
        resources = (self._exported().get("deployment") or {}).get("resources", [])
        objects = (found for found in resources if found["type"].startswith("kubernetes:"))
        return frozenset(
            (found["type"].rpartition(":")[2], name)
            for found in objects
            if (name := ((found.get("inputs") or {}).get("metadata") or {}).get("name"))
        )

    def state(self) -> Mapping[str, Any]:
        """What the backend keeps of the stack, as ``pulumi stack export`` prints it: secrets stay encrypted."""
        if not self.exists():
            raise UserError(f"stack {self.stack}: the backend knows none; allowed: one that was deployed")
        return self._exported()

    def _exported(self) -> Mapping[str, Any]:
        try:
            done = self.cli.run(
                ["stack", "export", "--stack", self.stack, "--non-interactive"],
                str(self.project),
                self.environment(),
            )
        except automation.CommandError as error:
            raise UserError(f"pulumi stack export: {_last_error(str(error))}") from None
        exported: Mapping[str, Any] = json.loads(done.stdout)
        return exported

    def environment(self) -> dict[str, str]:
        """Variables that plain ``pulumi`` commands need for the same backend, secrets and cluster."""
        env = {"PULUMI_SKIP_UPDATE_CHECK": "true"}
        if self.kubeconfig is not None:
            env["KUBECONFIG"] = str(self.kubeconfig)
        if (local := self._local_state()) is not None:
            env["PULUMI_BACKEND_URL"] = local.backend()
            if not {"PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"} & os.environ.keys():
                env["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(passphrase_file(self.root))
        return env

    def _local_state(self) -> LocalState | None:
        """None where the user has another backend."""
        local = LocalState(self.root, self.stack)
        if (backend := os.environ.get("PULUMI_BACKEND_URL", "")).partition("?")[0] == local.folder.as_uri():
            return local  # as `up` tells people to set it for plain Pulumi
        if backend or os.environ.get("PULUMI_ACCESS_TOKEN"):
            return None
        home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
        try:
            elsewhere = json.loads((home / "credentials.json").read_text()).get("current")
        except (OSError, ValueError):
            elsewhere = None
        return None if elsewhere else local

    @property
    def project(self) -> Path:
        """Folder of the project that the engine is given: this program, with a stack file of its own.

        Pulumi writes a salt into the stack's file, and a run may override some of it; the committed file is the user's
        to change.
        """
        return self.root / ".local" / "pulumi"

    def _workspace(self) -> automation.LocalWorkspace:
        return automation.LocalWorkspace(
            work_dir=str(self.project), pulumi_command=self.cli, env_vars=self.environment()
        )

    def _policy_config(self) -> Path | None:
        path = self.root / "policy" / "config" / f"{self.stack}.json"
        return path if path.is_file() else None

    def _selected(self) -> automation.Stack:
        require_pack_environment(self.root)
        self._write_project()
        try:
            try:
                return automation.Stack.create_or_select(self.stack, self._workspace())
            except automation.StackAlreadyExistsError:
                # Another run has made it since this one found none.
                return automation.Stack.select(self.stack, self._workspace())
        except automation.CommandError as error:
            said = _last_error(str(error))
            if "incorrect passphrase" in said:
                said += (
                    f"; {stack_file(self.stack)} and .local/pulumi/{stack_file(self.stack)} hold the salt of its own"
                )
            raise UserError(f"pulumi stack {self.stack}: {said}") from None

    def _write_project(self) -> None:
        """`project`: the stack's file with this run's overrides, and with the keys that an earlier run has got."""
        project = _read(self.root / "Pulumi.yaml")
        project["main"] = str(self.root)
        options = project["runtime"]["options"]
        options["virtualenv"] = str(self.root / options["virtualenv"])
        _write(self.project / "Pulumi.yaml", project)

        target = self.project / stack_file(self.stack)
        given = _read(self.root / stack_file(self.stack))
        earlier = _read(target) if target.is_file() else {}
        given |= {key: earlier[key] for key in _KEYS_TO_SECRETS if key in earlier and key not in given}
        given["config"] = overridden(given.get("config") or {}, self.overrides)
        _write(target, given)

    @contextlib.contextmanager
    def _events(self, progress: Progress, *, advise: bool = True) -> Iterator[Watcher]:
        """Turns the engine's events into lines, and its failure into one error with what mattered of them."""
        watcher = Watcher(progress, advise)
        try:
            with _interrupted_after(watcher):
                yield watcher
        except automation.ConcurrentUpdateError:
            backend = self.environment().get("PULUMI_BACKEND_URL")
            raise UserError(
                f"stack {self.stack}: found another update under way; allowed: one at a time. If that one was killed, "
                f"`{f'PULUMI_BACKEND_URL={backend} ' if backend else ''}pulumi -C .local/pulumi cancel {self.stack}` "
                "releases the lock"
            ) from None
        except automation.CommandError as error:
            if watcher.violations:
                raise PolicyViolated("\n".join(watcher.violations)) from None
            raise UserError("\n".join(watcher.errors) or _last_error(str(error))) from None


def _read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text()) or {}


def _write(path: Path, content: Mapping[str, Any]) -> None:
    # Whole or not at all, whatever kills this process.
    partial = path.with_suffix(".new")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(yaml.safe_dump(content, sort_keys=False))
        partial.replace(path)


def require_pack_environment(root: Path) -> None:
    """Raises ``UserError`` where the engine would wait without a word: for a pack in an environment that is not there,
    or one that has no folder."""
    pack = root / "policy"
    file = pack / "PulumiPolicy.yaml"
    if not file.is_file():
        raise UserError(f"{file}: no such file; allowed: a policy pack, as `cloudmart init NAME` writes one")
    virtualenv = _read(file).get("runtime", {}).get("options", {}).get("virtualenv")
    if virtualenv and not (pack / virtualenv / "bin" / "python").exists():
        raise UserError(
            f"policy/PulumiPolicy.yaml: runtime.options.virtualenv: found '{virtualenv}', which does not exist; "
            "`make setup` makes it"
        )


@contextlib.contextmanager
def _interrupted_after(watcher: Watcher) -> Iterator[None]:
    """Lets the engine obey Ctrl-C and SIGTERM, which takes it a while, and this process only when it has ended.

    A terminal sends Ctrl-C to the engine as well, a CI system may send its signal to this process alone. A second one
    ends the engine at once, in the middle of what it does: so it is passed on only where the engine does not say that
    it has had one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[tuple[int, FrameType | None]] = []

    def pass_on() -> None:
        if not watcher.cancelling:
            interrupt_children()

    def note(number: int, frame: FrameType | None) -> None:
        caught.append((number, frame))
        if len(caught) == 1:
            waiting.start()

    waiting = threading.Timer(_SECONDS_TO_SAY_SO, pass_on)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handled = {number: handler for number, handler in before.items() if callable(handler)}
    for number in handled:
        signal.signal(number, note)
    try:
        yield
    finally:
        waiting.cancel()
        for number, handler in handled.items():
            signal.signal(number, handler)
        if caught:
            handled[signal.Signals(caught[0][0])](*caught[0])


def _last_error(text: str) -> str:
    """What a run of the CLI ended with, in one line."""
    said, _, rest = text.rpartition("stderr:")
    ended = [line.strip() for line in rest.splitlines() if line.strip()]
    if begins := [index for index, line in enumerate(ended) if line.startswith("error:")]:
        # What a cloud or a vault has answered follows on lines of its own.
        return " ".join(ended[begins[-1] :]).removeprefix("error: ")
    lines = [line.strip() for line in said.splitlines() if not line.strip().startswith(("code:", "stdout:"))]
    lines = [line for line in (*lines, *ended) if line]
    errors = [line for line in lines if line.startswith("error:")]
    return (errors or lines or ["the Pulumi CLI failed without a word"])[-1].removeprefix("error: ")

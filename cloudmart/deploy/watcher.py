"""What the Pulumi engine says of a run, event by event: lines of progress, and what went wrong."""

from __future__ import annotations

from collections.abc import Callable

from pulumi.automation import events

Progress = Callable[[str], None]

#: The engine's operations, in words for people.
WORDS = {
    "create": "created",
    "create-replacement": "created anew",
    "update": "updated",
    "replace": "replaced",
    "delete": "deleted",
    "delete-replaced": "deleted",
    "same": "unchanged",
    "import": "imported",
}
_CONFLICT = "server-side apply field conflict"
_AUTOSCALER = "kubernetes:autoscaling/v2:HorizontalPodAutoscaler"
#: What the engine adds to every failure.
_ECHOES = ("preview failed", "update failed", "destroy failed")
# Helm's record of a first installation that never ended. Without it the next run installs again, over what is there.
_NAME_IN_USE = "cannot re-use a name that is still in use"
_FORGET_RELEASE = "kubectl delete secret -A -l owner=helm,status=pending-install"


class Watcher:
    """Keeps what went wrong, tells what was done."""

    def __init__(self, progress: Progress, advise: bool) -> None:
        self._progress = progress
        self._advise = advise
        self._advice: set[str] = set()
        self.violations: list[str] = []
        self.errors: list[str] = []
        #: Namespace and name of those that are to be deleted.
        self.leaving_autoscalers: list[tuple[str, str]] = []
        self._replaced: set[str] = set()
        self._failed: set[str | None] = set()
        #: Whether the engine has said that it ends before it is done.
        self.cancelling = False

    @property
    def only_replacements_failed(self) -> bool:
        """Whether it failed, and with nothing but objects that are to be replaced."""
        return bool(self._failed) and self._failed <= self._replaced and not self.violations

    def __call__(self, event: events.EngineEvent) -> None:
        if (begun := event.resource_pre_event) is not None:
            metadata = begun.metadata
            if metadata.op is events.OpType.CREATE_REPLACEMENT:
                self._replaced.add(metadata.urn)
            if metadata.op is events.OpType.DELETE and metadata.type == _AUTOSCALER and metadata.old is not None:
                namespace, _, name = metadata.old.id.partition("/")
                self.leaving_autoscalers.append((namespace, name))
        if (told := event.stdout_event) is not None and "cancelling" in told.message:
            self.cancelling = True
            self._progress(
                "the engine ends what it has begun; once more, and it ends at once and may leave it half done"
            )
        if (done := event.res_outputs_event) is not None and not done.planning:
            metadata = done.metadata
            word = WORDS.get(str(metadata.op.value))
            if word == "deleted" and metadata.old is not None and metadata.old.retain_on_delete:
                word = "kept"
            if word and word != "unchanged" and not metadata.type.startswith(("pulumi:", "cloudmart:")):
                self._progress(f"{word} {metadata.type.rsplit(':', 1)[-1]} {metadata.urn.rsplit('::', 1)[-1]}")
        if (found := event.policy_event) is not None:
            line = f"{found.enforcement_level}: {found.policy_name}: {_violation(found.message)}"
            if found.enforcement_level == "mandatory":
                if line not in self.violations:
                    self.violations.append(line)
            elif self._advise and line not in self._advice:
                self._advice.add(line)
                self._progress(line)
        if (said := event.diagnostic_event) is not None and said.severity == "error":
            text = _plain(said.message)
            if resource := resource_label(said.urn):
                # One problem, one line; what the program itself says is a line for each problem already.
                text = resource + " ".join(text.split())
            if _CONFLICT in text:
                text += "; `cloudmart up --refresh` takes these fields back"
            if text.endswith(_NAME_IN_USE):
                text += (
                    f"; where a run that was killed left it half made, `{_FORGET_RELEASE}` and run again. Else it is "
                    "deployed, by something else or by a component under another name or type: give it that as an alias"
                )
            # One failure cancels what is under way elsewhere, and the whole update: echoes, not reasons.
            if text and text not in (*self.errors, *_ECHOES) and not text.endswith("context canceled"):
                self.errors.append(text)
                self._failed.add(said.urn)


def resource_label(urn: str | None) -> str:
    """``StatefulSet redis: ``, to begin a line with; empty for the stack itself."""
    if not urn:
        return ""
    kind, name = urn.split("::")[-2].rsplit("$", 1)[-1].rsplit(":", 1)[-1], urn.rsplit("::", 1)[-1]
    return "" if kind == "Stack" else f"{kind} {name}: "


def _plain(message: str) -> str:
    # The engine marks colours as <{%fg 1%}>, and puts the bookkeeping of a message on lines of its own.
    text = message
    while (start := text.find("<{%")) >= 0 and (end := text.find("%}>", start)) >= 0:
        text = text[:start] + text[end + 3 :]
    return "\n".join(line for line in text.strip().splitlines() if line.strip())


def _violation(message: str) -> str:
    # The rule's description comes first, on a line of its own, and is the same for every violation.
    return _plain(message).split("\n", 1)[-1]

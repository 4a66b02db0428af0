"""Live objects against declared ones, by a server-side dry run: the API server itself says what an `up` would change.

Each declared object is sent as it was deployed, under the field manager that deployed it, to be tried, not kept. What
comes back is the object as declared, with all that others own left in it: defaults, the replicas that an autoscaler has
chosen, an address. Where the live object differs from that, somebody has changed it. What people have added beside the
declared fields stays in it too: those are fields of managers that are neither ours nor a controller's.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from cloudmart.cluster.api import Api, connected, path
from cloudmart.cluster.discovery import Resource
from cloudmart.cluster.kubectl import KubectlError
from cloudmart.cluster.live import Place, Reference, release_of
from cloudmart.deploy import applyset
from cloudmart.deploy.expected import Expected, Way
from cloudmart.drift import beside, fields
from cloudmart.drift.commands import kubectl, up
from cloudmart.drift.controllers import is_controller, is_harmless, is_made_for_others
from cloudmart.drift.fields import ABSENT, Path, Writer
from cloudmart.drift.finding import HIDDEN, Finding, Kind
from cloudmart.drift.kept import Kept, keeper_of
from cloudmart.finops.paths import Item, path_text
from cloudmart.preview.recorder import SECRET
from cloudmart.preview.render import Manifest, manifests, substitute

_PULUMI = re.compile(r"pulumi-kubernetes(-[0-9a-f]+)?")
_BOOKKEEPING = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
_CLAIM = ("v1", "PersistentVolumeClaim")
_BINDING = ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding")
#: Looked for in the shop's namespace besides the declared kinds: what runs there, lets in, or may do something, and
#: what Kubernetes makes of declared objects.
ALSO = (
    ("v1", "Pod"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("v1", "ServiceAccount"),
    _CLAIM,
    ("apps/v1", "Deployment"),
    ("apps/v1", "ReplicaSet"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("batch/v1", "CronJob"),
    ("batch/v1", "Job"),
    ("networking.k8s.io/v1", "Ingress"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
)
#: The same of what is cluster-wide: what gives rights to the shop.
ALSO_CLUSTER_WIDE = (_BINDING,)
_CONFIDENTIAL = re.compile(r"(?i)passw|secret|token|credential|private|api[-_]?key|access[-_]?key")
_LONGEST = 160
_LOOKS_AGAIN = 3
#: Whose objects no policy of admission is asked about.
ADMISSION = "admissionregistration.k8s.io"
#: Statuses by which the API server, or admission, says no to just this.
_REFUSALS = (403, 409, 422)
#: Data goes with them, or may: those of Kubernetes, and what the operators of the stores make volumes for.
_WITH_DATA = frozenset(
    {
        "Namespace",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "CustomResourceDefinition",
        "Cluster",
        "Kafka",
        "KafkaNodePool",
        "KafkaTopic",
    }
)


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What one look has found."""

    stack: str
    way: Way
    #: Declared objects that were compared, or looked for.
    compared: int
    findings: Sequence[Finding]
    #: What was not looked at, and why.
    notes: Sequence[str] = ()

    @property
    def exit_code(self) -> int:
        """0 where everything is as declared, else 1."""
        return 1 if self.findings else 0


def look(expected: Expected, controllers: Iterable[str] = ()) -> Drift:
    """Compares everything that a stack declares; nothing is changed. `controllers` are more field managers to trust.

    Raises ``UserError`` where the API server does not answer, or does not let this user look.
    """
    with connected(expected.target.kubectl) as api:
        return compare(expected, api, controllers)


def compare(expected: Expected, api: Api, controllers: Iterable[str] = ()) -> Drift:
    """The same over a connection that is there already."""
    return _Look(expected, api, frozenset(controllers)).run()


@dataclass
class _Look:
    expected: Expected
    api: Api
    controllers: frozenset[str]
    served: Mapping[tuple[str, str], Resource] = field(default_factory=dict)
    #: The generated values that are kept in the cluster.
    kept: Kept = field(init=False)
    #: Kinds whose objects could not be tried.
    untried: set[str] = field(default_factory=set)

    def run(self) -> Drift:
        expected = self.expected
        templates = manifests(expected.recording, templates=True)
        wanted = dict(zip(expected.objects, templates, strict=True))
        notes: list[str] = []
        findings: list[Finding] = []
        with ThreadPoolExecutor(8) as pool:
            self.served = self.api.served({reference.api_version for reference in wanted})
            try:
                found = self.api.listing(self._places())
                findings += [*self._pods(found), *self._claims(found), *self._unexpected(found), *self._releases(found)]
            except KubectlError as error:
                if "orbidden" not in str(error):
                    raise
                # Who may deploy need not be allowed to list.
                found = self._one_by_one(pool, [*wanted, keeper_of(expected)])
                notes.append(
                    "objects that nobody declares were not looked for, nor Helm's releases, pods and claims: this user "
                    "may not list them"
                )
            self.kept = Kept(expected, templates, found)
            findings += self.kept.findings()
            compared = pool.map(lambda one: self._compared(one[0], one[1], found.get(one[0])), wanted.items())
            findings = [finding for several in compared for finding in several] + findings
        notes += self.kept.rotations()
        if self.untried:
            kinds = ", ".join(sorted(self.untried))
            notes.append(f"not compared beyond being there, because this user may not try them: {kinds}")
        if expected.releases:
            names = ", ".join(sorted(expected.releases))
            notes.append(f"not compared beyond being deployed, because the objects are the chart's: {names}")
        return Drift(
            stack=expected.settings.stack,
            way=expected.way,
            compared=len(wanted),
            findings=findings,
            notes=notes,
        )

    def _one_by_one(
        self, pool: ThreadPoolExecutor, references: Sequence[Reference]
    ) -> Mapping[Reference, Mapping[str, Any]]:
        """Those of the objects that are there, each asked for by its name."""

        def asked(reference: Reference) -> tuple[Reference, Mapping[str, Any] | None]:
            resource = self.served.get((reference.api_version, reference.kind))
            if resource is None:
                return reference, None
            answer = self.api.request("GET", path(reference, resource.plural))
            if answer.status not in (200, 404):
                raise KubectlError(f"{reference.label}: {answer.message}")
            return reference, answer.content if answer.status == 200 else None

        found = pool.map(asked, references)
        return {reference: item for reference, item in found if item is not None}

    # --- one object ---------------------------------------------------------------------------------------------------

    def _compared(self, reference: Reference, manifest: Manifest, live: Mapping[str, Any] | None) -> list[Finding]:
        if live is None:
            why = "" if (reference.api_version, reference.kind) in self.expected.scopes else " (its kind is not served)"
            declared = f"an object{why}"
            return [Finding(kind=Kind.MISSING, object=reference, declared=declared, mend=up(self.expected))]
        if live["metadata"].get("deletionTimestamp"):
            when = live["metadata"]["deletionTimestamp"]
            text = "is being deleted"
            return [Finding(kind=Kind.CHANGED, object=reference, live=text, when=when, mend=up(self.expected))]
        place = path(reference, self.served[reference.api_version, reference.kind].plural)
        found, seen = self._tried(place, reference, manifest, live)
        # What a controller wrote between the listing and the trial is no drift.
        for _ in range(_LOOKS_AGAIN):
            if not found or seen == live["metadata"].get("resourceVersion"):
                break
            again = self.api.request("GET", place)
            if again.status >= 400:
                return self._compared(reference, manifest, None)
            live = again.content
            found, seen = self._tried(place, reference, manifest, live)
        return found

    def _tried(
        self, place: str, reference: Reference, manifest: Manifest, live: Mapping[str, Any]
    ) -> tuple[list[Finding], str]:
        """What is found, and the version of the live object that the API server has tried it on."""
        writers = fields.writers(live)
        manager = self._manager(writers)
        body, unknown = self._body(reference, manifest, live)
        query = f"dryRun=All&force=true&fieldManager={manager}"
        answer = self.api.request("PATCH", f"{place}?{query}", body, content_type="application/apply-patch+yaml")
        hidden = {fields.names(place) for place in [*unknown, *manifest.recorded.secrets]}
        if answer.status == 401 or "cannot patch resource" in answer.message:
            # A trial is allowed to those who may do it in earnest. Who only reads may not try these: no policy of
            # admission could refuse him the change.
            if reference.api_version.startswith(f"{ADMISSION}/"):
                self.untried.add(reference.kind)
                return [], live["metadata"].get("resourceVersion", "")
            raise KubectlError(f"{reference.label}: {answer.message}")
        if answer.status >= 400:
            # With what somebody has added; admission may not like just that.
            ours = _of(writers, manager)
            added = list(self._additions(reference, live, live, ours, manager, manifest, hidden)) if ours else []
            # Of a namespace that is being deleted nothing is left to take away.
            ends = "it is being terminated" in answer.message
            mend = up(self.expected) if ends or answer.status not in _REFUSALS else self._anew(reference, live)
            if added and added[0].mend != mend:
                mend = f"{added[0].mend} && {up(self.expected)}"
            refused = Finding(kind=Kind.REFUSED, object=reference, live=answer.message, mend=mend)
            return [refused, *added], live["metadata"].get("resourceVersion", "")
        applied = answer.content
        ours = _of(fields.writers(applied), manager)
        found = [
            *self._changes(reference, applied, live, ours, manager, manifest, hidden),
            *self._withheld(reference, live, unknown, manager),
            *self._additions(reference, applied, live, ours, manager, manifest, hidden),
        ]
        if not any(one.manager == manager and one.operation == "Apply" for one in writers):
            maker = writers[-1] if writers else None
            text = "made by somebody else"
            found.insert(0, self._finding(Kind.CHANGED, reference, (), live=text, writer=maker, mend=up(self.expected)))
        return found, applied["metadata"].get("resourceVersion", "")

    def _manager(self, writers: Sequence[Writer]) -> str:
        if self.expected.way is Way.APPLY_SET:
            return applyset.FIELD_MANAGER
        # The provider gives itself another name for each object.
        applied = (one.manager for one in writers if one.operation == "Apply" and _PULUMI.fullmatch(one.manager))
        return next(applied, "pulumi-kubernetes")

    def _body(
        self, reference: Reference, manifest: Manifest, live: Mapping[str, Any]
    ) -> tuple[dict[str, Any], list[tuple[str | int, ...]]]:
        """The declared object as it is sent, and the paths of what only the deployer knows: its live values."""
        expected = self.expected
        body = applyset.sent(
            substitute(manifest.object, self.kept.values), expected.settings.namespace.name, expected.scopes
        )
        unknown: list[tuple[str | int, ...]] = []
        if not self.kept.knows_secrets:
            # `stringData` has become `data`.
            shift = {"stringData": "data"} if reference.kind == "Secret" else {}
            unknown = [(shift.get(str(top), top), *rest) for top, *rest in manifest.recorded.secrets]
            digests = {hashlib.sha256(sentinel.encode()).hexdigest() for sentinel in expected.recording.generated}
            unknown += _paths_of(body, digests)
        for place in [*unknown, *_ignored(manifest)]:
            _copy(live, body, place)
        if expected.way is Way.APPLY_SET:
            labels = body["metadata"].setdefault("labels", {})
            space = reference.namespace or expected.settings.namespace.name
            labels[applyset.PART_OF] = applyset.set_id(expected.settings.stack, space)
        return body, unknown

    def _changes(
        self,
        reference: Reference,
        applied: Mapping[str, Any],
        live: Mapping[str, Any],
        ours: fields.Fields,
        manager: str,
        manifest: Manifest,
        hidden: set[tuple[str, ...]],
    ) -> Iterator[Finding]:
        others = [one for one in fields.writers(live) if one.manager != manager or one.operation != "Apply"]
        for place, there, here in fields.differences(_content(applied), _content(live), ours):
            if is_harmless(place) or place in _ignored(manifest):
                continue
            other = fields.owner(place, others)
            writer = other or (fields.owner(place, fields.writers(live)) if here is not ABSENT else None)
            secret = self._is_secret(reference, place, hidden)
            mend = up(self.expected)
            # A refresh of Pulumi takes no note of items at the end of a list that its state does not have.
            if self.expected.way is Way.PULUMI and there is ABSENT and isinstance(place[-1], int):
                removing = self._removing(reference, live, [place])
                # What an `up` has set is in the state, unless an older one was put back: its next run takes that away.
                mend = removing if other is not None else f"{removing} && {mend}"
            yield self._finding(
                Kind.CHANGED,
                reference,
                place,
                declared=_shown(there, place, secret),
                live=_shown(here, place, secret),
                writer=writer,
                mend=mend,
            )

    def _withheld(
        self, reference: Reference, live: Mapping[str, Any], unknown: Sequence[tuple[str | int, ...]], manager: str
    ) -> Iterator[Finding]:
        """Values that only the deployer knows: they are his as long as he is who has set them."""
        writers = fields.writers(live)
        ours = [one for one in writers if one.manager == manager and one.operation == "Apply"]
        for place in unknown:
            if fields.owner(place, ours) is not None and fields.value_at(live, place) is not ABSENT:
                continue
            there = fields.value_at(live, place) is not ABSENT
            yield self._finding(
                Kind.CHANGED,
                reference,
                place,
                declared=HIDDEN,
                live=f"differs, {HIDDEN}" if there else None,
                writer=fields.owner(place, writers) if there else None,
                mend=up(self.expected),
            )

    def _additions(
        self,
        reference: Reference,
        applied: Mapping[str, Any],
        live: Mapping[str, Any],
        ours: fields.Fields,
        manager: str,
        manifest: Manifest,
        hidden: set[tuple[str, ...]],
    ) -> Iterator[Finding]:
        ignored = _ignored(manifest)
        found: dict[Path, tuple[Any, Writer]] = {}
        for writer in fields.writers(applied):
            if (writer.manager == manager and writer.operation == "Apply") or is_controller(writer, self.controllers):
                continue
            for place, value in fields.additions(live, writer.fields, ours):
                if not is_harmless(place) and place not in ignored:
                    found.setdefault(place, (value, writer))
        if not found:
            return
        left, accepted = self._left(reference, live, list(found))
        mend = self._removing(reference, live, left) if accepted else self._anew(reference, live)
        for place in left:
            value, writer = found[place]
            text = _shown(value, place, self._is_secret(reference, place, hidden))
            yield self._finding(Kind.ADDED, reference, place, live=text, writer=writer, mend=mend)

    def _left(
        self, reference: Reference, live: Mapping[str, Any], places: Sequence[Path]
    ) -> tuple[Sequence[Path], bool]:
        """Those that would be other without what somebody has added, not by default as they are; and whether they may
        be taken away."""
        where = path(reference, self.served[reference.api_version, reference.kind].plural)
        patch = self._operations(live, places)
        answer = self.api.request("PATCH", f"{where}?dryRun=All", patch, content_type="application/json-patch+json")
        if answer.status in _REFUSALS:
            return places, False
        if answer.status >= 400:
            return places, True  # not tried: the API server, or a webhook of it, is in trouble
        without = answer.content
        return [one for one in places if fields.value_at(without, one) != fields.value_at(live, one)], True

    def _removing(self, reference: Reference, live: Mapping[str, Any], places: Sequence[Path]) -> str:
        """The command that takes away what `up` leaves alone, because it is not the stack's."""
        # kubectl reads it as YAML.
        patch = json.dumps(self._operations(live, places), separators=(",", ":"), ensure_ascii=False)
        return kubectl(self.expected, "patch", reference.argument, reference, "--type=json", f"--patch={patch}")

    def _operations(self, live: Mapping[str, Any], places: Sequence[Path]) -> Sequence[Mapping[str, Any]]:
        operations: list[dict[str, Any]] = []
        # From the end of each list, so that no index moves before its turn.
        pointers = [(fields.pointer(live, place), place) for place in places]
        known = [(steps, place) for steps, place in pointers if steps is not None]
        for steps, place in sorted(known, key=lambda one: [(isinstance(s, int), s) for s in one[0]], reverse=True):
            where = "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in steps)
            if isinstance(place[-1], Item):
                operations += [{"op": "test", "path": f"{where}/{key}", "value": v} for key, v in place[-1].keys]
            elif isinstance(place[-1], int):
                operations.append({"op": "test", "path": where, "value": fields.value_at(live, place)})
            operations.append({"op": "remove", "path": where})
        return operations

    def _anew(self, reference: Reference, live: Mapping[str, Any]) -> str:
        """The command for what cannot be changed in place; never one that takes data away."""
        if _has_data(live):
            return up(self.expected)
        return f"{kubectl(self.expected, 'delete', reference.argument, reference)} && {up(self.expected)}"

    def _is_secret(self, reference: Reference, place: Path, hidden: set[tuple[str, ...]]) -> bool:
        """Whether the values at a path are nobody's to see."""
        there = fields.names(place)
        if reference.kind == "Secret" and there[:1] in (("data",), ("stringData",)):
            return True
        return any(there[: len(one)] == one or one[: len(there)] == there for one in hidden)

    def _finding(
        self,
        kind: Kind,
        reference: Reference,
        place: Path,
        *,
        declared: str | None = None,
        live: str | None = None,
        writer: Writer | None = None,
        mend: str,
    ) -> Finding:
        return Finding(
            kind=kind,
            object=reference,
            path=path_text(place),
            declared=declared,
            live=live,
            by=writer.manager if writer else None,
            when=writer.time if writer else None,
            mend=mend,
        )

    # --- what Kubernetes makes of declared objects --------------------------------------------------------------------

    def _pods(self, found: Mapping[Reference, Mapping[str, Any]]) -> Iterator[Finding]:
        """Pods that are not as their maker has made them: no template says so, and the next one is as it should."""
        for reference, pod in found.items():
            metadata = pod["metadata"]
            made = reference.kind == "Pod" and metadata.get("ownerReferences")
            if not made or metadata.get("deletionTimestamp"):
                continue
            mend = kubectl(self.expected, "delete", reference.argument, reference)
            writers = fields.writers(pod)
            for place, there, here in beside.other_images(pod, beside.template_of(pod, found)):
                writer = fields.owner(place, writers)
                if writer and is_controller(writer, self.controllers) and beside.is_by_admission(pod, writer):
                    continue
                declared, live = _shown(there, place, False), _shown(here, place, False)
                yield self._finding(
                    Kind.CHANGED, reference, place, declared=declared, live=live, writer=writer, mend=mend
                )
            for place, container in beside.ephemeral(pod):
                text, writer = _shown(container, place, False), fields.owner(place, writers)
                yield self._finding(Kind.ADDED, reference, place, live=text, writer=writer, mend=mend)

    def _claims(self, found: Mapping[Reference, Mapping[str, Any]]) -> Iterator[Finding]:
        """Claims of StatefulSets whose labels are not those of their template: nothing else would put them back."""
        labels = {
            (reference.namespace, start): labels
            for reference, declared in self.expected.objects.items()
            if reference.kind == "StatefulSet"
            for start, labels in beside.labels_of_claims(declared.object)
        }
        for reference, claim in found.items():
            start, dash, number = reference.name.rpartition("-")
            if (reference.api_version, reference.kind) != _CLAIM or not number.isdigit():
                continue
            wanted = labels.get((reference.namespace, start + dash), {})
            live = claim["metadata"].get("labels") or {}
            other = {key: value for key, value in wanted.items() if live.get(key) != value}
            words = (f"{key}={value}" for key, value in other.items())
            mend = kubectl(self.expected, "label --overwrite", reference.argument, reference, *words)
            for key, value in other.items():
                place = ("metadata", "labels", key)
                here = live.get(key)
                writer = fields.owner(place, fields.writers(claim)) if here is not None else None
                yield self._finding(Kind.CHANGED, reference, place, declared=value, live=here, writer=writer, mend=mend)

    # --- objects that nobody declares ---------------------------------------------------------------------------------

    def _places(self) -> set[Place]:
        objects = self.expected.objects
        spaces = {reference.namespace for reference in objects}
        kinds = {(reference.api_version, reference.kind) for reference in objects}
        releases = {("v1", "Secret", name.partition("/")[0]) for name in self.expected.releases}
        shop = self.expected.settings.namespace.name
        also = {(*kind, shop) for kind in ALSO} | {(*kind, "") for kind in ALSO_CLUSTER_WIDE}
        return {(*kind, space) for kind in kinds for space in spaces} | also | releases

    def _unexpected(self, found: Mapping[Reference, Mapping[str, Any]]) -> Iterator[Finding]:
        shop = self.expected.settings.namespace.name
        stack = self.expected.settings.stack
        own = {
            keeper_of(self.expected),
            Reference("v1", "Secret", shop, applyset.parent_name(stack)),
            # What `cloudmart access role` prints, for an administrator to apply.
            *(
                Reference(_BINDING[0], kind, space, f"cloudmart-{stack}-{whose}")
                for kind, space in (("Role", shop), ("RoleBinding", shop), ("ClusterRoleBinding", ""))
                for whose in ("deployer", "verifier", "reader")
            ),
        }
        for reference, live in found.items():
            if reference in self.expected.objects or reference in own or is_made_for_others(live) or release_of(live):
                continue
            # A claim has data, whoever has made it: nobody is told to delete it.
            if (reference.api_version, reference.kind) == _CLAIM:
                continue
            ours = self._is_ours(reference, live)
            writers = [one for one in fields.writers(live) if one.subresource == ""]
            maker = writers[-1] if writers else None
            here = reference.namespace == shop or (reference.kind == _BINDING[1] and beside.lets_in(live, shop))
            if not ours and (not here or (maker is not None and is_controller(maker, self.controllers))):
                continue
            mend = up(self.expected) if ours else kubectl(self.expected, "delete", reference.argument, reference)
            text = "no longer declared" if ours else "not declared"
            yield self._finding(Kind.UNEXPECTED, reference, (), live=text, writer=maker, mend=mend)

    def _is_ours(self, reference: Reference, live: Mapping[str, Any]) -> bool:
        """Whether an earlier `up` of this stack has made the object."""
        labels = live["metadata"].get("labels") or {}
        shop = self.expected.settings.namespace.name
        if self.expected.way is Way.APPLY_SET:
            stack = self.expected.settings.stack
            return bool(labels.get(applyset.PART_OF) == applyset.set_id(stack, reference.namespace or shop))
        by_pulumi = any(one.operation == "Apply" and _PULUMI.fullmatch(one.manager) for one in fields.writers(live))
        # Another project of Pulumi may have objects of its own in the cluster.
        return by_pulumi and (bool(reference.namespace) or labels.get("project") == shop)

    # --- Helm releases ------------------------------------------------------------------------------------------------

    def _releases(self, found: Mapping[Reference, Mapping[str, Any]]) -> Iterator[Finding]:
        """Releases that Helm does not know as deployed, by the Secrets that it keeps of each revision."""
        kept: dict[str, dict[int, str]] = {}
        for reference, live in found.items():
            labels = live["metadata"].get("labels") or {}
            if live.get("type") == "helm.sh/release.v1" and str(labels.get("version", "")).isdigit():
                revisions = kept.setdefault(f"{reference.namespace}/{labels.get('name')}", {})
                revisions[int(labels["version"])] = str(labels.get("status"))
        for name in self.expected.releases:
            namespace, _, release = name.partition("/")
            revisions = kept.get(name, {})
            status = revisions[max(revisions)] if revisions else None
            if status == "deployed":
                continue
            yield Finding(
                kind=Kind.CHANGED if status else Kind.MISSING,
                object=Reference("helm.sh/v3", "Release", namespace, release),
                path="status" if status else "",
                declared="deployed" if status else "a Helm release",
                live=status,
                mend=up(self.expected),
            )


def _of(writers: Iterable[Writer], manager: str) -> fields.Fields:
    """What a manager has applied."""
    return next((one.fields for one in writers if one.manager == manager and one.operation == "Apply"), {})


def _has_data(live: Mapping[str, Any]) -> bool:
    """Whether data goes with the object."""
    if live["kind"] != "StatefulSet":
        return live["kind"] in _WITH_DATA
    kept = (live["spec"].get("persistentVolumeClaimRetentionPolicy") or {}).get("whenDeleted", "Retain")
    return bool(kept != "Retain")


def _ignored(manifest: Manifest) -> set[tuple[str, ...]]:
    """What the program leaves to others once it is there."""
    return {tuple(text.split(".")) for text in manifest.recorded.ignore_changes}


def _content(item: Mapping[str, Any]) -> dict[str, Any]:
    """What people declare: neither status nor the API server's own bookkeeping."""
    metadata = {key: value for key, value in item["metadata"].items() if key not in _BOOKKEEPING}
    return {key: value for key, value in item.items() if key != "status"} | {"metadata": metadata}


def _copy(live: Mapping[str, Any], into: dict[str, Any], place: Sequence[str | int]) -> None:
    """Puts the live value in place of a declared one, or takes that away where there is none."""
    *above, last = place
    here: Any = into
    for part in above:
        here = fields.value_at(here, (part,))
        if here is ABSENT:
            return
    if fields.value_at(here, (last,)) is ABSENT:
        return
    value = fields.value_at(live, tuple(place))
    if value is ABSENT:
        del here[last]
    else:
        here[last] = copy.deepcopy(value)


def _paths_of(item: Any, values: set[str], place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where one of these texts stands."""
    if isinstance(item, dict):
        for key, value in item.items():
            yield from _paths_of(value, values, (*place, key))
    elif isinstance(item, list):
        for index, value in enumerate(item):
            yield from _paths_of(value, values, (*place, index))
    elif isinstance(item, str) and item in values:
        yield place


def _shown(value: Any, place: Path, secret: bool) -> str | None:
    if value is ABSENT:
        return None
    # Of an item such as a variable, its name says what its value is.
    of_item = [text for part in place if isinstance(part, Item) for _, text in part.keys]
    named = (*of_item, *fields.names(place[-1:])) if place[-1:] != ("name",) else ()
    if secret or value == SECRET or (isinstance(value, str) and any(_is_confidential(name) for name in named)):
        return HIDDEN
    text = value if isinstance(value, str) else json.dumps(_censored(value), ensure_ascii=False, sort_keys=True)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _censored(value: Any) -> Any:
    """Without values that go by the name of something confidential, whoever has put them there."""
    if isinstance(value, list):
        return [_censored(item) for item in value]
    if not isinstance(value, dict):
        return value
    named = _is_confidential(value.get("name"))
    return {
        key: HIDDEN
        if isinstance(item, str) and ((named and key == "value") or _is_confidential(key))
        else _censored(item)
        for key, item in value.items()
    }


def _is_confidential(name: object) -> bool:
    # The name of a Secret is none, nor is where it is mounted.
    return bool(_CONFIDENTIAL.search(str(name))) and not re.search(r"(?i)(name|ref|path)$", str(name))

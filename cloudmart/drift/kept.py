"""Generated values (passwords) that are kept in the cluster, as they are without Pulumi: which are lost, which somebody
has edited, and the commands that put them back. Pure: nothing is asked."""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cloudmart.cluster.live import Reference
from cloudmart.deploy import applyset, generated
from cloudmart.deploy.expected import Expected, Way
from cloudmart.drift import fields
from cloudmart.drift.commands import kubectl, up
from cloudmart.drift.fields import Writer
from cloudmart.drift.finding import HIDDEN, Finding, Kind
from cloudmart.finops.paths import path_text
from cloudmart.preview.render import Manifest


def keeper_of(expected: Expected) -> Reference:
    """The Secret that keeps a stack's generated values."""
    settings = expected.settings
    return Reference("v1", "Secret", settings.namespace.name, generated.name_of(settings.stack))


@dataclass(frozen=True)
class Kept:
    """The generated values of a stack, by what was found in its cluster."""

    expected: Expected
    #: What is declared, with sentinels in place of generated values.
    templates: Sequence[Manifest]
    found: Mapping[Reference, Mapping[str, Any]]

    @property
    def knows_secrets(self) -> bool:
        """Whether the values that were deployed are kept in the cluster, as they are without Pulumi."""
        return self.expected.way is Way.APPLY_SET and not self.lost

    @cached_property
    def lost(self) -> Sequence[str]:
        """The keys that the next `up` would make anew although nobody has asked for a rotation."""
        if self.expected.way is not Way.APPLY_SET:
            return ()
        data = _data(self.found.get(self._keeper))
        missing = (key for key in dict.fromkeys(self._keys.values()) if not data.get(key))
        return [key for key in missing if not generated.is_rotation(key, set(data) - {key})]

    @cached_property
    def edited(self) -> Mapping[str, tuple[Writer, str]]:
        """The keys of those that somebody else has written over: by whom, and the value that is live, in base64."""
        return dict(self._overwritten())

    @cached_property
    def values(self) -> Mapping[str, str]:
        """Each sentinel's value; none where some are lost. What a rotation asks for has none before the next `up`."""
        if not self.knows_secrets:
            return {}
        data = {**_data(self.found.get(self._keeper)), **{key: live for key, (_, live) in self.edited.items()}}
        return {sentinel: _decoded(data[key]) for sentinel, key in self._keys.items() if data.get(key)}

    def findings(self) -> Iterator[Finding]:
        """What is wrong with the values themselves."""
        yield from self._lost_values()
        yield from self._edited_values()

    def rotations(self) -> Iterator[str]:
        """What explains that a password differs which nobody has touched."""
        if self.expected.way is Way.APPLY_SET:
            missing = set(self._keys.values()) - set(_data(self.found.get(self._keeper))) - set(self.lost)
            pending = (self.expected.recording.generated[one].name for one, key in self._keys.items() if key in missing)
            yield from (f"rotation pending: the next up makes {name} anew" for name in sorted(set(pending)))

    @cached_property
    def _keeper(self) -> Reference:
        return keeper_of(self.expected)

    @cached_property
    def _keys(self) -> Mapping[str, str]:
        """Under which key the keeper has each generated value, by its sentinel."""
        return generated.keys(self.expected.recording, self.templates)

    def _lost_values(self) -> Iterator[Finding]:
        """The generated passwords are gone: the next `up` would make others, which no data knows."""
        if not self.lost:
            return
        kind = Kind.CHANGED if self._keeper in self.found else Kind.MISSING
        mend = self._restoring(self.lost)
        # What was there may still be had from the objects, but not after an `up`.
        live = "not all of them: the next up would make others, which the data does not know"
        if not mend:
            live = "not all of them, and no Secret has them either: the next up makes others"
            mend = up(self.expected)
        yield Finding(kind=kind, object=self._keeper, declared="every generated value", live=live, mend=mend)

    def _overwritten(self) -> Iterator[tuple[str, tuple[Writer, str]]]:
        """Values of the keeper that are somebody else's, where the live Secret still has what an `up` has written."""
        keeper = self.found.get(self._keeper)
        if keeper is None or self.expected.way is not Way.APPLY_SET:
            return
        for key, (holder, place) in self._holders().items():
            live, kept = _data(self.found[holder])[place], _data(keeper).get(key)
            writer = fields.owner(("data", key), fields.writers(keeper))
            applied = fields.owner(("data", place), fields.writers(self.found[holder]))
            foreign = writer is not None and not generated.is_keeper(writer.manager)
            if writer and foreign and kept and kept != live and applied and applied.manager == applyset.FIELD_MANAGER:
                yield key, (writer, live)

    def _edited_values(self) -> Iterator[Finding]:
        """The next `up` would deploy another value: its Secrets are not what somebody has changed."""
        for key, (writer, _) in self.edited.items():
            yield Finding(
                kind=Kind.CHANGED,
                object=self._keeper,
                path=path_text(("data", key)),
                declared=HIDDEN,
                live=HIDDEN,
                by=writer.manager,
                when=writer.time,
                mend=self._restoring([key]),
            )

    def _restoring(self, keys: Collection[str]) -> str:
        """The command that puts values back into the keeper from the live Secrets that have them; empty for none.

        By a pipe: on a command line whoever may list processes could read them.
        """
        keeper = self._keeper
        commands: list[str] = []
        if keeper not in self.found:
            commands.append(kubectl(self.expected, "create secret generic", keeper.name, keeper))
        by_holder: dict[Reference, dict[str, str]] = {}
        for key, (holder, place) in self._holders().items():
            if key in keys:
                by_holder.setdefault(holder, {})[key] = place
        for holder, places in by_holder.items():
            data = ",".join(f'"{key}":"{{{{index .data "{place}"}}}}"' for key, place in places.items())
            # Nothing where one is gone since: a patch that the API server cannot read is shown with all the values.
            there = " ".join(f'(index .data "{place}")' for place in places.values())
            template = f'{{{{if and {there}}}}}{{"data":{{{data}}}}}{{{{end}}}}'
            get = kubectl(self.expected, "get", holder.argument, holder, f"--output=go-template={template}")
            more = ("--type=merge", "--patch-file=/dev/stdin", f"--field-manager={generated.RESTORER}")
            commands.append(f"{get} | {kubectl(self.expected, 'patch', keeper.argument, keeper, *more)}")
        return " && ".join(commands) if by_holder else ""

    def _holders(self) -> Mapping[str, tuple[Reference, str]]:
        """Where a live Secret has a generated value and nothing else: by its key in the keeper."""
        held: dict[str, tuple[Reference, str]] = {}
        for manifest in self.templates:
            space = str(manifest.recorded.namespace or self._keeper.namespace)
            holder = Reference("v1", "Secret", space, str(manifest.recorded.object_name))
            if manifest.recorded.kind != "Secret":
                continue
            data = _data(self.found.get(holder))
            for place, template in manifest.recorded.secrets.items():
                if template in self._keys and data.get(str(place[-1])):
                    held.setdefault(self._keys[str(template)], (holder, str(place[-1])))
        return held


def _data(secret: Mapping[str, Any] | None) -> Mapping[str, str]:
    """A Secret's values, in base64."""
    return (secret or {}).get("data") or {}


def _decoded(value: str) -> str:
    # Whoever has edited it may have put anything there.
    return base64.b64decode(value).decode(errors="replace")

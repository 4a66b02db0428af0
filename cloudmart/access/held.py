"""Which of the needed permissions the current user of a cluster has, as the API server itself answers it.

Reviews of access are requests that the server answers and does not keep: asking changes nothing.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cloudmart.access.permissions import Permission

Kubectl = Callable[..., str]
"""Runs kubectl with arguments, `stdin` among them, and returns what it prints; raises ``UserError``."""

_AUTHORIZATION = "authorization.k8s.io/v1"
# One kubectl asks one after the other; so many at a time.
_AT_A_TIME = 4


def user(kubectl: Kubectl) -> str:
    """Who the API server takes us for."""
    (answer,) = _reviews(kubectl, [{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}])
    return str(answer.get("userInfo", {}).get("username", ""))


def missing(kubectl: Kubectl, needed: Collection[Permission]) -> list[Permission]:
    """Those that the user does not have, sorted. Raises ``UserError`` when the server cannot be asked."""
    everything = Permission("", "*", "*", "*")
    if not needed or not _refused(kubectl, [everything]):
        return []
    spaces = sorted({one.namespace for one in needed if one.namespace})
    asked = [
        {"apiVersion": _AUTHORIZATION, "kind": "SelfSubjectRulesReview", "spec": {"namespace": space}}
        for space in spaces
    ]
    rules = dict(zip(spaces, _reviews(kubectl, asked), strict=True))
    # A cluster-wide permission does not follow from the rules in a namespace, and an incomplete list says nothing of
    # what is not on it: those are asked one by one.
    open_: list[Permission] = []
    lacked: list[Permission] = []
    for one in sorted(needed):
        answer = rules.get(one.namespace)
        if answer is None:
            open_.append(one)
        elif not any(_allows(rule, one) for rule in answer.get("resourceRules", ())):
            (open_ if answer.get("incomplete") else lacked).append(one)
    size = -(-len(open_) // _AT_A_TIME)
    parts = [open_[start : start + size] for start in range(0, len(open_), size or 1)]
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        lacked += itertools.chain.from_iterable(pool.map(lambda part: _refused(kubectl, part), parts))
    return sorted(lacked)


def _allows(rule: Mapping[str, Any], wanted: Permission) -> bool:
    names = rule.get("resourceNames") or ()
    return (
        bool({"*", wanted.verb} & set(rule["verbs"]))
        and bool({"*", wanted.group} & set(rule.get("apiGroups") or ()))
        and bool({"*", wanted.resource} & set(rule.get("resources") or ()))
        and (not names or wanted.name in names)
    )


def _refused(kubectl: Kubectl, wanted: Sequence[Permission]) -> list[Permission]:
    asked = [
        {
            "apiVersion": _AUTHORIZATION,
            "kind": "SelfSubjectAccessReview",
            "spec": {
                "resourceAttributes": {
                    "namespace": one.namespace,
                    "group": one.group,
                    "resource": one.resource,
                    "verb": one.verb,
                    "name": one.name,
                }
            },
        }
        for one in wanted
    ]
    answers = _reviews(kubectl, asked)
    return [one for one, answer in zip(wanted, answers, strict=True) if not answer.get("allowed")]


def _reviews(kubectl: Kubectl, asked: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The status of each review, in order."""
    if not asked:
        return []
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": asked})
    answer = kubectl("create", "--filename=-", "--validate=false", "--output=json", stdin=text)
    return [item.get("status", {}) for item in _documents(answer)]


def _documents(text: str) -> Iterator[Mapping[str, Any]]:
    """kubectl prints one object after the other."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text := text.rstrip()):
        item, at = decoder.raw_decode(text, at)
        yield item
        at += len(text[at:]) - len(text[at:].lstrip())

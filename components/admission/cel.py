"""The rules in CEL, for the API server's ValidatingAdmissionPolicies.

A check is the variables that it needs, each of which may use those before it, and ``findings``: a list of what is wrong
and where, empty for a good object. `$name` stands for a parameter. ``dyn`` keeps the API server from typing an
expression against kinds that lack a field which only another kind has, and lets a mapping have values of two types.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Template
from textwrap import dedent
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Check:
    """A rule's check. `variables` come after `COMMON`."""

    findings: str
    variables: Mapping[str, str] = field(default_factory=dict)


#: What every check may use: `who` for messages, the pod `template`, and its `containers`, init containers first. Kinds
#: that run no pods have an empty one.
COMMON = {
    "who": """
        object.kind + ' ' + (has(object.metadata.namespace) ? object.metadata.namespace + '/' : '')
          + object.metadata.name""",
    "template": """
        object.kind == 'Pod' ? dyn(object)
          : object.kind == 'CronJob' ? dyn(object).spec.jobTemplate.spec.template
          : dyn(object).?spec.?template.orValue({'spec': {'containers': []}})""",
    "containers": """
        variables.template.spec.?initContainers.orValue([])
          .map(c, {'at': dyn("init container '" + c.name + "'"), 'init': dyn(true), 'body': dyn(c)})
        + variables.template.spec.containers
          .map(c, {'at': dyn("container '" + c.name + "'"), 'init': dyn(false), 'body': dyn(c)})""",
}

#: Each image, and the repository that it means.
_REPOSITORIES = """
    variables.containers.map(c, {'at': string(c.at), 'image': string(c.body.?image.orValue(''))})
      .map(i, {'at': i.at, 'image': i.image, 'rest': i.image.split('@')[0]})
      .map(i, {'at': i.at, 'image': i.image, 'rest': i.rest, 'last': i.rest.substring(i.rest.lastIndexOf('/') + 1)})
      .map(i, {
        'at': i.at,
        'image': i.image,
        'tag': i.last.contains(':') ? i.last.substring(i.last.lastIndexOf(':') + 1) : '',
        'path': i.last.contains(':') ? i.rest.substring(0, i.rest.lastIndexOf(':')) : i.rest})
      .map(i, {
        'at': i.at,
        'image': i.image,
        'tag': i.tag,
        'repository': !i.path.contains('/') ? 'docker.io/library/' + i.path
          : i.path.split('/')[0].matches('[.:]|^localhost$$') ? i.path
          : 'docker.io/' + i.path})"""


def _looks_secret(name: str, value: str) -> str:
    return f"""(!{value}.matches($harmless) && !({name} in $allowedNames)
          && ($shapes.exists(s, {value}.matches(s.pattern)) || {name}.matches($names)))"""


def _why_secret(name: str, value: str) -> str:
    return f"""($shapes.exists(s, {value}.matches(s.pattern))
          ? "the value of '" + {name} + "' looks like " + $shapes.filter(s, {value}.matches(s.pattern))[0].what
          : "'" + {name} + "' is a secret by its name and has a literal value")"""


CHECKS: Mapping[str, Check] = {
    "cpu-memory-requests": Check(
        findings="""
            variables.containers.map(c, {
                'at': c.at,
                'missing': dyn(['cpu', 'memory'].filter(r,
                  sign(quantity(c.body[?'resources'][?'requests'][?r].orValue('0'))) < 1))})
              .filter(c, size(c.missing) > 0)
              .map(c, c.at + ': no ' + c.missing.join(' and ') + ' request')"""
    ),
    "memory-limits": Check(
        findings="""
            variables.containers.filter(c, !c.body[?'resources'][?'limits'][?'memory'].hasValue())
              .map(c, c.at + ': no memory limit')"""
    ),
    "limit-request-ratio": Check(
        variables={
            # Rounding in the sixteenth digit must not make a ratio of five more than five.
            "over": """
                variables.containers.map(c,
                  [{'name': dyn('cpu'), 'most': dyn($maxCpuRatio)},
                   {'name': dyn('memory'), 'most': dyn($maxMemoryRatio)}]
                  .map(r, {
                    'at': c.at,
                    'name': r.name,
                    'most': r.most,
                    'request': dyn(c.body[?'resources'][?'requests'][?r.name].orValue('0')),
                    'limit': dyn(c.body[?'resources'][?'limits'][?r.name].orValue('0'))})
                  .filter(r, quantity(r.request).asApproximateFloat() > 0.0 && quantity(r.limit).asApproximateFloat()
                    > quantity(r.request).asApproximateFloat() * double(r.most) * 1.000000001))
                .filter(found, size(found) > 0)"""
        },
        findings="""
            variables.over.map(found, found[0].at + ': ' + found.map(r,
              r.name + ' limit ' + r.limit + ' is ' + '%.2f'.format([quantity(r.limit).asApproximateFloat()
              / quantity(r.request).asApproximateFloat()]) + ' times the request ' + r.request
              + ' (at most ' + string(r.most) + ' times)').join(', '))""",
    ),
    "cost-labels": Check(
        variables={
            "places": """
                [{'at': dyn(''), 'of': dyn(object)}]
                + (object.kind == 'Pod' ? [] : dyn(object)[?'spec'][?'jobTemplate'][?'spec'][?'template']
                  .or(dyn(object)[?'spec'][?'template']).optMap(t, [{'at': dyn('pod template: '), 'of': t}])
                  .orValue([]))
                + (object.kind == 'StatefulSet' ? dyn(object).spec.?volumeClaimTemplates.orValue([]) : [])
                  .map(c, {'at': dyn("claim template '" + c.metadata.name + "': "), 'of': dyn(c)})
                + variables.template.spec.?volumes.orValue([])
                  .filter(v, v[?'ephemeral'][?'volumeClaimTemplate'].hasValue())
                  .map(v, {
                    'at': dyn("ephemeral volume '" + v.name + "': "),
                    'of': dyn(v.ephemeral.volumeClaimTemplate)})""",
            "labelled": """
                variables.places.map(p, {
                  'at': p.at,
                  'missing': dyn($required.filter(l, p.of[?'metadata'][?'labels'][?l].orValue('') == '')),
                  'center': dyn(p.of[?'metadata'][?'labels'][?'cost-center'].orValue(''))})""",
        },
        findings="""
            variables.labelled.filter(p, size(p.missing) > 0).map(p, p.at + 'no label ' + p.missing.join(', '))
            + variables.labelled.filter(p, p.center != '' && !(p.center in $costCenters))
              .map(p, p.at + "cost-center '" + p.center + "' is not in the registry, which has "
                + $costCenters.join(', '))""",
    ),
    "image-pinned": Check(
        variables={"images": _REPOSITORIES},
        findings="""
            variables.images.map(i, i.at + ': '
              + (i.image == '' ? 'no image'
                : i.image.matches('@.') ? ''
                : i.repository.matches($digestRequired) ? "image '" + i.image + "' has no digest"
                : i.tag == '' ? "image '" + i.image + "' has no tag, which means latest"
                : i.tag in $forbiddenTags ? "image '" + i.image + "' has the moving tag '" + i.tag + "'"
                : ''))
              .filter(f, !f.endsWith(': '))""",
    ),
    "image-registries": Check(
        variables={"images": _REPOSITORIES},
        findings="""
            variables.images
              .filter(i, i.image != '' && !$allowed.exists(place, (i.repository + '/').startsWith(place)))
              .map(i, i.at + ": image '" + i.image + "' comes from '" + i.repository + "'")""",
    ),
    "probes": Check(
        variables={
            "asked": """
                (object.kind == 'Pod' && variables.template.spec.restartPolicy != 'Always' ? [] : variables.containers)
                  .filter(c, !c.init)
                  .map(c, {
                    'at': c.at,
                    'missing': dyn($required.filter(p, !$handlers.exists(h, c.body[?p + 'Probe'][?h].hasValue())))})"""
        },
        findings="""
            variables.asked.filter(c, size(c.missing) > 0)
              .map(c, c.at + ': no ' + c.missing.join(' and ') + ' probe')""",
    ),
    "no-literal-secrets": Check(
        variables={
            "bad": f"""
                variables.containers.map(c, {{
                    'at': c.at,
                    'env': dyn(c.body.?env.orValue([]).map(e, {{'name': e.name, 'value': e.?value.orValue('')}})
                      .filter(e, {_looks_secret("e.name", "e.value")}))}})
                  .filter(c, size(c.env) > 0)""",
            # An expression may spend only so much on long texts: files in a ConfigMap are left to the pack.
            "data": f"""
                object.kind != 'ConfigMap' ? [] : dyn(object).?data.orValue({{}}).map(k, k)
                  .map(k, {{'name': k, 'value': dyn(object).data[k]}})
                  .filter(e, size(e.value) <= 1024 && {_looks_secret("e.name", "e.value")})""",
        },
        findings=f"""
            variables.bad.map(c, c.at + ', env: ' + c.env.map(e, {_why_secret("e.name", "e.value")}).join(', '))
            + variables.data.map(e, 'data: ' + {_why_secret("e.name", "e.value")})""",
    ),
    "service-exposure": Check(
        variables={
            "how": """
                (object.spec.?type.orValue('ClusterIP') in ['LoadBalancer', 'NodePort']
                  ? ['type is ' + object.spec.type] : [])
                + (size(object.spec.?externalIPs.orValue([])) > 0 ? ['externalIPs are set'] : [])"""
        },
        findings="""
            size(variables.how) > 0 && !(object.metadata.namespace + '/' + object.metadata.name).matches($allowed)
              ? [variables.how.join(' and ')] : []""",
    ),
    "autoscaler-bounds": Check(
        variables={
            "targets": """
                object.spec.?metrics.orValue([])
                  .map(m, dyn(m)[?'resource'].or(dyn(m)[?'containerResource']).orValue({}))
                  .filter(s, s[?'target'][?'averageUtilization'].hasValue())
                  .map(s, {'name': dyn(s.name), 'percent': dyn(s.target.averageUtilization)})"""
        },
        findings="""
            (object.spec.?minReplicas.orValue(1) < $minReplicas
              ? ['minReplicas ' + string(object.spec.minReplicas) + ' is below ' + string($minReplicas)] : [])
            + variables.targets
              .filter(t, double(t.percent) < double($minUtilization) || double(t.percent) > double($maxUtilization))
              .map(t, 'target ' + t.name + ' utilization ' + string(t.percent) + ' % is outside '
                + string($minUtilization) + ' to ' + string($maxUtilization) + ' %')""",
    ),
}


def literal(value: Any) -> str:
    """A JSON value as CEL writes it. A list's items are of one type."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{literal(key)}: {literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(literal(item) for item in value) + "]"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, ensure_ascii=False)


def expressions(name: str, parameters: Mapping[str, Any]) -> dict[str, str]:
    """The variables of a rule with its parameters put in, in order; the last one is ``findings``."""
    check = CHECKS[name]
    literals = {key: literal(value) for key, value in parameters.items()}
    templates = {**COMMON, **check.variables, "findings": check.findings}
    return {key: dedent(Template(text).substitute(literals)).strip() for key, text in templates.items()}

"""Bad input: one line a problem, with file, line, key path, what was found and what is allowed."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from cloudmart.cli import main
from cloudmart.settings.source import parse
from tests.unit.settings_files import CATALOG, MARK, changed, loaded, marked_line, problems, write

WEB = "    replicas: 2\n"

#: What is broken: the edit of the catalog (the marked line is at fault), and the message after `catalog.yaml:LINE: `.
BROKEN = {
    "unknown key": (
        (WEB, f"    replicas: 2\n    replcas: 3 {MARK}\n"),
        r"services\.web\.replcas: found an unknown key \(did you mean 'replicas'\?\); allowed: description, .*",
    ),
    "unknown key at the top": (
        ("project: shop", f"project: shop\nproyect: x {MARK}"),
        r"proyect: found an unknown key \(did you mean 'project'\?\); allowed: project, cluster, .*",
    ),
    "key in snake case": (
        ("    needs: [mail]", f"    needs: [mail]\n    cost_center: CC-2 {MARK}"),
        r"services\.api\.cost_center: found an unknown key \(did you mean 'costCenter'\?\); allowed: .*",
    ),
    "required key left out": (
        ("  web:\n    description: Pages\n", f"  web: {MARK}\n"),
        r"services\.web\.description: found nothing; allowed: this key is required",
    ),
    "wrong type": (
        ("    replicas: 2", f"    replicas: two {MARK}"),
        r"services\.web\.replicas: found 'two'; allowed: a valid integer",
    ),
    "number in quotes": (
        ("    replicas: 2", f'    replicas: "2" {MARK}'),
        r"services\.web\.replicas: found '2'; allowed: a valid integer",
    ),
    "boolean for a number": (
        ("    replicas: 2", f"    replicas: true {MARK}"),
        r"services\.web\.replicas: found true; allowed: a valid integer",
    ),
    "number for text": (
        ("env: {LOG_LEVEL: info}", f"env: {{LOG_LEVEL: 3}} {MARK}"),
        r"services\.web\.env\.LOG_LEVEL: found 3; allowed: a valid string",
    ),
    "scalar for a mapping": (
        (
            "externals:\n  mail: {description: Mail provider, host: mail.example.com}",
            f"externals:\n  mail: there {MARK}",
        ),
        r"externals\.mail: found 'there'; allowed: a mapping",
    ),
    "scalar for a list": (
        ("needs: [mail]", f"needs: mail {MARK}"),
        r"services\.api\.needs: found 'mail'; allowed: a list",
    ),
    "word outside a vocabulary": (
        ("criticality: standard", f"criticality: urgent {MARK}"),
        r"services\.api\.criticality: found 'urgent'; allowed: 'critical', 'high', 'standard' or 'low'",
    ),
    "misspelt word of a vocabulary": (
        ("criticality: standard", f"criticality: standart {MARK}"),
        r"services\.api\.criticality: found 'standart' \(did you mean 'standard'\?\); allowed: 'critical', .*",
    ),
    "zero replicas": (
        ("    replicas: 2", f"    replicas: 0 {MARK}"),
        r"services\.web\.replicas: found 0; allowed: greater than or equal to 1",
    ),
    "unknown cost center": (
        ("    needs: [mail]", f"    needs: [mail]\n    costCenter: CC-3 {MARK}"),
        r"services\.api\.costCenter: found 'CC-3' \(did you mean 'CC-[12]'\?\); allowed, from costCenters: CC-1, CC-2",
    ),
    "unknown cost center of the namespace": (
        ("  costCenter: CC-1", f"  costCenter: XX-9999 {MARK}"),
        r"namespace\.costCenter: found 'XX-9999'; allowed, from costCenters: CC-1, CC-2",
    ),
    "unknown cost center of a store": (
        ("  postgres: {}", f"  postgres: {{costCenter: CC-7}} {MARK}"),
        r"data\.postgres\.costCenter: found 'CC-7'.*; allowed, from costCenters: CC-1, CC-2",
    ),
    "bad CPU quantity": (
        ("requests: {cpu: 100m, memory: 128Mi}", f"requests: {{cpu: 100M, memory: 128Mi}} {MARK}"),
        r"services\.web\.resources\.requests\.cpu: found '100M'; allowed: a CPU quantity such as 100m, .*",
    ),
    "bad memory quantity": (
        ("requests: {cpu: 100m, memory: 128Mi}", f"requests: {{cpu: 100m, memory: 128MB}} {MARK}"),
        r"services\.web\.resources\.requests\.memory: found '128MB'; "
        r"allowed: a memory or storage quantity such as 128Mi, 1Gi, 500M",
    ),
    "memory without its unit": (
        ("requests: {cpu: 100m, memory: 128Mi}", f"requests: {{cpu: 100m, memory: 128}} {MARK}"),
        r"services\.web\.resources\.requests\.memory: found 128; allowed: 1Mi to 64Ti",
    ),
    "no CPU at all": (
        ("requests: {cpu: 100m, memory: 128Mi}", f"requests: {{cpu: 0, memory: 128Mi}} {MARK}"),
        r"services\.web\.resources\.requests\.cpu: found 0; allowed: 1m to 1000",
    ),
    "volume of absurd size": (
        ("  postgres: {}", f"  postgres: {{storage: {{size: 999999999999999999Ei}}}} {MARK}"),
        r"data\.postgres\.storage\.size: found 999999999999999999Ei; allowed: 1Mi to 1Pi",
    ),
    "CPU limit below its request": (
        (
            "    resources:\n      requests: {cpu: 100m, memory: 128Mi}\n      limits: {cpu: 300m, memory: 256Mi}\n",
            "    resources:\n      requests: {cpu: 100m, memory: 128Mi}\n"
            f"      limits: {{cpu: 99m, memory: 256Mi}} {MARK}\n",
        ),
        r"services\.web\.resources\.limits\.cpu: found limits\.cpu 99m is below requests\.cpu 100m; allowed: .*",
    ),
    "memory limit below its request": (
        (
            "    resources:\n      requests: {cpu: 50m, memory: 64Mi}\n      limits: {cpu: 100m, memory: 64Mi}\n",
            "    resources:\n      requests: {cpu: 50m, memory: 64Mi}\n"
            f"      limits: {{cpu: 100m, memory: 64M}} {MARK}\n",
        ),
        r"services\.api\.resources\.limits\.memory: found limits\.memory 64M is below requests\.memory 64Mi; "
        r"allowed: 64Mi or more",
    ),
    "min above max": (
        ("    autoscaling: {min: 1, max: 4, cpu: 70}", f"    autoscaling: {{min: 5, max: 4, cpu: 70}} {MARK}"),
        r"services\.web\.autoscaling\.min: found min 5 is above max 4; allowed: min up to max",
    ),
    "replicas out of range": (
        (WEB, f"    replicas: 5 {MARK}\n"),
        r"services\.web\.replicas: found replicas 5 is outside the autoscaling range; allowed: 1 to 4",
    ),
    "autoscaling without a target": (
        ("    autoscaling: {min: 1, max: 4, cpu: 70}", f"    autoscaling: {{min: 1, max: 4}} {MARK}"),
        r"services\.web\.autoscaling: found neither cpu nor memory has a target; allowed: one or both, .*",
    ),
    "edge to nothing": (
        ("needs: [api, postgres]", f"needs: [api, postgress] {MARK}"),
        r"services\.web\.needs\[1\]: found 'postgress' \(did you mean 'postgres'\?\); allowed: api, postgres, mail",
    ),
    "edge to a store that is off": (
        ("needs: [mail]", f"needs: [kafka] {MARK}"),
        r"services\.api\.needs\[0\]: found 'kafka'; allowed: web, postgres, mail",
    ),
    "the same edge twice": (
        ("needs: [api, postgres]", f"needs:\n    - api\n    - postgres\n    - api {MARK}"),
        r"services\.web\.needs\[2\]: found 'api' a second time; allowed: each once",
    ),
    "cycle": (
        ("    needs: [api, postgres]", f"    needs: [api, postgres] {MARK}"),
        r"services\.web\.needs: found a cycle, web -> api -> web; allowed: needs that lead back to nobody",
    ),
    "service that needs itself": (
        ("needs: [mail]", f"needs: [api] {MARK}"),
        r"services\.api\.needs: found a cycle, api -> api; allowed: needs that lead back to nobody",
    ),
    "bad service name": (
        ("  api:", f"  Api: {MARK}"),
        r"services\.Api: found 'Api'; allowed: text that matches .*",
    ),
    "service with the name of a store": (
        ("externals:", f"  postgres: {MARK}\n{{api}}externals:"),
        r"services\.postgres: found a name that is taken; allowed: one of its own",
    ),
    "service with the name of a store's Service": (
        ("externals:", f"  postgres-service: {MARK}\n{{api}}externals:"),
        r"services\.postgres-service: found a name that is taken; allowed: one of its own",
    ),
    "external with the name of a service": (
        ("  mail: {", f"  web: {{description: Web, host: example.com}} {MARK}\n  mail: {{"),
        r"externals\.web: found a name that is taken; allowed: one of its own",
    ),
    "range of addresses that is none": (
        ("host: mail.example.com}", f"host: mail.example.com, cidrs: [10.0.0.1/8]}} {MARK}"),
        r"externals\.mail\.cidrs\[0\]: found '10\.0\.0\.1/8': .*host bits set; allowed: a range such as .*",
    ),
    "image with its tag in the repository": (
        ("    needs: [mail]", f"    needs: [mail]\n    image: {{repository: ghcr.io/a/b:1, tag: v1}} {MARK}"),
        r"services\.api\.image\.repository: found 'ghcr\.io/a/b:1'; allowed: text that matches .*",
    ),
    "a namespace of the cluster's own": (
        ("  name: shop\n  team", f"  name: kube-system {MARK}\n  team"),
        r"namespace\.name: found 'kube-system', which is the cluster's own; allowed: a namespace for this alone",
    ),
    "a version of Kubernetes that is too old": (
        ('cluster: {kubernetesVersion: "1.36"}', f'cluster: {{kubernetesVersion: "1.29"}} {MARK}'),
        r"cluster\.kubernetesVersion: found '1\.29'; allowed: 1\.30 or newer, which has all that is used of it",
    ),
    "image that moves": (
        (
            'placeholderImage: {repository: docker.io/nginxinc/nginx-unprivileged, tag: "1.30"}',
            f"placeholderImage: {{repository: docker.io/nginxinc/nginx-unprivileged, tag: latest}} {MARK}",
        ),
        r"placeholderImage\.tag: found 'latest', which moves; allowed: a tag that names one version, or a digest",
    ),
    "Kubecost in the shop's namespace": (
        ("kubecost: {enabled: false}", f"kubecost: {{enabled: true, namespace: shop}} {MARK}"),
        r"kubecost\.namespace: found 'shop', the shop's; allowed: a namespace of its own",
    ),
    "version that YAML reads as a number": (
        ('cluster: {kubernetesVersion: "1.36"}', f"cluster: {{kubernetesVersion: 1.36}} {MARK}"),
        r"cluster\.kubernetesVersion: found 1\.36; allowed: a valid string",
    ),
    "key twice": (
        (WEB, f"    replicas: 2\n    replicas: 3 {MARK}\n"),
        r"services\.web: found the key 'replicas' twice; allowed: once",
    ),
    "service twice": (
        ("externals:", f"  web: {{}} {MARK}\nexternals:"),
        r"services: found the key 'web' twice; allowed: once",
    ),
    "key y": (
        ("    env: {LOG_LEVEL: info}", f"    env: {{y: info}} {MARK}"),
        r"services\.web\.env: found a key that YAML does not read as text \('y'\); allowed: in quotes",
    ),
    "key no": (
        ("    env: {LOG_LEVEL: info}", f"    env: {{no: info}} {MARK}"),
        r"services\.web\.env: found a key that YAML does not read as text \('no'\); allowed: in quotes",
    ),
    "key on at the top": (
        ("project: shop", f"on: shop {MARK}"),
        r"top level: found a key that YAML does not read as text \('on'\); allowed: in quotes",
    ),
    "number as a key": (
        ("  CC-2: {", f"  2002: {{name: x, owner: y}} {MARK}\n  CC-2: {{"),
        r"costCenters: found a key that YAML does not read as text \('2002'\); allowed: in quotes",
    ),
    "null as a key": (
        ("  CC-2: {", f"  ~: {{name: x, owner: y}} {MARK}\n  CC-2: {{"),
        r"costCenters: found a key that YAML does not read as text \('~'\); allowed: in quotes",
    ),
    "merge key": (
        ("    env: {LOG_LEVEL: info}", f"    env: {{<<: {{A: b}}}} {MARK}"),
        r"services\.web\.env: found a key that YAML does not read as text \('<<'\); allowed: in quotes",
    ),
    "list as a key": (
        ("    env: {LOG_LEVEL: info}", f"    env: {{[a, b]: info}} {MARK}"),
        r"services\.web\.env: found a list or a mapping as a key; allowed: text",
    ),
    "key with a line break": (
        ("    env: {LOG_LEVEL: info}", f'    env: {{"A\\nerror: B": info}} {MARK}'),
        r"services\.web\.env\['A\\nerror: B'\]: found 'A\\nerror: B'; allowed: text that matches .*",
    ),
    "anchor": (
        ("cluster: {", f"cluster: &c {{kubernetesVersion: x}} {MARK}\nother: {{"),
        r"found an anchor or alias; allowed: plain values, written out",
    ),
    "alias": (
        ("needs: [mail]", f"needs: *nothing {MARK}"),
        r"found an anchor or alias; allowed: plain values, written out",
    ),
    "tag": (
        ("    replicas: 2", f"    replicas: !!int two {MARK}"),
        r"found a tag \(!\); allowed: plain values, and text in quotes",
    ),
    "tag of a program": (
        ("    env: {LOG_LEVEL: info}", f"    env: {{LOG_LEVEL: !!python/object:os.system x}} {MARK}"),
        r"found a tag \(!\); allowed: plain values, and text in quotes",
    ),
    "tag of a list": (
        ("    env: {LOG_LEVEL: info}", f"    env: !!python/tuple [x] {MARK}"),
        r"found a tag \(!\); allowed: plain values, and text in quotes",
    ),
    "number of too many digits": (
        ("    replicas: 2", f"    replicas: {'9' * 5000} {MARK}"),
        r"services\.web\.replicas: found a whole number of more than 4,300 digits; allowed: shorter ones, .*",
    ),
    "nested too deep": (
        ("    env: {LOG_LEVEL: info}", f"    env: {'{a: ' * 60}1{'}' * 60} {MARK}"),
        r"nested deeper than 40 levels",
    ),
}
#: A whole service, where the edit asks for one.
API = "".join(
    f"    {line}\n"
    for line in (
        "description: x",
        "criticality: low",
        "traffic: low",
        "replicas: 1",
        "resources: {requests: {cpu: 1m, memory: 1Mi}, limits: {cpu: 1m, memory: 1Mi}}",
    )
)


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_catalog_gets_one_line_that_says_where_and_what(tmp_path: Path, what: str) -> None:
    (old, new), message = BROKEN[what]
    text = changed(old, new.replace("{api}", API))
    if what == "cycle":
        text = changed("needs: [mail]", "needs: [web]", text)
    (problem,) = problems(write(tmp_path, text))
    assert re.fullmatch(rf"catalog\.yaml:{marked_line(text)}: {message}", problem), problem


@pytest.mark.parametrize(
    ("stack", "key"),
    [
        ("services:\n    web:\n      autoscaling:\n        min: 9", "services.web.autoscaling.min"),
        ("services:\n    web:\n      replicas: 9", "services.web.replicas"),
        ("kubecost:\n    chart:\n      version: 2.9.7", "kubecost.chart.version"),
    ],
)
def test_a_value_of_the_stack_that_does_not_go_with_the_catalogs_is_told_with_both_places(
    tmp_path: Path, stack: str, key: str
) -> None:
    text = changed("kubecost: {enabled: false}", "kubecost: {enabled: false, chart: {name: kubecost}}")
    stack = f"config:\n  cloudmart:{stack} {MARK}\n"
    (problem,) = problems(write(tmp_path, text, stack))
    where = rf"Pulumi\.dev\.yaml:{marked_line(stack)} over catalog\.yaml:\d+: {re.escape(key)}: found "
    assert re.match(where, problem), problem


def test_a_value_of_the_catalog_that_a_stack_makes_wrong_is_told_with_both_places(tmp_path: Path) -> None:
    text = changed(WEB, f"    replicas: 2 {MARK}\n")
    stack = "config:\n  cloudmart:services:\n    web:\n      autoscaling: {min: 3}\n"
    (problem,) = problems(write(tmp_path, text, stack))
    where = f"Pulumi.dev.yaml:4 over catalog.yaml:{marked_line(text)}: services.web.replicas"
    assert problem == f"{where}: found replicas 2 is outside the autoscaling range; allowed: 3 to 4"


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        (WEB, f"    replicas: 20 {MARK}\n", "services.web.replicas: found replicas 20"),
        (
            WEB,
            f"    replicas: 2\n    terminationGraceSeconds: 5 {MARK}\n",
            "services.web.terminationGraceSeconds: found",
        ),
        ("needs: [api, postgres]", f"needs: [api, api] {MARK}", "services.web.needs[1]: found 'api'"),
    ],
)
def test_a_stack_that_says_nothing_of_what_is_wrong_in_the_catalog_is_not_named(
    tmp_path: Path, old: str, new: str, found: str
) -> None:
    text = changed(old, new)
    stack = "config:\n  cloudmart:services:\n    web: {minReadySeconds: 0, env: {LOG_LEVEL: debug}}\n"
    (problem,) = problems(write(tmp_path, text, stack))
    assert problem.startswith(f"catalog.yaml:{marked_line(text)}: {found}")


def test_a_name_that_two_have_is_listed_once_as_allowed(tmp_path: Path) -> None:
    text = changed(
        "needs: [mail]", "needs: [nothing]", changed("externals:\n", "externals:\n  web: {description: x, host: y}\n")
    )
    assert problems(write(tmp_path, text))[-1].endswith("needs[0]: found 'nothing'; allowed: web, postgres, mail")


def test_every_broken_catalog_above_is_whole_without_its_fault(tmp_path: Path) -> None:
    assert loaded(write(tmp_path)).settings.project == "shop"


@pytest.mark.parametrize("what", ["unknown key", "wrong type", "edge to nothing", "bad CPU quantity"])
def test_the_command_line_prints_the_message_and_exits_with_2(
    tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (old, new), message = BROKEN[what]
    write(tmp_path, changed(old, new))
    monkeypatch.setattr("sys.argv", ["cloudmart", "config", "show", "--stack", "dev", "--root", str(tmp_path)])
    with pytest.raises(SystemExit) as exit_:
        main()
    output = capsys.readouterr()
    assert (exit_.value.code, output.out) == (2, "")
    assert re.fullmatch(rf"error: catalog\.yaml:[0-9]+: {message}\n", output.err), output.err


def test_several_problems_are_told_at_once_one_line_each(tmp_path: Path) -> None:
    text = changed("    replicas: 2", "    replicas: two")
    text = changed("criticality: standard", "criticality: urgent", text)
    text = changed("kubecost: {enabled: false}", "kubecost: {enabled: false}\nfarewell: 1", text)
    text = changed('cluster: {kubernetesVersion: "1.36"}\n', "", text)
    found = problems(write(tmp_path, text))
    paths = {line.split(": ")[1] for line in found}
    assert len(found) == 4
    assert paths == {"cluster", "farewell", "services.web.replicas", "services.api.criticality"}
    assert all(re.match(r"catalog\.yaml(:\d+)?: \S+: found .+; allowed: .+", line) for line in found)


@pytest.mark.parametrize(
    ("old", "new", "stack"),
    [
        ("project: shop", "proyect: shop", ""),
        ("services:", "servces:", ""),
        # By itself each of these would lack nearly everything.
        ("services:", "servces:", "config: {cloudmart:services: {web: {replicas: 3}, api: {replicas: 2}}}\n"),
        ("    replicas: 1\n", "    replicsa: 1\n", ""),
    ],
)
def test_a_misspelt_key_is_told_first_and_nothing_that_only_follows_from_it(
    tmp_path: Path, old: str, new: str, stack: str
) -> None:
    text = changed("  mail: {description: Mail provider, ", "  mail: {description: 1, ", changed(old, new))
    first, second = problems(write(tmp_path, text, stack or "config: {}\n"))
    assert f": found an unknown key (did you mean '{old.strip().partition(':')[0]}'?); allowed: " in first
    assert ": externals.mail.description: found 1; " in second


def test_a_misspelt_key_takes_no_problem_of_the_right_one_away_where_that_is_written_too(tmp_path: Path) -> None:
    text = changed("    replicas: 2", "    replicas: two\n    replcas: 2")
    assert len(problems(write(tmp_path, text))) == 2
    stack = "config: {cloudmart:services: {web: {replcas: 3}}}\n"
    assert len(problems(write(tmp_path, changed("    replicas: 2", "    replicas: two"), stack))) == 2


def test_a_problem_that_the_stacks_file_made_names_the_stacks_file(tmp_path: Path) -> None:
    stack = f"config:\n  cloudmart:services:\n    web:\n      needs: [nothing] {MARK}\n"
    assert problems(write(tmp_path, stack=stack)) == [
        f"Pulumi.dev.yaml:{marked_line(stack)}: services.web.needs[0]: found 'nothing'; allowed: api, postgres, mail"
    ]


def test_part_of_a_service_that_the_catalog_does_not_have_is_an_unknown_service(tmp_path: Path) -> None:
    stack = f"config:\n  cloudmart:services:\n    wep: {MARK}\n      replicas: 3\n"
    found = problems(write(tmp_path, stack=stack))
    where = f"Pulumi.dev.yaml:{marked_line(stack)}: services.wep"
    assert found == [f"{where}: found an unknown service (did you mean 'web'?); allowed: web, api, or a whole new one"]


def test_a_service_that_the_catalog_names_badly_is_told_where_a_stack_changes_it(tmp_path: Path) -> None:
    stack = f"config:\n  cloudmart:services:\n    web: {MARK}\n      replicas: 3\n"
    (found,) = problems(write(tmp_path, changed("  web:\n", "  Web:\n"), stack))
    where = f"Pulumi.dev.yaml:{marked_line(stack)}: services.web"
    assert found.startswith(
        f"{where}: found an unknown service (catalog.yaml has 'Web', which cannot be a name); allowed: "
    )


# --- the stack's file ------------------------------------------------------------------------------------------------

STACK = {
    "unknown key": (
        "cloudmart:servics: {}",
        r"config\.cloudmart:servics: found an unknown key \(did you mean 'services'\?\); allowed: project, .*",
    ),
    "secret under a settings key": (
        "cloudmart:services: {secure: v1:hunter2}",
        r"config\.cloudmart:services: found a secret; allowed: a plain value, or a Kubernetes Secret through secretEnv",
    ),
    "secret within a settings key": (
        "cloudmart:services: {web: {env: {TOKEN: {secure: v1:hunter2}}}}",
        r"config\.cloudmart:services\.web\.env\.TOKEN: found a secret; allowed: a plain value, or .*",
    ),
    "plain value under a secret key": (
        "cloudmart:postgresPassword: hunter2",
        r"config\.cloudmart:postgresPassword: found a value in plain text; allowed: a secret, as "
        r"`pulumi config set --secret postgresPassword` writes it",
    ),
    "number under a secret key": (
        "cloudmart:kafkaPassword: 1234567",
        r"config\.cloudmart:kafkaPassword: found a value in plain text; allowed: a secret, .*",
    ),
    "unreadable value under a secret key": (
        "cloudmart:redisPassword: 0_1234567",
        r"config\.cloudmart:redisPassword: found a number that readers of YAML take for different ones; allowed: .*",
    ),
    "mapping under a secret key": (
        "cloudmart:redisPassword: {value: hunter2}",
        r"config\.cloudmart:redisPassword: found a value in plain text; allowed: a secret, .*",
    ),
}


@pytest.mark.parametrize("what", STACK)
def test_a_broken_stack_file_gets_one_line_that_says_where_and_never_shows_a_secret(tmp_path: Path, what: str) -> None:
    entry, message = STACK[what]
    stack = f"# a stack\nconfig:\n  {entry} {MARK}\n"
    (problem,) = problems(write(tmp_path, stack=stack))
    assert re.fullmatch(rf"Pulumi\.dev\.yaml:{marked_line(stack)}: {message}", problem), problem
    assert "hunter2" not in problem
    assert "1234567" not in problem


@pytest.mark.parametrize(
    ("stack", "message"),
    [
        (
            f"confg: {MARK}\n  cloudmart:kubecost: {{enabled: false}}\n",
            "confg: found an unknown key (did you mean 'config'?); allowed: config, environment, secretsprovider, "
            "encryptedkey, encryptionsalt",
        ),
        (
            f"config:\n  kubecost: {{enabled: false}} {MARK}\n",
            "config.kubecost: found a key without a namespace; allowed: cloudmart:kubecost, or another provider's",
        ),
        (
            f"config:\n  cloudmrt:kubecost: {{enabled: false}} {MARK}\n",
            "config.cloudmrt:kubecost: found the namespace 'cloudmrt' (did you mean 'cloudmart'?); allowed: "
            "cloudmart:kubecost",
        ),
    ],
)
def test_a_setting_that_would_be_passed_over_is_an_error(tmp_path: Path, stack: str, message: str) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: cloudmart\n")
    assert problems(write(tmp_path, stack=stack)) == [f"Pulumi.dev.yaml:{marked_line(stack)}: {message}"]


def test_configuration_of_the_project_and_of_other_providers_is_theirs(tmp_path: Path) -> None:
    stack = "encryptionsalt: v1:x\nconfig:\n  cloudmarts:size: 1\n  kubecost: 1\n  aws:region: eu-north-1\n"
    (tmp_path / "Pulumi.yaml").write_text(
        "name: cloudmarts\nconfig:\n  size: {default: 2}\n  cloudmart:postgresPassword: {type: string, secret: true}\n"
    )
    assert loaded(write(tmp_path, stack=stack)).settings.project == "shop"


@pytest.mark.parametrize("key", ["cloudmart:kubecost", "kubecost"])
def test_settings_in_the_projects_file_would_be_a_second_catalog(tmp_path: Path, key: str) -> None:
    (write(tmp_path) / "Pulumi.yaml").write_text(
        f"name: cloudmart\nconfig:\n  aws:region: {{value: eu-north-1}}\n  {key}: {{value: {{enabled: true}}}}\n"
    )
    assert problems(tmp_path) == [
        f"Pulumi.yaml:4: config.{key}: found a setting; allowed: in catalog.yaml, or in a stack's file"
    ]


def test_a_configuration_that_is_no_mapping_is_an_error(tmp_path: Path) -> None:
    assert problems(write(tmp_path, stack="config: [a]\n")) == [
        "Pulumi.dev.yaml:1: config: found a list; allowed: a mapping"
    ]


def test_an_unknown_stack_is_an_error_that_lists_the_known_ones(tmp_path: Path) -> None:
    from cloudmart.errors import UserError
    from cloudmart.settings import load

    write(tmp_path)
    with pytest.raises(UserError) as caught:
        load("staging", tmp_path)
    assert str(caught.value) == "Pulumi.staging.yaml: no such file; stacks that have one: dev"


@pytest.mark.parametrize("stack", ["", "..", "../dev", "Dev", "a b", "a/b", "-a", "a" * 64, "dev\n", "dév"])
def test_a_name_that_no_stack_can_have_is_an_error(tmp_path: Path, stack: str) -> None:
    from cloudmart.errors import UserError
    from cloudmart.settings import load

    with pytest.raises(UserError, match=r"^stack: found .*; allowed: a-z, 0-9 and '-', up to 63 of them$"):
        load(stack, write(tmp_path))


# --- files that are no YAML of ours ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"catalog\.yaml: project: found nothing; allowed: this key is required"),
        (b"# only a comment\n", r"catalog\.yaml: project: found nothing; allowed: this key is required"),
        (b"- a\n- b\n", r"catalog\.yaml:1: found a list; allowed: a mapping of keys to values"),
        (b"text\n", r"catalog\.yaml:1: found 'text'; allowed: a mapping of keys to values"),
        (b"project: \xff\n", r"catalog\.yaml: cannot be read as UTF-8 text \(.*\)"),
        ("project: grün\n".encode("utf-16"), r"catalog\.yaml: cannot be read as UTF-8 text \(.*\)"),
        (b"project: a\x00b\n", r"catalog\.yaml: not valid YAML: .*"),
        (b"project: [a\n", r"catalog\.yaml:2: not valid YAML: .*"),
        (b"project: a\n\tcluster: b\n", r"catalog\.yaml:2: not valid YAML: .*"),
        (b"project: 'a\n", r"catalog\.yaml:2: not valid YAML: .*"),
        (b"a: 1\n---\nb: 2\n", r"catalog\.yaml:2: not valid YAML: expected a single document.*"),
        (b"project: " + b"a" * (1 << 20), r"catalog\.yaml: is larger than 1 MiB; allowed: up to 1 MiB"),
        (b"[" * 100_000, r"catalog\.yaml:1: nested deeper than 40 levels"),
    ],
    ids=lambda value: repr(value[:20]) if isinstance(value, bytes) else "",
)
def test_a_file_that_is_no_such_yaml_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    (write(tmp_path) / "catalog.yaml").write_bytes(content)
    found = problems(tmp_path)
    assert re.fullmatch(message, found[0]), found[0]


def test_a_catalog_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (write(tmp_path) / "catalog.yaml").unlink()
    assert problems(tmp_path) == ["catalog.yaml: no such file"]


def test_a_folder_in_the_catalogs_place_is_an_error(tmp_path: Path) -> None:
    (write(tmp_path) / "catalog.yaml").unlink()
    (tmp_path / "catalog.yaml").mkdir()
    (problem,) = problems(tmp_path)
    assert problem.startswith("catalog.yaml: cannot be read")
    assert str(tmp_path) not in problem


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    (write(tmp_path) / "catalog.yaml").write_text(CATALOG, encoding="utf-8-sig")
    assert loaded(tmp_path).settings.project == "shop"


NUMBER = "a number that readers of YAML take for different ones"
DISPUTED = {
    **dict.fromkeys(("1:30", "1:30.5", "010", "-010", "08", "00", "1_000", "1_0.5"), NUMBER),
    **dict.fromkeys(("0b11", "0B11", "0o17", "0x1F", "0X1F", "0_7"), NUMBER),
    **dict.fromkeys(("yes", "No", "on", "OFF"), "a word that some readers of YAML take for a boolean"),
    **dict.fromkeys(("2026-11-23", "2026-11-23 10:00:00"), "a date, which some readers of YAML take for a time"),
}


@pytest.mark.parametrize("value", DISPUTED)
@pytest.mark.parametrize("key", ["replicas", "version"])
def test_a_value_that_pulumi_would_read_in_another_way_is_an_error_and_in_quotes_it_is_text(
    tmp_path: Path, key: str, value: str
) -> None:
    stack = f"config:\n  cloudmart:services:\n    web: {{{key}: {value}}} {MARK}\n"
    (problem,) = problems(write(tmp_path, stack=stack))
    where = f"Pulumi.dev.yaml:{marked_line(stack)}: config.cloudmart:services.web.{key}"
    assert problem.startswith(f"{where}: found {DISPUTED[value]}; allowed: ")
    text = changed("    env: {LOG_LEVEL: info}", f"    env: {{A: {json.dumps(value)}}}")
    assert dict(loaded(write(tmp_path, text)).settings.services["web"].env) == {"A": value}


@pytest.mark.parametrize("value", ["08", "1e3", "2026-11-23", "010"])
def test_a_key_that_others_would_read_as_no_text_has_to_be_in_quotes(tmp_path: Path, value: str) -> None:
    text = changed("    env: {LOG_LEVEL: info}", f"    env: {{{value}: info}} {MARK}")
    (problem,) = problems(write(tmp_path, text))
    assert problem == (
        f"catalog.yaml:{marked_line(text)}: services.web.env: found a key that YAML does not read as text ('{value}'); "
        "allowed: in quotes"
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0), ("-0", 0), ("+5", 5), ("12", 12), (".5", 0.5), ("1.", 1.0), ("007.5", 7.5), ("1e3", 1000.0),
        ("1.5E-1", 0.15), ("-.INF", -math.inf), ("True", True), ("FALSE", False), ("~", None), ("", None),
        ("Null", None), ("y", "y"), ("1.2.3", "1.2.3"), ("100m", "100m"), ("0b1a", "0b1a"), ("10:99", "10:99"),
        ("2001:db8::1", "2001:db8::1"), ("0.0.0.0/0", "0.0.0.0/0"), ("tRUE", "tRUE"), ("<<", "<<"), ("=", "="),
    ],
)  # fmt: skip
def test_plain_values_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = parse(f"key: {text}\n".encode(), "file").data["key"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("key", ["y", "no", "on"])
def test_such_a_key_in_quotes_is_text(tmp_path: Path, key: str) -> None:
    text = changed("    env: {LOG_LEVEL: info}", f"    env: {{{json.dumps(key)}: info}}")
    assert dict(loaded(write(tmp_path, text)).settings.services["web"].env) == {key: "info"}

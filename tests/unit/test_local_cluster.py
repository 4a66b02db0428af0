"""The local cluster's decisions that need no cluster."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import stat
from collections import namedtuple
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from cloudmart.cli import cli
from cloudmart.cluster import local, toolchain
from cloudmart.cluster.local import CONFIG, ClusterInfo, Component, LocalCluster, Status
from cloudmart.errors import UserError

Usage = namedtuple("Usage", "total used free")


def no_progress(_: str) -> None:
    pass


def record(cluster: LocalCluster, **values: str) -> None:
    cluster.directory.mkdir(parents=True)
    (cluster.directory / "cluster.json").write_text(json.dumps(values))


def test_the_name_comes_from_the_path_so_that_clones_do_not_meet(tmp_path: Path) -> None:
    first, second = LocalCluster(tmp_path / "a"), LocalCluster(tmp_path / "b")
    assert first.name != second.name
    assert first.name == LocalCluster(tmp_path / "b" / ".." / "a").name


def test_status_of_a_cluster_that_never_was_says_so_and_writes_nothing(tmp_path: Path) -> None:
    status = LocalCluster(tmp_path).status()
    assert not status.running
    assert status.as_json() == {
        "running": False,
        "runtime": None,
        "name": None,
        "server": None,
        "version": None,
        "kubeconfig": None,
        "nodes": [],
        "components": [],
    }
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("pids", "trouble"),
    [
        ((1, 2), "running, but does not answer that it is ready"),
        ((1, None), "not running"),
        ((), "not running"),
    ],
)
def test_a_cluster_whose_processes_are_all_there_is_not_told_to_be_off(
    pids: tuple[int | None, ...], trouble: str
) -> None:
    components = tuple(Component(name=str(pid), pid=pid, ports=()) for pid in pids)
    status = Status(running=False, runtime="binary", info=None, components=components, nodes=())
    assert status.trouble == trouble


def test_stopping_a_cluster_that_never_was_is_no_error(tmp_path: Path) -> None:
    LocalCluster(tmp_path).stop()


def test_a_full_disk_is_named_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100, 100, 5 * 2**20))
    with pytest.raises(UserError, match=r"5 MiB free on this file system, the local cluster needs 1024 MiB"):
        LocalCluster(tmp_path).start(no_progress)


def test_a_disk_that_fills_up_meanwhile_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "file"))

    monkeypatch.setattr(toolchain, "ensure", full)
    with pytest.raises(UserError, match=r"file: No space left on device"):
        LocalCluster(tmp_path).start(no_progress)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / ".local").write_text("a file where a directory belongs")
    with pytest.raises(UserError, match=r"\.local"):
        LocalCluster(tmp_path).start(no_progress)


def test_an_unreadable_record_is_an_error_not_an_excuse_to_delete_data(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path)
    record(cluster)
    (cluster.directory / "cluster.json").write_text('{"runtime": ')
    (cluster.directory / "data").write_text("precious")
    with pytest.raises(UserError, match=r"cluster\.json: cannot be read"):
        cluster.start(no_progress)
    assert (cluster.directory / "data").read_text() == "precious"
    cluster.delete()
    assert list(cluster.directory.iterdir()) == []


def test_an_unreadable_record_does_not_keep_from_stopping_what_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = LocalCluster(tmp_path)
    record(cluster)
    (cluster.directory / "cluster.json").write_text('{"runtime": ')
    stopped: list[bool] = []
    monkeypatch.setattr(cluster, "_stop_processes", lambda: stopped.append(True))
    cluster.stop()
    assert stopped


def test_a_reset_without_a_terminal_deletes_nothing_unless_it_is_meant(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path)
    record(cluster)
    (cluster.directory / "data").write_text("precious")
    ended = CliRunner().invoke(cli, ["local", "reset", "--root", str(tmp_path)])
    assert isinstance(ended.exception, UserError)
    assert str(ended.exception).startswith("local reset: found no terminal to ask at; allowed: --yes")
    assert (cluster.directory / "data").read_text() == "precious"


def test_another_runtime_than_the_recorded_one_is_refused(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path)
    record(cluster, runtime="kind", fingerprint="x", version="v1.36.3")
    with pytest.raises(UserError, match="holds a cluster of runtime kind, asked for is binary"):
        cluster.start(no_progress)


def test_kind_without_a_container_engine_is_refused_before_anything_is_built_or_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = tmp_path / "bin"
    engines.mkdir()
    docker = engines / "docker"
    docker.write_text("#!/bin/sh\nexit 1\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{engines}:/bin")
    cluster = LocalCluster(tmp_path)
    with pytest.raises(UserError, match="needs Docker or Podman"):
        cluster.start(no_progress, "kind")
    (cluster.directory / "data").write_text("precious")
    with pytest.raises(UserError, match="needs Docker or Podman"):
        cluster.reset(no_progress, "kind")
    assert (cluster.directory / "data").read_text() == "precious"


def test_kind_is_handed_to_kwokctl_with_a_kubeconfig_of_our_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = LocalCluster(tmp_path)
    info = ClusterInfo(
        name=cluster.name, kubeconfig=cluster.kubeconfig, server="https://127.0.0.1:1", version="v1.36.3"
    )
    kwokctl = tmp_path / "base" / "kwokctl"
    kwokctl.parent.mkdir()
    kwokctl.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/said\necho made > {cluster.kubeconfig}\n')
    kwokctl.chmod(0o755)
    tools = toolchain.Tools(base=kwokctl.parent, binaries=None)
    monkeypatch.setattr(local, "_container_runtime", lambda: "kind-podman")
    monkeypatch.setattr(toolchain, "ensure", lambda *_, **__: tools)
    monkeypatch.setattr(cluster, "kubectl", lambda *_: '{"gitVersion": "v1.36.3"}')
    monkeypatch.setattr(cluster, "_info", lambda: info)
    assert cluster.start(no_progress, "kind") == info
    said = (tmp_path / "said").read_text()
    assert f"create cluster --name {cluster.name} --runtime kind-podman" in said
    assert f"--kubeconfig {cluster.kubeconfig}" in said
    files = [cluster.kubeconfig, *(cluster.directory / name for name in ("cluster.json", "kwokctl.log"))]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_delete_removes_its_own_directory_and_never_follows_a_link(tmp_path: Path) -> None:
    mine, elsewhere = LocalCluster(tmp_path / "clone"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("kept")
    mine.directory.parent.mkdir(parents=True)
    mine.directory.symlink_to(elsewhere)
    with pytest.raises(UserError, match="a symbolic link"):
        mine.delete()
    assert (elsewhere / "file").read_text() == "kept"


def test_ports_in_use_are_passed_over(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path)
    wanted = cluster._free_ports(1)[0]
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", wanted))
        taken.listen()
        assert wanted not in cluster._free_ports(3)
    assert len(set(cluster._free_ports(7))) == 7


def test_kwokctl_gets_loopback_rbac_ports_and_every_program(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path)
    cluster.directory.mkdir(parents=True)
    tools = toolchain.Tools(base=_fake_base(tmp_path / "base"), binaries=tmp_path / "bin")
    cluster._write_config(tools)
    config, *others = yaml.safe_load_all((cluster.directory / "config.yaml").read_text())
    options = config["options"]
    assert options["bindAddress"] == "127.0.0.1"
    assert options["securePort"] is options["kubeAuthorization"] is options["kubeAdmission"] is True
    assert len({options[port] for port in local.PORTS}) == len(local.PORTS)
    for name, option in toolchain.OPTIONS.items():
        assert options[option] == str(tmp_path / "bin" / name)
    assert options["metricsServerManifests"] == [str(tmp_path / "base" / "metrics-server")]
    assert [other["kind"] for other in others].count("Stage") == 7
    values = {metric["name"]: metric["value"] for other in others for metric in other["spec"].get("metrics", ())}
    assert values["node_cpu_usage_seconds_total"] == "usage + node.SinceSecond() * 0.1"


def test_programs_that_are_downloaded_are_left_to_kwokctl(tmp_path: Path) -> None:
    options = toolchain.Tools(base=tmp_path, binaries=None).options()
    assert not set(options) & set(toolchain.OPTIONS.values())
    assert options["kubeVersion"] == "v1.36.3"


def test_a_change_of_the_configuration_changes_the_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = local._fingerprint("binary")
    assert before != local._fingerprint("kind")
    copy = tmp_path / "config"
    shutil.copytree(CONFIG, copy)
    monkeypatch.setattr(local, "CONFIG", copy)
    assert local._fingerprint("binary") == before
    (copy / "nodes.yaml").write_text("---\n")
    assert local._fingerprint("binary") != before


def test_the_lock_is_outside_of_what_reset_deletes(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path)
    cluster.delete()
    assert (tmp_path / ".local" / "cluster.lock").is_file()
    assert stat.S_IMODE(cluster.directory.stat().st_mode) == 0o700


def _fake_base(base: Path) -> Path:
    (base / "kwok").mkdir(parents=True)
    for name in toolchain.KWOK_FILES:
        kind = "Metric" if "metrics" in name else "Stage"
        metrics = [
            {"name": "node_cpu_usage_seconds_total", "value": "usage"},
            {"name": "node_memory_working_set_bytes", "value": "usage"},
        ]
        document = {"kind": kind, "spec": {"metrics": metrics} if kind == "Metric" else {}}
        (base / "kwok" / Path(name).name).write_text(yaml.safe_dump(document))
    return base

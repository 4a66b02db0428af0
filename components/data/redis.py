"""Redis. What its image needs, and where that is written: docs/data-stores.md."""

from __future__ import annotations

from dataclasses import replace

import pulumi
from pulumi_kubernetes.core.v1 import ContainerArgs, VolumeMountArgs

from cloudmart.settings.data import PASSWORD, RedisSettings, StoreMode
from components.connection import Connection, SecretRef
from components.data import redis_ha, store
from components.data.store import ExporterNeeds, OperatorArgs, Pod, StoreComponent
from components.layer import release
from components.password import checksum_of

_USER = 999
_DATA = "/data"
_CONFIG = "/etc/redis"
#: Redis takes its password from its configuration; in the arguments everybody who lists processes would read it.
_AUTH_FILE = "auth.conf"


class Redis(StoreComponent[RedisSettings]):
    """``cloudmart:data:Redis``: a :class:`StoreComponent`.

    Mode `operator`: Helm Release ``redis`` of chart ``redis-ha``, NetworkPolicies ``redis-haproxy`` and
    ``redis-replicas``. All callers share one password, as in mode `single`.
    """

    TOKEN = "cloudmart:data:Redis"  # noqa: S105 - a type token
    COMPONENT = "cache"

    @classmethod
    def connection_of(cls, name: str, settings: RedisSettings, caller: str | None = None) -> Connection:  # noqa: ARG003
        external = settings.external
        host = external.host if external else store.service_host(name)
        port = settings.client_port
        return Connection(
            env={
                "REDIS_HOST": host,
                "REDIS_PORT": str(port),
                "REDIS_TLS": "true" if external and external.tls else "false",
            },
            secret_env={"REDIS_PASSWORD": SecretRef(name=store.credentials_name(name), key=store.PASSWORD_KEY)},
            host=host,
            port=port,
            pod_selector=None if external else settings.pod_labels(name),
            cidrs=external.cidrs if external else (),
        )

    def _files(self) -> dict[str, str]:
        settings = self._settings
        return {
            "redis.conf": f"""\
port {self._settings.server_port}
# The dash: a node without IPv6 is no error.
bind * -::*
include {_CONFIG}/{_AUTH_FILE}
dir {_DATA}
# At most a second of writes is lost with the node, none with the process.
appendonly yes
appendfsync everysec
# The append-only file is the persistence; snapshots would fork the process once more for nothing.
save ""
maxmemory {settings.max_memory}mb
maxmemory-policy {settings.eviction}
# Finds clients whose node is gone.
tcp-keepalive 60
"""
        }

    def _secret_data(self, password: pulumi.Input[str]) -> dict[str, pulumi.Input[str]]:
        data: dict[str, pulumi.Input[str]] = {"username": "default"}
        if self._settings.mode is StoreMode.SINGLE:
            data[_AUTH_FILE] = pulumi.Output.concat("requirepass ", password, "\n")
        return data

    def _operator(self, args: OperatorArgs) -> None:  # noqa: ARG002 - there is none, but a chart
        name, settings = self._name, self._settings
        password = self._generated(PASSWORD)
        secret = self._secret(password)
        checksum = checksum_of(password, secret)
        self.connection = replace(self.connection, checksum=checksum)
        scrapers, home = self._args.scrapers, self._args.home
        policies = [
            self._policy(
                f"{name}-haproxy",
                redis_ha.proxy_policy(name, settings, self._args.callers, scrapers, home, self._args.mesh_ports),
            ),
            self._policy(f"{name}-replicas", redis_ha.replicas_policy(name, settings, scrapers, home)),
        ]
        layer = settings.layer(home)
        release(
            name,
            layer,
            layer.chart_of("chart"),
            redis_ha.redis_ha_values(
                name,
                settings,
                self.labels.metadata,
                secret=store.credentials_name(name),
                key=store.PASSWORD_KEY,
                priority_class=self._args.priority_class,
                checksum=checksum,
            ),
            pulumi.ResourceOptions(
                parent=self, protect=settings.protect, depends_on=[secret, *policies, *self._args.guards]
            ),
        )
        self._client_service(settings.pod_labels(name))

    def _pod(self, config: str) -> Pod:
        client = ["redis-cli", "-h", "127.0.0.1", "-p", str(self._settings.server_port)]
        # `-e` makes an error reply a failure: while it loads its data the server answers every command with one.
        ready = [*client, "-e", "ping"]
        return Pod(
            user=_USER,
            data_path=_DATA,
            # Redis writes to its data folder alone.
            scratch={},
            volumes=[store.files_and_secret(config, self._name, _AUTH_FILE)],
            grace_seconds=60,
            container=ContainerArgs(
                name=self._name,
                image=self._settings.image.reference,
                image_pull_policy="IfNotPresent",
                # Not the image's entrypoint: it would only drop privileges that are not there, and load the search,
                # JSON and time series modules, which nobody here uses and which take memory.
                command=["redis-server", f"{_CONFIG}/redis.conf"],
                working_dir=_DATA,
                # For the probes and for people; the server reads its own from the file.
                env=[store.from_secret("REDISCLI_AUTH", self._name, store.PASSWORD_KEY)],
                ports=[self._server_port],
                resources=store.resources(self._settings.resources),
                # Five minutes for reading a large append-only file.
                startup_probe=store.exec_probe(ready, period=5, timeout=3, failures=60),
                readiness_probe=store.exec_probe(ready, period=5, timeout=3, failures=3),
                liveness_probe=store.exec_probe([*client, "ping"], period=10, timeout=5, failures=6),
                security_context=store.locked_down(),
                volume_mounts=[
                    *self._mounts(_DATA, {}),
                    VolumeMountArgs(name="config", mount_path=_CONFIG, read_only=True),
                ],
            ),
        )

    def _exporter(self) -> ExporterNeeds:
        return ExporterNeeds(
            user=59000,
            env=[
                *store.plain({"REDIS_ADDR": f"redis://127.0.0.1:{self._settings.server_port}"}),
                store.from_secret("REDIS_PASSWORD", self._name, store.PASSWORD_KEY),
            ],
        )

"""Kafka in KRaft mode. What its image needs, and where that is written: docs/data-stores.md."""

from __future__ import annotations

import base64
import uuid

import pulumi
import pulumi_random as random
from pulumi_kubernetes.core.v1 import (
    ConfigMapVolumeSourceArgs,
    ContainerArgs,
    EnvVarArgs,
    ProbeArgs,
    TCPSocketActionArgs,
    VolumeArgs,
    VolumeMountArgs,
)

from cloudmart.settings.data import KafkaSettings
from components.connection import Connection, SecretRef
from components.data import store
from components.data.store import ExporterNeeds, Pod, StoreComponent

_USER = 1000
_DATA = "/var/lib/kafka/data"
_CONFIG = "/etc/cloudmart"
_BIN = "/opt/kafka/bin"
_MECHANISM = "SCRAM-SHA-512"
_TMP = "/tmp"  # noqa: S108 - the container's
#: For the broker's own use, its command line clients and the exporter. Bound to loopback, so that nobody outside the
#: pod gets past the password.
_INTERNAL = "127.0.0.1:9094"
_CONTROLLER = "127.0.0.1:9093"

# The image's own logs to files under /opt/kafka/logs as well, hour by hour and without end.
_LOG4J = """\
Configuration:
  status: warn
  Appenders:
    Console:
      name: STDOUT
      PatternLayout:
        pattern: "[%d] %p %m (%c)%n"
  Loggers:
    Root:
      level: info
      AppenderRef:
        - ref: STDOUT
"""

# Formats an empty claim and leaves a formatted one alone. `=` in the arguments because a cluster id may begin with a
# dash. The password is in the arguments of this one short process, in a container of its own, because the tool takes it
# nowhere else; what it prints is dropped, because it prints the verifier that it makes of the password.
_FORMAT = f"""\
exec {_BIN}/kafka-storage.sh format --ignore-formatted --standalone \
--config={_CONFIG}/server.properties --cluster-id="$CLUSTER_ID" \
--add-scram="{_MECHANISM}=[name=$KAFKA_USERNAME,password=$KAFKA_PASSWORD]" >/dev/null
"""


class Kafka(StoreComponent[KafkaSettings]):
    """``cloudmart:data:Kafka``: a :class:`StoreComponent`, and RandomUuid ``kafka-cluster-id``.

    One node is broker and controller. Clients authenticate with SCRAM-SHA-512, as they do at Strimzi and at the managed
    services, so that a change of mode changes no client.
    """

    TOKEN = "cloudmart:data:Kafka"  # noqa: S105 - a type token
    COMPONENT = "broker"
    PORT = 9092
    METRICS_PORT = 9308

    @classmethod
    def connection_of(cls, name: str, settings: KafkaSettings) -> Connection:
        external = settings.external
        host = external.host if external else store.service_host(name)
        port = external.port if external else cls.PORT
        return Connection(
            env={
                "KAFKA_BROKERS": f"{host}:{port}",
                "KAFKA_SECURITY_PROTOCOL": external.security_protocol if external else "SASL_PLAINTEXT",
                "KAFKA_SASL_MECHANISM": external.sasl_mechanism if external else _MECHANISM,
                "KAFKA_USERNAME": settings.user,
            },
            secret_env={"KAFKA_PASSWORD": SecretRef(name=store.credentials_name(name), key=store.PASSWORD_KEY)},
            host=host,
            port=port,
            pod_selector=None if external else {"app": name},
            cidrs=external.cidrs if external else (),
        )

    def _files(self) -> dict[str, str]:
        settings = self._settings
        return {
            "log4j2.yaml": _LOG4J,
            "server.properties": f"""\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers={_CONTROLLER}
controller.listener.names=CONTROLLER

listeners=CLIENT://:{self.PORT},INTERNAL://{_INTERNAL},CONTROLLER://{_CONTROLLER}
# Clients are sent to this name after their first contact: the Service, because the pod's address changes.
advertised.listeners=CLIENT://{store.service_host(self._name)}:{self.PORT},INTERNAL://{_INTERNAL}
listener.security.protocol.map=CLIENT:SASL_PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=INTERNAL
sasl.enabled.mechanisms={_MECHANISM}
listener.name.client.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;

# A folder of its own: in the root of a claim some file systems keep lost+found, which Kafka takes for a topic.
log.dirs={_DATA}/kraft
log.retention.hours={settings.retention_hours}
num.partitions={settings.partitions}
auto.create.topics.enable={str(settings.auto_create_topics).lower()}

# One node cannot replicate; the defaults ask for three.
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
""",
        }

    def _secret_data(self, password: pulumi.Input[str]) -> dict[str, pulumi.Input[str]]:  # noqa: ARG002
        return {"username": self._settings.user}

    def _cluster_id(self) -> pulumi.Output[str]:
        """Kafka's form of a UUID: base64 for URLs, without padding, 22 characters. It stands in the claim, and a broker
        with another one refuses to start."""
        generated = random.RandomUuid(
            f"{self._name}-cluster-id",
            opts=pulumi.ResourceOptions(parent=self, protect=self._settings.protect),
        )
        return generated.result.apply(
            lambda text: base64.urlsafe_b64encode(uuid.UUID(text).bytes).rstrip(b"=").decode("ascii")
        )

    def _pod(self, config: str) -> Pod:
        settings = self._settings
        # /tmp also holds the native libraries of the compression codecs, which the JVM unpacks and loads from there.
        scratch = {_TMP: store.scratch("256Mi")}
        mounts = [
            *self._mounts(_DATA, scratch),
            VolumeMountArgs(name="config", mount_path=_CONFIG, read_only=True),
        ]
        logging = {
            # Where the scripts would write logs by default is read-only.
            "LOG_DIR": _TMP,
            "KAFKA_LOG4J_OPTS": f"-Dlog4j2.configurationFile={_CONFIG}/log4j2.yaml",
        }
        formatter = ContainerArgs(
            name="format",
            image=settings.image.reference,
            image_pull_policy="IfNotPresent",
            command=["bash", "-c", _FORMAT],
            env=[
                *store.plain({**logging, "KAFKA_HEAP_OPTS": "-Xmx128m", "KAFKA_USERNAME": settings.user}),
                EnvVarArgs(name="CLUSTER_ID", value=self._cluster_id()),
                store.from_secret("KAFKA_PASSWORD", self._name, store.PASSWORD_KEY),
            ],
            # The scheduler takes the larger of this and the broker's, so it costs nothing.
            resources=store.resources(settings.resources),
            security_context=store.locked_down(),
            volume_mounts=mounts,
        )
        # The store's own client, until it has answered once. After that a JVM every few seconds would take more than
        # the broker does when it is idle, and the memory for it from the page cache: an open port has to do.
        started = [
            "env",
            # Without these the client would take the broker's heap a second time.
            "KAFKA_HEAP_OPTS=-Xmx64m",
            "KAFKA_JVM_PERFORMANCE_OPTS=-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
            f"{_BIN}/kafka-broker-api-versions.sh",
            f"--bootstrap-server={_INTERNAL}",
        ]

        def listening(period: int, failures: int) -> ProbeArgs:
            return ProbeArgs(
                tcp_socket=TCPSocketActionArgs(port=self._name),
                period_seconds=period,
                timeout_seconds=5,
                failure_threshold=failures,
            )

        return Pod(
            user=_USER,
            data_path=_DATA,
            scratch=scratch,
            volumes=[VolumeArgs(name="config", config_map=ConfigMapVolumeSourceArgs(name=config))],
            init_containers=[formatter],
            # A clean shutdown flushes and closes every segment; without it the next start checks them all.
            grace_seconds=120,
            container=ContainerArgs(
                name=self._name,
                image=settings.image.reference,
                image_pull_policy="IfNotPresent",
                # Not the image's own start script: it makes its configuration from the environment and writes it into
                # the read-only root.
                command=[f"{_BIN}/kafka-server-start.sh", f"{_CONFIG}/server.properties"],
                env=store.plain(
                    {
                        **logging,
                        # Equal, so that the JVM takes at the start what it will need.
                        "KAFKA_HEAP_OPTS": f"-Xms{settings.heap}m -Xmx{settings.heap}m",
                        # Without the garbage collector's log file, which the script's default asks for.
                        "EXTRA_ARGS": "-name kafkaServer",
                    }
                ),
                ports=[self._server_port],
                resources=store.resources(settings.resources),
                # Five minutes, and each try has the time that a JVM takes to start on a busy node.
                startup_probe=store.exec_probe(started, period=10, timeout=15, failures=30),
                readiness_probe=listening(period=5, failures=3),
                liveness_probe=listening(period=10, failures=6),
                security_context=store.locked_down(),
                volume_mounts=mounts,
            ),
        )

    def _exporter(self) -> ExporterNeeds:
        return ExporterNeeds(
            user=65534,  # the image names no user; a static binary needs none in particular
            args=[f"--kafka.server={_INTERNAL}"],
        )

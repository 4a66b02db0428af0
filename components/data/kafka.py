"""Kafka in KRaft mode. What its image needs, and where that is written: docs/data-stores.md."""

from __future__ import annotations

import pulumi
from pulumi_kubernetes.core.v1 import ContainerArgs, ProbeArgs, TCPSocketActionArgs, VolumeMountArgs
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from cloudmart.settings.data import KafkaSettings, StoreMode
from components.connection import Connection, SecretRef
from components.custom import CustomObject
from components.data import store, strimzi
from components.data.store import ExporterNeeds, OperatorArgs, Pod, StoreComponent
from components.specs import strimzi as specs

_USER = 1000
_DATA = "/var/lib/kafka/data"
#: A folder of its own: in the root of a claim some file systems keep lost+found, which Kafka takes for a topic.
_LOGS = f"{_DATA}/kraft"
_CONFIG = "/etc/cloudmart"
_BIN = "/opt/kafka/bin"
_MECHANISM = "SCRAM-SHA-512"
_CREDENTIALS_FILE = "credentials.properties"
_TMP = "/tmp"  # noqa: S108 - the container's
#: For the broker's own use, its command line clients and the exporter. Bound to loopback, so that nobody outside the
#: pod gets past the password.
_INTERNAL = "127.0.0.1:9094"
_CONTROLLER = "127.0.0.1:9093"

# The image's own logs to files under /opt/kafka/logs as well, hour by hour and without end. To standard error, because
# the standard output of the tools is their answer.
_LOG4J = """\
Configuration:
  status: warn
  Appenders:
    Console:
      name: CONSOLE
      target: SYSTEM_ERR
      PatternLayout:
        pattern: "[%d] %p %m (%c)%n"
  Loggers:
    Root:
      level: info
      AppenderRef:
        - ref: CONSOLE
"""

# A claim keeps the cluster's identity, so that it can be taken up again by a stack that never saw it. An empty one gets
# a new identity; `=`, because one may begin with a dash.
_FORMAT = f"""\
set -e
test -e {_LOGS}/meta.properties && exit
exec {_BIN}/kafka-storage.sh format --standalone --config={_CONFIG}/server.properties \
--cluster-id="$({_BIN}/kafka-storage.sh random-uuid)"
"""


class Kafka(StoreComponent[KafkaSettings]):
    """``cloudmart:data:Kafka``: a :class:`StoreComponent`.

    Mode `single`: one node is broker and controller. Clients authenticate with SCRAM-SHA-512, as they do at Strimzi and
    at the managed services, so that a change of mode changes no client.

    Mode `operator`: Strimzi's Kafka ``kafka``, KafkaNodePool ``broker`` (and ``controller``), a KafkaTopic for each
    declared topic; for each caller a RandomPassword, a Secret ``kafka-<caller>-credentials`` and a KafkaUser of its
    name; NetworkPolicies ``kafka``, ``kafka-entity-operator`` and, where metrics are wanted, ``kafka-exporter``. There
    is no shared user.
    """

    TOKEN = "cloudmart:data:Kafka"  # noqa: S105 - a type token
    COMPONENT = "broker"

    @classmethod
    def connection_of(cls, name: str, settings: KafkaSettings, caller: str | None = None) -> Connection:
        own = caller if settings.mode is StoreMode.OPERATOR else None
        external = settings.external
        host = external.host if external else store.service_host(name)
        port = settings.client_port
        return Connection(
            env={
                "KAFKA_BROKERS": f"{host}:{port}",
                "KAFKA_SECURITY_PROTOCOL": external.security_protocol if external else "SASL_PLAINTEXT",
                "KAFKA_SASL_MECHANISM": external.sasl_mechanism if external else _MECHANISM,
                "KAFKA_USERNAME": own or settings.user,
            },
            secret_env={"KAFKA_PASSWORD": SecretRef(name=store.credentials_name(name, own), key=store.PASSWORD_KEY)},
            host=host,
            port=port,
            pod_selector=None if external else settings.pod_labels(name),
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

listeners=CLIENT://:{self._settings.server_port},INTERNAL://{_INTERNAL},CONTROLLER://{_CONTROLLER}
# Clients are sent to this name after their first contact: the Service, because the pod's address changes.
advertised.listeners=CLIENT://{store.service_host(self._name)}:{self._settings.server_port},INTERNAL://{_INTERNAL}
listener.security.protocol.map=CLIENT:SASL_PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=INTERNAL
sasl.enabled.mechanisms={_MECHANISM}
listener.name.client.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;

log.dirs={_LOGS}
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

    def _secret_data(self, password: pulumi.Input[str]) -> dict[str, pulumi.Input[str]]:
        data: dict[str, pulumi.Input[str]] = {"username": self._settings.user}
        if self._settings.mode is StoreMode.SINGLE:
            data[_CREDENTIALS_FILE] = pulumi.Output.concat(f"{_MECHANISM}=password=", password, "\n")
        return data

    def _operator(self, args: OperatorArgs) -> None:
        name, settings = self._name, self._settings
        if args.party is None:
            raise ValueError(f"{name}: mode operator needs the operator's pods")
        own = self._credentials_of_callers()
        callers, scrapers, home = self._args.callers, self._args.scrapers, self._args.home
        policies = [
            self._policy(
                name,
                strimzi.nodes_policy(name, settings, callers, args.party, scrapers, home, args.api_server_cidrs),
            ),
            self._policy(f"{name}-entity-operator", strimzi.entity_operator_policy(name, args.api_server_cidrs)),
        ]
        if settings.exporter.enabled:
            policies.append(self._policy(f"{name}-exporter", strimzi.exporter_policy(name, scrapers, home)))

        # Deleted, a topic takes its messages with it, and a cluster of the same name would not know the claims of the
        # old one. `destroy` leaves all of it, as it leaves the namespace.
        def kept(*after: pulumi.Resource) -> pulumi.ResourceOptions:
            return pulumi.ResourceOptions(
                parent=self, protect=settings.protect, retain_on_delete=True, depends_on=list(after)
            )

        served = kept(*policies, *([args.release] if args.release else []), *self._args.guards)
        pools = [
            CustomObject(pool, specs.NODE_POOL, metadata=self._of_cluster(pool), spec=spec, opts=served)
            for pool, spec in strimzi.pools(settings).items()
        ]
        cluster = CustomObject(
            name,
            specs.KAFKA,
            metadata=self._metadata(name),
            spec=strimzi.kafka(
                name, settings, metrics=settings.exporter.enabled, priority_class=self._args.priority_class
            ),
            opts=kept(*pools, *own.values()),
        )
        for topic, of in settings.topics.items():
            CustomObject(
                topic,
                specs.TOPIC,
                metadata=self._of_cluster(topic),
                spec=strimzi.topic(settings, of),
                opts=kept(cluster),
            )
        for caller in own:
            CustomObject(
                caller,
                specs.USER,
                # Strimzi looks at the Secret every two minutes, but at its own object at once.
                metadata=self._of_cluster(caller, {"checksum/credentials": self._checksums[caller]}),
                spec=strimzi.user(
                    caller, args.topics[caller], store.credentials_name(name, caller), store.PASSWORD_KEY
                ),
                opts=pulumi.ResourceOptions(parent=self, depends_on=[cluster]),
            )
        self._client_service(settings.pod_labels(name))

    def _of_cluster(self, name: str, annotations: dict[str, pulumi.Input[str]] | None = None) -> ObjectMetaArgs:
        metadata = self._metadata(name, annotations)
        metadata.labels = {**self.labels.metadata, **strimzi.cluster_label(self._name)}
        return metadata

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
            env=store.plain({**logging, "KAFKA_HEAP_OPTS": "-Xmx128m"}),
            # The scheduler takes the larger of this and the broker's, so it costs nothing.
            resources=store.resources(settings.resources),
            security_context=store.locked_down(),
            volume_mounts=mounts,
        )
        # The store's own client, until it has succeeded once: it sets the password, so that the broker has the one of
        # the Secret whatever the claim remembers. After that a JVM every few seconds would take more than the broker
        # does when it is idle, and its memory from the page cache: an open port has to do.
        started = (
            # Without the first two the client would take the broker's heap a second time. Its output would stand in the
            # pod's events, and it quotes a password that it does not like: dropped.
            "KAFKA_HEAP_OPTS=-Xmx64m KAFKA_JVM_PERFORMANCE_OPTS='-XX:+UseSerialGC -XX:TieredStopAtLevel=1' "
            f"{_BIN}/kafka-configs.sh --bootstrap-server={_INTERNAL} --alter --entity-type=users "
            f"--entity-name={settings.user} --add-config-file={_CONFIG}/{_CREDENTIALS_FILE} >/dev/null 2>&1"
        )

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
            volumes=[store.files_and_secret(config, self._name, _CREDENTIALS_FILE)],
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
                startup_probe=store.exec_probe(["bash", "-c", started], period=10, timeout=15, failures=30),
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

"""What the stores share: everything around the server. The server's own pod comes from the subclass."""

from __future__ import annotations

import abc
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Generic, TypeVar

import pulumi
from pulumi_kubernetes.apps.v1 import (
    StatefulSet,
    StatefulSetPersistentVolumeClaimRetentionPolicyArgs,
    StatefulSetSpecArgs,
    StatefulSetUpdateStrategyArgs,
)
from pulumi_kubernetes.core.v1 import (
    CapabilitiesArgs,
    ConfigMap,
    ConfigMapProjectionArgs,
    ContainerArgs,
    ContainerPortArgs,
    EmptyDirVolumeSourceArgs,
    EnvVarArgs,
    EnvVarSourceArgs,
    ExecActionArgs,
    HTTPGetActionArgs,
    KeyToPathArgs,
    LocalObjectReferenceArgs,
    PersistentVolumeClaimArgs,
    PersistentVolumeClaimSpecArgs,
    PodSecurityContextArgs,
    PodSpecArgs,
    PodTemplateSpecArgs,
    ProbeArgs,
    ProjectedVolumeSourceArgs,
    ResourceRequirementsArgs,
    SeccompProfileArgs,
    SecretKeySelectorArgs,
    SecretProjectionArgs,
    SecurityContextArgs,
    Service,
    ServiceAccount,
    ServicePortArgs,
    ServiceSpecArgs,
    VolumeArgs,
    VolumeMountArgs,
    VolumeProjectionArgs,
    VolumeResourceRequirementsArgs,
)
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, ObjectMetaArgs
from pulumi_kubernetes.networking.v1 import (
    NetworkPolicy,
    NetworkPolicySpecArgs,
)

from cloudmart.settings import Party, Resources
from cloudmart.settings.data import PASSWORD, Exporter, Store, StoreMode
from cloudmart.settings.secrets import SecretSettings
from cloudmart.settings.service import ServiceTopics
from components import network
from components.connection import Connection, SecretRef
from components.labels import Labels
from components.password import Password, checksum_of, credentials, generated

S = TypeVar("S", bound=Store)

DATA_VOLUME = "data"
PASSWORD_KEY = "password"  # noqa: S105 - the name of a key

#: `up` waits for a claim that binds and a server that answers its own client. A new claim that does not bind in five
#: minutes never will; an update finds it bound, and may have to wait for a long recovery. Deleting waits for the pod's
#: grace period.
TIMEOUTS = pulumi.CustomTimeouts(create="5m", update="10m", delete="5m")


@dataclass(frozen=True, kw_only=True)
class OperatorArgs:
    """What mode `operator` needs to know besides."""

    #: The operator's pods; None where a chart alone runs the store.
    party: Party | None = None
    #: Serves the kinds that the store is declared with.
    release: pulumi.Resource | None = None
    #: Where the API server's addresses lie: pods of operators read and write their own state there.
    api_server_cidrs: Sequence[str] = ()
    #: By caller: the topics that it produces to and consumes from.
    topics: Mapping[str, ServiceTopics] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StoreArgs(Generic[S]):
    """A store's settings, and what the rest of the program wires to it."""

    settings: S
    namespace: pulumi.Input[str]
    #: Labels of the data layer; the store fills in what is its own.
    labels: Labels
    #: The services that declare a need of this store: nobody else reaches it.
    callers: Sequence[Party]
    #: The namespace's name as the settings have it.
    home: str
    #: Who may scrape its metrics, and at which port.
    scrapers: Sequence[tuple[Party, int]] = ()
    #: Ports between pods of the mesh besides their own; see `network.mesh_ports`.
    mesh_ports: Sequence[int] = ()
    #: Annotations of its pods, for others that read them.
    pod_annotations: Mapping[str, str] = field(default_factory=dict)
    #: The password of a managed endpoint, from the configuration. Mode `single` makes its own.
    password: pulumi.Input[str] | None = None
    secrets: SecretSettings = field(default_factory=SecretSettings)
    priority_class: pulumi.Input[str] | None = None
    #: In mode `operator`.
    operator: OperatorArgs | None = None
    #: What stands before its first pod does.
    guards: Sequence[pulumi.Resource] = ()


@dataclass(frozen=True, kw_only=True)
class ExporterNeeds:
    """What one exporter's image needs; all of them answer on `/` once they serve."""

    #: User and group of the image.
    user: int
    env: Sequence[EnvVarArgs] = ()
    args: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Pod:
    """What one image needs in order to start, as its Dockerfile and entrypoint say (docs/data-stores.md)."""

    #: User and group of the image; numeric, because the kubelet cannot check a name against `runAsNonRoot`.
    user: int
    container: ContainerArgs
    #: Where the claim is mounted.
    data_path: str
    #: Writable folders that the read-only root leaves to be given: path to volume.
    scratch: Mapping[str, EmptyDirVolumeSourceArgs]
    volumes: Sequence[VolumeArgs] = ()
    init_containers: Sequence[ContainerArgs] = ()
    grace_seconds: int


class StoreComponent(pulumi.ComponentResource, abc.ABC, Generic[S]):
    """Mode `single`: RandomPassword ``<store>-password``, Secret ``<store>-credentials``, ConfigMap
    ``<store>-config``, ServiceAccount, Services ``<store>-headless`` and ``<store>-service``, StatefulSet,
    NetworkPolicy ``<store>``.

    Mode `external`: Secret ``<store>-credentials``, and Service ``<store>-service`` as an alias of the managed host.

    Mode `operator`: Service ``<store>-service``, Secret ``<store>-credentials`` or one for each caller,
    NetworkPolicies, and what the subclass says.

    No PodDisruptionBudget: for one replica it either blocks every drain of the node for good, or does nothing.
    """

    TOKEN: ClassVar[str]
    #: Value of the recommended label `component`.
    COMPONENT: ClassVar[str]

    #: What its objects carry.
    labels: Labels
    #: What consumers need to know.
    connection: Connection
    #: By caller: the same, with credentials of its own where the store has users for each.
    connections: Mapping[str, Connection]
    #: ``host:port`` as clients use it.
    endpoint: pulumi.Output[str]

    def __init__(self, name: str, args: StoreArgs[S], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(self.TOKEN, name, None, opts)
        self._name, self._args, self._settings = name, args, args.settings
        self.labels = replace(args.labels, app=name, component=self.COMPONENT)
        self._child = pulumi.ResourceOptions(parent=self)
        self.connection = self.connection_of(name, args.settings)
        # Of every caller that has credentials of its own: what changes with them.
        self._checksums: dict[str, pulumi.Output[str]] = {}
        # What the server alone reads; and what changes with it, by annotation of its pod.
        self._own_passwords: list[Password] = []
        self._own_checksums: dict[str, pulumi.Output[str]] = {}
        # One branch a mode: the same Service name and variables in each.
        match args.settings.mode:
            case StoreMode.SINGLE:
                self._single()
            case StoreMode.EXTERNAL:
                self._external()
            case StoreMode.OPERATOR:
                if args.operator is None:
                    raise ValueError(f"{name}: mode operator needs an operator")
                self._operator(args.operator)
        self.connections = {
            caller.name: replace(self.connection_of(name, args.settings, caller.name), checksum=checksum)
            if (checksum := self._checksums.get(caller.name)) is not None
            else self.connection
            for caller in args.callers
        }
        self.endpoint = pulumi.Output.from_input(f"{self.connection.host}:{self.connection.port}")
        self.register_outputs({"endpoint": self.endpoint})

    # What a store says about itself.

    @classmethod
    @abc.abstractmethod
    def connection_of(cls, name: str, settings: S, caller: str | None = None) -> Connection:
        """How consumers reach the store, from the settings alone; `caller` is one of them, where users differ."""

    @abc.abstractmethod
    def _files(self) -> dict[str, str]:
        """Configuration files by name; none of them holds a secret."""

    @abc.abstractmethod
    def _secret_data(self, password: pulumi.Input[str]) -> dict[str, pulumi.Input[str]]:
        """The keys of the Secret besides the user's name and password."""

    @abc.abstractmethod
    def _pod(self, config: str) -> Pod:
        """The server's pod; `config` is the name of the ConfigMap with the files."""

    @abc.abstractmethod
    def _exporter(self) -> ExporterNeeds:
        """The metrics exporter, for those that want one."""

    @abc.abstractmethod
    def _operator(self, args: OperatorArgs) -> None:
        """Mode `operator`: everything that is made."""

    # Modes.

    def _single(self) -> None:
        name, settings = self._name, self._settings
        password = self._generated(PASSWORD)
        secret = self._secret(password)
        checksum = checksum_of(password, secret)
        self.connection = replace(self.connection, checksum=checksum)

        files = self._files()
        config = ConfigMap(f"{name}-config", metadata=self._metadata(f"{name}-config"), data=files, opts=self._child)
        account = ServiceAccount(
            name, metadata=self._metadata(name), automount_service_account_token=False, opts=self._child
        )
        ports = [_port(name, self._settings.server_port, name)]
        metrics = [
            ServicePortArgs(
                name="metrics",
                port=self._settings.metrics_port,
                target_port="metrics",
                protocol="TCP",
                app_protocol="http",
            )
        ]
        headless = Service(
            f"{name}-headless",
            metadata=self._metadata(f"{name}-headless", _AWAITED_ELSEWHERE),
            spec=ServiceSpecArgs(
                cluster_ip="None",
                selector=self.labels.selector,
                ports=ports + (metrics if settings.exporter.enabled else []),
            ),
            opts=self._child,
        )
        Service(
            f"{name}-service",
            metadata=self._metadata(f"{name}-service", _AWAITED_ELSEWHERE),
            spec=ServiceSpecArgs(type="ClusterIP", selector=self.labels.selector, ports=ports),
            opts=self._child,
        )
        self._network_policy()
        StatefulSet(
            name,
            metadata=self._metadata(name),
            spec=self._stateful_set(
                self._pod(f"{name}-config"),
                # Servers read all of it at their start only.
                {
                    "checksum/config": hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest(),
                    "checksum/credentials": checksum,
                    **self._own_checksums,
                },
            ),
            opts=pulumi.ResourceOptions(
                parent=self,
                protect=settings.protect,
                depends_on=[secret, config, account, headless, *self._args.guards],
                custom_timeouts=TIMEOUTS,
            ),
        )

    def _external(self) -> None:
        external = self._settings.external
        if external is None:  # the settings' own validation has seen to that
            raise ValueError(f"{self._name}: mode external needs an endpoint")
        if self._args.password is not None:
            self._secret(Password(name=f"{self._name}-{PASSWORD}", value=self._args.password, mark=""))
        else:
            password = self._generated(PASSWORD)
            self.connection = replace(self.connection, checksum=checksum_of(password, self._secret(password)))
        Service(
            f"{self._name}-service",
            metadata=self._metadata(f"{self._name}-service", _AWAITED_ELSEWHERE),
            spec=ServiceSpecArgs(
                type="ExternalName",
                external_name=external.host,
                ports=[_port(self._name, external.port)],
            ),
            opts=self._child,
        )

    # Parts.

    def _generated(self, what: str) -> Password:
        return generated(f"{self._name}-{what}", self._args.secrets, self._child)

    def _secret(
        self, password: Password, type_: str = "Opaque", labels: Mapping[str, str] | None = None
    ) -> pulumi.CustomResource:
        data = {PASSWORD_KEY: password.value, **self._secret_data(password.value)}
        return credentials(
            self._labelled(credentials_name(self._name), labels),
            data,
            [password, *self._own_passwords],
            self._args.secrets,
            self._child,
            type_=type_,
        )

    def _credentials_of_callers(self, labels: Mapping[str, str] | None = None) -> dict[str, pulumi.CustomResource]:
        """Users of their own for the callers: by caller, a Secret with a password."""
        found = {}
        for caller in self._args.callers:
            password = self._generated(f"{caller.name}-{PASSWORD}")
            found[caller.name] = credentials(
                self._labelled(credentials_name(self._name, caller.name), labels),
                {"username": caller.name, PASSWORD_KEY: password.value},
                [password],
                self._args.secrets,
                self._child,
                type_="kubernetes.io/basic-auth",
            )
            self._checksums[caller.name] = checksum_of(password, found[caller.name])
        return found

    def _client_service(self, selector: Mapping[str, str]) -> Service:
        """The name that clients know, for the pods that answer them in mode `operator`."""
        port = self._settings.server_port
        return Service(
            f"{self._name}-service",
            metadata=self._metadata(f"{self._name}-service", _AWAITED_ELSEWHERE),
            spec=ServiceSpecArgs(
                type="ClusterIP",
                selector=dict(selector),
                ports=[_port(self._name, port, port)],
            ),
            opts=self._child,
        )

    def _policy(self, name: str, spec: NetworkPolicySpecArgs) -> NetworkPolicy:
        return NetworkPolicy(name, metadata=self._metadata(name), spec=spec, opts=self._child)

    def _network_policy(self) -> None:
        args = self._args
        ingress = [
            *network.ingress_from(args.callers, [self._settings.server_port, *args.mesh_ports], args.home),
            *network.ingress_of_scrapers(args.scrapers, args.home),
        ]
        NetworkPolicy(
            self._name,
            metadata=self._metadata(self._name),
            spec=NetworkPolicySpecArgs(
                pod_selector=LabelSelectorArgs(match_labels=self.labels.selector),
                # A store calls nobody. The namespace's own policies leave it DNS.
                policy_types=["Ingress", "Egress"],
                ingress=ingress,
                egress=[],
            ),
            opts=self._child,
        )

    def _stateful_set(self, pod: Pod, checksums: Mapping[str, pulumi.Input[str]]) -> StatefulSetSpecArgs:
        settings, labels = self._settings, self.labels
        images = [settings.image]
        containers = [pod.container]
        if settings.exporter.enabled:
            images.append(settings.exporter.image)
            containers.append(self._exporter_container(settings.exporter))
        pull_secrets = sorted({secret for image in images for secret in image.pull_secrets})
        return StatefulSetSpecArgs(
            replicas=1,
            service_name=f"{self._name}-headless",
            revision_history_limit=5,
            selector=LabelSelectorArgs(match_labels=labels.selector),
            update_strategy=StatefulSetUpdateStrategyArgs(type="RollingUpdate"),
            # Data outlives its workload: whoever wants it gone deletes the claim.
            persistent_volume_claim_retention_policy=StatefulSetPersistentVolumeClaimRetentionPolicyArgs(
                when_deleted="Retain", when_scaled="Retain"
            ),
            template=PodTemplateSpecArgs(
                metadata=ObjectMetaArgs(
                    labels=labels.metadata, annotations={**self._args.pod_annotations, **checksums}
                ),
                spec=PodSpecArgs(
                    service_account_name=self._name,
                    automount_service_account_token=False,
                    # They would put variables such as KAFKA_SERVICE_PORT into the environment, which the servers' own
                    # scripts read as configuration.
                    enable_service_links=False,
                    priority_class_name=self._args.priority_class,
                    termination_grace_period_seconds=pod.grace_seconds,
                    image_pull_secrets=[LocalObjectReferenceArgs(name=secret) for secret in pull_secrets] or None,
                    security_context=PodSecurityContextArgs(
                        run_as_non_root=True,
                        run_as_user=pod.user,
                        run_as_group=pod.user,
                        # The claim's files belong to this group; walking a large volume at every start takes minutes.
                        fs_group=pod.user,
                        fs_group_change_policy="OnRootMismatch",
                        seccomp_profile=SeccompProfileArgs(type="RuntimeDefault"),
                    ),
                    init_containers=list(pod.init_containers) or None,
                    containers=containers,
                    volumes=[
                        *(
                            VolumeArgs(name=scratch_name(path), empty_dir=source)
                            for path, source in pod.scratch.items()
                        ),
                        *pod.volumes,
                    ],
                ),
            ),
            volume_claim_templates=[
                PersistentVolumeClaimArgs(
                    # Named, or the provider would name it itself.
                    api_version="v1",
                    kind="PersistentVolumeClaim",
                    metadata=ObjectMetaArgs(name=DATA_VOLUME, labels=labels.metadata),
                    spec=PersistentVolumeClaimSpecArgs(
                        access_modes=["ReadWriteOnce"],
                        storage_class_name=settings.storage.storage_class,
                        resources=VolumeResourceRequirementsArgs(requests={"storage": str(settings.storage.size)}),
                    ),
                )
            ],
        )

    def _exporter_container(self, exporter: Exporter) -> ContainerArgs:
        needs = self._exporter()

        def answers(period: int) -> ProbeArgs:
            return ProbeArgs(
                http_get=HTTPGetActionArgs(path="/", port="metrics"), period_seconds=period, timeout_seconds=5
            )

        return ContainerArgs(
            name="exporter",
            image=exporter.image.reference,
            image_pull_policy="IfNotPresent",
            args=list(needs.args) or None,
            env=list(needs.env) or None,
            ports=[ContainerPortArgs(name="metrics", container_port=self._settings.metrics_port, protocol="TCP")],
            resources=resources(exporter.resources),
            readiness_probe=answers(period=10),
            liveness_probe=answers(period=30),
            security_context=locked_down(needs.user),
        )

    def _metadata(self, name: str, annotations: Mapping[str, pulumi.Input[str]] | None = None) -> ObjectMetaArgs:
        return ObjectMetaArgs(
            name=name, namespace=self._args.namespace, labels=self.labels.metadata, annotations=annotations
        )

    def _labelled(self, name: str, labels: Mapping[str, str] | None) -> ObjectMetaArgs:
        metadata = self._metadata(name)
        metadata.labels = {**self.labels.metadata, **(labels or {})}
        return metadata

    # Helpers for the subclasses.

    @property
    def _server_port(self) -> ContainerPortArgs:
        return ContainerPortArgs(name=self._name, container_port=self._settings.server_port, protocol="TCP")

    @staticmethod
    def _mounts(data_path: str, scratch: Mapping[str, EmptyDirVolumeSourceArgs]) -> list[VolumeMountArgs]:
        return [
            VolumeMountArgs(name=DATA_VOLUME, mount_path=data_path),
            *(VolumeMountArgs(name=scratch_name(path), mount_path=path) for path in scratch),
        ]


#: The StatefulSet's own wait has seen to the endpoints already; each Service would take ten seconds more.
_AWAITED_ELSEWHERE = {"pulumi.com/skipAwait": "true"}


def credentials_name(store: str, caller: str | None = None) -> str:
    """Name of the Secret of a store, or of one of its callers where each has its own."""
    return f"{store}-{caller}-credentials" if caller else f"{store}-credentials"


def _port(name: str, port: int, target: str | int | None = None) -> ServicePortArgs:
    """A store's port. Without the protocol a mesh's proxy would wait for the client's first bytes, to guess it."""
    return ServicePortArgs(name=name, port=port, target_port=target, protocol="TCP", app_protocol="tcp")


def service_host(store: str) -> str:
    """Name of the Service that clients connect to."""
    return f"{store}-service"


def scratch_name(path: str) -> str:
    """Name of the volume of a writable folder: ``/var/run/postgresql`` gives ``var-run-postgresql``."""
    return path.strip("/").replace("/", "-")


def scratch(size: str, in_memory: bool = False) -> EmptyDirVolumeSourceArgs:
    """A writable folder that is gone with the pod. `size` is what it may hold before the pod is evicted."""
    return EmptyDirVolumeSourceArgs(size_limit=size, medium="Memory" if in_memory else None)


def files_and_secret(config: str, store: str, key: str) -> VolumeArgs:
    """Volume ``config``: the ConfigMap's files and one key of the store's Secret, in one folder, readable by the group
    of the pod alone."""
    return VolumeArgs(
        name="config",
        projected=ProjectedVolumeSourceArgs(
            default_mode=0o440,
            sources=[
                VolumeProjectionArgs(config_map=ConfigMapProjectionArgs(name=config)),
                VolumeProjectionArgs(
                    secret=SecretProjectionArgs(name=credentials_name(store), items=[KeyToPathArgs(key=key, path=key)])
                ),
            ],
        ),
    )


def from_secret(variable: str, store: str, key: str) -> EnvVarArgs:
    """An environment variable whose value stays in the store's Secret."""
    reference = SecretRef(name=credentials_name(store), key=key)
    return EnvVarArgs(
        name=variable,
        value_from=EnvVarSourceArgs(secret_key_ref=SecretKeySelectorArgs(name=reference.name, key=reference.key)),
    )


def plain(variables: Mapping[str, str]) -> list[EnvVarArgs]:
    """Environment variables with their values."""
    return [EnvVarArgs(name=name, value=value) for name, value in variables.items()]


def resources(settings: Resources) -> ResourceRequirementsArgs:
    """Requests and limits as Kubernetes wants them."""
    requests, limits = settings.requests, settings.limits
    return ResourceRequirementsArgs(
        requests={"cpu": str(requests.cpu), "memory": str(requests.memory)},
        limits={"cpu": str(limits.cpu), "memory": str(limits.memory)},
    )


def locked_down(user: int | None = None) -> SecurityContextArgs:
    """Pod Security `restricted` and a read-only root; `user` where a container's image has another one than the pod."""
    return SecurityContextArgs(
        allow_privilege_escalation=False,
        privileged=False,
        read_only_root_filesystem=True,
        run_as_non_root=True,
        run_as_user=user,
        run_as_group=user,
        capabilities=CapabilitiesArgs(drop=["ALL"]),
        seccomp_profile=SeccompProfileArgs(type="RuntimeDefault"),
    )


def exec_probe(command: Sequence[str], *, period: int, timeout: int, failures: int) -> ProbeArgs:
    """A probe that runs the store's own client in the container. Times in seconds."""
    return ProbeArgs(
        exec_=ExecActionArgs(command=list(command)),
        period_seconds=period,
        timeout_seconds=timeout,
        failure_threshold=failures,
    )

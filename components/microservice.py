"""One microservice, whole: every service of the shop goes through this class."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
from pulumi_kubernetes.apps.v1 import (
    Deployment,
    DeploymentSpecArgs,
    DeploymentStrategyArgs,
    RollingUpdateDeploymentArgs,
)
from pulumi_kubernetes.autoscaling.v2 import (
    ContainerResourceMetricSourceArgs,
    CrossVersionObjectReferenceArgs,
    HorizontalPodAutoscaler,
    HorizontalPodAutoscalerBehaviorArgs,
    HorizontalPodAutoscalerSpecArgs,
    HPAScalingPolicyArgs,
    HPAScalingRulesArgs,
    MetricSpecArgs,
    MetricTargetArgs,
)
from pulumi_kubernetes.core.v1 import (
    CapabilitiesArgs,
    ConfigMap,
    ConfigMapEnvSourceArgs,
    ConfigMapVolumeSourceArgs,
    ContainerArgs,
    ContainerPortArgs,
    EmptyDirVolumeSourceArgs,
    EnvFromSourceArgs,
    EnvVarArgs,
    EnvVarSourceArgs,
    HTTPGetActionArgs,
    LifecycleArgs,
    LifecycleHandlerArgs,
    LocalObjectReferenceArgs,
    PodSecurityContextArgs,
    PodSpecArgs,
    PodTemplateSpecArgs,
    ProbeArgs,
    ResourceRequirementsArgs,
    SeccompProfileArgs,
    SecretKeySelectorArgs,
    SecurityContextArgs,
    Service,
    ServiceAccount,
    ServicePortArgs,
    ServiceSpecArgs,
    SleepActionArgs,
    TopologySpreadConstraintArgs,
    VolumeArgs,
    VolumeMountArgs,
)
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, ObjectMetaArgs
from pulumi_kubernetes.networking.v1 import NetworkPolicy, NetworkPolicySpecArgs
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget, PodDisruptionBudgetSpecArgs

from cloudmart.settings import Image, Party, Probe, ScalingPolicy
from cloudmart.settings import Service as ServiceSettings
from components import network, placeholder
from components.connection import Connection
from components.labels import Labels
from components.wiring import SERVICE_PORT

#: A quarter more pods while a new version rolls out; the namespace's quota counts them in.
MAX_SURGE_PERCENT = 25


@dataclass(frozen=True, kw_only=True)
class MicroserviceArgs:
    """The service's own settings, and what the rest of the program wires to it."""

    settings: ServiceSettings
    namespace: pulumi.Input[str]
    #: The namespace's name as the settings have it.
    home: str
    labels: Labels
    #: The other end of each declared need.
    connections: Sequence[Connection]
    #: Who may call it: the services that declare a need of it, and the gateway where it has routes.
    callers: Sequence[Party]
    priority_class: pulumi.Input[str]
    placeholder_image: Image
    #: Who may scrape its metrics, and at which port.
    scrapers: Sequence[tuple[Party, int]] = ()
    #: Ports between pods of the mesh besides their own; see `network.mesh_ports`.
    mesh_ports: Sequence[int] = ()
    #: Annotations of its pods, and labels and annotations of its Service, for others that read them.
    pod_annotations: Mapping[str, str] = field(default_factory=dict)
    service_labels: Mapping[str, str] = field(default_factory=dict)
    service_annotations: Mapping[str, str] = field(default_factory=dict)
    #: What stands before its first pod does. Its other objects do not wait for that.
    guards: Sequence[pulumi.Resource] = ()


class Microservice(pulumi.ComponentResource):
    """``cloudmart:microservice:Microservice``

    ServiceAccount, ConfigMap ``<name>-config`` (and ``<name>-placeholder`` while the service has no image), Deployment,
    Service, HorizontalPodAutoscaler ``<name>-hpa`` where it scales, PodDisruptionBudget ``<name>-pdb``, NetworkPolicy.
    """

    #: URL inside the cluster.
    url: pulumi.Output[str]
    #: What its objects carry.
    labels: Labels
    #: Name of the Deployment.
    deployment_name: pulumi.Output[str]

    def __init__(self, name: str, args: MicroserviceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cloudmart:microservice:Microservice", name, None, opts)
        self._name, self._args = name, args
        child = pulumi.ResourceOptions(parent=self)
        settings, labels = args.settings, args.labels
        self.labels = labels

        account = ServiceAccount(name, metadata=self._metadata(name), automount_service_account_token=False, opts=child)
        config_map = ConfigMap(
            f"{name}-config", metadata=self._metadata(f"{name}-config"), data=dict(settings.env), opts=child
        )
        page = None
        if settings.image is None:
            page = ConfigMap(
                f"{name}-placeholder",
                metadata=self._metadata(f"{name}-placeholder"),
                data={placeholder.FILE: placeholder.nginx_conf(settings)},
                opts=child,
            )

        deployment = Deployment(
            name,
            metadata=self._metadata(name),
            spec=DeploymentSpecArgs(
                replicas=settings.replicas,
                revision_history_limit=5,
                # Long enough for a pull and a slow start; then `up` says which pod failed instead of waiting on.
                progress_deadline_seconds=300,
                # Left out where it is the default, as the provider does in its state.
                min_ready_seconds=settings.min_ready_seconds or None,
                selector=LabelSelectorArgs(match_labels=labels.selector),
                strategy=DeploymentStrategyArgs(
                    type="RollingUpdate",
                    rolling_update=RollingUpdateDeploymentArgs(max_surge=f"{MAX_SURGE_PERCENT}%", max_unavailable=0),
                ),
                template=PodTemplateSpecArgs(
                    metadata=ObjectMetaArgs(
                        labels=labels.metadata, annotations={**args.pod_annotations, **self._checksums()}
                    ),
                    spec=self._pod(account, config_map, page),
                ),
            ),
            # The HPA owns the replica count once it is there; without this the next `up` would take it back.
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=list(args.guards),
                ignore_changes=["spec.replicas"] if settings.autoscaling is not None else None,
            ),
        )
        self.deployment_name = deployment.metadata.apply(lambda metadata: str(metadata.name))

        Service(
            name,
            # The provider would wait ten seconds for endpoints that the Deployment's own wait has seen to already.
            metadata=ObjectMetaArgs(
                name=name,
                namespace=args.namespace,
                labels=labels.metadata | dict(args.service_labels),
                annotations={"pulumi.com/skipAwait": "true", **args.service_annotations},
            ),
            spec=ServiceSpecArgs(
                type="ClusterIP",
                selector=labels.selector,
                ports=[
                    ServicePortArgs(
                        name="http", port=SERVICE_PORT, target_port="http", protocol="TCP", app_protocol="http"
                    )
                ],
            ),
            opts=child,
        )
        if settings.autoscaling is not None:
            self._autoscaler(child)
        PodDisruptionBudget(
            f"{name}-pdb",
            metadata=self._metadata(f"{name}-pdb"),
            spec=PodDisruptionBudgetSpecArgs(
                # One at a time, at every replica count: a minimum would block every drain of a service with one pod.
                max_unavailable=1,
                # A pod that is broken anyway must not hold up a node's maintenance.
                unhealthy_pod_eviction_policy="AlwaysAllow",
                selector=LabelSelectorArgs(match_labels=labels.selector),
            ),
            opts=child,
        )
        NetworkPolicy(
            name,
            metadata=self._metadata(name),
            spec=NetworkPolicySpecArgs(
                pod_selector=LabelSelectorArgs(match_labels=labels.selector),
                policy_types=["Ingress", "Egress"],
                ingress=[
                    *network.ingress_from(args.callers, [settings.container_port, *args.mesh_ports], args.home),
                    *network.ingress_of_scrapers(args.scrapers, args.home),
                ],
                egress=[network.egress_to(connection, args.mesh_ports) for connection in args.connections],
            ),
            opts=child,
        )
        self.url = pulumi.Output.format("http://{0}.{1}", name, args.namespace)
        self.register_outputs({"url": self.url, "deployment_name": self.deployment_name})

    def _metadata(self, name: str, annotations: dict[str, str] | None = None) -> ObjectMetaArgs:
        return ObjectMetaArgs(
            name=name, namespace=self._args.namespace, labels=self._args.labels.metadata, annotations=annotations
        )

    def _env(self) -> dict[str, str]:
        """SERVICE_NAME and the plain half of every edge, but for what the service declares itself: that counts before.

        The same name twice would be refused by server-side apply.
        """
        env = {"SERVICE_NAME": self._name}
        for connection in self._args.connections:
            env |= connection.env
        settings = self._args.settings
        return {key: value for key, value in env.items() if key not in settings.secret_env.keys() | settings.env.keys()}

    def _checksums(self) -> dict[str, pulumi.Input[str]]:
        """Annotations that roll the pods when what they read at start has changed."""
        settings = self._args.settings
        config = {"env": dict(settings.env)}
        if settings.image is None:
            config["placeholder"] = {placeholder.FILE: placeholder.nginx_conf(settings)}
        checksums: dict[str, pulumi.Input[str]] = {
            "checksum/config": hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
        }
        for connection in self._args.connections:
            if connection.checksum is not None:
                checksums[f"checksum/{connection.host}"] = connection.checksum
        return checksums

    def _pod(self, account: ServiceAccount, config_map: ConfigMap, page: ConfigMap | None) -> PodSpecArgs:
        settings, labels = self._args.settings, self._args.labels
        image = settings.image or self._args.placeholder_image
        mounts = [VolumeMountArgs(name="tmp", mount_path="/tmp")]  # noqa: S108 - the container's, not this machine's
        volumes = [VolumeArgs(name="tmp", empty_dir=EmptyDirVolumeSourceArgs(size_limit="64Mi"))]
        if page is not None:
            mounts.append(VolumeMountArgs(name="placeholder", mount_path=placeholder.FOLDER, read_only=True))
            volumes.append(VolumeArgs(name="placeholder", config_map=ConfigMapVolumeSourceArgs(name=_name_of(page))))
        user = placeholder.USER if settings.image is None else None
        return PodSpecArgs(
            service_account_name=_name_of(account),
            automount_service_account_token=False,
            # Old links in every container's environment to every Service of the namespace: noise, and a leak.
            enable_service_links=False,
            priority_class_name=self._args.priority_class,
            termination_grace_period_seconds=settings.termination_grace_seconds,
            image_pull_secrets=[LocalObjectReferenceArgs(name=secret) for secret in image.pull_secrets] or None,
            security_context=PodSecurityContextArgs(
                run_as_non_root=True,
                run_as_user=user,
                run_as_group=user,
                fs_group=user,
                seccomp_profile=SeccompProfileArgs(type="RuntimeDefault"),
            ),
            topology_spread_constraints=[
                TopologySpreadConstraintArgs(
                    max_skew=1,
                    topology_key=key,
                    # Spread where it can be: a service that waits for a lost zone helps nobody.
                    when_unsatisfiable="ScheduleAnyway",
                    label_selector=LabelSelectorArgs(match_labels=labels.selector),
                    match_label_keys=["pod-template-hash"],
                )
                for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
            ],
            containers=[
                ContainerArgs(
                    name=self._name,
                    image=image.reference,
                    image_pull_policy="IfNotPresent",
                    args=list(placeholder.COMMAND_ARGS) if settings.image is None else None,
                    ports=[ContainerPortArgs(name="http", container_port=settings.container_port, protocol="TCP")],
                    env=[
                        *(EnvVarArgs(name=key, value=value) for key, value in self._env().items()),
                        *self._secret_env(),
                    ],
                    env_from=[EnvFromSourceArgs(config_map_ref=ConfigMapEnvSourceArgs(name=_name_of(config_map)))],
                    resources=ResourceRequirementsArgs(
                        requests={
                            "cpu": str(settings.resources.requests.cpu),
                            "memory": str(settings.resources.requests.memory),
                        },
                        limits={
                            "cpu": str(settings.resources.limits.cpu),
                            "memory": str(settings.resources.limits.memory),
                        },
                    ),
                    liveness_probe=_probe(settings.liveness),
                    readiness_probe=_probe(settings.readiness),
                    lifecycle=LifecycleArgs(
                        pre_stop=LifecycleHandlerArgs(sleep=SleepActionArgs(seconds=settings.pre_stop_seconds))
                    )
                    if settings.pre_stop_seconds
                    else None,
                    security_context=SecurityContextArgs(
                        allow_privilege_escalation=False,
                        privileged=False,
                        read_only_root_filesystem=True,
                        run_as_non_root=True,
                        capabilities=CapabilitiesArgs(drop=["ALL"]),
                        seccomp_profile=SeccompProfileArgs(type="RuntimeDefault"),
                    ),
                    volume_mounts=mounts,
                )
            ],
            volumes=volumes,
        )

    def _secret_env(self) -> list[EnvVarArgs]:
        references = {
            key: (secret.name, secret.key)
            for connection in self._args.connections
            for key, secret in connection.secret_env.items()
            if key not in self._args.settings.env
        } | {key: (secret.name, secret.key) for key, secret in self._args.settings.secret_env.items()}
        return [
            EnvVarArgs(
                name=variable,
                value_from=EnvVarSourceArgs(secret_key_ref=SecretKeySelectorArgs(name=secret, key=key)),
            )
            for variable, (secret, key) in references.items()
        ]

    def _autoscaler(self, child: pulumi.ResourceOptions) -> None:
        scaling = self._args.settings.autoscaling
        assert scaling is not None  # noqa: S101 - for the type checker; the caller has asked
        targets = {"cpu": scaling.cpu, "memory": scaling.memory}
        HorizontalPodAutoscaler(
            f"{self._name}-hpa",
            metadata=self._metadata(f"{self._name}-hpa"),
            spec=HorizontalPodAutoscalerSpecArgs(
                scale_target_ref=CrossVersionObjectReferenceArgs(
                    api_version="apps/v1", kind="Deployment", name=self.deployment_name
                ),
                min_replicas=scaling.min,
                max_replicas=scaling.max,
                metrics=[
                    # Of the service's own container: a mesh's proxy beside it would dilute the measure.
                    MetricSpecArgs(
                        type="ContainerResource",
                        container_resource=ContainerResourceMetricSourceArgs(
                            container=self._name,
                            name=resource,
                            target=MetricTargetArgs(type="Utilization", average_utilization=percent),
                        ),
                    )
                    for resource, percent in targets.items()
                    if percent is not None
                ],
                behavior=HorizontalPodAutoscalerBehaviorArgs(
                    scale_down=_rules(scaling.scale_down), scale_up=_rules(scaling.scale_up)
                ),
            ),
            opts=child,
        )


def _name_of(resource: ServiceAccount | ConfigMap) -> pulumi.Output[str]:
    return resource.metadata.apply(lambda metadata: str(metadata.name))


def _probe(probe: Probe) -> ProbeArgs:
    return ProbeArgs(
        http_get=HTTPGetActionArgs(path=probe.path, port="http"),
        initial_delay_seconds=probe.initial_delay_seconds,
        period_seconds=probe.period_seconds,
        timeout_seconds=probe.timeout_seconds,
        failure_threshold=probe.failure_threshold,
    )


def _rules(policy: ScalingPolicy) -> HPAScalingRulesArgs:
    return HPAScalingRulesArgs(
        stabilization_window_seconds=policy.window_seconds,
        policies=[HPAScalingPolicyArgs(type="Percent", value=policy.percent, period_seconds=policy.period_seconds)],
    )

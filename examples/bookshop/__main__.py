"""A bookshop of two services and a database, built by CloudMart's components."""

from pathlib import Path

import pulumi
import pulumi_kubernetes as kubernetes

from cloudmart.errors import UserError
from cloudmart.settings import load
from components.platform import Platform, PlatformArgs

try:
    settings = load(pulumi.get_stack(), Path(__file__).parent)
except UserError as error:
    raise pulumi.RunError(str(error)) from error  # one message instead of a traceback

cluster = kubernetes.Provider(
    "cluster",
    context=settings.cluster.context,
    # A changed ConfigMap keeps its name; the checksum in the pod template rolls the pods that read it.
    enable_config_map_mutable=True,
    enable_secret_mutable=True,
    upsert_existing_objects=True,  # an `up` that was killed can be repeated
)
shop = Platform(settings.project, PlatformArgs(settings=settings), pulumi.ResourceOptions(providers=[cluster]))

for name, value in shop.outputs.items():
    pulumi.export(name, value)

"""The Pulumi program: settings in, the platform out."""

import json
import os
from pathlib import Path

import pulumi
import pulumi_kubernetes as kubernetes

from cloudmart.errors import UserError
from cloudmart.settings import load
from components.platform import Platform, PlatformArgs

# What the engine was given, less what is secret: settings never hold a secret value.
config = json.loads(os.environ.get("PULUMI_CONFIG", "null"))
secret_keys = json.loads(os.environ.get("PULUMI_CONFIG_SECRET_KEYS", "[]"))
if config is not None:
    config = {key: value for key, value in config.items() if key not in secret_keys}

try:
    settings = load(pulumi.get_stack(), Path(__file__).parent, config)
except UserError as error:
    raise pulumi.RunError(str(error)) from error  # one message instead of a traceback

cluster = kubernetes.Provider(
    "cluster",
    context=settings.cluster.context,
    # A changed ConfigMap keeps its name; the checksum in the pod template rolls the pods that read it.
    enable_config_map_mutable=True,
    enable_secret_mutable=True,
    # A run that was killed has made objects that the state does not know, and `destroy` leaves the namespace: the next
    # `up` takes them over instead of failing. Fields that somebody else manages still stop it.
    upsert_existing_objects=True,
)
platform = Platform(settings.project, PlatformArgs(settings=settings), pulumi.ResourceOptions(providers=[cluster]))

for name, value in platform.outputs.items():
    pulumi.export(name, value)

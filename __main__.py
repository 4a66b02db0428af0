"""The Pulumi program: settings in, the platform out."""

import atexit
import gc
import json
import os
from pathlib import Path

import pulumi

from cloudmart.errors import UserError
from cloudmart.settings import load
from components.platform import Platform, PlatformArgs
from components.provider import cluster_provider

# A run is over in seconds. Looking for garbage took half a second of them, at the exit once more, and found nothing
# that was worth it.
gc.disable()
atexit.register(gc.freeze)

# What the engine was given, less what is secret: settings never hold a secret value.
config = json.loads(os.environ.get("PULUMI_CONFIG", "null"))
secret_keys = json.loads(os.environ.get("PULUMI_CONFIG_SECRET_KEYS", "[]"))
if config is not None:
    config = {key: value for key, value in config.items() if key not in secret_keys}

try:
    settings = load(pulumi.get_stack(), Path(__file__).parent, config)
except UserError as error:
    raise pulumi.RunError(str(error)) from error  # one message instead of a traceback

cluster = cluster_provider(settings.cluster.context)
platform = Platform(settings.project, PlatformArgs(settings=settings), pulumi.ResourceOptions(providers=[cluster]))

for name, value in platform.outputs.items():
    pulumi.export(name, value)

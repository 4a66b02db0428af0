"""A bookshop of two services and a database, built by CloudMart's components."""

from pathlib import Path

import pulumi

from cloudmart.errors import UserError
from cloudmart.settings import load
from components.platform import Platform, PlatformArgs
from components.provider import cluster_provider

try:
    settings = load(pulumi.get_stack(), Path(__file__).parent)
except UserError as error:
    raise pulumi.RunError(str(error)) from error  # one message instead of a traceback

cluster = cluster_provider(settings.cluster.context)
shop = Platform(settings.project, PlatformArgs(settings=settings), pulumi.ResourceOptions(providers=[cluster]))

for name, value in shop.outputs.items():
    pulumi.export(name, value)

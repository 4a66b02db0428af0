"""What really ran and what it cost: a client of the Allocation API of Kubecost 3.x, Kubecost 2.x and OpenCost.

``windows`` turns what people type into exact spans of time, ``answer`` reads one answer, ``client`` asks, ``discovery``
finds whom to ask. Only ``client`` and ``discovery`` talk to anybody.
"""

from cloudmart.finops.allocation.answer import Allocation
from cloudmart.finops.allocation.client import Client, Page, Query
from cloudmart.finops.allocation.windows import Window

__all__ = ["Allocation", "Client", "Page", "Query", "Window"]

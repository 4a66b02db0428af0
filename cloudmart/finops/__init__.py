"""What the shop costs: price book, estimate. Pure Python: no Pulumi, no cluster."""

"""Takes a stack to a cluster and away again: with the Pulumi engine, or without it for trying out."""

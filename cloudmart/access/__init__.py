"""The least that an identity must be allowed in a cluster to deploy a stack, from what the stack declares."""

"""The ComponentResources that CloudMart is built of. The only package that imports a Pulumi provider SDK."""

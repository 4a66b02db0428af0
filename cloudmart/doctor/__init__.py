"""What a machine, a project and a cluster have for `up` to work, and what they lack; nothing is changed."""

"""The local cluster, and what is asked of any live one."""

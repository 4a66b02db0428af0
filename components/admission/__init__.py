"""What the cluster itself refuses: the policy pack's rules about one object, enforced at admission."""

"""Whether what is deployed works: ``cloudmart verify``."""

"""Secrets of a stack: which there are, who reads them, how old they are, and how to make one anew. Never a value."""

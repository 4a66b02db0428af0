"""Runs the real program without an engine, and says what it would make, break and cost."""

"""Typed specs of custom resources: one module for each API group, with the fields that this project sets."""

"""Tiny models of every family."""

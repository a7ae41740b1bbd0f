"""Decoding methods the slow and obvious way, as independent judges of the fast ones."""

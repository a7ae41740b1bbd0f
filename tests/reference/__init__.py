"""Decoding methods the slow and obvious way, as independent judges of the fast ones."""

JUDGED = {"dola", "deco", "only", "revisit", "opera", "vista"}
"""Methods that are compared with the engine in this folder, besides those on views alone."""

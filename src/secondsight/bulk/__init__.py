"""``secondsight caption``: questions about very many images, on one machine or on many.

One way: `sources` lists the rows, `manifest` fixes them and cuts them into shards, `workers` (or
`ray`) has `shards` answered by an `answering` model each, and `merge` joins them in order. What is
written does not depend on who did it.
"""

from secondsight.bulk.run import Caption, Summary, caption

__all__ = ["Caption", "Summary", "caption"]

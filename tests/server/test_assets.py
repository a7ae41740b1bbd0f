"""The page's files: small, of one piece, sent again only where they changed."""

from __future__ import annotations

import re

from secondsight.server.assets import FILES

from .conftest import Live


def test_the_page_is_small_and_of_one_piece() -> None:
    own = {path: data for path, (_, data) in FILES.items() if not path.endswith("demo.png")}
    assert sum(map(len, own.values())) < 100_000
    for path, data in own.items():
        text = data.decode()
        assert not re.search(r"https?://(?!www\.w3\.org)", text), path
        assert "innerHTML" not in text
        assert not re.search(r"\son[a-z]+=|style=|<script>", text.partition("const STYLE")[0]), path


def test_a_browser_that_has_a_file_is_told_so(shared: Live) -> None:
    first = shared.http.get("/page/app.js")
    again = shared.http.get("/page/app.js", headers={"if-none-match": first.headers["etag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")

"""``secondsight serve``: an OpenAI-compatible server and its page, on the engine.

Needs the extra ``[serve]``. A request's way: `security` (who, how large) to `routes`, `schemas` and
`messages` (what is asked), `media` (images), `service` (a place, a deadline), `backend` (the
engine), and back through `replies` as one answer or as events.
"""

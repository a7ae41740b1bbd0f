"""Which words of a text name objects, and which object."""

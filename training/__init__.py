"""How the bundled model was made; see README.md. Not installed with the package."""

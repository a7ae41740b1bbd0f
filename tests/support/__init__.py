"""What several tests build on: tiny models, images, processes, and the account of skips."""

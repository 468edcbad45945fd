"""Images of our own that workspaces start from: made once for what a template says, and found again by its fingerprint."""

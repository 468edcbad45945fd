"""Looking after workspaces that run: who uses them, and which budget has money for them."""

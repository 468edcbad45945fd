"""What workspaces are opened from: what a template says, and where it is read."""

"""Workspaces on Studio, Canvas, Studio Lab and EC2: opened, listed, stopped and deleted the same way, under policy and budget."""

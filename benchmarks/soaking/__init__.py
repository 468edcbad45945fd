"""What `make soak` is made of: the jobs, those who follow them, what goes wrong, and what must be right afterwards."""

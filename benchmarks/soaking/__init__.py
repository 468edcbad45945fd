"""What `make soak` and `make soak-migration` are made of: what is to be done, those who do it, what goes wrong, and what must be right afterwards."""

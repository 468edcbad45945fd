"""What differs between models of different kinds: what is asked of one, which answers are believed, where it is served. Pure."""

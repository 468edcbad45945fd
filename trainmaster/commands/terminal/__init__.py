"""What all commands have in common: how they are typed, begin, print and end."""

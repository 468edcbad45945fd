"""What is known: the tables shared with the application that owns them, and those of our own."""

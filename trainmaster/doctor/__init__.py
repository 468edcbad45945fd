"""What is missing or wrong where Trainmaster is to run: one check for each thing it needs, each with the way to put it right."""

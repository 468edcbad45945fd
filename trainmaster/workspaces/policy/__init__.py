"""What people of a role may open, train and serve: rules, the file they stand in, and the nearest choice allowed."""

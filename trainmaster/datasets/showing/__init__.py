"""A report as people and machines get it: in the terminal, as JSON, as Markdown, as a picture."""

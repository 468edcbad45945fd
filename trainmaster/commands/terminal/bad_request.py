"""What was typed is no request."""


class BadRequestError(Exception):
    """Raised when what was typed is no request; the message has a line for each thing that is wrong."""

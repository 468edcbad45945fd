"""What can be wrong with a dataset, and what is worth a note about it."""

from __future__ import annotations

from enum import StrEnum


class ProblemKind(StrEnum):
    """The value is what people read and what problems are counted by."""

    # The file
    UNREADABLE = "unreadable file"
    EMPTY_FILE = "no examples"
    TRUNCATED = "truncated file"
    GZIP_BOMB = "suspicious compression"
    TOO_LARGE = "file too large"
    WRONG_ENCODING = "wrong encoding"
    MISSING_COLUMN = "missing column"

    # A line, as JSON
    INVALID_JSON = "invalid JSON"
    INVALID_UTF8 = "invalid UTF-8"
    LONE_SURROGATE = "lone surrogate"
    NOT_FINITE = "not a finite number"
    DUPLICATE_KEY = "duplicate key"
    TOO_DEEP = "nested too deeply"
    TOO_LONG = "line too long"
    TOO_DENSE = "too many values in one example"
    PARTIAL_LINE = "incomplete last line"

    # An example, as one of its format
    OTHER_FORMAT = "another format"
    WRONG_TYPE = "wrong type"
    WRONG_VALUE = "wrong value"
    MISSING_KEY = "missing key"
    CONFLICTING_KEYS = "conflicting keys"
    EMPTY_TEXT = "empty text"
    EMPTY_LIST = "empty list"
    EMPTY_EXAMPLE = "empty example"
    UNKNOWN_ROLE = "unknown role"
    NOT_ALTERNATING = "turns do not alternate"
    SYSTEM_NOT_FIRST = "system turn not first"
    LAST_NOT_ASSISTANT = "last turn not the assistant's"
    TOOL_CALL = "tool call and answer do not match"
    SAME_ANSWERS = "chosen is rejected"
    DIFFERENT_PROMPTS = "prompts differ"
    TOO_MANY = "more problems in one example"

    # Accepted, and noted
    BYTE_ORDER_MARK = "byte order mark"
    CRLF = "CRLF line ends"
    EMPTY_LINE = "empty line"
    LEFT_OUT = "left out"
    DUPLICATE = "duplicate"
    LONG_EXAMPLE = "very long example"
    SHORT_EXAMPLE = "very short example"

"""Error documents of the dialect: OpenAI's own."""

from control_plane.dialects.openai_errors import document, in_stream, read_error, write_error

__all__ = ["document", "in_stream", "read_error", "write_error"]

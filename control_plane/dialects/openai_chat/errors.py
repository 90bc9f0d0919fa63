"""Error documents of the dialect: OpenAI's own."""

from control_plane.dialects.openai_errors import document, error_payload, in_stream, read_error, write_error

__all__ = ["document", "error_payload", "in_stream", "read_error", "write_error"]

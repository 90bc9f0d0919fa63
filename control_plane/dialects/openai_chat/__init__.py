"""OpenAI's chat completions API and the many vendors that speak it (https://platform.openai.com/docs/api-reference/chat)."""

from control_plane.dialects.openai_chat.dialect import OpenAIChat

__all__ = ["OpenAIChat"]

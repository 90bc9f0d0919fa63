"""OpenAI's Responses API (https://platform.openai.com/docs/api-reference/responses)."""

from control_plane.dialects.openai_responses.dialect import OpenAIResponses

__all__ = ["OpenAIResponses"]

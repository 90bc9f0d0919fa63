"""Google's Gemini API, generateContent and streamGenerateContent (https://ai.google.dev/api/generate-content)."""

from control_plane.dialects.gemini_generate_content.dialect import GeminiGenerateContent

__all__ = ["GeminiGenerateContent"]

"""Anthropic's messages API (https://platform.claude.com/docs/en/api/messages)."""

from control_plane.dialects.anthropic_messages.cloud_clients import BedrockClient, VertexClient
from control_plane.dialects.anthropic_messages.clouds import AnthropicBedrock, AnthropicVertex
from control_plane.dialects.anthropic_messages.dialect import AnthropicMessages

__all__ = ["AnthropicBedrock", "AnthropicMessages", "AnthropicVertex", "BedrockClient", "VertexClient"]

"""Amazon Bedrock's Converse API (https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html)."""

from control_plane.dialects.bedrock_converse.dialect import BedrockConverse

__all__ = ["BedrockConverse"]

"""Completions of plain text, with what follows it or without: OpenAI's words and Mistral's, each served by providers of the other."""

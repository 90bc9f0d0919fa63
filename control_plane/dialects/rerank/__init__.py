"""Reranking: a small canonical request and answer, and what each dialect makes of them."""

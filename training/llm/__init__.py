"""Distilling by a language model: histories in, words out; every answer checked, kept, paid for once."""

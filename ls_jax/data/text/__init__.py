"""Text: vocabularies, and sentences as packed rows of tokens."""

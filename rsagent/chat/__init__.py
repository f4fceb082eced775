"""A conversation about pictures at the terminal. Importing it loads nothing heavy; the networks load behind the prompt."""

"""The model classes that SGLang finds here."""

"""The multimodal processors that SGLang finds here."""

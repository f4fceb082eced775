"""Training RS-MoE: scenes, data, aspects, and the stages base, I and II."""

"""The RS-MoE network: image encoder, VLM encoder, instruction router, experts, and the checkpoint that holds them."""

"""The tables of the RS-MoE paper as commands: what was published and its faults, what is run here, and both side by side."""

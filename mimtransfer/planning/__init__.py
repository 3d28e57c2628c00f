"""What a training will need, told before it runs: memory, images/s, hours. Nothing is computed, nothing allocated."""

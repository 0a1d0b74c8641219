"""Pre-training objectives, one file each. ``registry()`` lists them; ``base`` says how to add one."""

"""Pre-training objectives, one file each. ``registry()`` lists them; ``base`` explains how to add one."""

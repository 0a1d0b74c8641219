"""Static Programs: their inputs, losses, variables, optimizer, precision and execution."""

"""Command-line programs for the user: doctor, self-test, wheels and fleetrun."""

"""Programs for the person at the machine: doctor, self-test, wheels, fleetrun."""

"""How true the values are: measured in states of the log, against exact solutions, and from the log alone."""

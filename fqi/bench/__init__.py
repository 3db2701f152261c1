"""How fast this machine does what fqi does, as ratios to a limit or to a textbook loop measured in the same run."""

"""Studies: a function each that returns a plan of variants, with the stages that only they use."""

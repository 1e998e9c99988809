"""How good a model is: against music it has never seen, in figures with their uncertainty."""

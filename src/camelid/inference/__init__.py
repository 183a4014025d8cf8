"""Generation, scores and likelihoods of given tokens, chat."""

"""Records as data: what a topic carries, the rows and dead letters that records decode to, and the batch of them."""

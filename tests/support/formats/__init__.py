"""Records in every format, and a schema registry for them."""

"""`make bench ONLY=cells`: one read service for three cells, beside one database and beside PostgreSQL's own federation."""

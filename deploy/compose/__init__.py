"""The system in containers (docker-compose.yml): the roles of its database, its secrets, what its Prometheus asks."""

"""The system in containers (docker-compose.yml): its secrets, its database roles, its scrape targets."""

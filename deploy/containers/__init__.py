"""The image and docker-compose.yml, run for real: `make containers`.

An engine is found, or started in namespaces of its own -> images, with stand-ins where no registry can be reached -> the compose
project -> checks -> everything is removed. In: docker-compose.yml and the Dockerfile as they are. Out: progress on stderr, and
exit code 1 with the reason when a check fails.
"""

"""Process configuration shared by all packages: settings, secrets, logging, the metrics registry, the probe server, the version.

In: environment variables and secret files. Out: frozen settings objects.
"""

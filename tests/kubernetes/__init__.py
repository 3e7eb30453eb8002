"""`make kubernetes`: the chart on the real control plane of Kubernetes, with nodes and pods that kwok simulates.

No container runs. The API server, the scheduler, the controllers, etcd, kubectl and helm are real, built from Go modules.
"""

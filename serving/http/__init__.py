"""The REST and gRPC interfaces of the server."""

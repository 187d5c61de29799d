"""What runs on instances: TorchServe handler, inference gateway and the recommendation service."""

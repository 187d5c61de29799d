"""An emulator of the Alibaba Cloud APIs that this project uses, whose instances and jobs really run."""

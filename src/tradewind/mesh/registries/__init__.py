"""Where instances are known from: one module a registry, and beside it how an instance makes itself known there."""

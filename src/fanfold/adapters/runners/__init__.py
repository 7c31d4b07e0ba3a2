"""Runners on one machine; those for clusters are packages of their own."""

"""Tests of the broker without its sockets."""

"""Describe a layer of your own to the proof: `register_layer` with a `Kind`, or `per_channel`."""

from analysis.network.layers import Kind, per_channel, register_layer

__all__ = ["Kind", "per_channel", "register_layer"]

"""The channels on each axis of each weight and tensor, from one reading of both models' graphs."""

from keras_motivation.nesting.channels.pair import Channels, Group

__all__ = ["Channels", "Group"]

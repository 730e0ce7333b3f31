//! Candle operators with a right and fast forward and backward.

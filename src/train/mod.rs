//! Everything that needs gradients.

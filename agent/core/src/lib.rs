//! What the agent decides; it does nothing itself

//! Manifest, chunk index and packs as pure values

//! Building images: importers, compression, library access
